"""Samples counted twice: what a sampler that pads its shards to equal length does.

Over R ranks a padding sampler hands out the first samples again (or the last) until every rank
has as many. With multiplicities c_i the number is sum_i c_i w_i x_i / sum_i c_i w_i, which is
tried for both ways and against every cut over ranks.
"""

import torch

from batchproof.check._cuts import Cut, Piece
from batchproof.check._laws import misfit
from batchproof.check._report import Diagnosis
from batchproof.check._search import Search
from batchproof.check._sentences import diagnosis


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
    weights = torch.tensor([micro.weigh(Piece((i,))) for i in range(n)])
    seen = search.rows(over)
    singles = search.singles[:n]
    for most in range(1, n + 1):
        for repeated in (range(most), range(n - most, n)):
            counts = torch.ones(n, dtype=torch.float64)
            counts[list(repeated)] += 1
            share = counts * weights
            value = (share / share.sum()) @ singles
            residual = misfit(value.expand_as(seen), seen)
            if residual <= search.lab.fit:
                text = (
                    f"Samples {list(repeated)} are counted twice: shards are padded to equal "
                    "length by handing them out again."
                )
                return [diagnosis("duplicated-samples", text, residual, evaluation=True)]
    return []
