"""Parts for the terminal: pictures made of characters, legible without colour."""

from itertools import pairwise

from rich.console import Group, RenderableType
from rich.padding import Padding
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
    number,
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
BAR_WIDTH = 36
LOOSE = 16  # blocks in a row up to which a space parts them
PLOT_WIDTH, PLOT_HEIGHT = 56, 12
EIGHTHS = " ▏▎▍▌▋▊▉"


def to_rich(part: Part) -> RenderableType:
    """Return a part as something that rich prints.

    Example:
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
            # too long a line goes on below: what is cut off cannot be copied
            return Padding(Line(part.text, style="bold", overflow="fold"), (0, 0, 0, 4))
        case Table():
            return _table(part)
        case Bars():
            return _bars(part)
        case Blocks():
            return _blocks(part)
        case Curves():
            return _curves(part)


def _text(part: Text) -> RenderableType:
    style = "" if part.tone == "plain" else f"bold {STYLES[part.tone]}"
    body = Line(part.text, style=style)
    return Group(Line(part.heading, style="bold underline"), body) if part.heading else body


def _table(part: Table) -> RenderableType:
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(part.columns):
        grid.add_column(column, justify="left" if index == 0 else "right")
    for index, row in enumerate(part.rows):
        tone = part.tone(index)
        grid.add_row(*(Line(cell) for cell in row), style="" if tone == "plain" else STYLES[tone])
    return _indent(grid)


def _bars(part: Bars) -> RenderableType:
    left, right = part.reach()
    scale = BAR_WIDTH / (left + right)
    room = round(left * scale)
    grid = _grid(wraps=0)
    for bar in part.bars:
        grid.add_row(Line(bar.label), _bar(bar, scale, room), Line(bar.text()))
    return Group(Line(part.title, style="bold"), _indent(grid))


def _bar(bar: Bar, scale: float, room: int) -> Line:
    length = abs(bar.value) * scale
    if bar.value < 0:
        drawn = "█" * max(1, round(length))
        text = drawn.rjust(room) + "│"
    else:
        whole, part = int(length), int((length % 1) * 8)
        text = " " * room + ("│" if room else "") + "█" * whole + EIGHTHS[part].strip()
        text = text if text.strip() else "▏"
    return Line(text, style=STYLES[bar.tone], no_wrap=True)


def _blocks(part: Blocks) -> RenderableType:
    grid = _grid(wraps=1)
    width = max((len(cell.text) for row in part.rows for cell in row.cells), default=0)
    close = max((len(row.cells) for row in part.rows), default=0) > LOOSE
    for row in part.rows:
        cells = _cells(row, width, "" if close and not width else " ")
        grid.add_row(Line(row.label), cells, Line(row.note))
    legend = Line("  ")
    for tone, meaning in part.legend:
        legend.append(f"{BLOCKS.get(tone, '■')} ", style=STYLES[tone]).append(f"{meaning}   ")
    parts: list[RenderableType] = [Line(part.title, style="bold"), _indent(grid)]
    return Group(*parts, legend) if part.legend else Group(*parts)


def _cells(row: Row, width: int, gap: str) -> Line:
    line = Line(overflow="fold")
    for cell in row.cells:
        block = BLOCKS.get(cell.tone, "■")
        line.append(f"{block}{cell.text.ljust(width)}{gap}", style=STYLES[cell.tone])
    line.rstrip()
    return line


def _curves(part: Curves) -> RenderableType:
    _, _, bottom, top = part.bounds()
    cells = _plot(part)
    rows: list[RenderableType] = [Line(part.title, style="bold"), Line(f"  {part.y_label}")]
    edge = max(len(number(top)), len(number(bottom)))
    for index, cell_row in enumerate(cells):
        value = number(top) if index == 0 else number(bottom) if index == PLOT_HEIGHT - 1 else ""
        rows.append(Line.assemble(f"  {value:>{edge}} │", *cell_row, no_wrap=True))
    return Group(*rows, *_foot(part, edge), _key(part))


def _plot(part: Curves) -> list[list[tuple[str, str]]]:
    """Return a grid of (glyph, style); the first series lies on top, marks above all."""
    left, right, bottom, top = part.bounds()
    cells = [[(" ", "")] * PLOT_WIDTH for _ in range(PLOT_HEIGHT)]

    def put(x: float, y: float, glyph: str, tone: Tone) -> None:
        column = round((x - left) / (right - left) * (PLOT_WIDTH - 1))
        line = round((top - y) / (top - bottom) * (PLOT_HEIGHT - 1))
        cells[line][column] = (glyph, STYLES[tone])

    for place, series in reversed(list(enumerate(part.series))):
        points = series.points()
        for (x0, y0, _), (x1, y1, _) in pairwise(points):
            steps = round((x1 - x0) / (right - left) * PLOT_WIDTH)
            for step in range(1, steps):
                share = step / steps
                put(x0 + share * (x1 - x0), y0 + share * (y1 - y0), "·", series.tone)
        for x, y, _ in points:
            put(x, y, POINTS[place % len(POINTS)], series.tone)
    for place, mark in enumerate(part.marks):
        put(mark.x, mark.y, MARKS[place % len(MARKS)], mark.tone)
    return cells


def _foot(part: Curves, edge: int) -> list[Line]:
    left, right, _, _ = part.bounds()
    axis = f"{number(left)}{number(right):>{PLOT_WIDTH - len(number(left))}}"
    return [
        Line(f"  {'':>{edge}} └{'─' * PLOT_WIDTH}", no_wrap=True),
        Line(f"  {'':>{edge}}  {axis}  {part.x_label}", no_wrap=True),
    ]


def _key(part: Curves) -> Line:
    key = Line("  ")
    for place, series in enumerate(part.series):
        glyph = POINTS[place % len(POINTS)]
        key.append(f"{glyph} ", style=STYLES[series.tone]).append(f"{series.label}   ")
    for place, mark in enumerate(part.marks):
        key.append(f"{MARKS[place % len(MARKS)]} ", style=STYLES[mark.tone]).append(
            f"{mark.label}   "
        )
    return key


def _grid(*, wraps: int) -> Grid:
    """Return a grid of label, picture and note, of which one may take several lines."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for column in range(3):
        grid.add_column(no_wrap=column != wraps)
    return grid


def _indent(grid: Grid) -> Padding:
    return Padding(grid, (0, 0, 0, 2), expand=False)
