"""Means divided once more."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader


def finds_a_division_by_the_batch(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) / x.size(0)  # BP106
        loss.backward()
        optimizer.step()


def finds_a_length(model, train_loader, optimizer):
    criterion = nn.CrossEntropyLoss()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y) / len(y)  # BP106
        loss.backward()
        optimizer.step()


def finds_a_shape(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.l1_loss(model(x), y)
        loss = loss / x.shape[0]  # BP106
        loss.backward()
        optimizer.step()


def finds_a_division_in_place(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss /= x.size(0)  # BP106
        loss.backward()
        optimizer.step()


def finds_a_nominal_batch_size(model, train_loader, optimizer, args):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) / args.batch_size  # BP106
        loss.backward()
        optimizer.step()


def finds_a_name_for_the_size(model, train_loader, optimizer):
    for x, y in train_loader:
        n = x.size(0)
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) / n  # BP106
        loss.backward()
        optimizer.step()


def finds_tokens(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) / y.numel()  # BP106
        loss.backward()
        optimizer.step()


@torch.no_grad()
def finds_a_report(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() / len(x)  # BP106
    return total


def passes_a_sum(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y, reduction="sum") / x.size(0)
        loss.backward()
        optimizer.step()


def passes_a_module_that_sums(model, train_loader, optimizer):
    criterion = nn.CrossEntropyLoss(reduction="sum")
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y) / len(y)
        loss.backward()
        optimizer.step()


def passes_an_old_sum(model, train_loader, optimizer):
    criterion = nn.MSELoss(size_average=False)
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y) / x.size(0)
        loss.backward()
        optimizer.step()


def passes_elements_summed(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y, reduction="none").sum() / x.size(0)
        loss.backward()
        optimizer.step()


def passes_batches_of_one(model, data, optimizer):
    loader = DataLoader(data, batch_size=1)
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) / x.size(0)
        loss.backward()
        optimizer.step()


def passes_a_share_of_a_global_batch(model, train_loader, optimizer, total):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) * x.size(0) / total
        loss.backward()
        optimizer.step()


def passes_the_number_of_heads(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        heads = model(x)
        loss = 0.0
        for head in heads:
            loss = loss + F.mse_loss(head, y)
        loss = loss / len(heads)
        loss.backward()
        optimizer.step()


def passes_a_temperature(model, train_loader, optimizer, temperature):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) / temperature
        loss.backward()
        optimizer.step()


def misses_a_loss_out_of_sight(model, train_loader, optimizer, distance):
    for x, y in train_loader:
        optimizer.zero_grad()
        value = distance(model, x, y) / x.size(0)  # missed BP106
        value.backward()
        optimizer.step()


def misses_a_reduction_out_of_sight(model, train_loader, optimizer, settings):
    criterion = nn.MSELoss(**settings)
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y) * (1 / x.size(0))  # missed BP106
        loss.backward()
        optimizer.step()


def passes_a_sum_by_position(noised, logits):
    forth = F.kl_div(noised, logits, None, None, "sum")
    back = F.kl_div(logits, noised, None, None, "sum")
    return (forth + back) / noised.size(0)


def passes_an_old_sum_by_position(logits, y):
    return F.cross_entropy(logits, y, None, False) / y.size(0)


def finds_a_window_where_it_is_made_and_used(model, train_loader, optimizer, k):
    def objective(x, y):
        return F.mse_loss(model(x), y) / k

    for i, (x, y) in enumerate(train_loader):
        loss = objective(x, y) / k  # BP106
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_window_of_windows(model, train_loader, optimizer, k, parts):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k / parts
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_one_of_two_criteria(model, train_loader, optimizer, args):
    criterion = nn.L1Loss() if args.robust else nn.MSELoss()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y) / x.size(0)  # BP106 likely
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _mean_of_all(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)


def finds_the_mean_of_all_by_the_batches(model, test_loader):
    loss = _mean_of_all(model, test_loader)
    return loss / len(test_loader)  # BP106


@torch.no_grad()
def finds_a_mean_that_was_divided_in_place(model, data):
    loader, total, count = DataLoader(data, batch_size=64), 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        count += len(x)
    total /= count
    print(total / len(loader))  # BP106


def passes_the_mean_of_several_loaders(model, loaders):
    return sum(_mean_of_all(model, loader) for loader in loaders) / len(loaders)


def passes_the_mean_of_epochs(model, test_loader, epochs):
    total = 0.0
    for _ in range(epochs):
        total += _mean_of_all(model, test_loader)
    return total / epochs


def passes_another_loader(model, first_loader, second_loader):
    return _mean_of_all(model, first_loader) / len(second_loader)


def finds_a_size_taken_apart(logits, target):
    n, _, _, _ = logits.size()
    loss = F.cross_entropy(logits, target)
    loss /= n  # BP106
    return loss


def finds_the_size_of_a_parameter(logits, target):
    return F.cross_entropy(logits, target) / logits.shape[0]  # BP106


def finds_the_size_of_what_the_criterion_is_not_given(logits, target, x):
    return F.cross_entropy(logits, target) / x.size(0)  # BP106 likely


def finds_an_average_out_of_sight(logits, target, averages):
    loss = nn.CrossEntropyLoss(size_average=averages)(logits, target)
    return loss / target.size(0)  # BP106 likely


def passes_a_sum_over_a_parameter(logits, target):
    n, _ = logits.shape
    return F.cross_entropy(logits, target, reduction="sum") / n


def passes_the_other_sizes(logits, target):
    _, c, h, w = logits.size()
    return F.cross_entropy(logits, target) / (c * h * w)


def passes_a_sum_over_the_steps_of_a_sequence(model, data, size, optimizer):
    criterion = nn.NLLLoss()
    for batch in DataLoader(data, batch_size=size):
        caption = batch["caption"][0]
        length = caption.size(0)
        loss = 0
        for step in range(length):
            loss += criterion(model(step), caption[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(loss.item() / length)


@torch.no_grad()
def finds_a_sum_divided_in_each_pass(model, loader):
    total, steps = 0.0, 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
        steps += 1
        total /= steps  # BP106, BP201 likely
    return total


@torch.no_grad()
def passes_a_mean_so_far_beside_its_sum(model, loader):
    total, steps = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        steps += len(x)
        so_far = total / steps
        print(so_far)


@torch.no_grad()
def passes_a_window_that_is_begun_again(model, loader):
    total = 0.0
    for i, (x, y) in enumerate(loader):
        total += F.cross_entropy(model(x), y).item()
        if i % 50 == 49:
            total /= 50
            print(total)
            total = 0.0


def finds_a_mean_of_batch_means_over_the_batch_size(model, loader, optimizer, batch_size):
    total = 0.0
    for step, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 99:
            print(total / (step + 1) / batch_size)  # BP106


def passes_the_mean_of_sums_over_the_batch_size(model, loader, optimizer, batch_size):
    total = 0.0
    for step, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 99:
            print(total / (step + 1) / batch_size)


@torch.no_grad()
def passes_several_loaders(model, val_loaders_left):
    means = []
    for loader in val_loaders_left:
        total = 0.0
        for x, y in loader:
            total += F.cross_entropy(model(x), y)
        means.append(total / len(loader))  # BP201 likely
    return torch.stack(means)
