"""Exponential averages: numbers in which a later batch weighs more, so that their order matters.

With m_j the number of batch j of k, and a decay d, an average that starts

    at the first     d^(k-1) m_1 + (1 - d) sum_{j>1} d^(k-j) m_j
    at 0             sum_j d^(k-j) m_j                       m_j: as it is for one batch alone
    at 0, corrected  sum_j d^(k-j) m_j / sum_j d^(k-j)

A cut into two batches gives d, and every other cut is then predicted with nothing left free.
"""

from collections.abc import Callable, Sequence

import torch

from batchproof.check._findings._evidence import Evidence
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


# the weights of k batches, and the decay that two batches of numbers a and b and their average show
_FORMS: tuple[tuple[Weights, Callable[[float, float, float], float]], ...] = (
    (_first, lambda a, b, both: (both - b) / (a - b)),
    (_zero, lambda a, b, both: (both - b) / a),
    (_corrected, lambda a, b, both: (b - both) / (both - a)),
)

# decays nearer to 0 or 1 are not told from the last number alone, or from a plain mean
_LEAST = 1e-3


def averages(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if an evaluation's number is an exponential average of its batches'."""
    if not evidence.evaluation or evidence.laws.law is not None:
        return []
    fit = decay_of(evidence.laws.search, evidence.laws.single)
    if fit is None:
        return []
    text = (
        f"The number is an exponential average of the batches' numbers, of decay {number(fit[0])}: "
        "later batches weigh more, so their order matters, and it is not the mean over all."
    )
    return [diagnosis("mean-of-micro-batch-means", text, fit[1], evaluation=True)]


def decay_of(search: Search, cuts: Sequence[Cut]) -> tuple[float, float] | None:
    """Return the decay of a number that is an exponential average, and the residual of that.

    Args:
        search: of the number.
        cuts: of one process, under which it is finite.
    """
    many = [cut for cut in cuts if not cut.before and len(cut.pieces) > 1]
    alone = {
        cut: torch.cat([search.quantity.alone(Cut("piece", ((p,),))) for p in cut.pieces])
        for cut in many
    }
    numbers = search.quantity.rows(many) if many else torch.zeros(0, 1)
    two = max(
        (cut for cut in many if len(cut.pieces) == 2),
        key=lambda cut: abs(float(alone[cut][0] - alone[cut][1])),
        default=None,
    )
    if two is None or numbers.shape[1] != 1 or len({len(c.pieces) for c in many}) < 3:
        return None
    a, b = alone[two].tolist()
    if a in {b, 0.0}:
        return None
    for weights, inverse in _FORMS:
        both = float(search.quantity.of(two))
        decay = inverse(a, b, both) if both != a else 1.0
        if not _LEAST < decay < 1 - _LEAST:
            continue
        rows = [
            alone[c] @ torch.tensor(weights(decay, len(c.pieces)), dtype=torch.float64)
            for c in many
        ]
        residual = misfit(torch.stack(rows)[:, None], numbers)
        if residual <= search.limit:
            return decay, residual
    return None
