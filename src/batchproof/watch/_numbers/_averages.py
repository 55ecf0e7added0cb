"""Running averages: of the last batches, or with weights that decay. They are what they are."""

from collections.abc import Iterator, Sequence

import numpy as np

from batchproof.watch._numbers._ranges import Ranges
from batchproof.watch._numbers._series import Numbers, Series
from batchproof.watch._numbers._slots import Line

DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
MOST_BATCHES = 20_000
LONGEST_WINDOW = 1000


def is_running_average(ranges: Ranges, series: Series, lines: Sequence[Line]) -> bool:
    """Tell whether the lines show a running average, other than that of these ranges.

    Args:
        ranges: the batches that another reading explains the lines by.
        series: all batches.
        lines: the numbers.
    """
    own = set(ranges.batches.tolist())
    places = series.places(line.stamp for line in lines)
    if len(lines) < 2 or not places.all() or len(series) > MOST_BATCHES:
        return False
    return any(
        all(
            line.shown.meets(value)
            for line, value in zip(lines, values[places - 1].tolist(), strict=True)
        )
        for values in (*_decaying(series.mean), *_last(series.mean, int(places.max()), own))
    )


def _decaying(means: Numbers) -> Iterator[Numbers]:
    """Yield averages a <- d a + (1 - d) v: from the first value, from 0, and from 0 corrected."""
    for decay in DECAYS:
        from_zero, average = np.empty_like(means), 0.0
        for place, value in enumerate(means.tolist()):
            average = decay * average + (1 - decay) * value
            from_zero[place] = average
        powers = decay ** np.arange(1, len(means) + 1)
        yield from_zero
        yield from_zero + powers * means[0]
        yield from_zero / (1 - powers)


def _last(means: Numbers, most: int, own: set[float]) -> Iterator[Numbers]:
    """Yield averages over the last 2, 3, ... batches, across passes."""
    sums = np.concatenate([[0.0], np.cumsum(means)])
    ends = np.arange(1, len(means) + 1)
    for length in range(2, min(most, LONGEST_WINDOW)):
        if len(own) == 1 and length in own:
            continue  # the same numbers under another name
        first = np.maximum(ends - length, 0)
        yield (sums[ends] - sums[first]) / (ends - first)
