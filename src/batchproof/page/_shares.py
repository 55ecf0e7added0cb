"""Shares of micro-batches in a gradient, as bars beside the shares that a mean gives them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from batchproof.page._parts import Bar, Bars, Part, Text, number

MOST_ROWS = 24
# relative; shares that arithmetic alone tells apart are equal
_SAME = 1e-6
_LARGEST = 99
# of a quotient whose root a share is
_LARGEST_SQUARE = 30


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one micro-batch.

    Attributes:
        label: what the micro-batch is called.
        share: what it counts.
        in_mean: what it would count in a mean; None where that is not known.
    """

    label: str
    share: float
    in_mean: float | None = None

    @property
    def right(self) -> bool:
        """Return whether it counts what it would in a mean."""
        return self.in_mean is not None and abs(self.share - self.in_mean) <= _SAME * abs(
            self.in_mean
        )


def share_bars(title: str, shares: Sequence[Share]) -> list[Part]:
    """Return shares as bars, and how many were not drawn.

    Args:
        title: what is drawn.
        shares: one per micro-batch.
    """
    parts: list[Part] = [Bars(title, tuple(map(_bar, shares[:MOST_ROWS])))]
    if len(shares) > MOST_ROWS:
        parts.append(Text(f"{len(shares) - MOST_ROWS} more are not drawn."))
    return parts


def _bar(one: Share) -> Bar:
    if one.in_mean is None:
        return Bar(one.label, one.share)
    if one.right:
        return Bar(one.label, one.share, "exact", number(one.share))
    note = f"{number(one.share)}, not {number(one.in_mean)}"
    return Bar(one.label, one.share, "wrong", note)


def fraction(value: float) -> str:
    """Return a number as a quotient of small whole numbers, or the root of one, where it is one.

    Args:
        value: a share; nan where it is not determined.

    Examples:
        >>> fraction(0.125), fraction(2 / 3), fraction(2.0), fraction(0.12345), fraction(3**-0.5)
        ('1/8', '2/3', '2', '0.1235', 'sqrt(1/3)')
    """
    if math.isnan(value):
        return "?"
    near = _near(value, _LARGEST)
    if near is not None:
        return str(near)
    square = _near(value * value, _LARGEST_SQUARE) if value > 0 else None
    return f"sqrt({square})" if square is not None else number(value)


def _near(value: float, largest: int) -> Fraction | None:
    """Return the quotient of small whole numbers that a number is; None where it is none."""
    near = Fraction(value).limit_denominator(largest) if abs(value) <= largest else Fraction(0)
    return near if near and abs(float(near) - value) <= _SAME * abs(value) else None


def shares_in_words(shares: Sequence[float], most: int = 3) -> str:
    """Return the shares of a window on one line, equal ones in a row counted.

    Args:
        shares: one per micro-batch.
        most: of different shares that are written out.

    Examples:
        >>> shares_in_words([0.125] * 8), shares_in_words([1 / 8, 7 / 8])
        ('8 x 1/8', '1/8 + 7/8')
    """
    runs: list[list[str | int]] = []
    for text in map(fraction, shares):
        if runs and runs[-1][0] == text:
            runs[-1][1] = int(runs[-1][1]) + 1
        else:
            runs.append([text, 1])
    texts = [str(text) if times == 1 else f"{times} x {text}" for text, times in runs]
    rest = " + ..." if len(texts) > most else ""
    return " + ".join(texts[:most]) + rest
