"""Repeated samples: what a sampler does that pads its shards to equal length.

Over R ranks such a sampler hands out the first samples again (or the last) until every rank has as
many. With multiplicities c_i the number is sum_i c_i w_i x_i / sum_i c_i w_i, which is tried for
both ways and against every cut over ranks. Where the shards of a loader are known, as those of a
framework's sampler are, the multiplicities are not tried but counted.
"""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._laws._laws import misfit
from batchproof.check._laws._search import Search
from batchproof.check._measure._cuts import Cut, MicroBatch, Shares
from batchproof.check._report._results import Diagnosis, diagnosis

Batch = tuple[int, ...]


def repeats(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if repeated samples predict every cut over ranks."""
    over = [cut for cut in evidence.laws.finite if len(cut.ranks) > 1]
    if not evidence.evaluation or not over:
        return []
    if evidence.facts.shares is not None:
        return _counted(evidence, over, evidence.facts.shares)
    law, micro = evidence.laws.law, evidence.laws.search.plain
    if (law is not None and not law.exact) or micro is None or micro.kind != "ratio":
        return []
    search, every = evidence.laws.search, range(evidence.facts.count)
    weights = torch.tensor([micro.weigh(MicroBatch((i,))) for i in every], dtype=torch.float64)
    for ahead in (True, False):
        fits = [_repeated(search, cut, weights, ahead=ahead) for cut in over]
        repetitions = [fit for fit in fits if fit is not None]
        if len(repetitions) == len(over) and any(samples for samples, _ in repetitions):
            many = sorted({i for samples, _ in repetitions for i in samples})
            return [_diagnosis(many, max(residual for _, residual in repetitions))]
    return []


def _counted(evidence: Evidence, over: Sequence[Cut], shares: Shares) -> list[Diagnosis]:
    """Return the diagnosis where a loader's known shards predict the number of every rank."""
    shards = [shares(evidence.facts.count, len(c.pieces[0].samples), len(c.ranks)) for c in over]
    again = set().union(*(_again(ranks) for ranks in shards))
    own = [[_number(evidence, rank) for rank in ranks] for ranks in shards]
    means = [[sum(numbers) / len(numbers)] * len(numbers) for numbers in own]
    apart, together = (_distance(evidence, over, numbers) for numbers in (own, means))
    residual = min(apart, together)
    if not again or residual > evidence.runner.fit:
        return []
    widest = max(own, key=lambda numbers: max(numbers) - min(numbers))
    rest = ""
    if apart <= together and max(widest) - min(widest) > residual:
        numbers = " and ".join(f"{number:.4g}" for number in widest)
        rest = f" Besides, each rank reports a number of its own: {numbers}."
    return [_diagnosis(sorted(again), residual, rest)]


def _again(ranks: Sequence[Sequence[tuple[Batch, int]]]) -> set[int]:
    """Return the samples that some rank holds a second time, or another rank holds too."""
    # where every rank has the number of all batches, they are counted once
    own = ranks[:1] if all(rank == ranks[0] for rank in ranks) else ranks
    times = Counter(i for rank in own for batch, _ in rank for i in batch)
    return {i for i, number in times.items() if number > 1}


def _number(evidence: Evidence, rank: Sequence[tuple[Batch, int]]) -> float:
    """Return the number that a rank makes of batches whose numbers are measured alone."""
    runner = evidence.runner
    parts = [(count, float(runner.vector(runner.piece(*batch)))) for batch, count in rank]
    total = sum(count * value for count, value in parts)
    return total / sum(count for count, _ in parts)


def _distance(
    evidence: Evidence, cuts: Sequence[Cut], predictions: Sequence[Sequence[float]]
) -> float:
    """Return the distance of the ranks' numbers from those expected, relative to the uncut one."""
    whole = float(evidence.runner.vector(evidence.runner.whole()))
    gaps = [
        abs((value if value is not None else math.nan) - number)
        for cut, numbers in zip(cuts, predictions, strict=True)
        for value, number in zip(evidence.runner.observe(cut).losses, numbers, strict=True)
    ]
    return max(math.inf if math.isnan(gap) else gap / abs(whole) for gap in gaps)


def _diagnosis(samples: Sequence[int], residual: float, rest: str = "") -> Diagnosis:
    text = (
        f"Samples {list(samples)} are counted twice: shards are padded to equal length by handing "
        f"them out again.{rest}"
    )
    return diagnosis("duplicated-samples", text, residual, evaluation=True)


def _repeated(
    search: Search, cut: Cut, weights: Tensor, *, ahead: bool
) -> tuple[list[int], float] | None:
    """Return the samples that, counted twice, give the cut's number, and the residual."""
    n = len(weights)
    number = search.quantity.of(cut)[None]
    for most in range(n):
        again = list(range(most)) if ahead else list(range(n - most, n))
        share = weights.clone()
        share[again] *= 2
        value = (share / share.sum()) @ search.quantity.singles[:n]
        residual = misfit(value[None], number)
        if residual <= search.limit:
            return again, residual
    return None
