"""A model that moves all that a pass can, and a loss that runs out of memory above some rows."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

import batchproof as bp
import step_models as models


class NoRoom(torch.autograd.Function):
    """Passes on what it gets, and runs out of memory in the backward pass."""

    @staticmethod
    def forward(ctx, given):
        return given.clone()

    @staticmethod
    def backward(ctx, grad):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Drawing(nn.Module):
    """All that a pass moves besides parameters: running statistics, draws, generators, buffers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            OrderedDict(
                first=nn.Linear(3, 4), norm=nn.BatchNorm1d(4), drop=nn.Dropout(0.3),
                last=nn.Linear(4, 2),
            )
        ).double()  # fmt: skip
        self.generator = torch.Generator().manual_seed(2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype)
        return self.layers(x + 0.1 * noise + 0.1 * float(np.random.random()))


class Room:
    """A loss that runs out of memory above some rows; it notes the rows of each attempt."""

    def __init__(self, rows, where="forward", mean=models.squares):
        self.rows, self.where, self.mean = rows, where, mean
        self.attempt = []

    def __call__(self, model, batch):
        self.attempt.append(batch)
        if self.rows is None or len(batch["x"]) <= self.rows:
            return self.mean(model, batch)
        if self.where == "forward":
            self.mean(model, batch)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        means = self.mean(model, batch)
        if isinstance(means, dict):
            return {k: bp.Mean(NoRoom.apply(m.total), m.weight, m.unit) for k, m in means.items()}
        return bp.Mean(NoRoom.apply(means.total), means.weight, means.unit)


def samples(rows, seed):
    draw = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(rows, 3, generator=draw, dtype=torch.float64),
        "y": torch.randn(rows, 2, generator=draw, dtype=torch.float64),
        "mask": torch.rand(rows, 2, generator=draw) < 0.8,
        "weight": torch.rand(rows, generator=draw, dtype=torch.float64) + 0.5,
        "names": [f"sample {i}" for i in range(rows)],
    }


def last_attempt(attempts, window):
    """The micro-batches of the attempt that came to the end of the window."""
    left, cut = sum(len(batch["x"]) for batch in window), []
    while left:
        cut.insert(0, attempts.pop())
        left -= len(cut[0]["x"])
    return cut
