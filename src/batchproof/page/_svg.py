"""Pictures as inline SVG: one width, scaled by the page, coloured by the page's tones.

Every chart is drawn in a box 360 units wide, so that its words stay readable on a phone.
"""

import math
from collections.abc import Callable

from batchproof.page._parts import (
    Bars,
    Blocks,
    Curves,
    Mark,
    Row,
    Series,
    can_be_drawn,
    escaped,
    labels,
    number,
)

WIDTH = 360
PLOT_HEIGHT = 216
TOP, RIGHT, BOTTOM = 10, 12, 40
LETTER = 7.2  # width of a letter of the charts' 12-unit type
MOST_DOTS = 40
DASHES = ("", "6 3", "2 3", "8 3 2 3")

Scale = Callable[[float], float]


def ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Return round numbers that divide a range: steps of 1, 2 or 5 times a power of ten.

    Examples:
        >>> ticks(0.0, 0.9)
        [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


def curves(part: Curves) -> str:
    """Return curves with their bands, axes and marks."""
    left, right, bottom, top = part.bounds()
    room = (top - bottom) * 0.05
    bottom, top = bottom - room, top + room
    y_ticks = ticks(bottom, top)
    margin = 27 + LETTER * max(map(len, labels(y_ticks)))

    def x_at(x: float) -> float:
        return margin + (x - left) / (right - left) * (WIDTH - RIGHT - margin)

    def y_at(y: float) -> float:
        return TOP + (top - y) / (top - bottom) * (PLOT_HEIGHT - TOP - BOTTOM)

    body = [_axes(part, margin, _x_ticks(part, left, right), y_ticks, x_at, y_at)]
    body += [_band(series, x_at, y_at) for series in part.series if any(series.error)]
    body += [_curve(series, place, x_at, y_at) for place, series in enumerate(part.series)]
    body += [_mark(mark, x_at, y_at) for mark in part.marks]
    return _svg(part.title, float(PLOT_HEIGHT), body)


def _x_ticks(part: Curves, left: float, right: float) -> list[float]:
    """Return ticks that are whole where all points are, as epochs and steps are."""
    places = ticks(left, right, 6)
    whole = all(x.is_integer() for series in part.series for x, _, _ in series.points())
    return [x for x in places if x.is_integer()] if whole else places


def _axes(
    part: Curves,
    margin: float,
    x_ticks: list[float],
    y_ticks: list[float],
    x_at: Scale,
    y_at: Scale,
) -> str:
    floor, end = PLOT_HEIGHT - BOTTOM, WIDTH - RIGHT
    lines = [
        f'<path class="grid" d="M{margin:.1f} {y_at(y):.1f}H{end}"/>'
        + _words(label, margin - 5, y_at(y) + 4, "end")
        for y, label in zip(y_ticks, labels(y_ticks), strict=True)
    ]
    for x, label in zip(x_ticks, labels(x_ticks), strict=True):
        # moved to the left where the picture would end within it
        at = min(x_at(x), WIDTH - LETTER * len(label) / 2)
        lines.append(_words(label, at, floor + 15.0, "middle"))
    lines.append(f'<path class="axis" d="M{margin:.1f} {TOP}V{floor}H{end}"/>')
    lines.append(_words(part.x_label, (margin + end) / 2, PLOT_HEIGHT - 6.0, "middle"))
    centre = (TOP + floor) / 2
    rotation = f'transform="translate(12 {centre:.1f}) rotate(-90)"'
    lines.append(
        f'<text class="words" text-anchor="middle" {rotation}>{escaped(part.y_label)}</text>'
    )
    return "".join(lines)


def _curve(series: Series, place: int, x_at: Scale, y_at: Scale) -> str:
    points = series.points()
    if not points:
        return ""
    path = "L".join(f"{x_at(x):.1f} {y_at(y):.1f}" for x, y, _ in points)
    dash = DASHES[place % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    path_element = f'<path class="curve {series.tone}" d="M{path}"{dashed}/>'
    if len(points) > MOST_DOTS:
        return path_element
    return path_element + "".join(
        f'<circle class="{series.tone}" cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="2.6">'
        f"<title>{escaped(series.label)}: {number(y, 6)} at {number(x)}</title></circle>"
        for x, y, _ in points
    )


def _band(series: Series, x_at: Scale, y_at: Scale) -> str:
    points = series.points()
    upper = [f"{x_at(x):.1f} {y_at(y + e):.1f}" for x, y, e in points]
    lower = [f"{x_at(x):.1f} {y_at(y - e):.1f}" for x, y, e in reversed(points)]
    return f'<path class="band {series.tone}" d="M{"L".join(upper + lower)}Z"/>'


def _mark(mark: Mark, x_at: Scale, y_at: Scale) -> str:
    return (
        f'<circle class="mark {mark.tone}" cx="{x_at(mark.x):.1f}" cy="{y_at(mark.y):.1f}" r="6">'
        f"<title>{escaped(mark.label)}</title></circle>"
    )


def bars(part: Bars) -> str:
    """Return horizontal bars, each under its name."""
    left, right = part.reach()
    notes = LETTER * max((len(bar.text()) for bar in part.bars), default=0) + 8
    scale = (WIDTH - notes * (2 if left else 1)) / (left + right)
    zero = left * scale + (notes if left else 0)
    body = []
    for index, bar in enumerate(part.bars):
        y = 36.0 * index
        length = abs(bar.value) * scale if can_be_drawn(bar.value) else 0.0
        start = zero - length if bar.value < 0 else zero
        beside = (start - 5, "end") if bar.value < 0 else (zero + length + 5, "start")
        body.append(_words(bar.label, 0.0, y + 13, "start"))
        body.append(
            f'<rect class="{bar.tone}" x="{start:.1f}" y="{y + 18:.0f}" '
            f'width="{max(length, 1):.1f}" height="12" rx="2"/>'
        )
        body.append(_words(bar.text(), beside[0], y + 29, beside[1]))
    height = 36.0 * len(part.bars)
    body.append(f'<path class="axis" d="M{zero:.1f} 0V{height:.0f}"/>' if left else "")
    return _svg(part.title, height, body)


def blocks(part: Blocks) -> str:
    """Return rows of blocks, each row under its name."""
    most = max((len(row.cells) for row in part.rows), default=1)
    side = min(24.0, WIDTH / max(most, 1))
    body, y = [], 0.0
    for row in part.rows:
        body.append(_block_row(row, side, y))
        y += (side if row.cells else 0) + 24
    return _svg(part.title, y, body)


def _block_row(row: Row, side: float, y: float) -> str:
    words = f"{row.label}: {row.note}" if row.note else row.label
    elements = [_words(words, 0.0, y + 13, "start")]
    for index, cell in enumerate(row.cells):
        x = index * side
        elements.append(
            f'<rect class="cell {cell.tone}" x="{x + 1:.1f}" y="{y + 18:.1f}" '
            f'width="{side - 2:.1f}" height="{side - 2:.1f}" rx="2"/>'
        )
        if cell.text and side > 14:
            middle = f'x="{x + side / 2:.1f}" y="{y + 18 + side / 2 + 3:.1f}"'
            elements.append(
                f'<text class="inside" {middle} text-anchor="middle">{escaped(cell.text)}</text>'
            )
    return "".join(elements)


def _words(text: str, x: float, y: float, anchor: str) -> str:
    return (
        f'<text class="words" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'
    )


def _svg(title: str, height: float, body: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escaped(title)}">'
        f"{''.join(body)}</svg>"
    )
