"""Ranges of batches that a number may be over: its pass, since the last number, or all.

A rule gives each line of a slot one range [first, last) of batches. A reading of a slot uses one
rule for all its lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchproof.watch._numbers._series import Numbers, Places, Series
from batchproof.watch._numbers._slots import Line

PASS, SINCE, WINDOW, ALL, NTH = "pass", "since", "window", "all", "nth"
OVER = {
    PASS: "of the pass",
    NTH: "of each pass",
    SINCE: "since the previous number",
    WINDOW: "of the pass since the previous number",
    ALL: "since the script began",
}


@dataclass(frozen=True)
class Ranges:
    """One range of batches for each line; an empty one where the rule gives none.

    Attributes:
        rule: a key of OVER.
        first: the first batch of each range.
        last: one behind the last batch of each.
    """

    rule: str
    first: Places
    last: Places

    @property
    def batches(self) -> Numbers:
        """Return the number of batches in each range; nan for none."""
        counts: Numbers = np.where(self.last > self.first, self.last - self.first, np.nan)
        return counts

    def sums(self, values: Numbers) -> Numbers:
        """Return the sum of one value per batch over each range.

        Args:
            values: one for each batch of the series.
        """
        finite = np.isfinite(values)
        whole = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
        sums: Numbers = whole[self.last] - whole[self.first] + 0.0 * self.batches
        if not finite.all():
            gaps = np.concatenate([[0], np.cumsum(~finite)])
            sums[gaps[self.last] > gaps[self.first]] = np.nan
        return sums


def ranges_of(series: Series, lines: Sequence[Line]) -> list[Ranges]:
    """Return the ranges of batches that these lines may be over, one for each rule.

    Args:
        series: the batches.
        lines: in the order in which they were shown.
    """
    last = series.places(line.stamp for line in lines)
    start = series.start_before(last)
    before = np.concatenate([start[:1], last[:-1]])
    ranges = [
        Ranges(PASS, start, last),
        Ranges(SINCE, before, last),
        Ranges(WINDOW, np.maximum(before, start), last),
        Ranges(ALL, np.zeros_like(last), last),
    ]
    if len(lines) > 1 and len(lines) == len(series.starts) and (last == last[0]).all():
        ends = np.append(series.starts[1:], len(series))
        ranges.append(Ranges(NTH, series.starts, ends))
    return ranges


def closes_pass(series: Series, ranges: Ranges, *, of_passes: bool) -> bool:
    """Return whether every line was shown where a pass ended, alone, as the result of the pass.

    Args:
        series: the batches.
        ranges: the pass of each line.
        of_passes: whether the lines speak of whole passes; those of a training must.
    """
    if ranges.rule not in {PASS, NTH} or len(set(ranges.first.tolist())) < len(ranges.first):
        return False
    ends = {*series.starts.tolist(), len(series)}
    if not all(place in ends for place in ranges.last.tolist()):
        return False
    loaders = [series.loader_of(int(place) - 1) for place in ranges.last]
    whole = all(loader is not None and loader.whole for loader in loaders)
    return of_passes or (not series.training and (whole or len(series.starts) > 1))
