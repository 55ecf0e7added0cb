"""The reading of a slot's numbers: a mistake is named only where it is proved.

A mistake is named where one reading of it meets every digit of every line of the slot, no right
reading does, and agreement by chance is excluded twice over:

    sum of digits shown - log10(number of readings tried)  >= FAR     against numbers that have
                                                                      nothing to do with the loss
    sum of log10(|shown - nearest right reading| / 2 tolerance) >= NEAR    against right readings
                                                                      that nobody thought of

and where at least two lines, or one of five digits, tell it from every right reading.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from batchproof.watch._numbers._another import another_loss
from batchproof.watch._numbers._averages import LONGEST_WINDOW, running_average
from batchproof.watch._numbers._candidates import Candidate, Facts, candidates
from batchproof.watch._numbers._over_ranks import ON_ALL
from batchproof.watch._numbers._ranges import ALL, NTH, PASS, SINCE, WINDOW, closes_pass, ranges_of
from batchproof.watch._numbers._ratios import ratio_candidates
from batchproof.watch._numbers._series import Numbers, Series
from batchproof.watch._numbers._shown import Shown
from batchproof.watch._numbers._slots import Line, Slot

FAR, NEAR = 3.3, 2.5
ENOUGH_TO_CALL_RIGHT = 3.0  # digits
FIVE_DIGITS = 4.0  # 1.0000 and more: log10 of the number of values told apart


@dataclass(frozen=True)
class Reading:
    """The meaning of the numbers of a slot.

    Attributes:
        slot: where they were shown.
        candidate: their meaning.
        mean: what the mean of the same batches gives for each line, or the same function of it.
        grade: "right", "note" or "wrong".
    """

    slot: Slot
    candidate: Candidate
    mean: Numbers
    grade: str


def reading_of(slot: Slot, series: Sequence[Series], facts: Facts) -> Reading | None:
    """Return the meaning of the numbers of a slot, or None where it is not beyond doubt.

    Args:
        slot: the numbers.
        series: the batches that they may be over.
        facts: what is known of the run besides.
    """
    lines = [line for line in slot.lines if math.isfinite(line.number.value)]
    if not lines:
        return None
    trials = [c for one in series for c in _all_of(one, slot, lines, facts)]
    matches = _that_meet_all(trials, lines)
    right = [c for c in matches if not c.name]
    if right:
        of_all = (candidate for candidate in right if ON_ALL in candidate.phrase)
        return _as_right(slot, lines, next(of_all, right[0]))
    for candidate in sorted(matches, key=lambda c: c.tier):
        nearest = _nearest_right(candidate, trials, lines)
        if candidate.name == "one-batch" and not candidate.series.has_passes:
            continue
        if not _is_proved(candidate, trials, nearest, lines):
            continue
        if running_average(candidate.series, lines, candidate.ranges) is None:
            mean = _mean_for(candidate, trials, lines)
            return Reading(slot, candidate, mean, _grade(slot, candidate))
    return _as_running_average(slot, lines, series) or _as_another(slot, lines, series, facts)


def _as_another(
    slot: Slot, lines: Sequence[Line], series: Sequence[Series], facts: Facts
) -> Reading | None:
    """Return a number that holds a term which the gradient does not."""
    for candidate, objective, trials in another_loss(lines, series, facts):
        if _is_apart(objective, trials, lines):
            # a graph was recorded and not used; without one the script means what it does
            grade = "wrong" if candidate.series.training else "note"
            return Reading(slot, candidate, objective, grade)
    return None


def _as_running_average(
    slot: Slot, lines: Sequence[Line], series: Sequence[Series]
) -> Reading | None:
    """Return a running average of the losses of a training, which is not a mistake."""
    if len(_distinct(lines)) < 2 or _digits(lines) < FAR + math.log10(LONGEST_WINDOW):
        return None
    for one in series:
        average = running_average(one, lines) if one.training else None
        if average is not None:
            ranges = ranges_of(one, lines)[0]
            candidate = Candidate("", average[0], average[1], one, ranges)
            return Reading(slot, candidate, average[1], "right")
    return None


def _all_of(series: Series, slot: Slot, lines: Sequence[Line], facts: Facts) -> list[Candidate]:
    if not len(series):
        return []
    return [
        candidate
        for ranges in ranges_of(series, lines)
        for candidate in ratio_candidates(series, ranges)
        or candidates(
            series,
            ranges,
            facts,
            closing=closes_pass(series, ranges, of_passes=slot.of_passes),
        )
    ]


def _that_meet_all(trials: Sequence[Candidate], lines: Sequence[Line]) -> list[Candidate]:
    """Return the readings that meet every digit of every line."""
    if not trials:
        return []
    numbers = np.array([line.number.value for line in lines])
    tolerance = np.array([line.number.tolerance for line in lines])
    values = np.stack([candidate.values for candidate in trials])
    with np.errstate(invalid="ignore"):
        matches = (np.abs(values - numbers) <= tolerance).all(axis=1)
    return [candidate for candidate, meets in zip(trials, matches.tolist(), strict=True) if meets]


def _as_right(slot: Slot, lines: Sequence[Line], candidate: Candidate) -> Reading | None:
    """Return a right reading, unless its few digits may agree by chance."""
    if _digits(lines) < ENOUGH_TO_CALL_RIGHT:
        return None
    if _is_of_single_batches(candidate):
        alone = replace(candidate, name="one-batch", phrase="the value of one batch")
        return Reading(slot, alone, candidate.values, "note")
    if _is_of_one_rank(slot, candidate) and _digits(lines) >= FAR:
        phrase = f"{candidate.phrase}, of this rank's samples alone"
        alone = replace(candidate, name="rank-local-reported", phrase=phrase)
        return Reading(slot, alone, np.full_like(candidate.values, np.nan), "wrong")
    return Reading(slot, candidate, candidate.values, "right")


def _is_of_one_rank(slot: Slot, candidate: Candidate) -> bool:
    """Return whether the result of an evaluation is that of one rank, and does not say so."""
    loader = candidate.series.loader_of(int(candidate.ranges.last[-1]) - 1)
    if (
        not slot.is_shown
        or ON_ALL in candidate.phrase
        or candidate.series.training
        or loader is None
        or loader.ranks == 1
    ):
        return False
    return candidate.ranges.rule in {PASS, NTH} and "rank" not in slot.lines[0].text.lower()


def _is_of_single_batches(candidate: Candidate) -> bool:
    """Return whether each line is of one batch, in passes of more."""
    return candidate.series.has_passes and bool((candidate.ranges.batches == 1).all())


def _distinct(lines: Sequence[Line]) -> list[tuple[int, Shown]]:
    """Return the first line of each value: one that is shown again proves nothing more."""
    first: dict[float, tuple[int, Shown]] = {}
    for place, line in enumerate(lines):
        first.setdefault(line.number.value, (place, line.number))
    return list(first.values())


def _digits(lines: Sequence[Line]) -> float:
    return sum(number.digits for _, number in _distinct(lines))


def _nearest_right(
    candidate: Candidate, trials: Sequence[Candidate], lines: Sequence[Line]
) -> Numbers:
    """Return for each line the right reading of the same loss that comes nearest to it."""
    return _nearest([c for c in trials if not c.name and c.series is candidate.series], lines)


def _mean_for(candidate: Candidate, trials: Sequence[Candidate], lines: Sequence[Line]) -> Numbers:
    """Return for each line the mean in place of a mistake: of its batches, by the nearest unit."""
    right = [c for c in trials if not c.name and c.series is candidate.series]
    means = [
        c
        for c in right
        if c.ranges is candidate.ranges
        and c.function == candidate.function
        and "the mean" in c.phrase
    ]
    return _nearest(means or right, lines)


def _nearest(right: Sequence[Candidate], lines: Sequence[Line]) -> Numbers:
    values = np.stack([candidate.values for candidate in right])
    numbers = np.array([line.number.value for line in lines])
    away = np.where(np.isfinite(values), np.abs(values - numbers), np.inf)
    nearest: Numbers = np.take_along_axis(values, away.argmin(axis=0)[None], axis=0)[0]
    return nearest


def _is_proved(
    candidate: Candidate, trials: Sequence[Candidate], nearest: Numbers, lines: Sequence[Line]
) -> bool:
    as_simple = {
        tuple(c.values[:1].tolist()) for c in trials if c.tier <= candidate.tier and c.name
    }
    return _is_apart(nearest, len(as_simple), lines)


def _is_apart(nearest: Numbers, trials: int, lines: Sequence[Line]) -> bool:
    """Return whether lines that one of so many readings meets are apart from the right one."""
    if _digits(lines) - math.log10(max(1, trials)) < FAR:
        return False
    apart, telling = 0.0, []
    for place, number in _distinct(lines):
        if not number.meets(float(nearest[place])):
            telling.append(number)
            apart += _digits_between(number, float(nearest[place]))
    enough = len(telling) > 1 or any(number.digits >= FIVE_DIGITS for number in telling)
    return enough and apart >= NEAR


def _digits_between(number: Shown, right: float) -> float:
    """Return the number of digits that tell a shown number from a right reading; all tell nan."""
    if math.isnan(right):
        return number.digits
    return math.log10(max(1.0, abs(number.value - right) / (2 * number.tolerance)))


def _grade(slot: Slot, candidate: Candidate) -> str:
    """Return "note" for readings that are honest about what they are, or no result of a pass."""
    series, rule = candidate.series, candidate.ranges.rule
    # without a loader the lines themselves say where passes end
    is_pass = rule == SINCE and slot.of_passes and not series.has_passes
    progress = rule in {SINCE, WINDOW, ALL} and series.training and not is_pass
    if candidate.name in {"one-batch", "not-divided"}:
        return "note"
    if candidate.name in {"mean-of-batch-means", "ratio-of-counts"} and progress:
        return "note"
    return "wrong"
