"""A number that holds a term which the gradient does not: the gradient is of another loss.

With y what the optimiser follows and x a loss beside it that no optimiser step holds,

    shown = y + c x        for one c of at most two digits, in every line
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from batchproof.watch._numbers._candidates import Candidate, Facts
from batchproof.watch._numbers._ranges import Ranges, ranges_of
from batchproof.watch._numbers._series import Numbers, Series
from batchproof.watch._numbers._slots import Line

# coefficients of one or two digits, of any power of ten that a script may use
CHOICES, READINGS = 180, 5


def another_loss(
    lines: Sequence[Line], series: Sequence[Series], facts: Facts
) -> Iterator[tuple[Candidate, Numbers, int]]:
    """Yield readings of lines as an objective and a term that no step holds.

    Args:
        lines: numbers that nothing else explains.
        series: the losses of the run.
        facts: what is known besides.

    Yields:
        The reading, the objective alone, and how many readings were tried.
    """
    objectives = [one for one in series if one.is_in_steps and one.quantity == "loss"]
    cut = [one for one in series if not one.is_in_steps and one.quantity == "loss"]
    pairs = [(one, term) for one in objectives for term in cut if _take_turns(one, term)]
    count = CHOICES * len(pairs) * READINGS * len(facts.coefficients)
    for one, term in pairs:
        pairs_of = zip(_readings(one, lines), _readings(term, lines), strict=True)
        for (ranges, own), (_, beside) in pairs_of:
            for factor in facts.coefficients:
                times = _coefficient(lines, factor * own, beside)
                if times is not None:
                    phrase = f"the objective and {times:g} times the loss of {term.site}"
                    values = factor * own + times * beside
                    name = "gradient-of-another-loss"
                    yield Candidate(name, phrase, values, term, ranges), factor * own, count


def _take_turns(one: Series, term: Series) -> bool:
    """Return whether each batch of one series has one of the other beside it."""
    if len(one) != len(term) or len(one) < 2:
        return False
    behind = np.searchsorted(one.stamps, term.stamps) - np.arange(len(one))
    return bool((behind == behind[0]).all())


def _readings(series: Series, lines: Sequence[Line]) -> Iterator[tuple[Ranges, Numbers]]:
    """Yield the values of a series that lines may show: its last batch, mean, mean of means."""
    of_pass, since, *_ = ranges_of(series, lines)
    yield of_pass, series.mean[np.maximum(of_pass.last - 1, 0)] + 0 * of_pass.batches
    for ranges in (of_pass, since):
        yield ranges, ranges.sums(series.total) / ranges.sums(series.weight)
        yield ranges, ranges.sums(series.mean) / ranges.batches


def _coefficient(lines: Sequence[Line], own: Numbers, beside: Numbers) -> float | None:
    """Return the c of at most two digits with shown = own + c beside in every line, if any."""
    numbers = np.array([line.number.value for line in lines])
    tolerance = np.array([line.number.tolerance for line in lines])
    if not np.isfinite(own).all() or not (beside > 0).all():
        return None
    low = float(((numbers - tolerance - own) / beside).max())
    high = float(((numbers + tolerance - own) / beside).min())
    middle = (low + high) / 2
    if low > high or middle <= 0:
        return None
    unit = 10.0 ** (math.floor(math.log10(middle)) - 1)
    times = round(middle / unit) * unit
    return times if low <= times <= high else None
