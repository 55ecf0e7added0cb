"""Small models, data and trainers for the tests of training."""

import torch
from torch import nn

import batchproof as bp
from batchproof.data import Batches


def classifier(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def samples(count: int = 50, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    return x, x[:, :3].argmax(1)


def batches(count: int = 50, *, batch_size: int = 8, shuffle: bool = False, seed: int = 1):
    return Batches(*samples(count, seed), batch_size=batch_size, shuffle=shuffle)


def criterion():
    return bp.supervised(nn.CrossEntropyLoss(), metrics={"accuracy": bp.accuracy})


def trainer(model: nn.Module | None = None, *, lr: float = 0.1, optimizer=None, **options):
    model = classifier() if model is None else model
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    options = {"progress": False, "device": "cpu", **options}
    return bp.Trainer(model, options.pop("loss", criterion()), optimizer, **options)
