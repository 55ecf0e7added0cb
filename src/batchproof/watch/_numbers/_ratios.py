"""Ratios of counts that an evaluation may show: F1, Dice, IoU, precision and recall.

With hits h, predictions p and targets t of a class,

    precision  h / p     recall  h / t     F1, Dice  2 h / (p + t)     IoU  h / (p + t - h)

A ratio over a pass is that of the counts of the pass. The mean of the ratios of its batches is
another number.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from batchproof.watch._numbers._candidates import RATIO, Candidate
from batchproof.watch._numbers._ranges import NTH, OVER, PASS, Ranges
from batchproof.watch._numbers._series import Numbers, Series

Ratio = Callable[[NDArray[np.float64]], Numbers]


def ratio_candidates(series: Series, ranges: Ranges) -> list[Candidate]:
    """Return every reading of a ratio over some ranges of batches.

    Args:
        series: batches with counts, shape (batches, classes, 3): hits, predictions, targets.
        ranges: which of them, for each line.
    """
    counts, readings = series.counts, list[Candidate]()
    if counts is None:
        return readings
    where = OVER[ranges.rule]
    whole = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, 0)])
    sums = whole[ranges.last] - whole[ranges.first]
    with np.errstate(all="ignore"):
        for word, ratio in _ratios(counts.shape[1]):
            for unit, factor in (("", 1.0), (", in per cent", 100.0)):
                right = factor * ratio(sums) + 0 * ranges.batches
                phrase = f"{word} of all counts {where}{unit}"
                readings.append(Candidate("", phrase, right, series, ranges))
                # of batches of one sample it is the mean of the samples' own ratios
                if ranges.rule not in {PASS, NTH} or (series.samples <= 1).all():
                    continue
                each = factor * ratio(counts)
                by_samples = ranges.sums(each * series.samples) / ranges.sums(series.samples)
                for how, means in (
                    ("the mean of the batches'", ranges.sums(each) / ranges.batches),
                    ("the batches', weighted by samples:", by_samples),
                ):
                    text = f"{how} {word} {where}{unit}"
                    readings.append(
                        Candidate("ratio-of-counts", text, means, series, ranges, RATIO)
                    )
    return readings


def _ratios(classes: int) -> Iterator[tuple[str, Ratio]]:
    for name, one in (
        ("F1", partial(_overlap, twice=True)),
        ("IoU", partial(_overlap, twice=False)),
        ("precision", partial(_rate, of=1)),
        ("recall", partial(_rate, of=2)),
    ):
        for empty in (0.0, 1.0):
            if classes <= 2:
                yield name, partial(_of_last, one=partial(one, empty=empty))
        if classes > 1:
            yield f"macro {name}", partial(_macro, one=partial(one, empty=0.0))
            yield f"weighted {name}", partial(_weighted, one=partial(one, empty=0.0))
    for name, twice in (("smoothed Dice", True), ("smoothed IoU", False)):
        if classes <= 2:
            yield name, partial(_of_last, one=partial(_overlap, twice=twice, smooth=1.0))


def _overlap(
    counts: NDArray[np.float64], *, twice: bool, empty: float = 0.0, smooth: float = 0.0
) -> Numbers:
    hits, both = counts[..., 0], counts[..., 1] + counts[..., 2]
    top, bottom = (2 * hits, both) if twice else (hits, both - hits)
    return _divided(top + smooth, bottom + smooth, empty)


def _rate(counts: NDArray[np.float64], *, of: int, empty: float) -> Numbers:
    return _divided(counts[..., 0], counts[..., of], empty)


def _divided(top: Numbers, bottom: Numbers, empty: float) -> Numbers:
    value: Numbers = np.where(bottom > 0, top / bottom, empty)
    return value


def _of_last(counts: NDArray[np.float64], one: Ratio) -> Numbers:
    """Return the ratio of the positive class: the only one, or the second of two."""
    return one(counts[..., -1, :])


def _macro(counts: NDArray[np.float64], one: Ratio) -> Numbers:
    """Return the mean over the classes that are predicted or targets."""
    there = counts[..., 1] + counts[..., 2] > 0
    value: Numbers = np.where(there, one(counts), 0).sum(-1) / there.sum(-1)
    return value


def _weighted(counts: NDArray[np.float64], one: Ratio) -> Numbers:
    """Return the mean over classes, weighted by their targets."""
    targets = counts[..., 2]
    value: Numbers = (one(counts) * targets).sum(-1) / targets.sum(-1)
    return value
