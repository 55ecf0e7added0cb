"""Exponential averages, in which a later micro-batch weighs more, so that their order matters.

With m_j the gradient, or number, of micro-batch j of k, and a decay d, an average that starts

    at the first     d^(k-1) m_1 + (1 - d) sum_{j>1} d^(k-j) m_j
    at 0             sum_j d^(k-j) m_j                       m_j: as it is for one alone
    at 0, corrected  sum_j d^(k-j) m_j / sum_j d^(k-j)

A cut into two gives d, and every other cut is then predicted with nothing left free.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._windows import words
from batchproof.check._laws._laws import misfit
from batchproof.check._laws._search import Search
from batchproof.check._measure._cuts import Cut
from batchproof.check._report._results import Diagnosis, diagnosis
from batchproof.page import number

Weights = Callable[[float, int], list[float]]


def _first(decay: float, k: int) -> list[float]:
    return [decay ** (k - 1), *((1 - decay) * decay ** (k - j) for j in range(2, k + 1))]


def _zero(decay: float, k: int) -> list[float]:
    return [decay ** (k - j) for j in range(1, k + 1)]


def _corrected(decay: float, k: int) -> list[float]:
    weights = _zero(decay, k)
    return [weight / sum(weights) for weight in weights]


# the weights of k micro-batches, and two vectors of which one is the decay times the other, where
# two of them give a and b alone
_FORMS: tuple[tuple[Weights, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]], ...] = (
    (_first, lambda a, b, both: (both - b, a - b)),
    (_zero, lambda a, b, both: (both - b, a)),
    (_corrected, lambda a, b, both: (b - both, both - a)),
)

# decays nearer to 0 or 1 are not told from the last number alone, or from a plain mean
_LEAST = 1e-3


def averages(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if gradient or number are an exponential average of micro-batches'."""
    if evidence.laws.law is not None:
        return []
    fit = decay_of(evidence.laws.search, evidence.laws.single)
    if fit is None:
        return []
    what, part = words(evidence)
    text = (
        f"The {what} is an exponential average of the {part}es' {what}s, of decay "
        f"{number(fit[0])}: later {part}es weigh more, so their order matters, and it is not the "
        "mean over all."
    )
    name = "mean-of-micro-batch-means"
    return [diagnosis(name, text, fit[1], evaluation=evidence.evaluation)]


def decay_of(search: Search, cuts: Sequence[Cut]) -> tuple[float, float] | None:
    """Return the decay of an exponential average, and the residual of that.

    Args:
        search: of the gradient, or of a number.
        cuts: of one process, under which it is finite.
    """
    many = [cut for cut in cuts if not cut.before and len(cut.pieces) > 1]
    alone = {
        cut: torch.stack([search.quantity.alone(Cut("piece", ((p,),))) for p in cut.pieces])
        for cut in many
    }
    two = max(
        (cut for cut in many if len(cut.pieces) == 2),
        key=lambda cut: float((alone[cut][0] - alone[cut][1]).norm()),
        default=None,
    )
    if two is None or len({len(c.pieces) for c in many}) < 3:
        return None
    rows = search.quantity.rows(many)
    for weights, vectors in _FORMS:
        change, by = vectors(alone[two][0], alone[two][1], search.quantity.of(two))
        size = float(by @ by)
        decay = float(change @ by) / size if size > 0 else 0.0
        if not _LEAST < decay < 1 - _LEAST:
            continue
        predictions = [
            torch.tensor(weights(decay, len(c.pieces)), dtype=torch.float64) @ alone[c]
            for c in many
        ]
        residual = misfit(torch.stack(predictions), rows)
        if residual <= search.limit:
            return decay, residual
    return None
