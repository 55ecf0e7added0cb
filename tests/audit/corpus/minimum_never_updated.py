"""Best values that nothing updates."""

import torch
import torch.nn.functional as F


def finds_a_minimum(model, epochs, train, validate):
    best_loss = float("inf")
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < best_loss:  # BP302
            torch.save(model.state_dict(), "best.pt")


def finds_a_maximum(model, epochs, train, validate):
    best_accuracy = 0
    for _ in range(epochs):
        train(model)
        accuracy = validate(model)
        if accuracy > best_accuracy:  # BP302
            torch.save(model.state_dict(), "best.pt")


def finds_it_written_the_other_way(model, epochs, train, validate):
    best_loss = 1e9
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if best_loss > loss:  # BP302
            torch.save(model.state_dict(), "best.pt")


def finds_less_or_equal(model, epochs, train, validate):
    min_loss = float("inf")
    for epoch in range(epochs):
        train(model)
        loss = validate(model)
        if loss <= min_loss:  # BP302
            print("saved at", epoch)
            torch.save(model.state_dict(), f"{epoch}.pt")


def finds_an_update_of_another_name(model, epochs, train, validate):
    best_loss = float("inf")
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < best_loss:  # BP302
            lowest = loss
            torch.save({"loss": lowest, "model": model.state_dict()}, "best.pt")


def finds_infinity_by_name(model, epochs, train, validate):
    best_val_loss = torch.inf
    for _ in range(epochs):
        train(model)
        val_loss = validate(model)
        if val_loss < best_val_loss:  # BP302
            torch.save(model.state_dict(), "best.pt")


def finds_a_negative_start(model, epochs, train, validate):
    best_score = -1
    for _ in range(epochs):
        train(model)
        score = validate(model)
        if score > best_score:  # BP302
            torch.save(model.state_dict(), "best.pt")


def finds_it_beside_another_test(model, epochs, train, validate):
    best_loss = float("inf")
    for epoch in range(epochs):
        train(model)
        loss = validate(model)
        if epoch > 5 and loss < best_loss:  # BP302
            torch.save(model.state_dict(), "best.pt")


def passes_an_update(model, epochs, train, validate):
    best_loss = float("inf")
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < best_loss:
            best_loss = loss
            torch.save(model.state_dict(), "best.pt")


def passes_min(model, epochs, train, validate):
    best_loss = float("inf")
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < best_loss:
            torch.save(model.state_dict(), "best.pt")
        best_loss = min(best_loss, loss)


def passes_a_tuple(model, epochs, train, validate):
    best_loss, best_epoch = float("inf"), 0
    for epoch in range(epochs):
        train(model)
        loss = validate(model)
        if loss < best_loss:
            best_loss, best_epoch = loss, epoch
            torch.save(model.state_dict(), "best.pt")
    return best_epoch


def passes_a_threshold(model, epochs, train, validate, best_loss):
    for _ in range(epochs):
        train(model)
        if validate(model) < best_loss:
            torch.save(model.state_dict(), "good.pt")


def passes_an_update_on_the_other_path(model, epochs, train, validate):
    best_loss = float("inf")
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss >= best_loss:
            continue
        best_loss = loss
        torch.save(model.state_dict(), "best.pt")


class Passes:
    best_loss = float("inf")

    def passes_an_attribute(self, epochs, train, validate):
        for _ in range(epochs):
            train(self.model)
            loss = validate(self.model)
            if loss < self.best_loss:
                self.best_loss = loss
                torch.save(self.model.state_dict(), "best.pt")


def passes_a_walrus(model, epochs, train, validate):
    best = float("inf")
    for _ in range(epochs):
        train(model)
        if (loss := validate(model)) < best:
            best = loss
            torch.save(model.state_dict(), "best.pt")


def passes_a_test_that_keeps_nothing(model, epochs, train, validate):
    best_known = 0.5
    for _ in range(epochs):
        train(model)
        if validate(model) < best_known:
            print("better than the paper")


def passes_a_break(model, loader, optimizer):
    min_loss = 0.01
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if loss.item() < min_loss:
            break


def finds_a_dictionary(model, epochs, train, validate):
    state = {"best_loss": float("inf")}
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < state["best_loss"]:  # BP302
            torch.save(model.state_dict(), "best.pt")


def passes_a_dictionary_that_is_updated(model, epochs, train, validate):
    record = {"lowest": float("inf")}
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < record["lowest"]:
            record.update(lowest=loss)
            torch.save(model.state_dict(), "best.pt")


def finds_weights_that_a_method_saves(model, epochs, train, validate):
    best_score = 0.0
    for _ in range(epochs):
        train(model)
        score = validate(model)
        if score > best_score:  # BP302
            model.save_pretrained("best")


def passes_a_best_score_that_is_only_shown(model, epochs, train, validate):
    best_score = 0.0
    for _ in range(epochs):
        train(model)
        score = validate(model)
        if score > best_score:
            print("better than nothing")


def misses_a_list_of_one(model, epochs, train, validate):
    best = [float("inf")]
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < best[0]:  # missed BP302
            torch.save(model.state_dict(), "best.pt")


def misses_a_name_that_says_nothing(model, epochs, train, validate):
    reference = float("inf")
    for _ in range(epochs):
        train(model)
        loss = validate(model)
        if loss < reference:  # missed BP302
            torch.save(model.state_dict(), "best.pt")


def _mean_loss(model, loader):
    total, seen = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            total += F.mse_loss(model(x), y, reduction="sum").item()
            seen += len(x)
    return total / seen


def finds_a_loss_that_must_be_less_than_0(model, loader, epochs, train):
    best_loss = 0
    for _ in range(epochs):
        train(model)
        val_loss = _mean_loss(model, loader)
        if val_loss < best_loss:  # BP302
            best_loss = val_loss
            torch.save(model.state_dict(), "best.pt")


def finds_a_score_that_must_be_more_than_infinity(model, epochs, train, validate):
    best_score = float("inf")
    for _ in range(epochs):
        train(model)
        score = validate(model)
        if score > best_score:  # BP302
            best_score = score
            torch.save(model.state_dict(), "best.pt")


def passes_a_value_that_may_be_less_than_0(model, epochs, train, validate):
    best_value = 0
    for _ in range(epochs):
        train(model)
        value = validate(model)
        if value < best_value:
            best_value = value
            torch.save(model.state_dict(), "best.pt")


def passes_a_start_that_is_read_from_a_file(model, loader, epochs, train, path):
    best_loss = 0
    if path:
        best_loss = torch.load(path)["best_loss"]
    for _ in range(epochs):
        train(model)
        val_loss = _mean_loss(model, loader)
        if val_loss < best_loss:
            best_loss = val_loss
            torch.save(model.state_dict(), "best.pt")


def _kept(model, score, best_score):
    if score > best_score:  # BP302
        best_score = score
        torch.save(model.state_dict(), "best.pt")
    return score


def finds_an_argument_that_a_function_sets(model, epochs, train, validate):
    best_score = 0.0
    for _ in range(epochs):
        train(model)
        _kept(model, validate(model), best_score)


def _kept_and_returned(model, score, best_score):
    if score > best_score:
        best_score = score
        torch.save(model.state_dict(), "best.pt")
    return best_score


def passes_an_argument_that_comes_back(model, epochs, train, validate):
    best_score = 0.0
    for _ in range(epochs):
        train(model)
        best_score = _kept_and_returned(model, validate(model), best_score)


def _search(model, epochs, validate, best_score):
    for _ in range(epochs):
        score = validate(model)
        if score > best_score:
            best_score = score
            torch.save(model.state_dict(), "best.pt")


def passes_an_argument_that_each_search_begins_with(models, epochs, validate):
    best_score = 0.0
    for model in models:
        _search(model, epochs, validate, best_score)


def passes_a_first_epoch_that_is_always_the_best(model, loader, epochs):
    best_loss = -1.0
    for epoch in range(epochs):
        total, count = 0.0, 0
        for x, y in loader:
            total += F.mse_loss(model(x), y).item() * len(x)
            count += len(x)
        if epoch == 0 or total / count < best_loss:
            best_loss = total / count
            torch.save(model.state_dict(), "best.pt")
