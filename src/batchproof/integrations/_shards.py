"""Evaluations whose loader shares samples out over ranks, and repeats some to make ranks even.

The framework's own sampler says which samples the batches of each rank hold. With the number of
each such batch measured on one process, what a rank must report is known:

    number of a rank = sum_b c_b v_b / sum_b c_b     v_b: of batch b alone, c_b: how often it counts

Where every rank did report that, and some batch holds a sample a second time, the repeated
samples are the cause. The frameworks take one batch size, so the cuts are batches of one size.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchproof.check import Cut, CutResult, Diagnosis, Piece, Probe, Report, cut_of
from batchproof.integrations._given import cast

Batch = tuple[int, ...]
# shares(samples, batch size, ranks): for every rank, the batches that make its number, each with
# how often it counts
Shares = Callable[[int, int, int], list[list[tuple[Batch, int]]]]


@dataclass(frozen=True)
class EvaluationProbe(Probe):
    """A probe of an evaluation that makes and shares out its batches itself.

    Attributes:
        shares: which samples the batches of each rank hold.
    """

    shares: Shares | None = None

    def check(self, *, name: str = "") -> Report:
        """Run the check over batches of every size, and over ranks.

        Args:
            name: what is checked, for the report.

        Raises:
            ProbeError: if it cannot be run.
        """
        samples = self.given()
        over_ranks = _rank_cuts(len(samples), self.ranks)
        own = [*_size_cuts(len(samples)), *over_ranks] if self.cuts == "standard" else self.cuts
        probe = replace(self, samples=samples, cuts=own)
        report = Probe.check(probe, name=name)
        return _Repeats(probe, samples, report).report([cut.name for cut in over_ranks])


def sizes_of(count: int) -> range:
    """Return the batch sizes that are tried besides the whole."""
    return range(1, min(count, 9))


def _size_cuts(count: int) -> list[Cut]:
    names = {1: "one-by-one"}
    return [
        cut_of(names.get(size, f"batches-of-{size}"), _batches(count, size))
        for size in sizes_of(count)
    ]


def _batches(count: int, size: int) -> list[Batch]:
    return [tuple(range(at, min(at + size, count))) for at in range(0, count, size)]


def _rank_cuts(count: int, worlds: Sequence[int]) -> list[Cut]:
    found = []
    for world in worlds:
        sizes = dict.fromkeys((1, 2, 4, math.ceil(count / world))) if world > 1 else ()
        for size in sizes:
            batches = [Piece(batch) for batch in _batches(count, size)]
            each = math.ceil(len(batches) / world)
            ranks = tuple(tuple(batches[each * r : each * (r + 1)]) for r in range(world))
            found.append(Cut(f"ranks-{world}-batches-of-{size}", ranks))
    return found


class _Repeats:
    """Tries repeated samples as the cause of what a report shows over ranks."""

    def __init__(self, probe: EvaluationProbe, samples: list[Any], report: Report) -> None:
        self.probe, self.samples, self.given = probe, samples, report
        self.values: dict[Batch, float] = {}

    def report(self, names: Sequence[str]) -> Report:
        """Return the report, with the diagnosis where every cut over ranks proves it."""
        over = [cut for cut in self.given.cuts if cut.name in names and not cut.failure]
        if "duplicated-samples" in self.given.names or not any(cut.dependent for cut in over):
            return self.given
        shared = [self._shared(cut) for cut in over]
        again = set().union(*(_repeated(ranks) for ranks in shared))
        own = [[self._number(rank) for rank in ranks] for ranks in shared]
        pooled = [[sum(numbers) / len(numbers)] * len(numbers) for numbers in own]
        tries = [(self._residual(over, own), True), (self._residual(over, pooled), False)]
        residual, each = min(tries, key=lambda tried: tried[0])
        if not again or residual > 100 * self.given.tolerance:
            return self.given
        gaps = [max(numbers) - min(numbers) for numbers in own]
        apart = own[gaps.index(max(gaps))] if each and max(gaps) > residual else []
        explained = all(cut.name in names for cut in self.given.cuts if cut.dependent)
        kept = [d for d in self.given.diagnoses if not (explained and d.name == "unknown")]
        found = _diagnosis(sorted(again), residual, apart)
        return replace(self.given, diagnoses=(found, *kept))

    def _shared(self, cut: CutResult) -> list[list[tuple[Batch, int]]]:
        assert self.probe.shares is not None
        world, size = (int(part) for part in cut.name.split("-") if part.isdigit())
        return self.probe.shares(len(self.samples), size, world)

    def _number(self, rank: list[tuple[Batch, int]]) -> float:
        total = sum(count for _, count in rank)
        return sum(count * self._value(batch) for batch, count in rank) / total

    def _residual(self, cuts: Sequence[CutResult], expected: Sequence[Sequence[float]]) -> float:
        """Return how far rank 0's number, and the furthest rank's, are from those expected."""
        whole = self.given.cuts[0].loss or math.nan
        gaps = []
        for cut, numbers in zip(cuts, expected, strict=True):
            furthest = max(abs(number - whole) for number in numbers) / abs(whole)
            gaps.append(abs((cut.loss or math.nan) - numbers[0]) / abs(whole))
            gaps.append(abs((cut.loss_error or 0.0) - furthest))
        return max((math.inf if math.isnan(gap) else gap for gap in gaps), default=math.inf)

    def _value(self, batch: Batch) -> float:
        if batch not in self.values:
            built = self.probe.build()
            model = (built[0] if isinstance(built, tuple) else built).to(self.probe.dtype)
            made = self.probe.collate([self.samples[i] for i in batch])
            self.values[batch] = float(self.probe.run(model, [cast(made, self.probe.dtype)]))
        return self.values[batch]


def _repeated(ranks: list[list[tuple[Batch, int]]]) -> set[int]:
    """Return the samples that some rank holds a second time, or another rank holds too."""
    same = all(rank == ranks[0] for rank in ranks)
    seen = Counter(i for rank in ranks[: 1 if same else None] for batch, _ in rank for i in batch)
    return {i for i, times in seen.items() if times > 1}


def _diagnosis(samples: list[int], residual: float, apart: Sequence[float]) -> Diagnosis:
    told = " and ".join(f"{number:.4g}" for number in apart)
    own = f" Besides, each rank reports a number of its own: {told}." if apart else ""
    return Diagnosis(
        "duplicated-samples",
        f"Samples {samples} are handed out again so that all ranks have equally many, and count "
        f"a second time.{own}",
        "Share samples out without repeating any, keep sums and weights, and pool them once at "
        "the end.",
        "meter = batchproof.Meter()   # on every rank, over its own samples\n"
        "meter.add(batchproof.reduce(losses, mask=mask))\n"
        "value = meter.sync().estimate().value",
        residual,
    )
