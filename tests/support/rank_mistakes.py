"""The mistakes over ranks that docs/mistakes shows, where other processes can import them."""

import torch
from torch import distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DistributedSampler

_DRAW = torch.Generator().manual_seed(0)
samples = [(torch.randn(3, generator=_DRAW), torch.randn(1, generator=_DRAW)) for _ in range(7)]


def build():
    model = nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def build_model():
    return nn.Linear(3, 1)


def divided_twice(model, optimizer, micro_batches):
    optimizer.zero_grad()
    weight = torch.tensor(float(sum(len(targets) for _, targets in micro_batches)))
    if dist.is_initialized():
        dist.all_reduce(weight)
    for inputs, targets in micro_batches:
        (F.mse_loss(model(inputs), targets, reduction="sum") / weight).backward()
    optimizer.step()


def padded_sampler(model, batches):
    world, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    rows = [row for inputs, targets in batches for row in zip(inputs, targets, strict=True)]
    total = torch.zeros(2, dtype=torch.float64)
    for index in DistributedSampler(range(len(rows)), world, rank, shuffle=False):
        inputs, target = rows[index]
        total += torch.tensor([F.mse_loss(model(inputs), target).item(), 1.0]).double()
    if world > 1:
        dist.all_reduce(total)
    return (total[0] / total[1]).item()
