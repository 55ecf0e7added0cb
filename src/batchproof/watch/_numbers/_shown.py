"""A number as it was written for a person, with the interval of values that its digits allow.

A number shown with d digits after the point may be any value within half a unit of the last
digit. A value meets what was shown if it is in that interval, widened by what float32 sums lose.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ARITHMETIC = 2e-6  # relative; what a sum of float32 losses in another order may differ by
MOST_DIGITS = 6.0  # of a number: digits beyond float32's say nothing

_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d)\.?)(?:[eE][-+]?\d+)?(?![\w]|\.\d)"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z][A-Za-z0-9_./-]*)*\W*$")


@dataclass(frozen=True, slots=True)
class Shown:
    """A number that reached a person.

    Attributes:
        text: its digits as written, a percent sign included.
        value: what they say.
        half: half a unit of the last digit.
        label: the words before it, such as "val loss", or "".
    """

    text: str
    value: float
    half: float
    label: str = ""

    @property
    def digits(self) -> float:
        """Return the number of decimal digits that it tells apart: 4.3 for 0.6931."""
        if not self.value or not math.isfinite(self.value):
            return 0.0
        return min(MOST_DIGITS, max(0.0, math.log10(abs(self.value) / (2 * self.half))))

    @property
    def tolerance(self) -> float:
        """Return the largest distance that a value may be from it."""
        return 1.0001 * self.half + ARITHMETIC * abs(self.value)

    def meets(self, value: float) -> bool:
        """Return whether a value may have been written so."""
        if math.isnan(self.value):
            return math.isnan(value)
        return abs(value - self.value) <= self.tolerance


def plain(text: str) -> str:
    """Return a line without the codes that colour it or move the cursor."""
    return _ANSI.sub("", text)


def numbers_in(line: str) -> Iterator[tuple[Shown, tuple[int, int]]]:
    """Yield the numbers of a line, each with the place where it was found.

    Args:
        line: the text of one line.

    Yields:
        The number, and its span in the line; integers too, as they tell the lines of one format.

    Examples:
        >>> [(n.text, n.half) for n, _ in numbers_in("epoch 3: loss 0.693, acc=91.50%")]
        [('3', 0.5), ('0.693', 0.0005), ('91.50%', 0.005)]
    """
    before = 0
    for match in _NUMBER.finditer(line):
        text = match[0].rstrip(".")
        if not any(character.isdigit() for character in text):
            continue
        end = match.start() + len(text)
        percent = line[end : end + 1] == "%"
        words = _WORD.search(line[before : match.start()])
        before = end
        label = words[0].strip(" :=([{'\",|>-\t") if words else ""
        half = _half(text)
        number = Shown(text + "%" * percent, float(text.replace(",", "")), half, label)
        yield number, (match.start(), end)


def of_value(value: Any, label: str) -> Shown | None:
    """Return a number that was handed over as a value; the digits of its repr count, 8 are shown.

    Args:
        value: an int, a float, or a tensor or array of one element.
        label: the name that it was given.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        return None
    try:
        # torch warns where a tensor with a graph becomes a number
        number = float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):
        return None
    text = repr(number)
    half = _half(text) if math.isfinite(number) else 0.5
    return Shown(f"{number:.8g}", number, half, label)


def _half(text: str) -> float:
    mantissa, _, exponent = text.lower().partition("e")
    after_point = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - after_point)


def is_whole(number: Shown) -> bool:
    """Return whether a number was written as an integer, as counts, epochs and seeds are."""
    return number.text.rstrip("%").lstrip("+-").replace(",", "").isdigit()
