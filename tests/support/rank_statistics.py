"""Running statistics of ranks whose windows are uneven."""

from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import batchproof as bp
from batchproof.step import distributed_group


def loss(model: nn.Module, x: torch.Tensor) -> bp.Mean:
    return bp.reduce(model(x).square().mean(1))


def model_of() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def batches_of(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 2, generator=generator) + 3 for _ in range(count)]


def buffers_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def after_steps(wrapper: str, counts: list[int], rank: int) -> dict[str, torch.Tensor]:
    inner = model_of()
    model = DistributedDataParallel(inner) if wrapper == "ddp" else inner
    step = bp.Step(model, torch.optim.SGD(inner.parameters(), lr=0.0))
    for window in bp.windows(batches_of(counts[rank])):
        step(window, loss)
    return buffers_of(inner)


def after_join(counts: list[int], rank: int) -> dict[str, torch.Tensor]:
    """The same under torch's own join, for ranks of unequal data."""
    inner = model_of()
    model = DistributedDataParallel(inner)
    with model.join():
        for x in batches_of(counts[rank]):
            loss(model, x).value().backward()
    return buffers_of(inner)


def uneven(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    with distributed_group("cpu", timeout=60.0) as place:
        return {
            f"{which} {a} {b}": make([a, b], place.rank)
            for a, b in ((0, 10), (2, 5), (5, 0))
            for which, make in (
                ("ddp", lambda counts, rank: after_steps("ddp", counts, rank)),
                ("bare", lambda counts, rank: after_steps("bare", counts, rank)),
                ("join", after_join),
            )
        }
