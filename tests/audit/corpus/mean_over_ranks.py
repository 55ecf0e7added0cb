"""Means of ranks averaged without their counts."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.utils.data import DataLoader, DistributedSampler


@torch.no_grad()
def finds_a_sum_over_the_world(model, data):
    loader = DataLoader(data, batch_size=64)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y)
    mean = total / len(loader)  # BP201
    dist.all_reduce(mean)
    return mean / dist.get_world_size()  # BP213


@torch.no_grad()
def finds_an_average(model, data):
    loader = DataLoader(data, batch_size=64)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y)
    mean = total / len(loader)  # BP201
    dist.all_reduce(mean, op=dist.ReduceOp.AVG)  # BP213
    return mean


@torch.no_grad()
def finds_a_name_for_the_world(model, data, world_size):
    loader = DataLoader(data, batch_size=64)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.cross_entropy(model(x), y)
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    mean = total / len(loader)  # BP201
    return mean / world_size  # BP213


@torch.no_grad()
def finds_token_means(model, eval_dataloader, world_size):
    total = 0.0
    for batch in eval_dataloader:
        outputs = model(**batch)
        total += outputs.loss.detach().float()
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    mean = total / len(eval_dataloader)  # BP201 likely
    return mean / world_size  # BP213


@torch.no_grad()
def finds_ignored_tokens(model, val_loader, pad):
    total = torch.zeros(1)
    for x, y in val_loader:
        total += F.cross_entropy(model(x), y, ignore_index=pad)
    mean = total / len(val_loader)  # BP201
    dist.all_reduce(mean)
    return mean / dist.get_world_size()  # BP213


@torch.no_grad()
def finds_a_loader_out_of_sight(model, val_loader):
    total = torch.zeros(1)
    for x, y in val_loader:
        total += F.mse_loss(model(x), y)
    mean = total / len(val_loader)  # BP201 likely
    dist.all_reduce(mean)
    return mean / dist.get_world_size()  # BP213 likely


@torch.no_grad()
def finds_a_division_in_place(model, data):
    loader = DataLoader(data, batch_size=64)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.l1_loss(model(x), y)
    mean = total / len(loader)  # BP201
    dist.all_reduce(mean)
    mean /= dist.get_world_size()  # BP213
    return mean


@torch.no_grad()
def finds_an_option(model, data, args):
    loader = DataLoader(data, batch_size=64)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.l1_loss(model(x), y)
    mean = total / len(loader)  # BP201
    dist.all_reduce(mean)
    return mean / args.world_size  # BP213


@torch.no_grad()
def passes_sums_and_counts(model, data):
    loader = DataLoader(data, batch_size=64)
    total, seen = torch.zeros(1), torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
        seen += len(x)
    dist.all_reduce(total)
    dist.all_reduce(seen)
    return total / seen


@torch.no_grad()
def passes_full_batches(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y)
    mean = total / len(loader)
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


@torch.no_grad()
def passes_an_average_of_full_batches(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y)
    mean = total / len(loader)
    dist.all_reduce(mean, op=dist.ReduceOp.AVG)
    return mean


@torch.no_grad()
def passes_batches_of_one(model, data):
    loader = DataLoader(data, batch_size=1)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y)
    mean = total / len(loader)
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def passes_a_gradient(parameters):
    for parameter in parameters:
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()


def passes_a_weighted_step(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        shown, n = loss.detach() * len(x), torch.tensor([len(x)])
        dist.all_reduce(shown)
        dist.all_reduce(n)
        print((shown / n).item())


@torch.no_grad()
def passes_one_process(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_sums_over_a_global_count(model, data, global_count):
    loader = DataLoader(data, batch_size=64)
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
    dist.all_reduce(total)
    return total / global_count


@torch.no_grad()
def misses_a_gather(model, loader, gather):
    losses = [F.mse_loss(model(x), y).item() for x, y in loader]
    mean = sum(losses) / len(losses)  # BP201 likely
    means = gather(mean)
    return sum(means) / len(means)  # missed BP213


@torch.no_grad()
def misses_a_helper_that_averages(model, data, average_over_ranks):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item()
    mean = total / len(loader)  # BP201
    return average_over_ranks(mean)  # missed BP213


@torch.no_grad()
def finds_a_helper_that_averages(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data, drop_last=True))
    losses = 0.0
    for step, batch in enumerate(loader):
        outputs = model(**batch)
        loss = outputs.loss
        losses += loss.float()
    losses = losses / (step + 1)  # BP201
    return get_all_reduce_mean(losses).item()  # BP213
