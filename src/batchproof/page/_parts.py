"""The parts of a document, as values: their content, not their appearance.

A tone names what a colour means, so that the terminal and the page agree: "exact" is the mean that
is meant, "wrong" the one that depends on the cut, "muted" what does not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

# line breaks, tabs, and the joiners that scripts are written with
_KEPT = "\n\t\xa0\u200c\u200d"
_LARGEST, _SMALLEST = 1e300, 1e-290
Tone = Literal["plain", "exact", "wrong", "muted", "amber", "violet", "teal"]
TONES: tuple[Tone, ...] = ("plain", "amber", "violet", "teal", "exact", "wrong")


def tone(place: int) -> Tone:
    """Return the colour of the curve at a place among several."""
    return TONES[place % len(TONES)]


def number(value: float, digits: int = 4) -> str:
    """Return a number as people read it: a few significant digits, integers whole.

    Examples:
        >>> number(0.659001), number(105.0), number(1 / 3), number(1.5e-9)
        ('0.659', '105', '0.3333', '1.5e-09')
    """
    if math.isfinite(value) and value == round(value) and abs(value) < 1e9:
        return str(round(value))
    return f"{value:.{digits}g}"


def labels(values: Sequence[float]) -> list[str]:
    """Return numbers with the fewest digits, at least four, that tell different ones apart.

    Examples:
        >>> labels([1.65692, 1.65694, 1.65696])
        ['1.65692', '1.65694', '1.65696']
    """
    for digits in range(4, 17):
        texts = [number(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [repr(value) for value in values]


def can_be_drawn(value: float) -> bool:
    """Return whether a value is a number from which the ends of a scale can be computed."""
    return abs(value) <= _LARGEST


def printable(text: str) -> str:
    r"""Return a text whose control codes, which could drive a terminal, are escaped.

    Examples:
        >>> printable("red \x1b[31m")
        'red \\x1b[31m'
    """
    return "".join(c if c.isprintable() or c in _KEPT else repr(c)[1:-1] for c in text)


def escaped(text: str) -> str:
    """Return a text as it is written in HTML."""
    return escape(printable(text))


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph.

    Attributes:
        text: one or more sentences.
        heading: a heading above them, or "".
        tone: "exact" or "wrong" where the paragraph is a verdict.
    """

    text: str
    heading: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Formula:
    """Lines of formulae, set in one width so that they align.

    Attributes:
        text: the lines.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines of code.

    Attributes:
        text: the lines.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; the first column is words, the others numbers.

    Attributes:
        columns: their names, with units.
        rows: one tuple per row, as long as columns.
        tones: one per row; all "plain" where empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[Tone, ...] = ()

    def tone(self, row: int) -> Tone:
        """Return the tone of a row."""
        return self.tones[row] if self.tones else "plain"


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of a bar chart.

    Attributes:
        label: its name.
        value: its length; left of zero where negative.
        tone: what it means.
        note: the text beside it; the value itself if empty.
    """

    label: str
    value: float
    tone: Tone = "plain"
    note: str = ""

    def text(self) -> str:
        """Return the text beside the bar."""
        return self.note or number(self.value)


@dataclass(frozen=True, slots=True)
class Bars:
    """Values drawn as lengths from one zero.

    Attributes:
        title: what the lengths are, with their unit.
        bars: the values.
    """

    title: str
    bars: tuple[Bar, ...]

    def reach(self) -> tuple[float, float]:
        """Return the extent of the bars left and right of zero; never both 0."""
        values = [bar.value for bar in self.bars if can_be_drawn(bar.value)]
        left, right = max(0.0, -min(values, default=0.0)), max(0.0, max(values, default=0.0))
        # the scale is the inverse of this; of a smaller number it would be infinite
        return (left, right) if left + right > 1e-300 else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One block of a row: a sample, a token.

    Attributes:
        tone: what it means.
        text: up to three characters written in it.
    """

    tone: Tone = "plain"
    text: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of blocks: a batch, a sequence, a rank.

    Attributes:
        label: its name.
        cells: its blocks; none for a line in place of those left out.
        note: the text after them.
    """

    label: str
    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of blocks, such as samples in batches.

    Attributes:
        title: what a block is.
        rows: the lines.
        legend: tones and their meanings.
    """

    title: str
    rows: tuple[Row, ...]
    legend: tuple[tuple[Tone, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A highlighted point of a curve chart.

    Attributes:
        x: its horizontal position.
        y: its vertical position.
        label: what it is.
        tone: its colour.
    """

    x: float
    y: float
    label: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes:
        label: its name.
        x: increasing.
        y: as long as x; what is not finite, or beyond 1e300, is left out.
        error: half the height of its band at each point; none where empty or not finite.
        tone: its colour.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] = ()
    tone: Tone = "plain"

    def points(self) -> list[tuple[float, float, float]]:
        """Return (x, y, error) where x and y can be drawn; an error that cannot be is 0."""
        errors = self.error or (0.0,) * len(self.x)
        return [
            (x, y, e if can_be_drawn(e) and e > 0 else 0.0)
            for x, y, e in zip(self.x, self.y, errors, strict=True)
            if can_be_drawn(x) and can_be_drawn(y)
        ]


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over one axis, with bands.

    Attributes:
        title: what is drawn.
        x_label: the horizontal axis, with its unit.
        y_label: the vertical axis, with its unit.
        series: the curves.
        marks: highlighted points.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = field(default=())

    def bounds(self) -> tuple[float, float, float, float]:
        """Return (left, right, bottom, top) of all that is drawn, never an empty range."""
        points = [point for series in self.series for point in series.points()]
        points += [(mark.x, mark.y, 0.0) for mark in self.marks]
        if not points:
            return 0.0, 1.0, 0.0, 1.0
        left, right = _spread(min(x for x, _, _ in points), max(x for x, _, _ in points))
        bottom, top = _spread(min(y - e for _, y, e in points), max(y + e for _, y, e in points))
        return left, right, bottom, top


def _spread(low: float, high: float) -> tuple[float, float]:
    size = max(abs(low), abs(high))
    # a smaller range has no ticks that float64 tells apart
    if high - low > max(1e-12 * size, _SMALLEST):
        return low, high
    room = size / 2 if size > _SMALLEST else 0.5
    return low - room, high + room


Part = Text | Formula | Code | Table | Bars | Blocks | Curves
