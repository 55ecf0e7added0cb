"""Shares of micro-batches in the gradient of a cut, measured.

With m(B_j) of every micro-batch, the shares are the least-squares solution of

    G = sum_j s_j m(B_j)

whose residual says whether G is such a sum at all. Where micro-batches give gradients that depend
on each other, as those of more micro-batches than numbers do, there is no one solution.
"""

import math
from dataclasses import dataclass

import torch

from batchproof.check._laws._laws import Micro, parts_of
from batchproof.check._laws._rules import EXACT
from batchproof.check._laws._search import Law, Search
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut

_APART = 1e-6
_DIGITS = 10


@dataclass(frozen=True)
class CutShares:
    """The shares of one cut.

    Attributes:
        values: one per micro-batch; nan for one that has no gradient of its own.
        targets: the share of each in the mean, or sum; empty where that is not known.
        residual: how far the gradient is from that sum, relative.
    """

    values: tuple[float, ...]
    targets: tuple[float, ...]
    residual: float


def _of_law(law: Law, cut: Cut) -> tuple[float, ...]:
    return tuple(parts_of(law.micro, law.rule, cut))


def shares_of(search: Search, micro: Micro, cut: Cut, law: Law | None) -> CutShares | None:
    """Return the share of each micro-batch of a cut; None where that is not determined.

    Args:
        search: measures what is needed.
        micro: the law of a micro-batch.
        cut: a cut whose gradient is finite.
        law: predicts every cut; its shares are taken where gradients determine none.
    """
    has_weights = micro.kind in {"ratio", "clamped", "raised", "rows", "sum"}
    exact = tuple(parts_of(micro, EXACT, cut)) if has_weights else ()
    alone = [micro.shares(piece) for piece in cut.pieces]
    table, whole = search.table(micro), search.quantity.of(cut)
    rows = torch.stack([sum(c * table[i] for i, c in one) for one in alone])  # type: ignore[misc]
    counts = rows.norm(dim=1) > 0
    matrix = rows[counts].T
    if int(torch.linalg.matrix_rank(matrix, rtol=_APART)) < matrix.shape[1]:
        return None if law is None else CutShares(_of_law(law, cut), exact, law.residual)
    values = torch.full((len(rows),), math.nan, dtype=torch.float64)
    values[counts] = torch.linalg.lstsq(matrix, whole[:, None]).solution[:, 0]
    residual = relative(values.nan_to_num() @ rows, whole)
    least = 10**-_DIGITS * float(values.nan_to_num().abs().max())
    shares = tuple(_rounded(share, least) for share in values.tolist())
    return CutShares(shares, exact, round(residual, _DIGITS))


def _rounded(share: float, least: float) -> float:
    """Return a share without the last digits, which two solutions of one system may differ in."""
    return 0.0 if abs(share) <= least else float(f"{share:.{_DIGITS}g}")
