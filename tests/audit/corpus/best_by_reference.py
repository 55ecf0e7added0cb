"""The best weights kept as a reference to weights that training changes."""

import copy

import torch
import torch.nn.functional as F


def _epoch(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def finds_a_state_dict(model, loader, optimizer, validate):
    best, best_weights = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_weights = model.state_dict()  # BP301
    model.load_state_dict(best_weights)


def finds_a_model(model, loader, optimizer, validate):
    best_accuracy = 0.0
    for _ in range(10):
        _epoch(model, loader, optimizer)
        accuracy = validate(model)
        if accuracy > best_accuracy:
            best_accuracy = accuracy
            best_model = model  # BP301
    return best_model


def finds_steps_in_the_same_function(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        value = validate(model)
        if value <= best:
            best, best_state = value, model.state_dict()  # BP301
    return best_state


class Finds:
    def finds_an_attribute(self, loader, validate):
        best = float("inf")
        for _ in range(10):
            for x, y in loader:
                self.optimizer.zero_grad()
                F.mse_loss(self.model(x), y).backward()
                self.optimizer.step()
            value = validate(self.model)
            if value < best:
                best = value
                self.best_state = self.model.state_dict()  # BP301
        self.model.load_state_dict(self.best_state)


def finds_a_copy_of_the_dictionary_alone(model, loader, optimizer, validate):
    best, best_weights = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_weights = dict(model.state_dict())  # BP301
    model.load_state_dict(best_weights)


def finds_a_shallow_copy(model, loader, optimizer, validate):
    best, best_weights = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_weights = copy.copy(model.state_dict())  # BP301
    model.load_state_dict(best_weights)


def finds_early_stopping(net, loader, optimizer, validate):
    best_score, wait = None, 0
    for _ in range(100):
        _epoch(net, loader, optimizer)
        score = validate(net)
        if best_score is None or score > best_score:
            best_score, wait = score, 0
            best_net = net  # BP301
        else:
            wait += 1
            if wait == 5:
                break
    return best_net


def finds_a_file_written_after_training(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_state = model.state_dict()  # BP301
    torch.save(best_state, "best.pt")


def passes_deepcopy(model, loader, optimizer, validate):
    best, best_weights = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_weights = copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)


def passes_a_deep_copy_of_the_model(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_model = copy.deepcopy(model)
    return best_model


def passes_clones(model, loader, optimizer, validate):
    best, best_weights = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(best_weights)


def passes_a_file_at_once(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            torch.save(model.state_dict(), "best.pt")


def passes_a_dictionary_that_is_saved_at_once(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_state = model.state_dict()
            torch.save(best_state, "best.pt")


def passes_a_choice_among_finished_models(models, validate):
    best = float("inf")
    for model in models:
        value = validate(model)
        if value < best:
            best = value
            best_model = model
    return best_model


def passes_a_model_made_anew_for_each_trial(make, loader, validate):
    best = float("inf")
    for rate in (0.1, 0.01):
        model = make()
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        value = validate(model)
        if value < best:
            best = value
            best_model = model
    return best_model


def passes_a_number(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
    return best


def misses_another_name(model, loader, optimizer, validate):
    lowest, kept = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < lowest:
            lowest = value
            kept = model.state_dict()  # missed BP301
    model.load_state_dict(kept)


def misses_a_list(model, loader, optimizer, validate):
    history = []
    for _ in range(10):
        _epoch(model, loader, optimizer)
        history.append((validate(model), model.state_dict()))  # missed BP301
    model.load_state_dict(min(history)[1])


def finds_a_dict_that_holds_the_weights(model, loader, optimizer, validate):
    best_loss, best = float("inf"), {}
    for epoch in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best_loss:
            best_loss = value
            best = {"epoch": epoch, "weights": model.state_dict()}  # BP301
    model.load_state_dict(best["weights"])


def passes_a_dict_that_holds_a_copy(model, loader, optimizer, validate):
    best_loss, best = float("inf"), {}
    for epoch in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best_loss:
            best_loss = value
            best = {"epoch": epoch, "weights": copy.deepcopy(model.state_dict())}
    model.load_state_dict(best["weights"])


class EarlyStopping:
    def __init__(self):
        self.best_loss, self.best_weights, self.first = float("inf"), None, None

    def finds_weights_that_an_object_keeps(self, model):
        self.best_weights = model.state_dict()  # BP301

    def passes_a_copy_that_an_object_keeps(self, model):
        self.best_copy = copy.deepcopy(model.state_dict())

    def passes_weights_that_nothing_loads(self, model):
        self.best_seen = model.state_dict()

    def restore(self, model):
        model.load_state_dict(self.best_weights)
        model.load_state_dict(self.best_copy)


def finds_a_dict_by_its_test_and_its_use(model, loader, optimizer, validate):
    best = float("inf")
    for epoch in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            checkpoint = {"epoch": epoch, "model": model.state_dict()}  # BP301
    torch.save(checkpoint, "best.pt")


def passes_a_dict_that_is_written_in_the_loop(model, loader, optimizer, validate):
    best = float("inf")
    for epoch in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            checkpoint = {"epoch": epoch, "model": model.state_dict()}
            write(checkpoint, "best.pt")
    return checkpoint["epoch"]


def write(state, path):
    torch.save(state, path)


def passes_the_last_dict(model, loader, optimizer, validate):
    for epoch in range(10):
        _epoch(model, loader, optimizer)
        if validate(model) < 1:
            checkpoint = {"epoch": epoch, "model": model.state_dict()}
    torch.save(checkpoint, "last.pt")


def passes_weights_that_are_exchanged_for_their_average(model, average, loader, optimizer):
    best, best_weights = 0.0, None
    for _epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        average.apply_shadow()
        weights = model.state_dict()
        average.restore()
        if evaluate(model) > best:
            best, best_weights = evaluate(model), weights
    return best_weights


def finds_a_dict_of_live_tensors(model, loader, optimizer, validate):
    best, best_state = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_state = {name: w.detach() for name, w in model.state_dict().items()}  # BP301
    model.load_state_dict(best_state)


def passes_a_dict_of_clones(model, loader, optimizer, validate):
    best, best_state = float("inf"), None
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best:
            best = value
            best_state = {name: w.detach().clone() for name, w in model.state_dict().items()}
    model.load_state_dict(best_state)


def finds_weights_in_a_dict_of_its_own(model, loader, optimizer, validate):
    best = {"value": float("inf"), "weights": None}
    for _ in range(10):
        _epoch(model, loader, optimizer)
        value = validate(model)
        if value < best["value"]:
            best["value"] = value
            best["weights"] = model.state_dict()  # BP301
    model.load_state_dict(best["weights"])


def finds_weights_that_each_fold_is_to_begin_with(model, loaders, make_optimizer):
    start = model.state_dict().copy()  # BP301
    for loader in loaders:
        model.load_state_dict(start)
        _epoch(model, loader, make_optimizer(model))


class Folds:
    def finds_weights_of_an_object(self, loaders):
        start = self.model.state_dict()  # BP301
        for loader in loaders:
            self.model.load_state_dict(start)
            _epoch(self.model, loader, self.optimizer)


def passes_a_copy_that_each_fold_begins_with(model, loaders, make_optimizer):
    start = copy.deepcopy(model.state_dict())
    for loader in loaders:
        model.load_state_dict(start)
        _epoch(model, loader, make_optimizer(model))


def passes_weights_of_a_model_that_does_not_train(model, make, loaders):
    start = model.state_dict()
    for loader in loaders:
        student = make()
        student.load_state_dict(start)
        _epoch(student, loader, torch.optim.Adam(student.parameters()))


def passes_weights_that_are_merged_once(model, loader, optimizer, pretrained):
    weights = model.state_dict()
    weights.update(pretrained)
    model.load_state_dict(weights)
    for _ in range(3):
        _epoch(model, loader, optimizer)
