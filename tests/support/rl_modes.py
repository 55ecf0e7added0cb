"""The aggregations of RL fine-tuning as pairs, and a step over ranks that do not share evenly."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

import batchproof as bp
from batchproof.step import distributed_group

CONSTANT = 7
# sequences in each micro-batch of each rank
UNEVEN = ([[0, 1, 2], [3]], [[4]])


def counting_all(mean: bp.Mean) -> bp.Mean:
    """Return pairs in which a sequence without a token counts as well."""
    return bp.Mean(mean.total, torch.ones_like(mean.weight), mean.unit)


# of losses, mask, and the number of sequences of a whole step
MODES = {
    "token-mean": lambda losses, mask, count: bp.reduce(losses, unit="element", mask=mask),
    "seq-mean-token-sum": lambda losses, mask, count: bp.reduce(
        losses, unit="sample-sum", mask=mask
    ),
    "seq-mean-token-mean": lambda losses, mask, count: bp.reduce(losses, unit="sample", mask=mask),
    "seq-mean-token-sum-norm": lambda losses, mask, count: counting_all(
        bp.reduce(losses * (count / CONSTANT), unit="sample-sum", mask=mask)
    ),
    "dr_grpo": lambda losses, mask, count: counting_all(
        bp.reduce(losses / CONSTANT, unit="sample-sum", mask=mask)
    ),
    "grpo": lambda losses, mask, count: counting_all(bp.reduce(losses, unit="sample", mask=mask)),
}


def batch() -> tuple[Tensor, Tensor]:
    """Return losses and mask of five sequences, one of them without a token."""
    draw = torch.Generator().manual_seed(0)
    losses = torch.randint(-9, 10, (5, 4), generator=draw).double()
    lengths = torch.tensor([4, 1, 2, 0, 3])
    return losses, torch.arange(4) < lengths[:, None]


def stepped(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the gradient and the loss of one step of each mode over all ranks."""
    del folder
    with distributed_group("cpu"):
        return {mode: _step(mode) for mode in MODES}


def _step(mode: str) -> tuple[Tensor, Tensor]:
    losses, mask = batch()
    model = nn.Linear(1, 1, bias=False)
    model.weight = nn.Parameter(losses.clone())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def loss(model: nn.Module, rows: list[int]) -> bp.Mean:
        return MODES[mode](model.weight[rows], mask[rows], len(losses))

    result = bp.Step(model, optimizer)(UNEVEN[int(os.environ["RANK"])], loss)
    assert result.loss is not None
    return losses - model.weight.detach(), result.loss.value()
