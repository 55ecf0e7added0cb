"""Divisors that count what the sum does not hold."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, random_split


@torch.no_grad()
def finds_a_sampler_of_a_part(model, data, fold):
    loader = DataLoader(data, batch_size=64, sampler=SubsetRandomSampler(fold))
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_weighted_means_of_a_part(model, data, fold):
    sampler = SubsetRandomSampler(fold)
    loader = DataLoader(data, batch_size=64, sampler=sampler)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * len(x)
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_hits_of_a_part(model, data, fold):
    loader = DataLoader(data, batch_size=64, sampler=SubsetRandomSampler(fold))
    correct = 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
    return correct / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_an_early_break(model, loader, limit):
    total = 0.0
    for i, (x, y) in enumerate(loader):
        if i >= limit:
            break
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_a_break_at_the_end_of_the_body(model, loader, limit):
    correct = 0
    for i, (x, y) in enumerate(loader):
        correct += (model(x).argmax(1) == y).sum().item()
        if i == limit:
            break
    return correct / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_a_counted_break(model, loader, most):
    total, steps = 0.0, 0
    for x, y in loader:
        steps += 1
        if most > 0 and steps > most:
            break
        total += F.mse_loss(model(x), y).item() * len(y)
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_batches_left_out(model, loader):
    total = 0.0
    for x, y in loader:
        if len(x) < 2:
            continue
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_batches_passed_over(model, loader):
    total = 0.0
    for step, batch in enumerate(loader):
        if batch.x.shape[0] == 1:
            pass
        else:
            total += F.mse_loss(model(batch.x), batch.y).item()
    return total / (step + 1)  # BP203


@torch.no_grad()
def finds_a_last_batch_that_is_dropped(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_the_whole_of_a_split(model, data):
    _, held_out = random_split(data, [len(data) - 1000, 1000])
    loader = DataLoader(held_out, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(data)  # BP203


@torch.no_grad()
def passes_the_split_itself(model, data):
    _, held_out = random_split(data, [len(data) - 1000, 1000])
    loader = DataLoader(held_out, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(held_out)


@torch.no_grad()
def passes_the_length_of_the_sampler(model, data, fold):
    loader = DataLoader(data, batch_size=64, sampler=SubsetRandomSampler(fold))
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.sampler)


@torch.no_grad()
def passes_a_subset_of_its_own(model, data):
    _, held_out = random_split(data, [900, 100])
    loader = DataLoader(held_out, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_a_count_of_what_was_seen(model, loader, limit):
    total, seen = 0.0, 0
    for i, (x, y) in enumerate(loader):
        if i >= limit:
            break
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    return total / seen


@torch.no_grad()
def passes_a_dry_run(model, loader, args):
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        if args.dry_run:
            break
    return total / len(loader.dataset)


@torch.no_grad()
def passes_a_count_of_what_was_kept(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        if len(x) < 2:
            continue
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    return total / seen


@torch.no_grad()
def passes_a_switch_of_the_whole_loop(model, loader, *, tracked):
    total = 0.0
    for x, y in loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        if tracked:
            total += loss.item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_a_break_at_the_last_batch(model, loader):
    total = 0.0
    for i, (x, y) in enumerate(loader):
        total += F.mse_loss(model(x), y, reduction="sum").item()
        if i == len(loader) - 1:
            break
    return total / len(loader.dataset)


@torch.no_grad()
def passes_a_stop_by_an_error(model, loader):
    total = 0.0
    for x, y in loader:
        loss = F.mse_loss(model(x), y, reduction="sum").item()
        if math.isnan(loss):
            raise ValueError
        total += loss
    return total / len(loader.dataset)


@torch.no_grad()
def passes_the_smaller_of_two_counts(model, loader, most, batch_size):
    right = 0
    for i, (x, y) in enumerate(loader):
        if i * batch_size >= most:
            break
        right += (model(x).argmax(1) == y).sum().item()
    return right / min(len(loader.dataset), most)


@torch.no_grad()
def misses_a_sampler_from_elsewhere(model, data, make_sampler):
    loader = DataLoader(data, batch_size=64, sampler=make_sampler(data))
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # missed BP203


@torch.no_grad()
def finds_batches_that_islice_cuts(model, loader, islice):
    total = 0.0
    for x, y in islice(loader, 10):
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def passes_a_break_after_as_many_as_it_divides_by(model, loader, most=None):
    if most is None:
        most = len(loader)
    total = 0.0
    for i, (x, y) in enumerate(loader):
        if i < most:
            total += F.mse_loss(model(x), y, reduction="sum").item()
        else:
            break
    return total / most


def passes_a_loop_that_gives_it_no_number(model, loader):
    return passes_a_break_after_as_many_as_it_divides_by(model, loader)


@torch.no_grad()
def finds_a_term_that_may_be_none_perhaps(model, loader):
    total = 0.0
    for x, y in loader:
        extra = model(x, y)
        if extra is not None:
            total += F.mse_loss(extra, y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203 likely


@torch.no_grad()
def finds_batches_without_a_result_that_are_counted(model, loader):
    total = 0.0
    for x, y in loader:
        output = model(x)
        if output is None:
            continue
        total += F.mse_loss(output, y, reduction="sum").item()
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def finds_the_size_of_the_whole_by_another_name(model, samples):
    count = len(samples)
    _, held_out = random_split(samples, [count - 500, 500])
    loader, hits = DataLoader(held_out, batch_size=32), 0
    for x, y in loader:
        hits += (model(x).argmax(1) == y).sum().item()
    return hits / count  # BP203


def passes_a_last_batch_that_is_skipped_by_its_size(model, train_loader, optimizer, args):
    total = 0.0
    for step, (x, y) in enumerate(train_loader):
        if x.size(0) != args.batch_size:
            continue
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 99:
            print(total / (step + 1))


@torch.no_grad()
def finds_losses_that_are_no_numbers_counted(model, val_loader):
    total = 0.0
    for x, y in val_loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        if not torch.isnan(loss):
            total += loss.item()
    return total / len(val_loader.dataset)  # BP203


@torch.no_grad()
def passes_a_stop_at_what_is_no_number(model, val_loader):
    total = 0.0
    for x, y in val_loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        if torch.isnan(loss):
            break
        total += loss.item()
    return total / len(val_loader.dataset)


def finds_a_sum_so_far_over_all_batches(model, iterator, optimizer):
    total = 0.0
    for count, (x, y) in enumerate(iterator, 1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if count % 100 == 0:
            print(total / len(iterator))  # BP203
    return total


def passes_a_sum_over_all_batches_at_the_last(model, iterator):
    total = 0.0
    for count, (x, y) in enumerate(iterator, 1):
        with torch.no_grad():
            total += F.mse_loss(model(x), y, reduction="sum").item() / len(y)
        if count == len(iterator):
            print(total / len(iterator))  # BP201 likely


@torch.no_grad()
def finds_a_share_of_all_batches_so_far(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for i, (x, y) in enumerate(loader):
        total += F.mse_loss(model(x), y).item() * len(x)
        if i % 100 == 0:
            print(total / len(data))  # BP203
    return total / len(data)


@torch.no_grad()
def passes_a_report_at_the_last_batch(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for i, (x, y) in enumerate(loader):
        total += F.mse_loss(model(x), y).item() * len(x)
        if i == len(loader) - 1:
            print(total / len(data))


@torch.no_grad()
def misses_batches_that_are_drawn_a_number_of_times(model, loader, steps):
    total, batches = 0.0, iter(loader)
    for _ in range(steps):
        x, y = next(batches)
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)  # missed BP203


def finds_a_sum_over_tokens_up_to_the_end_of_the_sentence(decoder, targets, state, optimizer, end):
    criterion, token, loss = nn.NLLLoss(), targets[0], 0
    optimizer.zero_grad()
    length = targets.size(0)
    for i in range(length):
        scores, state = decoder(token, state)
        loss += criterion(scores, targets[i])
        token = scores.argmax(1)
        if token.item() == end:
            break
    loss.backward()
    optimizer.step()
    return loss.item() / length  # BP203


def passes_a_sum_over_all_tokens(decoder, targets, state, optimizer):
    criterion, token, loss = nn.NLLLoss(), targets[0], 0
    optimizer.zero_grad()
    length = targets.size(0)
    for i in range(length):
        scores, state = decoder(token, state)
        loss += criterion(scores, targets[i])
        token = targets[i]
    loss.backward()
    optimizer.step()
    return loss.item() / length


def passes_tokens_that_are_counted(decoder, targets, state, end):
    criterion, token, loss, seen = nn.NLLLoss(), targets[0], 0, 0
    with torch.no_grad():
        for i in range(targets.size(0)):
            scores, state = decoder(token, state)
            loss += criterion(scores, targets[i])
            token, seen = scores.argmax(1), seen + 1
            if token.item() == end:
                break
    return loss.item() / seen


def finds_every_tenth_loss_over_all_batches(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if i % 10 == 0:
            total += loss.item()
    print(total / len(loader))  # BP203


def passes_every_tenth_loss_over_their_number(model, data, optimizer):
    loader, total, count = DataLoader(data, batch_size=64), 0.0, 0
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if i % 10 == 0:
            total += loss.item()
            count += 1
    print(total / count)


@torch.no_grad()
def passes_samples_that_are_drawn_by_weight(model, data, weights):
    sampler = torch.utils.data.WeightedRandomSampler(weights, len(data))
    loader, total = DataLoader(data, batch_size=16, sampler=sampler), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)


@torch.no_grad()
def finds_full_slices_by_steps(model, x, y, size):
    total = 0.0
    for i in range(0, len(x) - size + 1, size):
        total += F.mse_loss(model(x[i : i + size]), y[i : i + size], reduction="sum").item()
    return total / len(x)  # BP203


@torch.no_grad()
def passes_full_slices_and_the_rest(model, x, y, size):
    total, rest = 0.0, len(x) % size
    for i in range(0, len(x) - size + 1, size):
        total += F.mse_loss(model(x[i : i + size]), y[i : i + size], reduction="sum").item()
    if rest:
        total += F.mse_loss(model(x[-rest:]), y[-rest:], reduction="sum").item()
    return total / len(x)


@torch.no_grad()
def passes_slices_that_fill_a_known_length(model):
    rows, size, total = torch.rand(43, 8), 6, 0.0
    for start in range(0, len(rows) - 1, size):
        x, y = rows[start : start + size], rows[start + 1 : start + 1 + size]
        total += len(x) * F.mse_loss(model(x), y).item()
    return total / (len(rows) - 1)


@torch.no_grad()
def passes_slices_of_one(model, rows):
    total, size = 0.0, 1
    for start in range(0, len(rows), size):
        total += F.mse_loss(model(rows[start : start + size]), rows[start], reduction="sum").item()
    return total / len(rows)


@torch.no_grad()
def finds_a_break_at_a_batch_that_is_not_full(model, data, batch_size):
    loader, total = DataLoader(data, batch_size=batch_size), 0.0
    for x, y in loader:
        if len(x) != batch_size:
            break
        total += F.mse_loss(model(x), y).item() * len(x)
    return total / len(loader.dataset)  # BP203


@torch.no_grad()
def passes_keys_that_begin_in_the_first_pass(model, data, criterion):
    loader, totals = DataLoader(data, batch_size=64, drop_last=True), {}
    for x, y in loader:
        for key, value in criterion(model(x), y).items():
            if key in totals:
                totals[key] += value.item()
            else:
                totals[key] = value.item()
    return {key: totals[key] / len(loader) for key in totals}
