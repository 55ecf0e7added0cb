"""Small models and losses in float64 that the tests of a step share, and their oracle."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import batchproof as bp

SAMPLES = 6


def model_of(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)


def samples_of(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Six sequences of three steps with a mask; one of them has no step that counts."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(SAMPLES, 2, generator=generator) < 0.6
    mask[0], mask[1] = True, False
    return {
        "x": torch.randn(SAMPLES, 3, generator=generator, dtype=torch.float64).to(dtype),
        "y": torch.randn(SAMPLES, 2, generator=generator, dtype=torch.float64).to(dtype),
        "mask": mask,
        "weight": torch.rand(SAMPLES, generator=generator, dtype=torch.float64).to(dtype) + 0.5,
    }


def cut(samples: dict[str, Tensor], parts: Sequence[Sequence[int]]) -> list[dict[str, Tensor]]:
    return [{key: value[list(part)] for key, value in samples.items()} for part in parts]


def squares(model: nn.Module, batch: dict[str, Tensor]) -> bp.Mean:
    losses = (model(batch["x"]) - batch["y"]) ** 2
    return bp.reduce(losses, mask=batch["mask"])


def two_terms(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, bp.Mean]:
    away = model(batch["x"]) - batch["y"]
    return {
        "squares": bp.reduce(away**2, mask=batch["mask"]),
        "sides": bp.reduce(away.abs(), unit="sample", weight=batch["weight"]),
    }


def counted(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"squares": batch["mask"].sum(), "sides": batch["weight"].sum()}


def mean_of_squares(model: nn.Module, whole: dict[str, Tensor]) -> Tensor:
    losses = (model(whole["x"]) - whole["y"]) ** 2
    return losses[whole["mask"]].sum() / whole["mask"].sum()


def mean_of_two(model: nn.Module, whole: dict[str, Tensor]) -> Tensor:
    sides = (model(whole["x"]) - whole["y"]).abs().mean(1)
    weight = whole["weight"]
    return mean_of_squares(model, whole) + 0.3 * (sides * weight).sum() / weight.sum()


def by_hand(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Callable[[nn.Module, dict[str, Tensor]], Tensor],
    windows: Sequence[dict[str, Tensor]],
    *,
    max_grad_norm: float | None = None,
) -> list[tuple[float, float]]:
    """Train on whole batches in plain torch; return each one's loss and norm."""
    seen = []
    for whole in windows:
        optimizer.zero_grad()
        value = objective(model, whole)
        value.backward()
        limit = float("inf") if max_grad_norm is None else max_grad_norm
        norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        seen.append((value.item(), norm.item()))
    return seen


def assert_same(ours: nn.Module, theirs: nn.Module, tolerance: float = 1e-12) -> None:
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)
