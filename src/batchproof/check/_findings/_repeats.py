"""Samples counted twice: what a sampler that pads its shards to equal length does.

Over R ranks a padding sampler hands out the first samples again (or the last) until every rank
has as many. With multiplicities c_i the number is sum_i c_i w_i x_i / sum_i c_i w_i, which is
tried for both ways and against every cut over ranks.
"""

import torch
from torch import Tensor

from batchproof.check._laws._laws import misfit
from batchproof.check._laws._search import Search
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._report._remedies import diagnosis
from batchproof.check._report._report import Diagnosis


def duplicates(search: Search, cuts: list[Cut]) -> list[Diagnosis]:
    """Return a diagnosis if repeated samples explain every cut over ranks.

    Args:
        search: of the evaluation's number.
        cuts: cuts that gave a number.
    """
    over = [cut for cut in cuts if len(cut.ranks) > 1]
    micro = search.plain
    if not over or micro is None or micro.kind != "ratio":
        return []
    n = search.facts.count
    weights = torch.tensor([micro.weigh(MicroBatch((i,))) for i in range(n)], dtype=torch.float64)
    for ahead in (True, False):
        found = [_repeated(search, cut, weights, ahead=ahead) for cut in over]
        if all(one is not None for one in found) and any(one and one[0] for one in found):
            many = sorted({i for one in found if one for i in one[0]})
            text = (
                f"Samples {many} are counted twice: shards are padded to equal length by handing "
                "them out again."
            )
            residual = max(one[1] for one in found if one)
            return [diagnosis("duplicated-samples", text, residual, evaluation=True)]
    return []


def _repeated(
    search: Search, cut: Cut, weights: Tensor, *, ahead: bool
) -> tuple[list[int], float] | None:
    """Return which samples, counted twice, give the cut's number, and how well."""
    n = len(weights)
    seen = search.of(cut)[None]
    for most in range(n):
        repeated = list(range(most)) if ahead else list(range(n - most, n))
        share = weights.clone()
        share[repeated] *= 2
        value = (share / share.sum()) @ search.singles[:n]
        residual = misfit(value[None], seen)
        if residual <= search.runner.fit:
            return repeated, residual
    return None
