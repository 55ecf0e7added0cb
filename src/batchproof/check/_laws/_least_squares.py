"""Weights of several means at once, where no count in the batches is the weight of one of them.

With a_i and b_i the weights of two terms, and X_i the unknown gradient of the second for sample i,
a micro-batch S gives

    m(S) = sum_i a_i/a(S) (m_i - X_i) + sum_i b_i/b(S) X_i,        a(S) = sum_{i in S} a_i

A third mean, whose weights are known, adds a term of the same form. For given weights this is
linear in X, so X is projected out, and what is left over is a function of the weights alone:
brought to zero by Levenberg's and Marquardt's method from a few starts (variable projection, Golub
and Pereyra 1973). More subsets are measured than unknowns, so that a residual of zero is a proof
and not a fit.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_STEPS = 40
_WIDTH = 8


def free_weights(
    singles: Tensor,
    subsets: Sequence[tuple[int, ...]],
    rows: Tensor,
    counts: Sequence[Tensor],
    *,
    tolerance: float,
    starts: int,
) -> tuple[Tensor, ...] | None:
    """Find the weights of the last of several means, or of two, from micro-batches of samples.

    Args:
        singles: what single samples give, one per row.
        subsets: samples of the micro-batches.
        rows: what the micro-batches give, one per row.
        counts: for each mean whose weights are known, the shares of each subset's samples; none to
            find two means.
        tolerance: of the residual, relative.
        starts: the number of points from which the search begins.

    Returns:
        One weight vector, or two where none is known, each of mean 1; None where none fit.
    """
    count = len(singles)
    inside = torch.zeros(len(subsets), count, dtype=torch.float64)
    for row, samples in enumerate(subsets):
        inside[row, list(samples)] = 1.0
    scale = rows.norm(dim=1, keepdim=True).clamp_min(1e-6 * float(rows.norm(dim=1).max()))
    single, many = _narrow(singles, rows)
    vectors = 1 if counts else 2

    def rest(weights: Tensor) -> Tensor:
        shares = _shares(inside, weights.reshape(*weights.shape[:-1], vectors, 1, count))
        first = counts[0] if counts else shares[..., 0, :, :]
        others = [other.expand_as(shares[..., -1, :, :]) for other in counts[1:]]
        matrix = (
            torch.cat([other - first for other in (*others, shares[..., -1, :, :])], -1) / scale
        )
        target = (many - first @ single) / scale
        target = target.expand(*matrix.shape[:-1], -1)
        parts = torch.linalg.lstsq(matrix, target, driver="gelsd").solution
        residual: Tensor = target - matrix @ parts
        return residual

    draw = torch.Generator().manual_seed(0)
    for _ in range(starts):
        start = torch.randn(vectors * count, generator=draw, dtype=torch.float64).exp()
        weights, size = _descend(rest, start)
        if size <= tolerance and bool((weights > -1e-6).all()):
            return tuple(w.clamp_min(0) / w.mean() for w in weights.reshape(vectors, count))
    return None


def _shares(inside: Tensor, weights: Tensor) -> Tensor:
    parts = inside * weights
    total = parts.sum(-1, keepdim=True)
    return torch.where(total == 0, 0.0, parts / torch.where(total == 0, 1.0, total))


def _narrow(singles: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in a few random directions: every linear equation stays true."""
    width = singles.shape[1]
    if width <= _WIDTH:
        return singles, rows
    draw = torch.Generator().manual_seed(1)
    turn = torch.randn(width, _WIDTH, generator=draw, dtype=torch.float64) / width**0.5
    return singles @ turn, rows @ turn


def _descend(rest: Callable[[Tensor], Tensor], weights: Tensor) -> tuple[Tensor, float]:
    """Reduce the residual; return the weights and its largest row."""
    now, damping = rest(weights), 1e-2
    for _ in range(_STEPS):
        before = float(now.square().sum())
        slope = _slope(rest, weights)
        normal, pull = slope.T @ slope, slope.T @ now.flatten()
        for _ in range(6):
            matrix = normal + damping * (normal.diagonal().clamp_min(1e-12)).diag()
            move = torch.linalg.solve(matrix, pull)
            trial = weights - move
            there = rest(trial)
            if float(there.square().sum()) < before:
                weights, now, damping = trial, there, damping / 8
                break
            damping *= 8
        after = float(now.square().sum())
        if after < 1e-26 or after > 0.995 * before:
            break
    weights = weights / weights.abs().max()
    return weights, float(now.norm(dim=1).max())


def _slope(rest: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
    step = 1e-6 * weights.abs().clamp_min(1e-3)
    gap = rest(weights + step.diag()) - rest(weights - step.diag())
    return gap.flatten(1).T / (2 * step)
