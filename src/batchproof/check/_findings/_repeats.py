"""Repeated samples: what a sampler does that pads its shards to equal length.

Over R ranks such a sampler hands out the first samples again (or the last) until every rank has as
many. With multiplicities c_i the number is sum_i c_i w_i x_i / sum_i c_i w_i, which is tried for
both ways and against every cut over ranks. Where the shards of a loader are known, as those of a
framework's sampler are, the multiplicities are not tried but counted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._laws._laws import misfit
from batchproof.check._laws._search import Search
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._report._results import Diagnosis, diagnosis


def repeats(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if repeated samples predict every cut over ranks."""
    search = evidence.laws.search
    over = [cut for cut in evidence.laws.finite if len(cut.ranks) > 1]
    micro = search.plain
    if not evidence.evaluation or not over or micro is None or micro.kind != "ratio":
        return []
    every = range(evidence.facts.count)
    weights = torch.tensor([micro.weigh(MicroBatch((i,))) for i in every], dtype=torch.float64)
    for ahead in (True, False):
        fits = [_repeated(search, cut, weights, ahead=ahead) for cut in over]
        proved = [fit for fit in fits if fit is not None]
        if len(proved) == len(over) and any(samples for samples, _ in proved):
            many = sorted({i for samples, _ in proved for i in samples})
            return [repeated_samples(many, max(residual for _, residual in proved))]
    return []


def repeated_samples(samples: Sequence[int], residual: float, rest: str = "") -> Diagnosis:
    """Return the diagnosis of samples that are counted twice.

    Args:
        samples: their indices.
        residual: of what their repetition predicts.
        rest: a further sentence.
    """
    text = (
        f"Samples {list(samples)} are counted twice: shards are padded to equal length by handing "
        f"them out again.{rest}"
    )
    return diagnosis("duplicated-samples", text, residual, evaluation=True)


def _repeated(
    search: Search, cut: Cut, weights: Tensor, *, ahead: bool
) -> tuple[list[int], float] | None:
    """Return which samples, counted twice, give the cut's number, and how well."""
    n = len(weights)
    measured = search.quantity.of(cut)[None]
    for most in range(n):
        again = list(range(most)) if ahead else list(range(n - most, n))
        share = weights.clone()
        share[again] *= 2
        value = (share / share.sum()) @ search.quantity.singles[:n]
        residual = misfit(value[None], measured)
        if residual <= search.limit:
            return again, residual
    return None
