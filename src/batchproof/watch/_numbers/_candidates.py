"""Candidates for the meaning of a number, over the batches that it may be over.

Of batches b with totals t, weights w, means v = t / w, samples n and elements e, m of them:

    right    sum t / sum w     sum t / sum n     sum t / sum e     sum t
    wrong    sum v / m         the mean of batch means
             sum v n / sum n   batch means weighted by samples, where w is not in proportion to n
             sum v / sum n,  sum t / m,  ... / (m - 1),  ... / (m B)    sums over a wrong count
             sum t / D         over a data set of D samples of which sum n were seen
             sum v / k         over a window of k batches that holds another number
             v of the last     the last batch alone
             ... / k           scaled for accumulation over k micro-batches
             sum v / steps     micro-batches added up, and averaged over optimiser steps
             sum f(v) / m      a mean of roots or exponentials

A reading is right or wrong together with a function of it: its root, its exponential, its value in
bits; for accuracies in per cent, or as an error rate.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batchproof.watch._numbers._over_ranks import over_ranks
from batchproof.watch._numbers._ranges import ALL, NTH, OVER, PASS, SINCE, WINDOW, Ranges
from batchproof.watch._numbers._series import Numbers, Places, Series

Function = Callable[[Numbers], Numbers]

_OF_LOSSES: dict[str, Function] = {
    "{}": lambda x: x,
    "the root of {}": np.sqrt,
    "the exponential of {}": np.exp,
    "{}, in bits": lambda x: x / np.log(2),
}
_OF_ACCURACIES: dict[str, Function] = {
    "{}": lambda x: x,
    "{}, in per cent": lambda x: 100 * x,
    "1 less {}": lambda x: 1 - x,
    "100 less {}, in per cent": lambda x: 100 - 100 * x,
}
_USUAL = {"{}", "{}, in per cent"}
# the common readings, those that are tried where they fail, and those of ratios of counts
PLAIN, RARE, RATIO = 1, 2, 3


@dataclass(frozen=True)
class Candidate:
    """One reading of all the lines of a slot.

    Attributes:
        name: of the mistake, or "" where the reading is right.
        phrase: what it is: "the mean of 29 batch means of the pass".
        values: what each line would be; nan where the reading says nothing of it.
        series: the batches.
        ranges: which of them.
        tier: PLAIN, RARE or RATIO.
        function: what is taken of a mean: its root, say; "{}" for the mean itself.
    """

    name: str
    phrase: str
    values: Numbers
    series: Series
    ranges: Ranges
    tier: int = PLAIN
    function: str = "{}"


@dataclass(frozen=True)
class Facts:
    """Facts of the run besides the batches.

    Attributes:
        scale: 1 / k where each of the k batches of a step is divided by k; 1 otherwise.
        coefficients: the factors of the loss in the objective that are possible, 1 among them.
        counts: lengths of other loaders and of their data sets.
        others: for each other rank the sums of its passes, by series.
        steps: when optimisers stepped, where several batches make one step; else empty.
    """

    scale: float = 1.0
    coefficients: tuple[float, ...] = (1.0,)
    counts: tuple[int, ...] = ()
    others: Sequence[dict[str, Any]] = ()
    steps: Places = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


Reading = tuple[str, str, Numbers, int]


def candidates(series: Series, ranges: Ranges, facts: Facts, *, closing: bool) -> list[Candidate]:
    """Return every reading over some ranges of batches.

    Args:
        series: the batches.
        ranges: which of them, for each line.
        facts: what is known besides.
        closing: whether each line ends a pass.
    """
    functions = _OF_LOSSES if series.quantity == "loss" else _OF_ACCURACIES
    readings = []
    with np.errstate(all="ignore"):
        for name, phrase, values, tier in _readings(series, ranges, facts, closing=closing):
            for word, function in functions.items():
                rank = tier if word in _USUAL else RARE
                text = word.format(phrase)
                value = function(values)
                readings.append(Candidate(name, text, value, series, ranges, rank, word))
        if series.quantity == "loss":
            readings += [
                Candidate("ratio-of-counts", phrase, values, series, ranges, function=word)
                for word, phrase, values in _means_of_functions(series, ranges)
            ]
    return readings


def _readings(series: Series, ranges: Ranges, facts: Facts, *, closing: bool) -> Iterator[Reading]:
    yield from _right(series, ranges, facts)
    for name, phrase, values in over_ranks(series, ranges, facts.others):
        yield name, phrase, values, PLAIN
    yield from _means_of_means(series, ranges)
    yield from _wrong_counts(series, ranges, facts)
    yield from _windows(series, ranges)
    yield from _single(series, ranges, facts, closing=closing)
    if len(facts.steps) and series.training:
        yield _over_steps(series, ranges, facts)
    if np.isnan(series.mean).any():
        yield _without_nan(series, ranges)


def _right(series: Series, ranges: Ranges, facts: Facts) -> Iterator[Reading]:
    where = OVER[ranges.rule]
    total = ranges.sums(series.total)
    of = {
        "weight": series.weight,
        "sample": series.samples,
        "element": series.elements,
    }
    for unit, weights in of.items():
        for factor in facts.coefficients:
            mean = factor * total / ranges.sums(weights)
            yield "", f"the mean by {unit} over the batches {where}", mean, PLAIN
    yield "", f"the sum over the batches {where}", total, PLAIN


def _means_of_means(series: Series, ranges: Ranges) -> Iterator[Reading]:
    where, name = OVER[ranges.rule], "mean-of-batch-means"
    tier = PLAIN if ranges.rule in {PASS, NTH} else RARE
    means = ranges.sums(series.mean)
    yield name, f"the mean of the batch means {where}", means / ranges.batches, tier
    by_samples = ranges.sums(series.mean * series.samples) / ranges.sums(series.samples)
    yield name, f"the batch means weighted by samples {where}", by_samples, tier
    if ranges.rule in {PASS, NTH}:
        yield "not-divided", f"the sum of the batch means {where}", means, RARE


def _wrong_counts(series: Series, ranges: Ranges, facts: Facts) -> Iterator[Reading]:
    if ranges.rule not in {PASS, NTH}:
        return
    where, name = OVER[ranges.rule], "wrong-divisor"
    count, samples = ranges.batches, ranges.sums(series.samples)
    means, total = ranges.sums(series.mean), ranges.sums(series.total)
    by_samples = ranges.sums(series.mean * series.samples)
    yield (
        name,
        f"the sum of the batch means over the number of samples {where}",
        (means / samples),
        PLAIN,
    )
    yield (
        name,
        f"the sum of the batch sums over the number of batches {where}",
        (total / count),
        PLAIN,
    )
    yield (
        name,
        f"the sum of the batch means over one batch too few {where}",
        (means / (count - 1)),
        RARE,
    )
    yield (
        name,
        f"the sum of the batch means over one batch too many {where}",
        (means / (count + 1)),
        RARE,
    )
    full = _batch_size(series, ranges)
    for what, sums in (("sum", total), ("sum of batch means times sizes", by_samples)):
        yield (
            name,
            f"the {what} over full batches of {full:.0f} samples {where}",
            (sums / (count * full)),
            RARE,
        )
    yield (
        name,
        f"the sum of the batch means over samples / {full:.0f} {where}",
        (means * full / samples),
        RARE,
    )
    yield from _rows(series, ranges)
    yield from _other_lengths(series, ranges, facts)


def _rows(series: Series, ranges: Ranges) -> Iterator[Reading]:
    """Yield the batch means over a count of rows of so many elements, as lengths of texts are."""
    elements = series.elements
    if not np.isfinite(elements).all() or elements.min() == elements.max():
        return
    size = int(np.gcd.reduce(elements.astype(np.int64)))
    if size > 1:
        phrase = f"the sum of the batch means {OVER[ranges.rule]} over the rows of {size} elements"
        means = ranges.sums(series.mean)
        yield "wrong-divisor", phrase, means * size / ranges.sums(elements), RARE


def _batch_size(series: Series, ranges: Ranges) -> float:
    loader = series.loader_of(int(ranges.last[-1]) - 1)
    return float((loader and loader.batch_size) or series.samples.max())


def _other_lengths(series: Series, ranges: Ranges, facts: Facts) -> Iterator[Reading]:
    where = OVER[ranges.rule]
    means, total = ranges.sums(series.mean), ranges.sums(series.total)
    by_samples = ranges.sums(series.mean * series.samples)
    loader = series.loader_of(int(ranges.last[-1]) - 1)
    own = (loader.batches, loader.dataset) if loader else (None, None)
    for length in filter(None, dict.fromkeys((*own, *facts.counts))):
        name = "divisor-not-seen" if length in own else "wrong-divisor"
        tier = PLAIN if length in own else RARE
        for what, sums in (
            ("batch means", means),
            ("batch sums", total),
            ("batch means times sizes", by_samples),
        ):
            yield name, f"the sum of the {what} {where} over {length}", sums / length, tier


def _windows(series: Series, ranges: Ranges) -> Iterator[Reading]:
    lengths = np.diff(ranges.last)
    if not len(lengths) or lengths.max() < 1 or ranges.rule == NTH:
        return
    usual = int(np.bincount(lengths[lengths > 0]).argmax())
    first = int(np.append(series.starts, len(series))[1]) if series.has_passes else usual
    name, means = "window-average-off", ranges.sums(series.mean)
    for count in dict.fromkeys((usual, first)):
        if count > 1:
            phrase = f"the sum of the batch means {OVER[ranges.rule]} over {count}"
            yield name, phrase, means / count, RARE
    if ranges.rule in {SINCE, WINDOW}:
        for off, words in ((-1, "few"), (1, "many")):
            phrase = f"the sum of the batch means {OVER[ranges.rule]} over one too {words}"
            yield name, phrase, means / (ranges.batches + off), RARE


def _single(series: Series, ranges: Ranges, facts: Facts, *, closing: bool) -> Iterator[Reading]:
    where, name = OVER[ranges.rule], "scaled-loss-reported"
    last = series.mean[np.maximum(ranges.last - 1, 0)] + 0 * ranges.batches
    of_sum = series.value[np.maximum(ranges.last - 1, 0)] + 0 * ranges.batches
    if ranges.rule in {PASS, NTH}:
        one = "last-batch-reported" if closing else "one-batch"
        yield one, "the last batch alone", last, PLAIN
        yield one, "the last batch's sum", of_sum, RARE
    scale = facts.scale
    if scale != 1.0 and ranges.rule != ALL:
        times = f"{scale:.4g} times"
        if ranges.rule in {PASS, NTH}:
            yield name, f"{times} the loss of one batch", scale * last, PLAIN
        mean = scale * ranges.sums(series.total) / ranges.sums(series.weight)
        yield name, f"{times} the mean over the batches {where}", mean, PLAIN
        means = scale * ranges.sums(series.mean) / ranges.batches
        yield name, f"{times} the mean of the batch means {where}", means, PLAIN


def _over_steps(series: Series, ranges: Ranges, facts: Facts) -> Reading:
    stamps = np.append(series.stamps, np.iinfo(np.int64).max)
    before = np.searchsorted(facts.steps, stamps[ranges.first])
    steps = np.searchsorted(facts.steps, stamps[ranges.last]) - before
    phrase = f"the sum of the batch means {OVER[ranges.rule]} over the number of optimiser steps"
    return "reported-loss", phrase, ranges.sums(series.mean) / steps, PLAIN


def _without_nan(series: Series, ranges: Ranges) -> Reading:
    finite = np.isfinite(series.mean)
    means = ranges.sums(np.where(finite, series.mean, 0.0)) / ranges.sums(finite.astype(float))
    return "nan-batch-dropped", "the mean of the batches that are not NaN", means, PLAIN


def _means_of_functions(series: Series, ranges: Ranges) -> Iterator[tuple[str, str, Numbers]]:
    where = OVER[ranges.rule]
    for word in ("root", "exponential"):
        of_mean = f"the {word} of {{}}"
        each = _OF_LOSSES[of_mean](series.mean)
        yield (
            of_mean,
            f"the mean of the {word}s of the batch means {where}",
            (ranges.sums(each) / ranges.batches),
        )
        yield (
            of_mean,
            f"the {word}s of the batch means, weighted by samples, {where}",
            (ranges.sums(each * series.samples) / ranges.sums(series.samples)),
        )
