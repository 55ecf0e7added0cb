"""Running averages: of the last batches, or with weights that decay. They are what they are."""

from collections.abc import Iterator, Sequence

import numpy as np

from batchproof.watch._numbers._ranges import Ranges
from batchproof.watch._numbers._series import Numbers, Places, Series
from batchproof.watch._numbers._slots import Line

DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
MOST_BATCHES = 20_000
LONGEST_WINDOW = 1000


def running_average(
    series: Series, lines: Sequence[Line], besides: Ranges | None = None
) -> tuple[str, Numbers] | None:
    """Return the running average that the lines show, and its values; None where they show none.

    Args:
        series: all batches.
        lines: the numbers.
        besides: the batches that another reading explains the lines by; that average is not meant.
    """
    places = series.places(line.stamp for line in lines)
    if len(lines) < 2 or not places.all() or not 1 < len(series) <= MOST_BATCHES:
        return None
    own = set(besides.batches.tolist()) if besides is not None else set[float]()
    numbers = np.array([line.number.value for line in lines])
    tolerance = np.array([line.number.tolerance for line in lines])
    for phrase, values in (
        *_decaying(series.mean, places),
        *_last(series.mean, places, own),
    ):
        if (np.abs(values - numbers) <= tolerance).all():
            return phrase, values
    return None


def _decaying(means: Numbers, places: Places) -> Iterator[tuple[str, Numbers]]:
    """Yield averages a <- d a + (1 - d) v: from the first value, from 0, and from 0 corrected."""
    for decay in DECAYS:
        from_zero, average = np.empty_like(means), 0.0
        for place, value in enumerate(means.tolist()):
            average = decay * average + (1 - decay) * value
            from_zero[place] = average
        powers = decay**places
        phrase = f"a running average of the batch means, of decay {decay:g}"
        from_zero = from_zero[places - 1]
        yield phrase + ", that begins with the first", from_zero + powers * means[0]
        yield phrase + ", corrected for its beginning", from_zero / (1 - powers)
        yield phrase + ", that begins with 0", from_zero


def _last(means: Numbers, places: Places, own: set[float]) -> Iterator[tuple[str, Numbers]]:
    """Yield averages over the last 2, 3, ... batches, across passes."""
    sums = np.concatenate([[0.0], np.cumsum(means)])
    for length in range(2, min(int(places.max()), LONGEST_WINDOW)):
        if len(own) == 1 and length in own:
            continue  # the same numbers under another name
        first = np.maximum(places - length, 0)
        values = (sums[places] - sums[first]) / (places - first)
        yield f"a running average of the last {length} batch means", values
