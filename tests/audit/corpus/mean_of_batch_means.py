"""Means of batches averaged without their sizes."""

import math
from collections import defaultdict, deque, namedtuple
from dataclasses import dataclass

import monai
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from another_file import imported_loader
from lightning import LightningModule
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torchmetrics import Accuracy
from torchvision.datasets import CIFAR10, CIFAR100, MNIST
from tqdm import tqdm


class AverageMeter:
    def __init__(self):
        self.sum, self.count, self.avg = 0.0, 0, 0.0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n
        self.avg = self.sum / self.count


@torch.no_grad()
def finds_a_running_sum_over_the_length(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_running_sum_over_the_index(model, data):
    loader = DataLoader(data, 64, shuffle=False)
    total = 0.0
    for i, (x, y) in enumerate(loader):
        total += F.mse_loss(model(x), y).item()
    return total / (i + 1)  # BP201


@torch.no_grad()
def finds_a_counter(model, data):
    loader = DataLoader(data, batch_size=32)
    total, batches = 0.0, 0
    for x, y in loader:
        total += F.l1_loss(model(x), y).item()
        batches += 1
    return total / batches  # BP201


@torch.no_grad()
def finds_a_mean_of_a_list(model, data):
    loader = DataLoader(data, batch_size=32)
    losses = []
    for x, y in loader:
        losses.append(F.mse_loss(model(x), y).item())
    return np.mean(losses)  # BP201


@torch.no_grad()
def finds_a_sum_of_a_list(model, data):
    loader = DataLoader(data, batch_size=32)
    losses = []
    for x, y in loader:
        losses.append(F.mse_loss(model(x), y).item())
    return sum(losses) / len(losses)  # BP201


@torch.no_grad()
def finds_a_stack(model, data):
    loader = DataLoader(data, batch_size=32)
    losses = []
    for x, y in loader:
        losses.append(F.mse_loss(model(x), y))
    return torch.stack(losses).mean()  # BP201


@torch.no_grad()
def finds_a_comprehension(model, data):
    loader = DataLoader(data, batch_size=32)
    losses = [F.mse_loss(model(x), y).item() for x, y in loader]
    return np.mean(losses)  # BP201


@torch.no_grad()
def finds_a_metric(model, data):
    loader = DataLoader(data, batch_size=32)
    accuracy = 0.0
    for x, y in loader:
        hits = model(x).argmax(dim=1) == y
        accuracy += hits.float().mean().item()
    return accuracy / len(loader)  # BP201


@torch.no_grad()
def finds_a_meter_without_sizes(model, data):
    loader = DataLoader(data, batch_size=32)
    meter = AverageMeter()
    for x, y in loader:
        meter.update(F.mse_loss(model(x), y).item())  # BP201
    return meter.avg


@torch.no_grad()
def finds_a_meter_with_the_nominal_size(model, data, batch_size):
    loader = DataLoader(data, batch_size=batch_size)
    meter = AverageMeter()
    for x, y in loader:
        meter.update(F.mse_loss(model(x), y).item(), batch_size)  # BP201
    return meter.avg


@torch.no_grad()
def finds_class_weights_weighed_by_size(model, data, weights):
    loader = DataLoader(data, batch_size=64)
    criterion = nn.CrossEntropyLoss(weight=weights)
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y).item() * len(y)
    return total / len(loader.dataset)  # BP201


@torch.no_grad()
def finds_known_numbers(model):
    loader = DataLoader(MNIST("data", train=False), batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_loader_out_of_sight(model, loader):
    criterion = nn.CrossEntropyLoss()
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / len(loader)  # BP201 likely


@torch.no_grad()
def finds_a_dict_divided_at_the_end(model, data):
    loader = DataLoader(data, batch_size=64)
    sums = defaultdict(float)
    for x, y in loader:
        sums["loss"] += F.mse_loss(model(x), y).item()
    return {name: value / len(loader) for name, value in sums.items()}  # BP201


@torch.no_grad()
def finds_the_terms_of_a_dict(model, data):
    loader = DataLoader(data, batch_size=64)
    sums = {"mse": 0.0, "mae": 0.0}
    for x, y in loader:
        terms = {"mse": F.mse_loss(model(x), y), "mae": F.l1_loss(model(x), y)}
        for name, value in terms.items():
            sums[name] += value.item()
    for name in sums:
        sums[name] /= len(loader)  # BP201
    return sums


@torch.no_grad()
def finds_a_list_of_sums(model, data):
    loader = DataLoader(data, batch_size=64)
    sums = [0.0, 0.0]
    for x, y in loader:
        sums[0] += F.mse_loss(model(x), y).item()
        sums[1] += F.l1_loss(model(x), y).item()
    return [value / len(loader) for value in sums]  # BP201


@torch.no_grad()
def finds_a_list_of_dicts(model, data):
    loader = DataLoader(data, batch_size=64)
    logs = []
    for x, y in loader:
        logs.append({"loss": F.mse_loss(model(x), y).item()})
    return np.mean([log["loss"] for log in logs])  # BP201


@torch.no_grad()
def finds_a_list_of_pairs(model, data):
    loader = DataLoader(data, batch_size=64)
    logs = []
    for i, (x, y) in enumerate(loader):
        logs.append((i, F.mse_loss(model(x), y).item()))
    return sum(loss for _, loss in logs) / len(logs)  # BP201


@torch.no_grad()
def finds_shares_added_up(model, data):
    loader = DataLoader(data, batch_size=64)
    mean = 0.0
    for x, y in loader:
        mean += F.mse_loss(model(x), y).item() / len(loader)  # BP201
    return mean


@torch.no_grad()
def finds_the_nominal_size_over_the_data_set(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * loader.batch_size
    return total / len(loader.dataset)  # BP201


@torch.no_grad()
def finds_a_quotient_for_the_number_of_batches(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / (len(data) / 64)  # BP201


@torch.no_grad()
def finds_loaders_of_a_dict_comprehension(model, parts):
    loaders = {phase: DataLoader(parts[phase], batch_size=64) for phase in ("train", "val")}
    for phase in ("train", "val"):
        total = 0.0
        for x, y in loaders[phase]:
            total += F.mse_loss(model(x), y).item()
        print(phase, total / len(loaders[phase]))  # BP201


class Average:
    def __init__(self):
        self.reset()

    def reset(self):
        self.total, self.count = 0.0, 0

    def add(self, value):
        self.total += value
        self.count += 1

    def mean(self):
        return self.total / self.count


class WeightedAverage(Average):
    def add(self, value, size):
        self.total += value * size
        self.count += size


@torch.no_grad()
def finds_an_average_of_its_own(model, data):
    loader = DataLoader(data, batch_size=64)
    average = Average()
    for x, y in loader:
        average.add(F.mse_loss(model(x), y).item())  # BP201
    return average.mean()


@torch.no_grad()
def passes_a_weighted_average_of_its_own(model, data):
    loader = DataLoader(data, batch_size=64)
    average = WeightedAverage()
    for x, y in loader:
        average.add(F.mse_loss(model(x), y).item(), len(x))
    return average.mean()


@torch.no_grad()
def finds_a_metric_of_torchmetrics(model, data):
    loader = DataLoader(data, batch_size=64)
    metric, total = Accuracy(task="multiclass", num_classes=10), 0.0
    for x, y in loader:
        total += metric(model(x), y)
    return total / len(loader)  # BP201


@torch.no_grad()
def passes_a_metric_that_adds_up_itself(model, data):
    loader = DataLoader(data, batch_size=64)
    metric = Accuracy(task="multiclass", num_classes=10)
    for x, y in loader:
        metric.update(model(x), y)
    return metric.compute()


class Evaluator:
    def __init__(self, model, data):
        self.model, self.loader = model, DataLoader(data, batch_size=64)

    @torch.no_grad()
    def finds_counters_of_an_object(self):
        self.total, self.batches = 0.0, 0
        for x, y in self.loader:
            self.total += F.mse_loss(self.model(x), y).item()
            self.batches += 1
        return self.total / self.batches  # BP201


class Lit(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net, self.losses = net, []

    def validation_step(self, batch, _index):
        return {"loss": F.mse_loss(self.net(batch["x"]), batch["y"])}

    def validation_epoch_end(self, outputs):
        loss = torch.stack([output["loss"] for output in outputs]).mean()  # BP201 likely
        self.log("val_loss", loss)


class LitWithItsLoader(LightningModule):
    def __init__(self, net, data):
        super().__init__()
        self.net, self.data, self.losses = net, data, []

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=64)

    def validation_step(self, batch, _index):
        self.losses.append(F.mse_loss(self.net(batch["x"]), batch["y"]))

    def on_validation_epoch_end(self):
        self.log("val_loss", torch.stack(self.losses).mean())  # BP201
        self.losses.clear()


@torch.no_grad()
def passes_the_terms_of_a_dict_weighted(model, data):
    loader = DataLoader(data, batch_size=64)
    sums, seen = {"mse": 0.0, "mae": 0.0}, 0
    for x, y in loader:
        terms = {"mse": F.mse_loss(model(x), y), "mae": F.l1_loss(model(x), y)}
        for name, value in terms.items():
            sums[name] += value.item() * len(x)
        seen += len(x)
    return {name: value / seen for name, value in sums.items()}


@torch.no_grad()
def passes_shares_by_size(model, data):
    loader = DataLoader(data, batch_size=64)
    mean = 0.0
    for x, y in loader:
        mean += F.mse_loss(model(x), y).item() * len(x) / len(loader.dataset)
    return mean


@torch.no_grad()
def passes_the_nominal_size_of_full_batches(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() * 64
    return total / (len(loader) * 64)


@torch.no_grad()
def passes_drop_last(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_batch_size_one(model, data):
    loader = DataLoader(data, batch_size=1)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_no_batch_size(model, data):
    loader = DataLoader(data)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_a_size_that_divides(model):
    loader = DataLoader(CIFAR10("data", train=False), batch_size=100)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_a_tensor_that_divides(model):
    data = TensorDataset(torch.randn(640, 3), torch.randn(640))
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_weighted_by_size(model, data):
    loader = DataLoader(data, batch_size=64)
    total, count = 0.0, 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item() * x.size(0)
        count += x.size(0)
    return total / count


@torch.no_grad()
def passes_a_meter_with_sizes(model, data):
    loader = DataLoader(data, batch_size=64)
    meter = AverageMeter()
    for x, y in loader:
        meter.update(F.cross_entropy(model(x), y).item(), x.size(0))
    return meter.avg


@torch.no_grad()
def passes_an_old_sum(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.nll_loss(model(x), y, size_average=False).item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_the_whole_set_in_one_batch(model, data):
    loader = DataLoader(data, batch_size=len(data))
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_random_batches(model, get_batch, steps):
    losses = torch.zeros(steps)
    for k in range(steps):
        x, y = get_batch("val")
        losses[k] = F.cross_entropy(model(x), y).item()
    return losses.mean()


@torch.no_grad()
def finds_a_mean_kept_as_it_comes(model, data):
    loader = DataLoader(data, batch_size=64)
    average = 0.0
    for i, (x, y) in enumerate(loader):
        average += (F.mse_loss(model(x), y).item() - average) / (i + 1)  # BP201
    return average


@torch.no_grad()
def finds_a_mean_moved_by_a_share(model, data):
    loader = DataLoader(data, batch_size=64)
    average = 0.0
    for i, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y)
        average = average + ((1 / (i + 1)) * (loss.item() - average))  # BP201
    return average


@torch.no_grad()
def finds_a_mean_carried_along(model, data):
    loader = DataLoader(data, batch_size=64)
    average = 0.0
    for i, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y).item()
        average = (average * i + loss) / (i + 1)  # BP201
    return average


@torch.no_grad()
def finds_a_criterion_on_a_device(model, data, device):
    loader = DataLoader(data, batch_size=64)
    criterion = nn.CrossEntropyLoss().to(device)
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_progress_bar_over_an_enumeration(model, data):
    loader = DataLoader(data, batch_size=64)
    bar = tqdm(enumerate(loader), total=len(loader))
    total = 0.0
    for i, (x, y) in bar:
        total += F.mse_loss(model(x), y).item()
    return total / (i + 1)  # BP201


@torch.no_grad()
def finds_hits_over_the_length_of_the_predictions(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        logits = model(x)
        total += (logits.argmax(1) == y).sum().item() / len(logits)
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_the_number_of_an_old_tensor(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).data[0]
    return total / len(loader)  # BP201


def passes_a_state_that_is_carried_from_batch_to_batch(model, data, batch_size):
    loader = DataLoader(data, batch_size=batch_size)
    state, losses = model.initial(batch_size), []
    for x, y in loader:
        state = tuple(part.detach() for part in state)
        logits, state = model(x, state)
        losses.append(F.cross_entropy(logits, y).item())
    return np.mean(losses)


def finds_a_state_that_is_made_for_each_batch(model, data):
    loader = DataLoader(data, batch_size=64)
    losses = []
    for x, y in loader:
        state = model.initial(x.size(0))
        logits, state = model(x, state)
        losses.append(F.cross_entropy(logits, y).item())
    return np.mean(losses)  # BP201


@torch.no_grad()
def passes_batches_of_one_size_alone(model, data):
    loader = DataLoader(data, batch_size=64)
    total, count = 0.0, 0
    for x, y in loader:
        if x.size(0) != 64:
            continue
        total += F.mse_loss(model(x), y).item()
        count += 1
    return total / count


def passes_the_last_hundred(model, data):
    loader = DataLoader(data, batch_size=64)
    recent = deque(maxlen=100)
    for x, y in loader:
        recent.append(F.mse_loss(model(x), y).item())
        print(np.mean(recent))


def passes_a_list_that_drops_its_oldest(model, data):
    loader = DataLoader(data, batch_size=64)
    recent = []
    for x, y in loader:
        recent.append(F.mse_loss(model(x), y).item())
        if len(recent) > 100:
            recent.pop(0)
        print(np.mean(recent))


@torch.no_grad()
def passes_joined_tensors_that_divide(model):
    x = torch.cat([torch.randn(300, 2), torch.normal(0.0, 1.0, size=[340, 2])], dim=0)
    y = torch.cat([x.cos(), x.sin()], dim=1)
    loader = DataLoader(TensorDataset(x, y), batch_size=64)
    total = 0.0
    for a, b in loader:
        total += F.mse_loss(model(a), b).item()
    return total / len(loader)


@torch.no_grad()
def misses_a_decaying_mean(model, data):
    loader = DataLoader(data, batch_size=64)
    average = 0.0
    for x, y in loader:
        average = 0.9 * average + 0.1 * F.mse_loss(model(x), y).item()  # missed BP201
    return average


@torch.no_grad()
def misses_a_mean_over_a_counter_of_an_object(model, data, state):
    loader = DataLoader(data, batch_size=64)
    for x, y in loader:
        state.batches += 1
        state.total += F.mse_loss(model(x), y).item()
    return state.total / state.batches  # missed BP201


def finds_means_over_slices(model, inputs, targets, batch_size):
    total, count = 0.0, 0
    for start in range(0, len(inputs), batch_size):
        x, y = inputs[start : start + batch_size], targets[start : start + batch_size]
        total += F.cross_entropy(model(x), y).item()
        count += 1
    return total / count  # BP201


def _slices(inputs, targets, size):
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size], targets[start : start + size]


def finds_means_of_a_generator(model, inputs, targets):
    accuracies = []
    for x, y in _slices(inputs, targets, 64):
        accuracies.append((model(x).argmax(1) == y).float().mean().item())
    return sum(accuracies) / len(accuracies)  # BP201


def finds_ignored_targets_though_batches_are_equal(model, data, pad_id):
    loader = DataLoader(data, batch_size=8, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, ignore_index=pad_id).item()
    return total / len(loader)  # BP201


def finds_the_first_output_of_a_model(model, data, local_rank):
    sampler = SequentialSampler(data) if local_rank == -1 else DistributedSampler(data)
    loader = DataLoader(data, sampler=sampler, batch_size=8)
    total, steps = 0.0, 0
    for batch in loader:
        outputs = model(**batch)
        batch_loss, _logits = outputs[:2]
        total += batch_loss.mean().item()
        steps += 1
    return total / steps  # BP201


def finds_a_loader_with_options_in_a_dict(model, data, use_cuda):
    options = {"num_workers": 1, "pin_memory": True} if use_cuda else {}
    loader = DataLoader(data, batch_size=64, **options)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


def passes_slices_that_divide(model, inputs, targets):
    total, count = 0.0, 0
    for start in range(0, 1000, 100):
        total += F.cross_entropy(model(inputs[start : start + 100]), targets[start : start + 100])
        count += 1
    return total / count


def passes_slices_weighted_by_their_length(model, inputs, targets, size):
    total = 0.0
    for start in range(0, len(inputs), size):
        x, y = inputs[start : start + size], targets[start : start + size]
        total += F.cross_entropy(model(x), y).item() * len(x)
    return total / len(inputs)


def _only_full(data, size, drop_last=True):
    for x, y in DataLoader(data, batch_size=size, drop_last=drop_last):
        yield x.float(), y


def passes_a_generator_that_drops_the_last(model, data):
    total, count = 0.0, 0
    for x, y in _only_full(data, 32):
        total += F.cross_entropy(model(x), y).item()
        count += 1
    return total / count


def passes_a_dict_that_drops_the_last(model, data):
    options = {"batch_size": 32}
    options.update({"drop_last": True})
    loader = DataLoader(data, **options)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


class Pixels(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images.float() / 255, labels

    def __getitem__(self, place):
        return self.images[place], self.labels[place]

    def __len__(self):
        return len(self.images)


def passes_tensors_of_a_known_data_set(model, folder):
    whole = MNIST(folder, train=True)
    loader = DataLoader(Pixels(whole.data, whole.targets), batch_size=32, shuffle=True)
    losses = []
    for x, y in loader:
        losses.append(F.cross_entropy(model(x), y).item())
    return np.mean(losses)


@torch.no_grad()
def finds_a_label_that_is_ignored_by_habit(model, data):
    loader = DataLoader(data, batch_size=64)
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, ignore_index=255).item() * len(x)
        seen += len(x)
    return total / seen  # BP201 likely


def _by_rows(loss):
    return loss.sum() / loss.shape[0]


@torch.no_grad()
def finds_a_mean_of_a_function_of_its_own(model, data):
    loader = DataLoader(data, batch_size=64)
    losses = []
    for x, y in loader:
        losses.append(_by_rows(F.mse_loss(model(x), y, reduction="none")).item())
    return np.mean(losses)  # BP201


@torch.no_grad()
def finds_items_that_get_begins(model, data):
    loader = DataLoader(data, batch_size=64)
    sums = {}
    for x, y in loader:
        sums["loss"] = sums.get("loss", 0) + F.mse_loss(model(x), y).item()
    return sums["loss"] / len(loader)  # BP201


@torch.no_grad()
def finds_either_of_two_criteria(model, data, args):
    loader = DataLoader(data, batch_size=64)
    criterion = nn.L1Loss() if args.robust else nn.MSELoss()
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_loss_that_is_one_of_two_results(model, data, measure):
    loader = DataLoader(data, batch_size=64)
    meter = AverageMeter()
    for x, y in loader:
        loss, _ = measure(model(x), y)
        meter.update(loss.item())  # BP201 likely
    return meter.avg


@torch.no_grad()
def finds_the_mean_by_its_old_name(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, reduction="elementwise_mean").item()
    return total / len(loader)  # BP201


def _per_word(prediction, gold):
    losses = -prediction.gather(1, gold.unsqueeze(1)).squeeze(1)
    kept = gold.ne(0)
    return losses.masked_select(kept).sum() / kept.sum().item()  # BP109 likely


@torch.no_grad()
def finds_targets_that_a_model_returns(model, data):
    loader = DataLoader(data, batch_size=64)
    meter = AverageMeter()
    for x, y in loader:
        prediction, gold = model(x, y)
        loss = _per_word(prediction, gold)
        meter.update(loss.item())  # BP201 likely
    return meter.avg


@torch.no_grad()
def passes_either_of_two_data_sets_of_one_size(model, args):
    data = CIFAR100("data", train=False) if args.fine else CIFAR10("data", train=False)
    loader = DataLoader(data, batch_size=100)
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


def finds_a_sum_for_each_phase(model, data):
    sums = {"train": 0.0, "val": 0.0}
    for phase in ["train", "val"]:
        loader = DataLoader(data[phase], batch_size=64)
        for x, y in loader:
            sums[phase] += F.cross_entropy(model(x), y).item()
        sums[phase] /= len(loader)  # BP201
    return sums


def passes_a_sum_for_each_phase(model, data):
    sums = {"train": 0.0, "val": 0.0}
    for phase in ["train", "val"]:
        loader = DataLoader(data[phase], batch_size=64, drop_last=True)
        for x, y in loader:
            sums[phase] += F.cross_entropy(model(x), y).item()
        sums[phase] /= len(loader)
    return sums


@torch.no_grad()
def finds_losses_that_are_added_as_lists(model, data):
    loader, losses, more = DataLoader(data, batch_size=64), [], []
    for x, y in loader:
        losses += [F.cross_entropy(model(x), y).item()]
        more.extend([F.mse_loss(model(x), y).item()])
    return np.mean(losses), np.mean(more)  # BP201


@torch.no_grad()
def passes_losses_of_samples_that_are_added_as_lists(model, data):
    loader, losses = DataLoader(data, batch_size=64), []
    for x, y in loader:
        losses += F.cross_entropy(model(x), y, reduction="none").tolist()
    return np.mean(losses)


@torch.no_grad()
def finds_the_mean_over_what_is_called_valid(model, valid):
    total = 0.0
    for x, y in valid:
        total += F.cross_entropy(model(x), y).item()
    return total / len(valid)  # BP201 likely


def passes_a_list_that_is_called_valid(valid):
    total = 0.0
    for loss in valid:
        total += loss
    return total / len(valid)


def finds_a_sum_of_the_function_around(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0

    def add(x, y):
        nonlocal total
        total += F.cross_entropy(model(x), y).item()

    with torch.no_grad():
        for x, y in loader:
            add(x, y)
    return total / len(loader)  # BP201


def passes_a_sum_of_the_function_around(model, data):
    loader, total, count = DataLoader(data, batch_size=64), 0.0, 0

    def add(x, y):
        nonlocal total, count
        total += F.cross_entropy(model(x), y).item() * len(x)
        count += len(x)

    with torch.no_grad():
        for x, y in loader:
            add(x, y)
    return total / count


total_of_the_file = 0.0


def _add_to_the_file(model, x, y):
    global total_of_the_file  # noqa: PLW0603
    total_of_the_file += F.cross_entropy(model(x), y).item()


@torch.no_grad()
def finds_a_sum_of_the_file(model, data):
    global total_of_the_file  # noqa: PLW0603
    total_of_the_file = 0.0
    loader = DataLoader(data, batch_size=64)
    for x, y in loader:
        _add_to_the_file(model, x, y)
    return total_of_the_file / len(loader)  # BP201


class StepsOfLightning(LightningModule):
    def __init__(self, net, data, batch_size):
        super().__init__()
        self.net, self.data, self.batch_size = net, data, batch_size

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.data, batch_size=self.batch_size, drop_last=True)

    def validation_step(self, batch, index):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("by the batch size", loss, batch_size=self.batch_size)  # BP201
        self.log("as one sample", loss, batch_size=1)  # BP201
        self.log("by its size", loss)
        self.log("by its size, given", loss, batch_size=len(x))
        self.log("of each batch", loss, on_epoch=False, batch_size=1)

    def test_step(self, batch, index):
        x, y = batch
        self.log("equal", F.cross_entropy(self.net(x), y), batch_size=self.batch_size)


def passes_states_that_the_loop_draws(model, loader, first, second, pair):
    total = 0.0
    for x, first, second, y in loader:
        x, first, second = pair(x, first, second)  # noqa: PLW2901
        total += F.mse_loss(model(x, first, second), y, reduction="sum").item()
    return total / len(loader.dataset)


@torch.no_grad()
def finds_tensors_that_the_loop_draws(model, data, pair):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, first, second, y in loader:
        x, first, second = pair(x, first, second)  # noqa: PLW2901
        total += F.mse_loss(model(x, first, second), y).item()
    return total / len(loader)  # BP201


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x).relu()


def finds_the_second_pass_of_a_model_in_sight(data, held_out, optimizer):
    net = _Net()
    train_loader = DataLoader(data, batch_size=64, drop_last=True)
    val_loader = DataLoader(held_out, batch_size=64)
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
    net.eval()
    total = 0.0
    with torch.no_grad():
        for x, y in val_loader:
            total += ((net(x) - y) ** 2).mean().item()
    return total / len(val_loader)  # BP201


@torch.no_grad()
def finds_a_meter_of_several_names(model, data, MetricTracker):
    loader, tracker = DataLoader(data, batch_size=64), MetricTracker("loss", "other")
    for x, y in loader:
        tracker.update("loss", F.cross_entropy(model(x), y).item())  # BP201
        tracker.update("other", F.mse_loss(model(x), y).item(), n=len(x))
    return tracker.result()


class _Focal(nn.Module):
    def __init__(self, gamma=2.0, reduction="mean"):
        super().__init__()
        self.gamma, self.reduction = gamma, reduction

    def forward(self, scores, target):
        losses = F.cross_entropy(scores, target, reduction="none")
        losses = (1 - torch.exp(-losses)) ** self.gamma * losses
        return losses.mean() if self.reduction == "mean" else losses.sum()


@torch.no_grad()
def finds_a_product_of_elements(model, data):
    loader, criterion, total = DataLoader(data, batch_size=64), _Focal(), 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / loader.__len__()  # BP201


@torch.no_grad()
def passes_a_sum_of_products_of_elements(model, data):
    loader, criterion, total = DataLoader(data, batch_size=64), _Focal(reduction="sum"), 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / data.__len__()


def finds_the_sum_of_a_dict_of_losses(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=4), 0.0
    for images, targets in loader:
        loss_dict = model(images, targets)
        loss = sum(loss for loss in loss_dict.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_loader_of_another_file(model):
    losses = [F.cross_entropy(model(x), y).item() for x, y in imported_loader]
    return np.mean(losses)  # BP201 likely


@torch.no_grad()
def finds_a_sum_of_both_branches(model, data, is_hard):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        if is_hard(x):
            total += F.cross_entropy(model(x), y).item()
        else:
            logits = model(x)
            total += F.cross_entropy(logits, y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_list_of_both_branches(model, data, is_hard):
    loader, losses = DataLoader(data, batch_size=64), []
    for x, y in loader:
        if is_hard(x):
            losses.append(F.cross_entropy(model(x), y).item())
        else:
            losses.append(F.cross_entropy(model(x).float(), y).item())
    return sum(losses) / len(loader)  # BP201


@torch.no_grad()
def finds_a_sum_under_a_test_that_no_batch_changes(model, data, stage, args):
    loader, first, second = DataLoader(data, batch_size=64), 0.0, 0.0
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        if stage == 1 and not args.skip:
            first += loss.item()
        else:
            second += loss.item()
    return first / len(loader), second / len(loader)  # BP201


@torch.no_grad()
def passes_sums_of_some_batches(model, data, is_hard):
    loader, hard, other, number = DataLoader(data, batch_size=64), 0.0, 0.0, 0
    for x, y in loader:
        if is_hard(x):
            hard += F.cross_entropy(model(x), y).item()
            number += 1
        elif y.sum() > 0:
            other += F.cross_entropy(model(x), y).item()
    return hard / number, other


@torch.no_grad()
def passes_a_branch_that_may_add_nothing(model, data, is_hard):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for i, (x, y) in enumerate(loader):
        if is_hard(x):
            if i % 2:
                total += F.cross_entropy(model(x), y).item()
        else:
            total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


class _Switch:
    def passes_a_sum_under_a_switch_that_may_change(self, model, data):
        loader, total = DataLoader(data, batch_size=64), 0.0
        for x, y in loader:
            self.look(x)
            if self.active:
                total += F.cross_entropy(model(x), y).item()
        return total / len(loader)


@torch.no_grad()
def passes_sizes_of_both_branches(model, data, is_hard):
    loader, total, seen = DataLoader(data, batch_size=64), 0.0, 0
    for x, y in loader:
        if is_hard(x):
            total += F.cross_entropy(model(x), y).item() * x.size(0)
            seen += x.size(0)
        else:
            total += F.cross_entropy(model(x), y).item() * x.size(0)
            seen += x.size(0)
    return total / seen


@torch.no_grad()
def passes_a_sum_that_an_argument_asks_for(model, data, loss_func):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        total += loss_func(model(x), y, reduction="sum").item()
    return total / len(data)


@torch.no_grad()
def finds_a_sampler_of_batches_that_keeps_the_last(model, data):
    batches = BatchSampler(SequentialSampler(data), 64, drop_last=False)
    loader, total = DataLoader(data, batch_sampler=batches), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_sampler_of_batches_out_of_sight(model, data, batches):
    loader, total = DataLoader(data, batch_sampler=batches), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201 likely


@torch.no_grad()
def passes_a_sampler_of_full_batches(model, data):
    batches = BatchSampler(SequentialSampler(data), batch_size=64, drop_last=True)
    loader, total = DataLoader(data, batch_sampler=batches), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_a_sampler_of_batches_of_one(model, data):
    batches = BatchSampler(SequentialSampler(data), 1, drop_last=False)
    loader, total = DataLoader(data, batch_sampler=batches), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def finds_a_part_of_an_unknown_data_set(model, data, fold):
    loader = DataLoader(Subset(data, fold), batch_size=64)
    losses = [F.cross_entropy(model(x), y).item() for x, y in loader]
    return np.mean(losses)  # BP201


@torch.no_grad()
def finds_a_part_of_a_known_data_set_perhaps(model, folder, fold):
    """Four fifths of 60000 are 375 batches of 128, so only the fold decides."""
    loader = DataLoader(Subset(MNIST(folder), fold), batch_size=128)
    losses = [F.cross_entropy(model(x), y).item() for x, y in loader]
    return np.mean(losses)  # BP201 likely


@torch.no_grad()
def finds_a_sampler_of_a_part_of_a_known_data_set_perhaps(model, folder, fold):
    loader = DataLoader(MNIST(folder), batch_size=20, sampler=SubsetRandomSampler(fold))
    losses = [F.cross_entropy(model(x), y).item() for x, y in loader]
    return np.mean(losses)  # BP201 likely


@torch.no_grad()
def finds_a_split_of_a_known_data_set_perhaps(model, folder, share):
    data = MNIST(folder)
    first, _ = random_split(data, [int(share * len(data)), len(data) - int(share * len(data))])
    losses = [F.cross_entropy(model(x), y).item() for x, y in DataLoader(first, batch_size=64)]
    return np.mean(losses)  # BP201 likely


@torch.no_grad()
def passes_a_split_in_numbers_that_divide(model, folder):
    first, _ = random_split(MNIST(folder), [48000, 12000])
    losses = [F.cross_entropy(model(x), y).item() for x, y in DataLoader(first, batch_size=64)]
    return np.mean(losses)


@torch.no_grad()
def finds_a_share_of_a_known_data_set(model, folder):
    """54000 samples are 843 batches of 64, and one of 48."""
    data = MNIST(folder)
    kept = int(len(data) * 0.9)
    first, _ = random_split(data, [kept, len(data) - kept])
    losses = [F.cross_entropy(model(x), y).item() for x, y in DataLoader(first, batch_size=64)]
    return np.mean(losses)  # BP201


@torch.no_grad()
def passes_what_such_a_share_leaves(model, folder):
    data = MNIST(folder)
    kept = int(len(data) * 0.9)
    _, second = random_split(data, [kept, len(data) - kept])
    losses = [F.cross_entropy(model(x), y).item() for x, y in DataLoader(second, batch_size=60)]
    return np.mean(losses)


@torch.no_grad()
def passes_shares_of_a_known_data_set(model, folder):
    _, second = random_split(MNIST(folder), [0.8, 0.2])
    losses = [F.cross_entropy(model(x), y).item() for x, y in DataLoader(second, batch_size=120)]
    return np.mean(losses)


@torch.no_grad()
def finds_indices_that_are_cut(model, folder):
    """40000 samples are 312 batches of 128, and one of 64."""
    data = CIFAR10(folder)
    indices = list(range(len(data)))
    np.random.shuffle(indices)
    cut = int(np.floor(0.2 * len(data)))
    sampler = SubsetRandomSampler(indices[cut:])
    loader = DataLoader(data, batch_size=128, sampler=sampler)
    losses = [F.cross_entropy(model(x), y).item() for x, y in loader]
    return np.mean(losses)  # BP201


@torch.no_grad()
def passes_indices_that_are_cut(model, folder):
    data = CIFAR10(folder)
    indices = list(range(len(data)))
    cut = int(np.floor(0.2 * len(data)))
    loader = DataLoader(data, batch_size=20, sampler=SubsetRandomSampler(indices[:cut]))
    losses = [F.cross_entropy(model(x), y).item() for x, y in loader]
    return np.mean(losses)


@torch.no_grad()
def passes_a_part_of_a_permutation(model, folder):
    part = Subset(CIFAR10(folder), torch.randperm(50000)[:40000])
    losses = [F.cross_entropy(model(x), y).item() for x, y in DataLoader(part, batch_size=80)]
    return np.mean(losses)


@torch.no_grad()
def finds_a_loader_of_monai(model, images):
    loader = monai.data.DataLoader(images, batch_size=4, num_workers=2)
    losses = [F.mse_loss(model(x), x).item() for x in loader]
    return np.mean(losses)  # BP201


@torch.no_grad()
def passes_a_loader_of_monai_of_one_image(model, images):
    losses = [F.mse_loss(model(x), x).item() for x in monai.data.DataLoader(images)]
    return np.mean(losses)


def _share_of_hits(scores, y):
    hits = torch.eq(torch.round(torch.sigmoid(scores)), y).float()
    return hits.sum() / len(hits)


@torch.no_grad()
def finds_rounded_scores_over_their_number(model, data):
    shares = [_share_of_hits(model(x), y).item() for x, y in DataLoader(data, batch_size=32)]
    return np.array(shares).mean()  # BP201


@torch.no_grad()
def finds_scores_above_a_half(model, data):
    loader = DataLoader(data, batch_size=32)
    total = 0.0
    for x, y in loader:
        hits = (torch.sigmoid(model(x)) > 0.5) == y
        total += hits.sum().item() / len(hits)
    return total / len(loader)  # BP201


@torch.no_grad()
def passes_hits_of_rounded_scores(model, data):
    loader = DataLoader(data, batch_size=32)
    hits = 0
    for x, y in loader:
        hits += torch.eq(torch.round(torch.sigmoid(model(x))), y).sum().item()
    return hits / len(loader.dataset)


def _whole_batches(data, size):
    kept = len(data) // size * size
    return data[:kept]


@torch.no_grad()
def finds_slices_beside_another_function_that_trims(model, data, size):
    losses = []
    for i in range(0, len(data), size):
        losses.append(F.mse_loss(model(data[i : i + size]), data[i : i + size]).item())
    return np.mean(losses)  # BP201


@torch.no_grad()
def finds_slices_of_what_is_trimmed_perhaps(model, data, size):
    data = data[: len(data) // size * size]
    losses = []
    for i in range(0, len(data), size):
        losses.append(F.mse_loss(model(data[i : i + size]), data[i : i + size]).item())
    return np.mean(losses)  # BP201 likely


@torch.no_grad()
def finds_the_first_outputs_of_a_model(model, data):
    loader = DataLoader(data, batch_size=32)
    total, steps = 0.0, 0
    for inputs, labels in loader:
        loss, scores = model(inputs, labels)[:2]
        print(scores)
        total += loss.mean().item()
        steps += 1
    return total / steps  # BP201


@torch.no_grad()
def finds_the_loss_among_outputs_of_a_model(model, data):
    total = 0.0
    loader = DataLoader(data, batch_size=32)
    for inputs, labels in loader:
        _, mc_loss, _ = model(inputs, labels)
        total += mc_loss.item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_the_loss_of_a_call_out_of_sight_perhaps(helper, data):
    total = 0.0
    loader = DataLoader(data, batch_size=32)
    for inputs, labels in loader:
        loss = helper.run(inputs, labels)
        total += loss.item()
    return total / len(loader)  # BP201 likely


@torch.no_grad()
def passes_the_outputs_of_a_model_in_full_batches(model, data):
    total = 0.0
    loader = DataLoader(data, batch_size=32, drop_last=True)
    for inputs, labels in loader:
        loss, _ = model(inputs, labels)
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def finds_a_loss_beside_an_accuracy_that_is_weighted(model, loader, meters, accuracy):
    for x, y in loader:
        scores = model(x)
        loss = F.cross_entropy(scores, y)
        share = accuracy(scores, y)
        meters.update(loss=loss.item())  # BP201
        meters.meters["share"].update(share.item(), n=x.shape[0])


@torch.no_grad()
def finds_an_accuracy_beside_a_loss_that_is_weighted(model, loader):
    total, shares, seen = 0.0, 0.0, 0
    for x, y in loader:
        scores = model(x)
        total += F.cross_entropy(scores, y).item() * len(y)
        shares += (scores.argmax(1) == y).float().mean().item()
        seen += len(y)
    return total / seen, shares / len(loader)  # BP201


@torch.no_grad()
def finds_a_loss_beside_counted_hits_perhaps(model, loader):
    total, hits, seen = 0.0, 0, 0
    for x, y in loader:
        scores = model(x)
        total += F.cross_entropy(scores, y).item()
        hits += (scores.argmax(1) == y).sum().item()
        seen += len(y)
    return total / len(loader), hits / seen  # BP201 likely


@torch.no_grad()
def passes_a_loss_beside_one_that_is_weighted_in_full_batches(model, data):
    loader = DataLoader(data, batch_size=32, drop_last=True)
    total, shares = 0.0, 0.0
    for x, y in loader:
        scores = model(x)
        total += F.cross_entropy(scores, y).item() * len(y)
        shares += (scores.argmax(1) == y).float().mean().item()
    return shares / len(loader)


@torch.no_grad()
def finds_means_over_tokens_that_are_not_masked(model, loader):
    total = 0.0
    for x, y in loader:
        losses = F.cross_entropy(model(x), y, reduction="none")
        kept = y != 0
        total += ((losses * kept).sum() / kept.sum()).item()  # BP109 likely
    return total / len(loader)  # BP201


@torch.no_grad()
def passes_sums_over_tokens_that_are_not_masked(model, loader):
    total, tokens = 0.0, 0
    for x, y in loader:
        losses = F.cross_entropy(model(x), y, reduction="none")
        kept = y != 0
        total += (losses * kept).sum().item()
        tokens += kept.sum().item()
    return total / tokens


@torch.no_grad()
def finds_accuracies_of_a_function_out_of_sight(model, data, accuracy):
    loader = DataLoader(data, batch_size=64)
    shares = [accuracy(model(x), y).item() for x, y in loader]
    return np.mean(shares)  # BP201


@torch.no_grad()
def finds_sums_in_a_tensor_divided_at_once(model, data):
    loader, totals = DataLoader(data, batch_size=64), torch.zeros(2)
    for x, y in loader:
        totals[0] += F.cross_entropy(model(x), y)
        totals[1] += F.mse_loss(model(x), y)
    totals /= len(loader)  # BP201
    return totals


@torch.no_grad()
def passes_weighted_sums_in_a_tensor_divided_at_once(model, data):
    loader, totals = DataLoader(data, batch_size=64), torch.zeros(2)
    for x, y in loader:
        totals[0] += F.cross_entropy(model(x), y) * len(y)
        totals[1] += (model(x).argmax(1) == y).sum()
    totals /= len(loader.dataset)
    return totals


class NamesItsStage(LightningModule):
    """Each phase hands its name to a step and to an end that both share."""

    def validation_step(self, batch, batch_idx):
        return self._shared_step(batch, "val")

    def validation_epoch_end(self, outputs):
        return self._shared_end(outputs, "val")

    def _shared_step(self, batch, stage):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        return {f"{stage}_loss": loss, f"{stage}_sum": loss * len(y), f"{stage}_n": len(y)}

    def _shared_end(self, outputs, stage):
        total = sum(x[f"{stage}_sum"] for x in outputs) / sum(x[f"{stage}_n"] for x in outputs)
        loss = torch.stack([x[f"{stage}_loss"] for x in outputs]).mean()  # BP201 likely
        self.log_dict({f"{stage}_loss": loss, f"{stage}_mean": total})


@torch.no_grad()
def finds_means_over_tokens_that_a_meter_weighs_by_sequences(model, data, pad_id, others):
    meter, other = AverageMeter(), others.AverageMeter()
    for x, y in DataLoader(data, batch_size=8, drop_last=True):
        loss = F.cross_entropy(model(x), y, ignore_index=pad_id)
        other.update(loss.item(), x.size(0))  # BP201
        meter.update(F.cross_entropy(model(x), y).item(), x.size(0))
    print(other.avg, meter.avg)


@torch.no_grad()
def passes_means_over_tokens_of_one_sequence_at_a_time(model, data, pad_id, others):
    meter = others.AverageMeter()
    for x, y in DataLoader(data, batch_size=1):
        loss = F.cross_entropy(model(x), y, ignore_index=pad_id)
        meter.update(loss.item(), x.size(0))
    print(meter.avg)


class LogsMeansOverTokens(LightningModule):
    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y, ignore_index=self.pad_id))  # BP201


def _losses_of_a_pass(model, loader):
    losses = []
    for x, y in loader:
        losses.append(F.cross_entropy(model(x), y).item())
    return losses


@torch.no_grad()
def finds_lists_of_passes_that_are_joined(model, data):
    loader, losses = DataLoader(data, batch_size=64), []
    for epoch in range(10):
        losses.extend(_losses_of_a_pass(model, loader))
        print(epoch, np.mean(losses))  # BP201


@torch.no_grad()
def passes_lists_of_losses_of_samples(model, data):
    loader, losses = DataLoader(data, batch_size=64), []
    for x, y in loader:
        losses.extend(F.cross_entropy(model(x), y, reduction="none").tolist())
    print(np.mean(losses))


@torch.no_grad()
def finds_a_length_that_is_kept_from_0(model, data):
    loader = DataLoader(data, batch_size=64)
    batches, total = len(loader), 0.0
    if batches == 0:
        batches = 1
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() / batches  # BP201
    print(total)


@torch.no_grad()
def finds_batches_that_are_drawn_one_by_one(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0
    batches = iter(loader)
    for _ in range(len(loader)):
        x, y = next(batches)
        total += F.mse_loss(model(x), y).item()
    print(total / len(loader))  # BP201


@torch.no_grad()
def passes_full_batches_that_are_drawn_one_by_one(model, data):
    loader, total = DataLoader(data, batch_size=64, drop_last=True), 0.0
    batches = iter(loader)
    for _ in range(len(loader)):
        x, y = next(batches)
        total += F.mse_loss(model(x), y).item()
    print(total / len(loader))


def passes_one_batch_fitted_repeatedly(model, data):
    loader = DataLoader(data, batch_size=32)
    x, target = next(iter(loader))
    total = 0.0
    for i, _batch in enumerate(loader):
        total += F.cross_entropy(model(x), target).item()
    return total / (i + 1)


def finds_batches_under_one_name(model, data):
    loader = DataLoader(data, batch_size=32)
    x, target = next(iter(loader))
    total = 0.0
    for i, batch in enumerate(loader):
        x, target = batch
        total += F.cross_entropy(model(x), target).item()
    return total / (i + 1)  # BP201


def finds_a_size_out_of_sight(model, run, folder):
    loader, total = DataLoader(MNIST(folder), batch_size=run.batch_size), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201 likely


def finds_a_data_set_that_is_picked_by_its_name_perhaps(model, run, folder):
    sets = {"digits": MNIST(folder), "objects": CIFAR10(folder)}
    loader, total = DataLoader(sets[run.name], batch_size=100), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201 likely


def finds_a_data_set_that_none_of_several_sizes_divides(model, run, folder):
    data = MNIST(folder) if run.digits else CIFAR10(folder)
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


class Settings:
    batch_size = 1
    eval_size: int = 64


def passes_a_batch_size_of_one_in_a_class(model, data):
    loader, total = DataLoader(data, batch_size=Settings.batch_size), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


def finds_a_batch_size_in_an_object_of_a_class(model, data):
    settings, total = Settings(), 0.0
    loader = DataLoader(data, batch_size=settings.eval_size)
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_slices_up_to_a_cursor(model, inputs, targets, size):
    total, start, batches = 0.0, 0, 0
    while start < len(inputs):
        total += F.mse_loss(model(inputs[start : start + size]), targets[start : start + size])
        start += size
        batches += 1
    return total / batches  # BP201


@torch.no_grad()
def passes_full_slices_up_to_a_cursor(model, inputs, targets, size):
    total, start, batches = 0.0, 0, 0
    while start + size <= len(inputs):
        total += F.mse_loss(model(inputs[start : start + size]), targets[start : start + size])
        start += size
        batches += 1
    return total / batches


@torch.no_grad()
def passes_a_number_of_full_slices(model, inputs, targets, size):
    total, batches = 0.0, len(inputs) // size
    for i in range(batches):
        rows = slice(i * size, (i + 1) * size)
        x, y = inputs[i * size : (i + 1) * size], targets[rows]
        total += F.mse_loss(model(x), y).item()
    return total / batches


@torch.no_grad()
def finds_pieces_of_a_tensor(model, inputs, targets):
    losses = []
    for x, y in zip(inputs.split(32), targets.split(32), strict=True):
        losses.append(F.mse_loss(model(x), y).item())
    return sum(losses) / len(losses)  # BP201


@torch.no_grad()
def passes_pieces_along_the_features(model, inputs, targets):
    losses = []
    for x in inputs.split(32, dim=1):
        losses.append(F.mse_loss(model(x), targets).item())
    return sum(losses) / len(losses)


@torch.no_grad()
def finds_an_array_that_grows(model, data):
    losses = np.array([])
    for x, y in DataLoader(data, batch_size=64):
        losses = np.append(losses, F.mse_loss(model(x), y).item())
    return losses.mean()  # BP201


@torch.no_grad()
def passes_an_array_of_the_losses_of_samples(model, data):
    losses = np.array([])
    for x, y in DataLoader(data, batch_size=64):
        losses = np.append(losses, F.mse_loss(model(x), y, reduction="none").numpy())
    return losses.mean()


@torch.no_grad()
def finds_a_row_for_each_epoch(model, data, epochs):
    loader = DataLoader(data, batch_size=64)
    losses = torch.zeros(epochs, len(loader))
    for epoch in range(epochs):
        for i, (x, y) in enumerate(loader):
            losses[epoch, i] = F.mse_loss(model(x), y)
        print(losses[epoch].mean())  # BP201


@torch.no_grad()
def finds_quotients_of_several_sums(model, data):
    loader, totals = DataLoader(data, batch_size=64), [0.0, 0.0]
    for x, y in loader:
        totals[0] += F.mse_loss(model(x), y).item()
        totals[1] += F.l1_loss(model(x), y).item()
    return [total / len(loader) for total in totals]  # BP201


@torch.no_grad()
def passes_quotients_of_several_weighted_sums(model, data):
    loader, totals = DataLoader(data, batch_size=64), [0.0, 0.0]
    for x, y in loader:
        totals[0] += F.mse_loss(model(x), y).item() * len(x)
        totals[1] += F.l1_loss(model(x), y).item() * len(x)
    return [total / len(loader.dataset) for total in totals]


@torch.no_grad()
def finds_a_counter_of_both_branches(model, data, is_hard):
    total, batches = 0.0, 0
    for x, y in DataLoader(data, batch_size=64):
        if is_hard(x):
            total += F.mse_loss(model(x), y).item()
            batches += 1
        else:
            total += F.l1_loss(model(x), y).item()
            batches += 1
    return total / batches  # BP201


@torch.no_grad()
def finds_either_of_two_loaders(model, data, other, name):
    if name == "first":
        loader = DataLoader(data, batch_size=64)
    elif name == "second":
        loader = DataLoader(other, batch_size=32)
    else:
        raise ValueError(name)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_either_of_two_loaders_perhaps(model, data, other, name):
    if name == "first":
        loader = DataLoader(data, batch_size=64)
    else:
        loader = DataLoader(other, batch_size=32, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)  # BP201 likely


@torch.no_grad()
def finds_the_mean_of_a_column(model, data):
    rows = {"loss": []}
    for x, y in DataLoader(data, batch_size=64):
        rows["loss"].append(F.mse_loss(model(x), y).item())
    return pd.DataFrame(rows)["loss"].mean()  # BP201


@torch.no_grad()
def finds_a_criterion_by_its_name(model, data, criterion):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_loss_of_a_function_out_of_sight(model, data, adversarial_loss):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        total += adversarial_loss(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_loss_of_the_weights_perhaps(model, data, penalty_loss):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        model(x, y)
        total += penalty_loss(model).item()
    return total / len(loader)  # BP201 likely


@torch.no_grad()
def passes_a_criterion_over_full_batches(model, data, criterion):
    loader, total = DataLoader(data, batch_size=64, drop_last=True), 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def passes_batches_that_are_viewed_by_the_batch_size(model, data, batch_size):
    loader, total = DataLoader(data, batch_size=batch_size), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x.view(batch_size, 784)), y).item()
    return total / len(loader)


@torch.no_grad()
def finds_batches_that_are_viewed_by_their_own_size(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        batch_size = len(x)
        total += F.cross_entropy(model(x.view(batch_size, 784)), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_mean_beside_a_term_out_of_sight(model, data, overlap_loss):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        output = model(x)
        loss = 0.5 * F.cross_entropy(output, y) + 0.5 * overlap_loss(output, y)
        total += loss.item()
    return total / len(loader)  # BP201


def _in_batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_full_batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []


@torch.no_grad()
def finds_batches_that_a_generator_collects(model, items, size):
    total, batches = 0.0, 0
    for batch in _in_batches(items, size):
        x, y = map(torch.stack, zip(*batch, strict=True))
        total += F.mse_loss(model(x), y).item()
        batches += 1
    return total / batches  # BP201


@torch.no_grad()
def passes_full_batches_that_a_generator_collects(model, items, size):
    total, batches = 0.0, 0
    for batch in _in_full_batches(items, size):
        x, y = map(torch.stack, zip(*batch, strict=True))
        total += F.mse_loss(model(x), y).item()
        batches += 1
    return total / batches


def passes_micro_batches_of_a_batch(model, inputs, targets, optimizer, batch_size):
    losses, targets = [], targets.split(batch_size)
    for x, y in zip(torch.split(inputs, batch_size), targets, strict=True):
        loss = F.mse_loss(model(x), y)
        loss.backward()
        losses.append(loss.item())
    optimizer.step()
    optimizer.zero_grad()
    return sum(losses) / len(losses)  # BP201 likely


@torch.no_grad()
def finds_batches_that_are_drawn_until_they_end(model, data):
    loader, losses = DataLoader(data, batch_size=64), []
    batches = iter(loader)
    while True:
        try:
            x, y = next(batches)
        except StopIteration:
            break
        losses.append(F.mse_loss(model(x), y).item())
    print(np.mean(losses))  # BP201


def finds_batches_that_are_drawn_from_pass_to_pass(model, data, optimizer, steps):
    loader, total = DataLoader(data, batch_size=64, shuffle=True), 0.0
    batches = iter(loader)
    for _ in range(steps):
        try:
            x, y = next(batches)
        except StopIteration:
            batches = iter(loader)
            x, y = next(batches)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(total / steps)  # BP201


@torch.no_grad()
def finds_a_number_of_batches_that_are_drawn(model, data, steps):
    loader, total = DataLoader(data, batch_size=64), 0.0
    batches = iter(loader)
    for _ in range(steps):
        x, y = next(batches)
        total += F.mse_loss(model(x), y).item()
    print(total / steps)  # BP201 likely


def passes_windows_of_batches_that_are_drawn(model, data, optimizer, steps):
    loader, total = DataLoader(data, batch_size=64, shuffle=True), 0.0
    batches = iter(loader)
    for step in range(steps):
        try:
            x, y = next(batches)
        except StopIteration:
            batches = iter(loader)
            x, y = next(batches)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            print(total / 100)
            total = 0.0


def _losses(model, loader):
    for x, y in loader:
        yield F.mse_loss(model(x), y).item()


@torch.no_grad()
def finds_losses_that_a_generator_yields(model, data):
    loader = DataLoader(data, batch_size=64)
    print(np.mean(list(_losses(model, loader))))  # BP201


@torch.no_grad()
def finds_a_sum_of_losses_that_a_generator_yields(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for loss in _losses(model, loader):
        total += loss
    print(total / len(loader))  # BP201


@torch.no_grad()
def passes_losses_of_full_batches_that_a_generator_yields(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    print(np.mean(list(_losses(model, loader))))


@torch.no_grad()
def finds_columns_of_losses(model, data):
    loader, losses = DataLoader(data, batch_size=64), []
    for x, y in loader:
        output = model(x)
        losses.append([F.mse_loss(output, y).item(), F.l1_loss(output, y).item()])
    print(np.mean(losses, axis=0))  # BP201


def _top_of_each(output, y, ranks):
    _, classes = output.topk(max(ranks), 1)
    hits = classes.t().eq(y.view(1, -1))
    scores = []
    for k in ranks:
        scores.append(hits[:k].view(-1).float().sum(0, keepdim=True).mul_(100.0 / len(y)))
    return scores


@torch.no_grad()
def finds_the_first_of_several_accuracies(model, data):
    loader, scores = DataLoader(data, batch_size=64), []
    for x, y in loader:
        first, _ = _top_of_each(model(x), y, (1, 5))
        scores.append(first.item())
    print(np.mean(scores))  # BP201


@torch.no_grad()
def passes_the_first_of_several_accuracies_by_size(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        total += _top_of_each(model(x), y, (1, 5))[0].item() * len(y)
    print(total / len(loader.dataset))


@torch.no_grad()
def finds_a_loader_that_is_prepared(model, data):
    accelerator = Accelerator()
    loader, total = DataLoader(data, batch_size=64), 0.0
    model, loader = accelerator.prepare(model, loader)
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_means_of_a_loader_that_is_prepared_from_all_ranks_perhaps(model, data):
    accelerator = Accelerator()
    loader, losses = DataLoader(data, batch_size=64), []
    model, loader = accelerator.prepare(model, loader)
    for x, y in loader:
        losses.append(accelerator.gather_for_metrics(F.mse_loss(model(x), y).repeat(64)))
    return torch.cat(losses).mean()  # BP201 likely


class EndsAsLightningOnceDid(LightningModule):
    def __init__(self, net, data):
        super().__init__()
        self.net, self.data = net, data

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=64)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": F.cross_entropy(self.net(x), y)}

    def validation_end(self, outputs):
        return {"loss": torch.stack([each["loss"] for each in outputs]).mean()}  # BP201


@torch.no_grad()
def finds_summaries_of_batches(model, data, scores):
    loader, summaries = DataLoader(data, batch_size=64), []
    for x, y in loader:
        output = model(x)
        summary = {name: score(output, y) for name, score in scores.items()}
        summary["loss"] = F.cross_entropy(output, y).item()
        summaries.append(summary)
    return {key: np.mean([each[key] for each in summaries]) for key in summaries[0]}  # BP201


def _loss_and_size(model, x, y):
    return F.mse_loss(model(x), y).item(), len(x)


@torch.no_grad()
def finds_a_column_of_results(model, data):
    loader = DataLoader(data, batch_size=64)
    losses, _ = zip(*[_loss_and_size(model, x, y) for x, y in loader], strict=True)
    return np.mean(losses)  # BP201


@torch.no_grad()
def passes_columns_of_results_by_size(model, data):
    loader = DataLoader(data, batch_size=64)
    losses, sizes = zip(*[_loss_and_size(model, x, y) for x, y in loader], strict=True)
    return np.sum(np.multiply(losses, sizes)) / np.sum(sizes)


@torch.no_grad()
def finds_a_column_of_a_table(model, data):
    rows = []
    for x, y in DataLoader(data, batch_size=64):
        rows.append({"loss": F.mse_loss(model(x), y).item(), "size": len(x)})
    return pd.DataFrame(rows)["loss"].mean()  # BP201


@torch.no_grad()
def finds_a_number_of_batches_that_is_rounded_up(model, data, args):
    loader = DataLoader(data, batch_size=args.batch_size)
    steps = math.ceil(len(data) / args.batch_size)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / steps  # BP201


@torch.no_grad()
def finds_a_dict_of_meters(model, data):
    losses = defaultdict(AverageMeter)
    for x, y in DataLoader(data, batch_size=64):
        parts = {
            "squared": F.mse_loss(model(x), y).item(),
            "absolute": F.l1_loss(model(x), y).item(),
        }
        for name, value in parts.items():
            losses[name].update(value)  # BP201
    return {name: meter.avg for name, meter in losses.items()}


@torch.no_grad()
def passes_a_number_of_full_batches_that_are_drawn(model, data, args):
    loader, total = DataLoader(data, batch_size=args.batch_size), 0.0
    steps, batches = len(data) // args.batch_size, iter(loader)
    for _ in range(steps):
        x, y = next(batches)
        total += F.mse_loss(model(x), y).item()
    return total / steps


@torch.no_grad()
def passes_full_batches_that_are_drawn_by_number(model, data):
    loader, total = DataLoader(data, batch_size=32), 0.0
    steps = len(data) // 32
    batches = iter(loader)
    for _ in range(steps):
        x, y = next(batches)
        total += F.mse_loss(model(x), y).item()
    return total / steps


class _GraphLoader(DataLoader):
    def __init__(self, dataset, batch_size=1, **options):
        super().__init__(dataset, batch_size, collate_fn=torch.stack, **options)


class _FullLoader(DataLoader):
    def __init__(self, dataset, batch_size=1, **options):
        super().__init__(dataset, batch_size, drop_last=True, **options)


@torch.no_grad()
def finds_a_loader_of_a_class_in_sight(model, data, args):
    loader, total = _GraphLoader(data, batch_size=args.batch_size), 0.0
    for x in loader:
        total += F.mse_loss(model(x), x).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_loader_of_a_class_that_forms_its_batches_perhaps(model, data, args):
    loader, total = _FullLoader(data, batch_size=args.batch_size), 0.0
    for x in loader:
        total += F.mse_loss(model(x), x).item()
    return total / len(loader)  # BP201 likely


@torch.no_grad()
def finds_hits_over_the_points_of_a_batch(model, data):
    loader, accuracy = DataLoader(data, batch_size=16), []
    for points, target in loader:
        batch_size, num_points, _ = points.size()
        scores = model(points).view(-1, 50)
        correct = scores.max(1)[1].eq(target.view(-1)).sum()
        accuracy.append(correct.item() / (batch_size * num_points))
    return sum(accuracy) / len(accuracy)  # BP201


def finds_samples_that_are_drawn_by_weight(model, data, weights, optimizer):
    sampler = torch.utils.data.WeightedRandomSampler(weights, len(weights))
    loader, total = DataLoader(data, batch_size=16, sampler=sampler), 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_a_bar_that_is_imported_out_of_sight(model, data, track):
    bar, total = track(DataLoader(data, batch_size=64), unit="batches"), 0.0
    for i, (x, y) in enumerate(bar):
        total += F.mse_loss(model(x), y).item()
    return total / (i + 1)  # BP201


@torch.no_grad()
def finds_batches_that_are_drawn_by_weight(model, data, weights):
    sampler = WeightedRandomSampler(weights, len(weights))
    loader, total = DataLoader(data, batch_size=64, sampler=sampler), 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def finds_batches_of_ray(model, data, size):
    mean = 0.0
    for i, batch in enumerate(data.iter_torch_batches(batch_size=size)):
        loss = F.mse_loss(model(batch["x"]), batch["y"]).item()
        mean += (loss - mean) / (i + 1)  # BP201
    return mean


@torch.no_grad()
def passes_full_batches_of_ray(model, data, size):
    mean = 0.0
    for i, batch in enumerate(data.iter_torch_batches(batch_size=size, drop_last=True)):
        loss = F.mse_loss(model(batch["x"]), batch["y"]).item()
        mean += (loss - mean) / (i + 1)
    return mean


@torch.no_grad()
def finds_results_by_key(model, data, measure):
    loader, losses, accuracies = DataLoader(data, batch_size=64), [], []
    for batch in loader:
        results = measure(model, batch)
        losses.append(results["train"]["total_loss"].item())
        accuracies.append(results["top1_accuracy"].item())
    print(sum(accuracies) / len(accuracies))  # BP201
    return sum(losses) / len(losses)  # BP201


@torch.no_grad()
def passes_results_by_key_and_size(model, data, measure):
    total, seen = 0.0, 0
    for batch in DataLoader(data, batch_size=64):
        results = measure(model, batch)
        total += results["total_loss"].item() * len(batch["image"])
        seen += len(batch["image"])
    return total / seen


@torch.no_grad()
def passes_weights_of_a_loss_by_key(data):
    total = 0.0
    loader = DataLoader(data, batch_size=64)
    for batch in loader:
        total += batch["loss_weight"].mean().item()
    return total / len(loader)


@torch.no_grad()
def finds_accuracies_where_there_are_any(model, data, measure):
    loader, accuracies = DataLoader(data, batch_size=64), []
    for batch in loader:
        results = measure(model, batch)
        accuracies.append(results["accuracy"].item() if "accuracy" in results else 0.0)
    return sum(accuracies) / len(accuracies)  # BP201


@torch.no_grad()
def passes_slices_that_end_where_one_is_full(model, x, y, size):
    losses = []
    for i in range(0, len(x) - size + 1, size):
        losses.append(F.mse_loss(model(x[i : i + size]), y[i : i + size]).item())
    return sum(losses) / len(losses)


@torch.no_grad()
def passes_slices_without_the_rest(model, x, y, size):
    losses = []
    for i in range(0, len(x) - len(x) % size, size):
        losses.append(F.mse_loss(model(x[i : i + size]), y[i : i + size]).item())
    return sum(losses) / len(losses)


@torch.no_grad()
def passes_slices_of_a_product(model, x, y, size):
    losses = []
    for i in range(0, len(x) // size * size, size):
        losses.append(F.mse_loss(model(x[i : i + size]), y[i : i + size]).item())
    return sum(losses) / len(losses)


@torch.no_grad()
def finds_slices_that_end_with_the_rest(model, x, y, size):
    losses = []
    for i in range(0, len(x), size):
        losses.append(F.mse_loss(model(x[i : i + size]), y[i : i + size]).item())
    return sum(losses) / len(losses)  # BP201


def _full_parts(x, y, size):
    order = np.random.permutation(len(x))
    for start in range(0, len(x) - size + 1, size):
        part = order[start : start + size]
        yield x[part], y[part]


@torch.no_grad()
def passes_full_parts_of_a_generator(model, x, y):
    total, count = 0.0, 0
    for inputs, targets in _full_parts(x, y, 32):
        total += F.mse_loss(model(inputs), targets).item()
        count += 1
    return total / count


@torch.no_grad()
def finds_means_carried_along_in_other_words(model, data):
    loader, first, second, third = DataLoader(data, batch_size=64), 0.0, 0.0, 0.0
    for i, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y).item()
        first += (1.0 / float(i + 1)) * (loss - first)  # BP201
        second = second * i / (i + 1) + loss / (i + 1)  # BP201
        third -= (third - loss) / (i + 1)  # BP201
    return first, second, third


@torch.no_grad()
def passes_means_that_move_by_a_fixed_share(model, data):
    loader, mean = DataLoader(data, batch_size=64), 0.0
    for i, (x, y) in enumerate(loader):
        mean += (F.mse_loss(model(x), y).item() - mean) / 10
    return mean


@torch.no_grad()
def passes_a_mean_that_is_carried_along_by_samples(model, data):
    loader, mean, count = DataLoader(data, batch_size=64), 0.0, 0
    for x, y in loader:
        loss = F.mse_loss(model(x), y).item()
        mean = (mean * count + loss * len(x)) / (count + len(x))
        count += len(x)
    return mean


@torch.no_grad()
def finds_sums_that_begin_in_the_first_pass(model, data, compute_losses):
    loader, totals = DataLoader(data, batch_size=64), {}
    for x, y in loader:
        losses = compute_losses(model(x), y)
        for key in losses:
            if key not in totals:
                totals[key] = 0.0
            totals[key] += losses[key].item()
    return {key: totals[key] / len(loader) for key in totals}  # BP201


@torch.no_grad()
def finds_sums_that_one_branch_begins(model, data, compute_losses):
    loader, totals, total = DataLoader(data, batch_size=64), {}, None
    for x, y in loader:
        losses = compute_losses(model(x), y)
        for key, value in losses.items():
            if key in totals:
                totals[key] += value.item()
            else:
                totals[key] = value.item()
        loss = F.mse_loss(model(x), y)
        total = loss if total is None else total + loss
    return total / len(loader), {key: totals[key] / len(loader) for key in totals}  # BP201


@torch.no_grad()
def passes_sums_of_samples_that_begin_in_the_first_pass(model, data, compute_losses):
    loader, totals, count = DataLoader(data, batch_size=64), {}, 0
    for x, y in loader:
        for key, value in compute_losses(model(x), y).items():
            if key not in totals:
                totals[key] = 0.0
            totals[key] += value.item() * len(x)
        count += len(x)
    return {key: totals[key] / count for key in totals}


@torch.no_grad()
def finds_one_of_a_dict_of_losses(model, data, compute_losses):
    loader, total, lists = DataLoader(data, batch_size=64), 0.0, {}
    for x, y in loader:
        losses = compute_losses(model(x), y)
        total += losses["box"].item()
        lists.setdefault("box", []).append(losses["box"].item())
    return total / len(loader), np.mean(lists["box"])  # BP201


@torch.no_grad()
def finds_a_list_made_longer_by_another(model, data):
    loader, lists, history = DataLoader(data, batch_size=64), defaultdict(list), []
    for x, y in loader:
        lists["loss"].append(F.mse_loss(model(x), y).item())
    history += lists["loss"]
    return np.mean(history)  # BP201


def _with_meter(model, loader, options):
    for x, y in loader:
        options.losses.update(F.mse_loss(model(x), y).item())  # BP201


@torch.no_grad()
def finds_a_meter_in_an_attribute_that_is_handed_on(model, data, options):
    loader = DataLoader(data, batch_size=64)
    options.losses = AverageMeter()
    _with_meter(model, loader, options)


class _Average:
    def __init__(self):
        self.sum, self.number = torch.tensor(0.0), torch.tensor(0.0)

    def update(self, value):
        self.sum += value.detach().cpu()
        self.number += 1

    @property
    def mean(self):
        return self.sum / self.number


@torch.no_grad()
def finds_a_mean_that_is_a_property(model, data):
    loader, average = DataLoader(data, batch_size=64), _Average()
    for x, y in loader:
        average.update(F.mse_loss(model(x), y))  # BP201
    return average.mean


@torch.no_grad()
def finds_a_mean_over_a_mask_of_the_batch(model, loader):
    total = 0.0
    for x, y, mask in loader:
        losses = F.mse_loss(model(x), y, reduction="none") * mask
        total += (losses.sum() / mask.sum().clamp(min=1)).item()
    return total / len(loader)  # BP201


def _shares(size):
    data = MNIST("data", train=True)
    order = np.random.permutation(len(data))
    last = order[int(0.8 * len(data)) :]
    return DataLoader(data, batch_size=size, sampler=SubsetRandomSampler(last))


@torch.no_grad()
def passes_a_share_of_a_known_size(model):
    loader, total = _shares(100), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def finds_a_share_of_a_known_size(model):
    loader, total = _shares(64), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


def finds_a_mean_over_a_mask_weighted_by_samples(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=64, drop_last=True), 0.0
    for x, y in loader:
        mask = ~torch.isnan(y)
        out = model(x)[mask]
        optimizer.zero_grad()
        loss = F.mse_loss(out, y[mask])
        loss.backward()
        optimizer.step()
        total += loss.item() * x.size(0)
    return total / len(loader.dataset)  # BP201, BP203


@torch.no_grad()
def finds_a_part_of_the_samples_of_a_data_set(model, some):
    data = MNIST("data", train=False)
    data.data = data.data[some]
    loader, total = DataLoader(data, batch_size=100), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def passes_other_labels_of_all_samples(model, labels):
    data = MNIST("data", train=False)
    data.targets = labels
    loader, total = DataLoader(data, batch_size=100), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def finds_a_dict_of_meters_made_key_by_key(model, data, keys):
    loader, meters = DataLoader(data, batch_size=64), {key: AverageMeter() for key in keys}
    for x, y in loader:
        meters["loss"].update(F.mse_loss(model(x), y).item())  # BP201


@torch.no_grad()
def passes_a_meter_of_each_sample(model, data, score):
    loader, meter = DataLoader(data, batch_size=64), AverageMeter()
    for x, y in loader:
        outputs = model(x)
        for i in range(len(x)):
            meter.update(score(outputs[i], y[i]).mean().item())


class TwoHeads(nn.Module):
    def forward(self, x):
        return self.first(x), self.second(x)


class LossOfTwoHeads(nn.Module):
    def forward(self, boxes, classes, targets):
        positive = targets > 0
        of_boxes = F.smooth_l1_loss(boxes[positive], targets[positive], size_average=False)
        of_classes = self.focal(classes, targets)
        return (of_boxes + of_classes) / positive.long().sum().clamp(min=1)


@torch.no_grad()
def finds_a_loss_of_several_outputs(data):
    model, criterion = TwoHeads(), LossOfTwoHeads()
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, y in loader:
        boxes, classes = model(x)
        total += criterion(boxes, classes, y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def passes_a_weight_by_another_name(model, data):
    loader, meter = DataLoader(data, batch_size=64), AverageMeter()
    for x, y in loader:
        meter.update(F.mse_loss(model(x), y).item(), repeats=len(y))


@torch.no_grad()
def finds_slices_by_a_number_that_is_rounded_up(model, x, y, size):
    losses, number = [], int(np.ceil(len(x) / float(size)))
    for i in range(number):
        part = slice(i * size, (i + 1) * size)
        losses.append(F.mse_loss(model(x[i * size : (i + 1) * size]), y[part]).item())
    return np.mean(losses)  # BP201


def _parts(x, y, size):
    for i in range((len(x) + size - 1) // size):
        yield x[i * size : (i + 1) * size], y[i * size : (i + 1) * size]


@torch.no_grad()
def finds_parts_by_a_number_that_is_rounded_up(model, x, y):
    losses = [F.mse_loss(model(inputs), targets).item() for inputs, targets in _parts(x, y, 32)]
    return np.mean(losses)  # BP201


@torch.no_grad()
def passes_slices_by_a_number_that_divides(model):
    x, y, size, losses = torch.rand(640, 3), torch.rand(640, 1), 64, []
    for i in range(math.ceil(len(x) / size)):
        losses.append(
            F.mse_loss(model(x[i * size : (i + 1) * size]), y[i * size : (i + 1) * size]).item()
        )
    return np.mean(losses)


@torch.no_grad()
def passes_slices_by_a_number_that_is_rounded_down(model, x, y, size):
    losses, number = [], len(x) // size
    for i in range(number):
        losses.append(
            F.mse_loss(model(x[i * size : (i + 1) * size]), y[i * size : (i + 1) * size]).item()
        )
    return np.mean(losses)


@torch.no_grad()
def finds_slices_until_the_end(model, x, y, size):
    losses, start = [], 0
    while start < len(x):
        end = min(start + size, len(x))
        losses.append(F.mse_loss(model(x[start:end]), y[start:end]).item())
        start = end
    return sum(losses) / len(losses)  # BP201


class _Runner:
    @torch.no_grad()
    def validate(model, loader):
        batches, total = 0, 0.0
        for x, y in loader:
            total += F.cross_entropy(model(x), y).item()
            batches += 1
        return total / batches  # BP201

    @torch.no_grad()
    def test(model, loader):
        batches, total = 0, 0.0
        for x, y in loader:
            total += F.cross_entropy(model(x), y).item()
            batches += 1
        return total / batches

    @classmethod
    @torch.no_grad()
    def score(cls, model, loader):
        total = 0.0
        for x, y in loader:
            total += F.cross_entropy(model(x), y).item()
        return total / len(loader)  # BP201


def finds_methods_that_are_called_on_their_class(model, data):
    loader = DataLoader(data, batch_size=64)
    print(_Runner.validate(model, loader), _Runner.score(model, loader))


def passes_a_method_that_is_called_on_its_class_with_full_batches(model, data):
    print(_Runner.test(model, DataLoader(data, batch_size=64, drop_last=True)))


@torch.no_grad()
def _by_entropy(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def _by_distance(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)  # BP201


@torch.no_grad()
def _by_full_batches(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    return total / len(loader)


@torch.no_grad()
def _by_sums(model, loader):
    count, total = 0, 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, reduction="sum").item()
        count += len(y)
    return total / count


def finds_a_function_that_a_test_chooses(args, model, data):
    validate = _by_entropy if args.classes else _by_distance
    loader = DataLoader(data, batch_size=64)
    for _ in range(args.epochs):
        print(validate(model, loader))


def passes_a_function_that_a_test_chooses(args, model, data):
    validate = _by_sums if args.sums else _by_full_batches
    print(validate(model, DataLoader(data, batch_size=64, drop_last=True)))


@torch.no_grad()
def finds_losses_that_are_summed_over_classes(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, targets in loader:
        loss = -torch.sum(targets * F.log_softmax(model(x), dim=-1), dim=-1)
        total += loss.mean().item()
    return total / len(loader)  # BP201


@torch.no_grad()
def passes_losses_that_are_summed_over_classes(model, data):
    loader, total = DataLoader(data, batch_size=64), 0.0
    for x, targets in loader:
        loss = -torch.sum(targets * F.log_softmax(model(x), dim=-1), dim=-1)
        total += loss.sum().item()
    return total / len(loader.dataset)


@torch.no_grad()
def finds_a_mean_beside_one_over_the_outputs_of_layers(model, data, k):
    losses, criterion = [], nn.MSELoss()
    for x in DataLoader(data, batch_size=64):
        output, series = model(x)
        distance = 0.0
        for i in range(len(series)):
            distance += torch.mean(k(series[i], x))
        distance = distance / len(series)
        losses.append((criterion(output, x) - distance).item())
    return np.average(losses)  # BP201


@torch.no_grad()
def passes_a_mean_over_the_outputs_of_layers(model, x, k):
    series, distance = model(x), 0.0
    for i in range(len(series)):
        distance += F.mse_loss(series[i], x).item()
    return distance / len(series)


def _loaders_of(splits, data, full):
    loaders = {}
    for split in ["train", "val"]:
        if split in splits:
            loaders[split] = DataLoader(data(split), batch_size=64, drop_last=full)
    return loaders


@torch.no_grad()
def finds_a_loader_that_a_dict_has_where_it_is_asked_for(model, data):
    loaders, total = _loaders_of(["val"], data, full=False), 0.0
    for x, y in loaders["val"]:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loaders["val"])  # BP201


@torch.no_grad()
def passes_a_full_loader_that_a_dict_has_where_it_is_asked_for(model, data):
    loaders, total = _loaders_of(["val"], data, full=True), 0.0
    for x, y in loaders["val"]:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loaders["val"])


Parts = namedtuple("Parts", "data loader")  # noqa: PYI024


def _parts_of(data, full):
    return Parts(data, loader=DataLoader(data, batch_size=64, drop_last=full))


@torch.no_grad()
def finds_a_loader_in_a_named_tuple(model, data):
    parts, total = _parts_of(data, full=False), 0.0
    for x, y in parts.loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(parts.loader)  # BP201


@torch.no_grad()
def passes_a_full_loader_in_a_named_tuple(model, data):
    parts, total = _parts_of(data, full=True), 0.0
    for x, y in parts.loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(parts.loader)


@dataclass
class Loaders:
    train: DataLoader
    valid: DataLoader


@torch.no_grad()
def finds_a_loader_in_a_data_class(model, train, valid):
    loaders, total = Loaders(DataLoader(train, 64, drop_last=True), DataLoader(valid, 64)), 0.0
    for x, y in loaders.valid:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loaders.valid)  # BP201


@torch.no_grad()
def passes_a_full_loader_in_a_data_class(model, train, valid):
    loaders, total = Loaders(DataLoader(train, 64, drop_last=True), DataLoader(valid, 64)), 0.0
    for x, y in loaders.train:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loaders.train)


@torch.no_grad()
def finds_a_dict_of_loaders_by_keys_out_of_sight(model, parts):
    loaders, total = {key: DataLoader(part, batch_size=64) for key, part in parts.items()}, 0.0
    for x, y in loaders["valid"]:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loaders["valid"])  # BP201


@torch.no_grad()
def passes_a_loop_over_a_dict_of_loaders(model, parts, score):
    loaders, total = {key: DataLoader(part, batch_size=64) for key, part in parts.items()}, 0.0
    for key in loaders:
        total += score(model, key).item()
    return total / len(loaders)


@torch.no_grad()
def passes_a_mean_over_the_mask_of_a_split(model, loader):
    total = 0.0
    for data in loader:
        losses = F.mse_loss(model(data.x), data.y, reduction="none") * data.val_mask
        total += (losses.sum() / data.val_mask.sum().clamp(min=1)).item()
    return total / len(loader)


class LoadersComeLater:
    def __init__(self, model):
        self.model, self.loader = model, None

    def set_data(self, data):
        self.loader = DataLoader(data, batch_size=64)

    def finds_a_loader_that_another_method_sets(self):
        if self.loader is None:
            return None
        losses = []
        with torch.no_grad():
            for x, y in self.loader:
                losses.append(F.cross_entropy(self.model(x), y).item())
        return sum(losses) / len(losses)  # BP201


class LoadersNeverCome:
    def __init__(self, model):
        self.model, self.loader = model, None

    def passes_a_loop_that_no_method_reaches(self, loader):
        if self.loader is None:
            return None
        total = 0.0
        with torch.no_grad():
            for x, y in loader:
                total += F.cross_entropy(self.model(x), y).item()
        return total / len(loader)


def _collected(encoder, loader):
    features, labels = [], []
    with torch.no_grad():
        for x, y in loader:
            features.extend(encoder(x).numpy())
            labels.extend(y.numpy())
    return np.array(features), np.array(labels)


@torch.no_grad()
def passes_samples_of_full_batches(encoder, head, data, args):
    images = DataLoader(data, batch_size=args.batch_size, drop_last=True)
    x, y = _collected(encoder, images)
    features = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader, total = DataLoader(features, batch_size=args.batch_size), 0.0
    for x, y in loader:
        total += F.cross_entropy(head(x), y).item()
    return total / len(loader)


@torch.no_grad()
def finds_samples_of_full_batches_of_another_size(encoder, head, data, args):
    images = DataLoader(data, batch_size=args.batch_size, drop_last=True)
    x, y = _collected(encoder, images)
    features = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader, total = DataLoader(features, batch_size=args.head_batch_size), 0.0
    for x, y in loader:
        total += F.cross_entropy(head(x), y).item()
    return total / len(loader)  # BP201
