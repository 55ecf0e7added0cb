"""Best models chosen by the loss of one batch."""

import torch
import torch.nn.functional as F
from tqdm import tqdm


def finds_it_inside_the_loop(model, loader, optimizer):
    best = float("inf")
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if loss.item() < best:  # BP303
            best = loss.item()
            torch.save(model.state_dict(), "best.pt")


def finds_it_after_the_loop(model, loader, optimizer):
    best = float("inf")
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        if loss.item() < best:  # BP303, BP205 likely
            best = loss.item()
            torch.save(model.state_dict(), "best.pt")


def finds_a_name_for_the_number(model, loader, optimizer):
    best_loss = float("inf")
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            value = loss.item()
        if value < best_loss:  # BP303, BP205 likely
            best_loss = value
            torch.save(model.state_dict(), "best.pt")


def finds_a_validation_batch(model, loader):
    model.eval()
    best_loss = float("inf")
    with torch.no_grad():
        for _ in range(10):
            for x, y in loader:
                val_loss = F.mse_loss(model(x), y)
            if val_loss < best_loss:  # BP205 likely, BP303
                best_loss = val_loss
                torch.save(model.state_dict(), "best.pt")


def finds_the_other_way_round(model, loader, optimizer):
    best_loss = 100.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.l1_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if best_loss > loss.item():  # BP303
            best_loss = loss.item()
            torch.save(model.state_dict(), "best.pt")


class Finds:
    def finds_an_attribute(self, loader):
        for _ in range(10):
            for x, y in loader:
                self.optimizer.zero_grad()
                loss = F.mse_loss(self.model(x), y)
                loss.backward()
                self.optimizer.step()
            if loss.item() < self.best_loss:  # BP303, BP205 likely
                self.best_loss = loss.item()
                torch.save(self.model.state_dict(), "best.pt")


def finds_detach(model, loader, optimizer):
    best = float("inf")
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        current = loss.detach().cpu().item()
        if current < best:  # BP303
            best = current
            torch.save(model.state_dict(), "best.pt")


def finds_enumerate(model, loader, optimizer):
    best_loss = float("inf")
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if loss.item() <= best_loss:  # BP303
            best_loss = loss.item()
            torch.save(model.state_dict(), f"{i}.pt")


def passes_a_mean_over_all_samples(model, loader, optimizer):
    best = float("inf")
    for _ in range(10):
        total, count = 0.0, 0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            count += len(x)
        if total / count < best:
            best = total / count
            torch.save(model.state_dict(), "best.pt")


def passes_a_validation(model, loader, optimizer, validate):
    best = float("inf")
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        value = validate(model)
        if value < best:
            best = value
            torch.save(model.state_dict(), "best.pt")


def passes_the_whole_data_as_one_batch(model, x, y, optimizer):
    best = float("inf")
    for _ in range(1000):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if loss.item() < best:
            best = loss.item()
            torch.save(model.state_dict(), "best.pt")


def passes_a_sum(model, loader, optimizer):
    best = float("inf")
    for _ in range(10):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y, reduction="sum")
            loss.backward()
            optimizer.step()
            total += loss.item()
        if total < best:
            best = total
            torch.save(model.state_dict(), "best.pt")


def passes_a_limit(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        if loss.item() > 100:
            continue
        loss.backward()
        optimizer.step()


def passes_the_best_sample(model, loader):
    model.eval()
    best = float("inf")
    with torch.no_grad():
        for x, y in loader:
            losses = F.mse_loss(model(x), y, reduction="none").mean(1)
            lowest = losses.min().item()
            if lowest < best:
                best = lowest
    return best


def passes_a_loop_that_ends_after_one_batch(model, loader, optimizer):
    best = float("inf")
    for _ in range(100):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            break
        if loss.item() < best:
            best = loss.item()


def passes_an_average_meter(model, loader, optimizer, meter):
    best = float("inf")
    for _ in range(10):
        meter.reset()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            meter.update(loss.item(), len(x))
        if meter.avg < best:
            best = meter.avg
            torch.save(model.state_dict(), "best.pt")


def misses_a_name_that_says_nothing(model, loader, optimizer):
    record = float("inf")
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if loss.item() < record:  # missed BP303
            record = loss.item()
            torch.save(model.state_dict(), "best.pt")


def misses_min(model, loader, optimizer):
    best = float("inf")
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        best = min(best, loss.item())  # missed BP303
    return best


def finds_what_is_likely_where_only_patience_is_reset(model, loader):
    best, waited = float("inf"), 0
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        if loss.item() < best:  # BP303 likely
            best, waited = loss.item(), 0
        else:
            waited += 1
    return waited


def passes_a_number_computed_from_its_former_value(model, loader):
    best, running_loss = 10.0, None
    for x, y in loader:
        running_loss = smooth_loss(F.mse_loss(model(x), y).item(), running_loss)
    if running_loss < best:
        torch.save(model.state_dict(), "best.pt")


def finds_the_accuracy_of_the_last_batch(model, train_loader, pairs, optimizer):
    best = 0
    for _epoch in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            for x, y in pairs:
                accuracy = (model(x).argmax(1) == y).float().mean().item()
        if accuracy > best:  # BP205 likely, BP303
            best = accuracy
            torch.save(model.state_dict(), "best.pt")


def finds_a_test_that_a_name_holds(model, val_loader):
    lowest = float("inf")
    for _ in range(10):
        for x, y in val_loader:
            with torch.no_grad():
                val_loss = F.mse_loss(model(x), y)
        improves = val_loss < lowest  # BP303
        if improves:
            lowest = val_loss
            torch.save(model.state_dict(), "best.pt")


def _accuracy(model, loader):
    hits = count = 0
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            hits += (model(x).argmax(1) == y).sum().item()
            count += y.size(0)
    return hits / count


def passes_a_loop_over_the_loaders_of_clients(model, client_loaders, train):
    best = 0.0
    client_bar = tqdm(enumerate(client_loaders), total=len(client_loaders))
    for client, (train_loader, val_loader) in client_bar:
        train(model, train_loader, client)
        accuracy = _accuracy(model, val_loader)
        if accuracy > best:
            best = accuracy
            torch.save(model.state_dict(), "best.pt")
