"""Sums divided by a count that is not theirs."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets


@torch.no_grad()
def finds_sizes_over_batches(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * x.size(0)
    return total / len(loader)  # BP202


@torch.no_grad()
def finds_means_over_samples(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader.dataset)  # BP202


@torch.no_grad()
def finds_means_over_counted_samples(model, data):
    loader = DataLoader(data, batch_size=64)
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
        seen += len(y)
    return total / seen  # BP202


@torch.no_grad()
def finds_a_sum_reduction_over_batches(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader)  # BP202


@torch.no_grad()
def finds_hits_over_batches(model, data):
    loader = DataLoader(data, batch_size=64)
    correct = 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
    return correct / len(loader)  # BP202


@torch.no_grad()
def finds_one_batch_too_many(model, val_loader):
    total = 0.0
    for x, y in val_loader:
        total += F.mse_loss(model(x), y).item()
    return total / (len(val_loader) + 1)  # BP202


@torch.no_grad()
def finds_the_other_loader(model, train_loader, val_loader):
    total = 0.0
    for x, y in val_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(train_loader)  # BP202


@torch.no_grad()
def finds_a_counter_that_begins_with_one(model, loader):
    total, seen = 0.0, 1  # BP202
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * len(x)
        seen += len(x)
    return total / seen


def finds_the_last_of_each_window(model, train_loader, optimizer, scheduler, k):
    total = 0.0
    for step, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (step + 1) % k == 0:  # BP103
            optimizer.step()
            total += loss.item()
            optimizer.zero_grad()
    return total / len(train_loader)  # BP202


@torch.no_grad()
def finds_hits_over_batches_of_the_nominal_size(model, data):
    loader = DataLoader(data, batch_size=64)
    hits = 0
    for x, y in loader:
        hits += (model(x).argmax(1) == y).sum().item()
    return 100 * hits / (len(loader) * 64)  # BP202


@torch.no_grad()
def finds_shares_of_the_nominal_size(model, data, batch_size):
    loader = DataLoader(data, batch_size=batch_size)
    accuracy = 0.0
    for x, y in loader:
        accuracy += (model(x).argmax(1) == y).sum().item() / batch_size
    return accuracy / len(loader)  # BP202


@torch.no_grad()
def finds_full_batches_only(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / (len(data) // 64)  # BP202


@torch.no_grad()
def finds_a_dict_of_sizes(model, parts):
    loaders = {phase: DataLoader(parts[phase], batch_size=64) for phase in ("train", "val")}
    sizes = {phase: len(loaders[phase].dataset) for phase in ("train", "val")}
    for phase in ("train", "val"):
        total = 0.0
        for x, y in loaders[phase]:
            total += F.mse_loss(model(x), y).item()
        print(phase, total / sizes[phase])  # BP202


@torch.no_grad()
def passes_a_dict_of_sizes(model, parts):
    loaders = {phase: DataLoader(parts[phase], batch_size=64) for phase in ("train", "val")}
    sizes = {phase: len(loaders[phase].dataset) for phase in ("train", "val")}
    for phase in ("train", "val"):
        total = 0.0
        for x, y in loaders[phase]:
            total += F.mse_loss(model(x), y, reduction="sum").item()
        print(phase, total / sizes[phase])


@torch.no_grad()
def passes_full_batches_of_the_nominal_size(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    hits = 0
    for x, y in loader:
        hits += (model(x).argmax(1) == y).sum().item()
    return hits / (len(loader) * 64)


def passes_a_report_of_full_batches(model, data, optimizer):
    loader = DataLoader(data, batch_size=64)
    hits = 0
    for i, (x, y) in enumerate(loader, 1):
        optimizer.zero_grad()
        output = model(x)
        F.cross_entropy(output, y).backward()
        optimizer.step()
        hits += (output.argmax(1) == y).sum().item()
        if i % 100 == 0:
            print(hits / (64 * i))


@torch.no_grad()
def passes_sizes_over_samples(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * x.size(0)
    return total / len(loader.dataset)


@torch.no_grad()
def passes_sums_over_samples(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_hits_over_samples(model, data):
    loader = DataLoader(data, batch_size=64)
    correct, seen = 0, 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
        seen += y.size(0)
    return correct / seen


@torch.no_grad()
def passes_batch_size_one(model, data):
    loader = DataLoader(data, batch_size=1)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_its_own_loader(model, train_loader, val_loader):
    total, batches = 0.0, len(train_loader)
    for x, y in val_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(val_loader.dataset), batches


@torch.no_grad()
def passes_an_average_within_the_batch(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item() / x.size(0)
    return total / len(loader)


@torch.no_grad()
def passes_a_guarded_counter(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * len(x)
        seen += len(x)
    return total / max(seen, 1)


@torch.no_grad()
def passes_tokens_over_tokens(model, loader):
    total, tokens = 0.0, 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, reduction="sum").item()
        tokens += y.numel()
    return total / tokens


@torch.no_grad()
def misses_a_sum_of_its_own(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        for prediction, target in zip(model(x), y, strict=True):
            total += abs(prediction - target)
    return total / len(loader)  # missed BP202


@torch.no_grad()
def misses_a_criterion_out_of_sight(model, data, losses):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += losses.compute(model(x), y)
    return total / len(data)  # missed BP202


class AverageMeter:
    def __init__(self):
        self.sum, self.count, self.avg = 0.0, 0, 0.0

    def update(self, value, n=1):
        self.sum += value
        self.count += n
        self.avg = self.sum / self.count


@torch.no_grad()
def finds_a_meter_that_weighs_nothing(model, data):
    loader = DataLoader(data, batch_size=64)
    losses, accuracies = AverageMeter(), AverageMeter()
    for x, y in loader:
        output = model(x)
        losses.update(F.cross_entropy(output, y).item(), len(x))  # BP202
        accuracies.update((output.argmax(1) == y).sum().item(), len(x))
    return losses.avg, accuracies.avg


def finds_a_weighted_sum_of_two_losses(model, teacher, trainset, alpha, temperature):
    loader = DataLoader(trainset, batch_size=64)
    total = 0.0
    for x, y in loader:
        logits = model(x)
        hard = F.cross_entropy(logits, y)
        soft = F.mse_loss(logits, teacher(x))
        loss = alpha * hard + (1 - alpha) * temperature**2 * soft
        loss.backward()
        total += loss.item()
    return total / len(trainset)  # BP202


def passes_two_losses_times_a_number_of_samples(model, teacher, trainset, alpha, n):
    loader = DataLoader(trainset, batch_size=64)
    total = 0.0
    for x, y in loader:
        logits = model(x)
        loss = F.cross_entropy(logits, y) * n + alpha * F.mse_loss(logits, teacher(x)) * n
        loss.backward()
        total += loss.item()
    return total / len(trainset)


_LINE = "step {} loss {:.3f}"


def finds_one_loss_over_all_batches_so_far(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        print(_LINE.format(i, loss.item() / (i + 1)))  # BP202


def passes_a_mean_that_is_carried_along(model, loader, optimizer):
    mean = 0.0
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        mean = mean * i / (i + 1) + loss.item() / (i + 1)  # BP201 likely
        print(_LINE.format(i, mean))


def finds_parts_of_a_dict_of_losses(model, data, optimizer):
    loader, count = DataLoader(data, batch_size=4), 0
    parts = {"box": 0.0, "mask": 0.0}
    for images, targets in loader:
        loss_dict = model(images, targets)
        optimizer.zero_grad()
        sum(loss_dict.values()).backward()
        optimizer.step()
        for name, value in loss_dict.items():
            parts[name] += value.item()
        count += len(images)
    return {name: value / count for name, value in parts.items()}  # BP202 likely


def passes_weighted_parts_of_a_dict_of_losses(model, data, optimizer):
    loader, count = DataLoader(data, batch_size=4), 0
    parts = {"box": 0.0, "mask": 0.0}
    for images, targets in loader:
        loss_dict = model(images, targets)
        optimizer.zero_grad()
        sum(loss for loss in loss_dict.values()).backward()
        optimizer.step()
        for name, value in loss_dict.items():
            parts[name] += value.item() * len(images)
        count += len(images)
    return {name: value / count for name, value in parts.items()}


@torch.no_grad()
def passes_the_losses_of_samples_one_by_one(model, data):
    loader, total = DataLoader(data, batch_size=4), 0.0
    for x, y in loader:
        out = model(x)
        for i in range(len(x)):
            total += F.mse_loss(out[i], y[i]).item()
    return total / len(data)


@torch.no_grad()
def finds_a_sum_that_an_argument_asks_for(model, data, loss_func):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        total += loss_func(model(x), y, reduction="sum").item()
    return total / len(loader)  # BP202 likely


def finds_means_of_slices_over_the_length_of_all(model, inputs, targets, optimizer, size):
    for epoch in range(3):
        total, start = 0.0, 0
        while start < len(inputs):
            end = start + size
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs[start:end]), targets[start:end])
            loss.backward()
            optimizer.step()
            total += loss.item()
            start = end
        print(epoch, total / len(inputs))  # BP202


@torch.no_grad()
def finds_means_of_steps_over_the_length_of_all(model, inputs, targets, size):
    total, n = 0.0, inputs.shape[0]
    for i in range(0, n, size):
        total += F.mse_loss(model(inputs[i : i + size]), targets[i : i + size]).item()
    return total / n  # BP202


@torch.no_grad()
def finds_means_of_permuted_slices(model, inputs, targets, size):
    total, order = 0.0, torch.randperm(len(inputs))
    for i in range(0, len(inputs), size):
        rows = order[i : i + size]
        total += F.mse_loss(model(inputs[rows]), targets[rows]).item()
    return total / len(inputs)  # BP202


@torch.no_grad()
def passes_slices_times_their_length(model, inputs, targets, size):
    total, start = 0.0, 0
    while start < len(inputs):
        x, y = inputs[start : start + size], targets[start : start + size]
        total += F.mse_loss(model(x), y).item() * len(x)
        start += size
    return total / len(inputs)


@torch.no_grad()
def passes_sums_of_slices(model, inputs, targets, size):
    total, start = 0.0, 0
    while start < len(inputs):
        end = start + size
        loss = F.mse_loss(model(inputs[start:end]), targets[start:end], reduction="sum")
        total += loss.item()
        start = end
    return total / len(inputs)


def passes_a_cursor_over_samples(model, samples, optimizer):
    total, place = 0.0, 0
    while place < len(samples):
        x, y = samples[place]
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        place += 1
    print(total / len(samples))


@torch.no_grad()
def passes_batches_that_are_viewed_by_the_batch_size(model, data, batch_size):
    loader, total = DataLoader(data, batch_size=batch_size), 0.0
    for x, y in loader:
        output = model(x.view(batch_size, 784))
        total += F.cross_entropy(output, y, reduction="sum").item()
    return total / (len(loader) * batch_size)


@torch.no_grad()
def finds_a_view_that_fits_other_sizes(model, data, batch_size):
    loader, total = DataLoader(data, batch_size=batch_size), 0.0
    for x, y in loader:
        output = model(x.view(batch_size, -1))
        total += F.cross_entropy(output, y, reduction="sum").item()
    return total / (len(loader) * batch_size)  # BP202


@torch.no_grad()
def finds_the_other_loader_with_a_short_name(model, train_loader, valid_loader, crit):
    valid_loss = 0
    for x, y in valid_loader:
        valid_loss += crit(model(x), y).item()
    return valid_loss / len(train_loader)  # BP202


class TwoTasks:
    """One task has a criterion that sums, the other one that averages."""

    def __init__(self, task, net):
        self.net = net
        if task == "regression":
            self.criterion = nn.MSELoss(reduction="sum")
        elif task == "classes":
            self.criterion = nn.CrossEntropyLoss()
        else:
            raise ValueError(task)

    @torch.no_grad()
    def finds_one_count_for_both(self, loader):
        total, seen = 0.0, 0
        for x, y in loader:
            total += self.criterion(self.net(x), y).item()
            seen += len(x)
        return total / seen  # BP202

    @torch.no_grad()
    def passes_a_count_for_each(self, loader, task):
        total, seen, steps = 0.0, 0, 0
        for x, y in loader:
            total += self.criterion(self.net(x), y).item()
            seen += len(x)
            steps += 1
        return total / (seen if task == "regression" else steps)


@torch.no_grad()
def finds_a_sum_or_a_mean_over_batches(model, data, several, size):
    loader = DataLoader(data, batch_size=size)
    total, steps = 0.0, 0
    for x, y in loader:
        logits = model(x)
        if several:
            loss = F.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        else:
            loss = F.cross_entropy(logits, y)
        total += loss.item()
        steps += 1
    return total / steps  # BP202


@torch.no_grad()
def passes_a_sum_or_a_mean_times_its_size(model, data, several, size):
    loader = DataLoader(data, batch_size=size)
    total = 0.0
    for x, y in loader:
        logits = model(x)
        if several:
            loss = F.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        else:
            loss = F.cross_entropy(logits, y) * len(y)
        total += loss.item()
    return total / len(loader.dataset)


@torch.no_grad()
def finds_a_criterion_where_none_is_given(model, loader, loss_fn=None):
    if loss_fn is None:
        loss_fn = nn.MSELoss()
    total, seen = 0.0, 0
    for x, y in loader:
        total += loss_fn(model(x), y).sum().item()
        seen += len(x)
    return total / seen  # BP202


@torch.no_grad()
def passes_a_sum_where_none_is_given(model, loader, loss_fn=None):
    if loss_fn is None:
        loss_fn = nn.MSELoss(reduction="none")
    total, seen = 0.0, 0
    for x, y in loader:
        total += loss_fn(model(x), y).sum().item()
        seen += x.numel()
    return total / seen


@torch.no_grad()
def finds_the_length_of_validation_data_for_a_test(model, val_loader, test_loader):
    total = 0.0
    for x, y in test_loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(val_loader)  # BP202


@torch.no_grad()
def passes_two_names_of_held_out_data(model, eval_loader, test_loader):
    total = 0.0
    for x, y in test_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(test_loader.dataset), len(eval_loader)


@torch.no_grad()
def finds_means_over_the_targets_of_all_batches(model, loader):
    total, targets = 0.0, []
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
        targets.extend(y.cpu().numpy())
    return total / len(np.array(targets))  # BP202


@torch.no_grad()
def finds_means_over_a_list_that_grows_by_sums(model, loader):
    total, targets = 0.0, []
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
        targets += y.tolist()
    return total / len(targets)  # BP202


@torch.no_grad()
def finds_means_over_an_array_that_grows(model, loader):
    total, targets = 0.0, np.array([], dtype=int)
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
        targets = np.append(targets, y.cpu().numpy())
    return total / len(targets)  # BP202


@torch.no_grad()
def finds_means_over_joint_batches(model, loader):
    total, targets = 0.0, []
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
        targets.append(y)
    return total / len(torch.cat(targets))  # BP202


@torch.no_grad()
def passes_sums_over_the_targets_of_all_batches(model, loader):
    total, targets = 0.0, []
    for x, y in loader:
        total += F.cross_entropy(model(x), y, reduction="sum").item()
        targets.extend(y.tolist())
    return total / len(targets)


@torch.no_grad()
def passes_hits_over_joint_batches(model, loader):
    hits, targets = 0, []
    for x, y in loader:
        hits += (model(x).argmax(1) == y).sum().item()
        targets.append(y)
    return hits / len(torch.cat(targets))


class WeighingMeter:
    def __init__(self):
        self.sum, self.count, self.avg = 0.0, 0, 0.0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n
        self.avg = self.sum / self.count


def finds_a_sum_in_a_meter_that_weighs(model, data, optimizer):
    loader, losses = DataLoader(data, batch_size=16), WeighingMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), x.size(0))  # BP202
    return losses.avg


def finds_a_mean_that_is_weighted_twice(model, loader, optimizer):
    losses = WeighingMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item() * len(x), len(x))  # BP202
    return losses.avg


def passes_a_sum_of_one_sample_in_a_meter(model, data, optimizer):
    loader, losses = DataLoader(data, batch_size=1), WeighingMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), x.size(0))
    return losses.avg


@torch.no_grad()
def finds_the_mean_of_sums_in_a_list(model, data):
    loader = DataLoader(data, batch_size=16)
    sums = [F.mse_loss(model(x), y, reduction="sum").item() for x, y in loader]
    return np.mean(sums)  # BP202


@torch.no_grad()
def finds_the_mean_of_weighted_means_in_a_list(model, data):
    loader, losses = DataLoader(data, batch_size=16), []
    for x, y in loader:
        losses.append(F.mse_loss(model(x), y).item() * len(x))
    return np.mean(losses)  # BP202


@torch.no_grad()
def passes_the_sum_of_weighted_means_in_a_list(model, data):
    loader, losses = DataLoader(data, batch_size=16), []
    for x, y in loader:
        losses.append(F.mse_loss(model(x), y).item() * len(x))
    return np.sum(losses) / len(loader.dataset)


@torch.no_grad()
def finds_where_the_last_slice_begins(model, text, steps):
    total = 0.0
    for i in range(0, text.size(1) - steps, steps):
        x, y = text[:, i : i + steps], text[:, i + 1 : i + 1 + steps]
        total += F.cross_entropy(model(x), y).item()
    return total / (i + 1)  # BP202


@torch.no_grad()
def passes_the_samples_up_to_the_end_of_a_slice(model, x, y):
    total = 0.0
    for i in range(0, len(x), 64):
        total += F.mse_loss(model(x[i : i + 64]), y[i : i + 64], reduction="sum").item()
        print(total / (i + 64))
    return total / len(x)


def finds_the_length_of_the_last_pair(model, pairs, optimizer):
    running = 0.0
    for pair in pairs:
        x, y = pair
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    print("Loss:", running / len(pair))  # BP202


def passes_the_length_of_all_pairs(model, pairs, optimizer):
    running = 0.0
    for pair in pairs:
        x, y = pair
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    print("Loss:", running / len(pairs))  # BP201 likely


def finds_a_loss_out_of_sight_times_its_size(diffusion, train_loader, optimizer):
    running = 0.0
    for x, mask in train_loader:
        optimizer.zero_grad()
        loss = diffusion(mask, x)
        running += loss.item() * x.size(0)
        loss.backward()
        optimizer.step()
    print("Training loss:", running / len(train_loader))  # BP202


@torch.no_grad()
def finds_a_sum_with_a_term_of_its_own_weight(vae, data, beta):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, _ in loader:
        y, mean, log_variance = vae(x)
        distance = F.binary_cross_entropy(y, x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        total += (distance + beta * divergence).item()
    return total / len(loader)  # BP202


@torch.no_grad()
def passes_a_sum_with_a_term_over_samples(vae, data, beta):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, _ in loader:
        y, mean, log_variance = vae(x)
        distance = F.binary_cross_entropy(y, x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        total += (distance + beta * divergence).item()
    return total / len(loader.dataset)


@torch.no_grad()
def finds_means_over_the_size_of_a_batch(model, data, batch_size):
    loader = DataLoader(data, batch_size=batch_size)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / batch_size  # BP202


@torch.no_grad()
def finds_means_over_the_size_of_the_data_written_out(model):
    loader = DataLoader(datasets.MNIST("data", train=False), batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / 10000  # BP202


@torch.no_grad()
def passes_hits_over_the_size_of_the_data_written_out(model):
    loader = DataLoader(datasets.MNIST("data", train=False), batch_size=64)
    hits = 0
    for x, y in loader:
        hits += (model(x).argmax(1) == y).sum().item()
    return hits / 10000


@torch.no_grad()
def finds_a_counter_of_batches_that_begins_with_one(model, data):
    loader = DataLoader(data, batch_size=64)
    total, count = 0.0, 1
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
        count += 1
    return total / count  # BP202


@torch.no_grad()
def finds_means_over_the_sizes_that_the_loader_was_built_with(model, data, batch_size):
    loader = DataLoader(data, batch_size=batch_size)
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
        seen += batch_size
    return total / seen  # BP202


@torch.no_grad()
def passes_the_losses_of_the_samples_of_a_batch(model, loader):
    losses = []
    for x, y in loader:
        total = 0.0
        for one, target in zip(x, y, strict=True):
            total += F.mse_loss(model(one), target).item()
        losses.append(total / len(x))
    return losses


def finds_a_sum_of_some_batches_beside_a_choice(model, train_loader, optimizer, k):
    total, best = 0.0, None
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        optimizer.step()
        best = abs(loss.item()) if best is None else min(best, loss.item())
        if i % k == 0:
            total += loss.item()
    return total / len(train_loader), best  # BP202


@torch.no_grad()
def finds_the_index_of_the_last_sample(model, data):
    criterion, total = nn.MSELoss(), 0.0
    for i in range(len(data) - 1):
        x, y = data[i], data[i + 1]
        total += criterion(model(x), y).item()
    return total / i  # BP202


@torch.no_grad()
def passes_one_more_than_the_index_of_the_last_sample(model, data):
    criterion, total = nn.MSELoss(), 0.0
    for i in range(len(data) - 1):
        x, y = data[i], data[i + 1]
        total += criterion(model(x), y).item()
    return total / (i + 1)


class WeightedMeter:
    def __init__(self):
        self.val, self.sum, self.count, self.avg = 0.0, 0.0, 0, 0.0

    def update(self, value, n=1):
        self.val = value
        self.sum += value * n
        self.count += n
        self.avg = self.sum / self.count


@torch.no_grad()
def finds_the_sum_of_a_meter_over_batches(model, data):
    loader, losses = DataLoader(data, batch_size=64), WeightedMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), len(x))
    return losses.sum / len(loader)  # BP202


@torch.no_grad()
def passes_the_sum_of_a_meter_over_samples(model, data):
    loader, losses = DataLoader(data, batch_size=64), WeightedMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), len(x))
    return losses.sum / len(loader.dataset), losses.sum / losses.count


@torch.no_grad()
def finds_one_more_than_the_steps_of_a_sequence(model, criterion, source):
    total = 0.0
    for i in range(0, source.size(0) - 1, 35):
        x, y = source[i : i + 35], source[i + 1 : i + 36]
        total += len(x) * criterion(model(x), y).item()
    return total / len(source)  # BP202


@torch.no_grad()
def passes_the_steps_of_a_sequence(model, criterion, source):
    total = 0.0
    for i in range(0, source.size(0) - 1, 35):
        x, y = source[i : i + 35], source[i + 1 : i + 36]
        total += len(x) * criterion(model(x), y).item()
    return total / (len(source) - 1)


@torch.no_grad()
def finds_the_size_of_the_last_batch(model, loader):
    hits, count = 0, 0
    for x, y in loader:
        hits += (model(x).argmax(1) == y).sum().item()
        count = y.size(0)
    return hits / count  # BP202


@torch.no_grad()
def passes_the_size_of_a_batch_in_its_loop(model, loader):
    shares = []
    for x, y in loader:
        count = y.size(0)
        hits = (model(x).argmax(1) == y).sum().item()
        shares.append(hits / count)
    return shares


@torch.no_grad()
def finds_full_batches_that_are_counted_before(model, data, args):
    loader = DataLoader(data, batch_size=args.batch_size)
    steps = len(data) // args.batch_size
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / steps  # BP202


@torch.no_grad()
def passes_full_batches_that_are_counted_before(model, data, args):
    loader = DataLoader(data, batch_size=args.batch_size, drop_last=True)
    steps = len(data) // args.batch_size
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / steps


@torch.no_grad()
def passes_a_loop_that_ends_after_full_batches(model, data, args):
    loader = DataLoader(data, batch_size=args.batch_size)
    steps = len(data) // args.batch_size
    total = 0.0
    for i, (x, y) in enumerate(loader):
        if i == steps:
            break
        total += F.mse_loss(model(x), y).item()
    return total / steps


def finds_a_mean_of_means_times_a_batch(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=32), 0.0
    for i, (x, y) in enumerate(loader, 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if i % 10 == 0:
            print(f"{i * len(x)} samples, loss {total / i * len(x):.4f}")  # BP202


def passes_the_samples_beside_a_mean(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=32), 0.0
    for i, (x, y) in enumerate(loader, 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if i % 10 == 0:
            print(f"{i * len(x)} samples, loss {total / i:.4f}")


def passes_a_mean_of_one_sample_times_a_batch(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=1), 0.0
    for i, (x, y) in enumerate(loader, 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if i % 10 == 0:
            print(f"loss {total / i * len(x):.4f}")


@torch.no_grad()
def finds_a_mean_or_a_sum_that_is_scaled(model, data, args):
    loader, total, steps = DataLoader(data, batch_size=32), 0.0, 0
    for x, y in loader:
        if args.several_labels:
            loss = F.binary_cross_entropy_with_logits(model(x), y, reduction="sum")
        else:
            loss = F.cross_entropy(model(x), y)
        if args.accumulation_steps > 1:
            loss = loss / args.accumulation_steps  # BP206
        total += loss.item()
        steps += 1
    return total / steps  # BP202


def _batch_at(source, i, length):
    width = min(length, len(source) - 1 - i)
    return source[i : i + width], source[i + 1 : i + 1 + width].view(-1)


@torch.no_grad()
def finds_steps_of_a_batch_that_another_function_cuts(model, source, criterion, length):
    total = 0.0
    for i in range(0, source.size(0) - 1, length):
        batch, targets = get_batch(source, i, length)
        total += len(batch) * criterion(model(batch), targets).item()
    return total / len(source)  # BP202


@torch.no_grad()
def finds_steps_of_a_batch_that_a_function_in_sight_cuts(model, source, length):
    total = 0.0
    for i in range(0, source.size(0) - 1, length):
        batch, targets = _batch_at(source, i, length)
        total += len(batch) * F.cross_entropy(model(batch), targets).item()
    return total / len(source)  # BP202


@torch.no_grad()
def passes_one_step_fewer_than_the_source_has(model, source, length):
    total = 0.0
    for i in range(0, source.size(0) - 1, length):
        batch, targets = _batch_at(source, i, length)
        total += len(batch) * F.cross_entropy(model(batch), targets).item()
    return total / (len(source) - 1)


def finds_a_divergence_that_is_divided_by_classes(student, teacher, loader, optimizer, warmth):
    for x, y in loader:
        logits, targets = student(x), teacher(x)
        divergence = nn.KLDivLoss()(  # BP202
            F.log_softmax(logits / warmth, dim=1), F.softmax(targets / warmth, dim=1)
        )
        loss = divergence * warmth**2 + F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def finds_a_function_that_divides_by_classes(logits, targets):
    return F.kl_div(F.log_softmax(logits, dim=1), F.softmax(targets, dim=1))  # BP202


def passes_divergences_by_samples(logits, targets):
    criterion = nn.KLDivLoss(reduction="batchmean")
    first = criterion(F.log_softmax(logits, dim=1), F.softmax(targets, dim=1))
    summed = F.kl_div(F.log_softmax(logits, dim=1), F.softmax(targets, dim=1), reduction="sum")
    return first, summed / logits.size(0)


def passes_a_mean_that_is_asked_for(logits, targets):
    return F.kl_div(F.log_softmax(logits, 1), F.softmax(targets, 1), reduction="mean")
