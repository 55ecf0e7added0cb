"""Parts for the terminal: pictures made of characters, legible without colour."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text as Line

from batchproof.page._parts import (
    Bar,
    Bars,
    Blocks,
    Code,
    Curves,
    Formula,
    Part,
    Row,
    Table,
    Text,
    Tone,
    can_be_drawn,
    labels,
    printable,
)

STYLES: dict[Tone, str] = {
    "plain": "blue",
    "exact": "green",
    "wrong": "red",
    "muted": "bright_black",
    "amber": "yellow",
    "violet": "magenta",
    "teal": "cyan",
}
BLOCKS: dict[Tone, str] = {"muted": "□", "wrong": "◆"}
POINTS, MARKS = "●◇○+△▪", "◆▲"
LOOSE = 16  # rows of at most this many blocks have a space between blocks
BAR_WIDTH, PLOT_WIDTH, PLOT_HEIGHT = 36, 56, 12
GAP, INDENT = 2, 2
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A renderable that is drawn for the width it is given.

    Attributes:
        draw: called with the width in characters.
    """

    draw: Callable[[int], RenderableType]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield self.draw(options.max_width)


@dataclass(frozen=True, slots=True)
class Indented:
    """A renderable moved to the right, with no spaces behind its lines: they may be copied.

    Attributes:
        part: the renderable.
        by: columns.
    """

    part: RenderableType
    by: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        inner = options.update(width=max(1, options.max_width - self.by))
        for line in console.render_lines(self.part, inner, pad=False):
            if any(segment.text for segment in line):
                yield Segment(" " * self.by)
                yield from line
            yield Segment.line()


def to_rich(part: Part) -> RenderableType:
    """Return a part as a renderable of rich.

    Examples:
        >>> from rich.console import Console
        >>> console = Console(width=40, no_color=True)
        >>> console.print(to_rich(Text("Pairs add.", heading="The law")))
        The law
        Pairs add.
    """
    match part:
        case Text():
            return _text(part)
        case Formula() | Code():
            # a line that is too long continues below: a truncated one could not be copied
            return Indented(_line(part.text, style="bold", overflow="fold"), 2 * INDENT)
        case Table():
            return _Fitted(lambda width: _table(part, width))
        case Bars():
            return _Fitted(lambda width: _bars(part, width))
        case Blocks():
            return _Fitted(lambda width: _blocks(part, width))
        case Curves():
            return _Fitted(lambda width: _curves(part, width))


def _line(text: str, style: str = "", **more: Any) -> Line:
    return Line(printable(text), style=style, **more)


def _text(part: Text) -> RenderableType:
    style = "" if part.tone == "plain" else f"bold {STYLES[part.tone]}"
    body = _line(part.text, style=style)
    return Group(_line(part.heading, "bold underline"), body) if part.heading else body


def _table(part: Table, width: int) -> RenderableType:
    """Return a table whose words wrap; where its numbers would be cut, one row below the other."""
    columns = list(zip(part.columns, *part.rows, strict=True))
    first = max(_longest_word(cell) for cell in columns[0])
    others = [max([_longest_word(head), *map(len, cells)]) for head, *cells in columns[1:]]
    room = width - INDENT - sum(others) - GAP * len(others)
    if first > room:
        return _rows_apart(part)
    whole = INDENT + sum(max(map(len, cells)) + GAP for cells in columns) - GAP
    # where the table is too wide as it is, the words of the first column wrap, and heads
    widths = [room, *others] if whole > width else [None] * len(columns)
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index, (column, most) in enumerate(zip(part.columns, widths, strict=True)):
        justify: Literal["left", "right"] = "left" if index == 0 else "right"
        grid.add_column(_line(column), justify=justify, width=most)
    for index, row in enumerate(part.rows):
        grid.add_row(*map(_line, row), style=_style(part.tone(index)))
    return _indent(grid)


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _rows_apart(part: Table) -> RenderableType:
    """Return each row as lines of its own, a column and its value in each."""
    lines: list[RenderableType] = []
    for index, (first, *others) in enumerate(part.rows):
        style = _style(part.tone(index))
        lines.append(_line(f"{part.columns[0]} {first}".strip(), f"bold {style}".strip()))
        grid = _grid(2)
        for column, cell in zip(part.columns[1:], others, strict=True):
            grid.add_row(_line(column), _line(cell, style))
        lines.append(_indent(grid))
    return Group(*lines)


def _style(tone: Tone) -> str:
    return "" if tone == "plain" else STYLES[tone]


def _bars(part: Bars, width: int) -> RenderableType:
    left, right = part.reach()
    names = max((len(bar.label) for bar in part.bars), default=0)
    notes = max((len(bar.text()) for bar in part.bars), default=0)
    beside = INDENT + names + 2 * GAP + BAR_WIDTH + notes <= width
    room = BAR_WIDTH if beside else max(8, min(BAR_WIDTH, width - INDENT - GAP - notes - 1))
    scale = room / (left + right)
    if beside:
        grid = _grid(3)
        for bar in part.bars:
            grid.add_row(_line(bar.label), _bar(bar, scale, round(left * scale)), _line(bar.text()))
        return Group(_line(part.title, "bold"), _indent(grid))
    lines: list[RenderableType] = [_line(part.title, "bold")]
    for bar in part.bars:
        grid = _grid(2)
        grid.add_row(_bar(bar, scale, round(left * scale)), _line(bar.text()))
        lines += [Padding(_line(bar.label), (0, 0, 0, INDENT)), _indent(grid)]
    return Group(*lines)


def _bar(bar: Bar, scale: float, room: int) -> Line:
    length = abs(bar.value) * scale if can_be_drawn(bar.value) else 0.0
    if bar.value < 0:
        blocks = "█" * max(1, round(length))
        text = blocks.rjust(room) + "│"
    else:
        whole, part = int(length), int((length % 1) * 8)
        text = " " * room + ("│" if room else "") + "█" * whole + EIGHTHS[part].strip()
        text = text if text.strip() else "▏"
    return Line(text, style=STYLES[bar.tone], no_wrap=True)


def _blocks(part: Blocks, width: int) -> RenderableType:
    letters = max((len(cell.text) for row in part.rows for cell in row.cells), default=0)
    close = max((len(row.cells) for row in part.rows), default=0) > LOOSE
    gap = "" if close and not letters else " "
    rows = [(row, _cells(row, letters, gap)) for row in part.rows]
    words = max((len(row.label) + len(row.note) for row in part.rows), default=0)
    # below this the blocks would be a column of one or two
    beside = INDENT + words + 2 * GAP + LOOSE <= width
    lines: list[RenderableType] = [_line(part.title, "bold")]
    if beside:
        grid = _grid(3, wraps=1)
        for row, cells in rows:
            grid.add_row(_line(row.label), cells, _line(row.note))
        lines.append(_indent(grid))
    else:
        for row, cells in rows:
            heading = f"{row.label}: {row.note}" if row.note else row.label
            lines += [
                Padding(_line(heading), (0, 0, 0, INDENT)),
                Padding(cells, (0, 0, 0, 2 * INDENT)),
            ]
    legend = Line(" " * INDENT)
    for tone, meaning in part.legend:
        legend.append(f"{BLOCKS.get(tone, '■')} ", style=STYLES[tone]).append(
            f"{printable(meaning)}   "
        )
    return Group(*lines, legend) if part.legend else Group(*lines)


def _cells(row: Row, width: int, gap: str) -> Line:
    line = Line(overflow="fold")
    for cell in row.cells:
        block = BLOCKS.get(cell.tone, "■")
        line.append(f"{block}{cell.text.ljust(width)}{gap}", style=STYLES[cell.tone])
    line.rstrip()
    return line


def _curves(part: Curves, width: int) -> RenderableType:
    left, right, bottom, top = part.bounds()
    highest, lowest = labels((top, bottom))
    edge = max(len(highest), len(lowest))
    room = max(8, min(PLOT_WIDTH, width - edge - INDENT - 3))
    rows: list[RenderableType] = [_line(part.title, "bold"), _line(f"  {part.y_label}")]
    for index, cells in enumerate(_plot(part, room)):
        value = highest if index == 0 else lowest if index == PLOT_HEIGHT - 1 else ""
        rows.append(Line.assemble(f"  {value:>{edge}} │", *cells, no_wrap=True))
    first, last = labels((left, right))
    axis = f"{first}{last:>{max(1, room - len(first))}}"
    rows.append(Line(f"  {'':>{edge}} └{'─' * room}", no_wrap=True))
    under = f"  {'':>{edge}}  {axis}"
    beside = len(under) + GAP + len(part.x_label) <= width
    rows.append(_line(f"{under}  {part.x_label}" if beside else under, no_wrap=True))
    if not beside:
        rows.append(_line(f"  {'':>{edge}}  {part.x_label}"))
    return Group(*rows, _key(part))


def _plot(part: Curves, room: int) -> list[list[tuple[str, str]]]:
    """Return a grid of (glyph, style); the first series is drawn on top, marks above all."""
    left, right, bottom, top = part.bounds()
    cells = [[(" ", "")] * room for _ in range(PLOT_HEIGHT)]

    def put(x: float, y: float, glyph: str, tone: Tone) -> None:
        column = round((x - left) / (right - left) * (room - 1))
        line = round((top - y) / (top - bottom) * (PLOT_HEIGHT - 1))
        cells[line][column] = (glyph, STYLES[tone])

    for place, series in reversed(list(enumerate(part.series))):
        points = series.points()
        for (x0, y0, _), (x1, y1, _) in pairwise(points):
            steps = round((x1 - x0) / (right - left) * room)
            for step in range(1, steps):
                share = step / steps
                put(x0 + share * (x1 - x0), y0 + share * (y1 - y0), "·", series.tone)
        for x, y, _ in points:
            put(x, y, POINTS[place % len(POINTS)], series.tone)
    for place, mark in enumerate(part.marks):
        put(mark.x, mark.y, MARKS[place % len(MARKS)], mark.tone)
    return cells


def _key(part: Curves) -> Line:
    key = Line("  ")
    for place, series in enumerate(part.series):
        glyph = POINTS[place % len(POINTS)]
        key.append(f"{glyph} ", style=STYLES[series.tone]).append(f"{printable(series.label)}   ")
    for place, mark in enumerate(part.marks):
        key.append(f"{MARKS[place % len(MARKS)]} ", style=STYLES[mark.tone]).append(
            f"{printable(mark.label)}   "
        )
    return key


def _grid(columns: int, wraps: int | None = None) -> Grid:
    """Return a grid without lines, of which one column may take several lines."""
    grid = Grid.grid(padding=(0, GAP, 0, 0))
    for column in range(columns):
        grid.add_column(no_wrap=column != wraps)
    return grid


def _indent(grid: Grid) -> Padding:
    return Padding(grid, (0, 0, 0, INDENT), expand=False)
