"""The document of a report: one tuple of sections, drawn for the terminal, as text and as a page.

Every number that is shown of a cut comes from `row_of`, and every picture shows the same numbers.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.text import Text as Line

from batchproof.check._report._results import CutResult, Diagnosis
from batchproof.page import (
    Bar,
    Bars,
    Code,
    Part,
    Share,
    Table,
    Text,
    Tone,
    fragment,
    page,
    share_bars,
    shares_in_words,
    to_rich,
)
from batchproof.page._terminal import Indented

WIDTH = 80
# an address is not broken, so that it can be followed
_WIDEST = 100


@dataclass(frozen=True)
class Section:
    """A section of a document.

    Attributes:
        heading: its heading, or "".
        parts: what is in it.
        link: the address of a page that says more, or "".
    """

    heading: str
    parts: tuple[Part, ...]
    link: str = ""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as a table shows it."""
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if math.isfinite(value) else str(value)


def tone_of(*, wrong: bool) -> Tone:
    """Return the tone of a verdict."""
    return "wrong" if wrong else "exact"


def table_of(cuts: Sequence[CutResult], *, step: bool) -> Table:
    """Return the results of every cut, one row per cut.

    Args:
        cuts: their results.
        step: whether a step was checked, not an evaluation.
    """
    middle = ("x uncut", "shares") if step else ()
    columns = ("cut: micro-batches" if step else "cut: batches", *middle, "error")
    columns = (*columns, "reported" if step else "number", "")
    tones = tuple(_tone(cut) for cut in cuts)
    return Table(columns, tuple(row_of(cut, step=step) for cut in cuts), tones)


def row_of(cut: CutResult, *, step: bool) -> tuple[str, ...]:
    """Return the row of a cut.

    Args:
        cut: its result.
        step: whether a step was checked.
    """
    name = f"{cut.name}: {cut.sizes}"
    if cut.failure:
        return (name, *["-"] * (4 if step else 2), "not run")
    middle = (number(cut.scale, 4), shares_in_words(cut.shares) or "-") if step else ()
    verdict = "DEPENDS" if cut.dependent else "same"
    return (name, *middle, number(error_of(cut, step=step), 2), number(cut.loss, 6), verdict)


def error_of(cut: CutResult, *, step: bool) -> float:
    """Return a cut's error as it is shown: of the gradient, or of the number furthest off."""
    return cut.error if step else cut.largest


def _tone(cut: CutResult) -> Tone:
    return "muted" if cut.failure else ("wrong" if cut.dependent else "plain")


def pictures_of(cuts: Sequence[CutResult], *, step: bool, tolerance: float) -> tuple[Part, ...]:
    """Return the shares of the cut that is furthest off, and the errors of all, as bars.

    Another picture shows the reported loss if it differs.

    Args:
        cuts: their results.
        step: whether a step was checked.
        tolerance: the error that rounding alone can make.
    """
    ran = [cut for cut in cuts if not cut.failure]
    what = "gradient" if step else "number"
    errors = [error_of(cut, step=step) for cut in ran]
    pictures = [*_shares(ran, tolerance), _bars(what, ran, errors, tolerance)]
    losses = [cut.loss_error or 0.0 for cut in ran]
    if step and not max(losses, default=0.0) <= tolerance:
        pictures.append(_bars("reported loss", ran, losses, tolerance))
    return tuple(pictures)


def _shares(cuts: Sequence[CutResult], tolerance: float) -> list[Part]:
    """Return a picture of the shares of the cut that is furthest off, of those that are known."""
    several = [cut for cut in cuts if len(cut.shares) > 1]
    if not several:
        return []
    cut = max(several, key=lambda cut: cut.error)
    if cut.error <= tolerance:
        cut = next((cut for cut in several if cut.name == "uneven"), cut)
    exact = cut.wanted or (None,) * len(cut.shares)
    shares = [
        Share(f"micro-batch {place}", share, want)
        for place, (share, want) in enumerate(zip(cut.shares, exact, strict=True), 1)
    ]
    return share_bars(f"What each micro-batch of {cut.name!r} ({cut.sizes}) counts", shares)


def _bars(what: str, cuts: Sequence[CutResult], errors: Sequence[float], tolerance: float) -> Bars:
    longest = max((error for error in errors if math.isfinite(error)), default=0.0) or 1.0
    bars = tuple(
        Bar(
            cut.name,
            error if math.isfinite(error) else longest,
            "plain" if error <= tolerance else "wrong",
            number(error, 2),
        )
        for cut, error in zip(cuts, errors, strict=True)
    )
    return Bars(f"Relative error of the {what}, against the uncut one", bars)


def section_of(diagnosis: Diagnosis) -> Section:
    """Return the section on a mistake: the proof, the remedy, the page that explains it."""
    text = diagnosis.sentence
    if diagnosis.residual is not None:
        text += f" This predicts every cut to {number(diagnosis.residual, 1)}."
    parts: list[Part] = [Text(text), Text(f"Remedy: {diagnosis.remedy}")]
    if diagnosis.code:
        parts.append(Code(diagnosis.code))
    return Section(diagnosis.name, tuple(parts), diagnosis.page)


def as_rich(sections: Sequence[Section]) -> RenderableType:
    """Return sections for the terminal; pictures are left out, for the table has their numbers."""
    blocks: list[RenderableType] = []
    for section in sections:
        parts = [_shown(part) for part in section.parts if not isinstance(part, Bars)]
        if section.link:
            parts.append(Line(section.link, style="blue"))
        if blocks and parts:
            blocks.append(Line(""))
        if section.heading:
            blocks.append(Line(section.heading, style="bold"))
            parts = [Indented(Group(*parts), 2)]
        blocks += parts
    return Group(*blocks)


def _shown(part: Part) -> RenderableType:
    """Return a part for the terminal; text in lines that are not too long to read."""
    return to_rich(part) if isinstance(part, Table) else Constrain(to_rich(part), WIDTH - 2)


def as_text(content: RenderableType, width: int = _WIDEST) -> str:
    """Return the output of rich as text, without colour or control codes.

    Args:
        content: the thing to print.
        width: columns.
    """
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        color_system=None,
        highlight=False,
        markup=False,
        legacy_windows=False,
        force_terminal=False,
    )
    console.print(content)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def as_page(title: str, lede: str, sections: Sequence[Section]) -> str:
    """Return sections as one self-contained page.

    Args:
        title: of the page.
        lede: what comes below it.
        sections: the document.
    """
    return page(title, lede, _linked(sections))


def as_cell(sections: Sequence[Section]) -> str:
    """Return sections as the result of a notebook's cell."""
    return fragment(_linked(sections))


def _linked(sections: Sequence[Section]) -> list[tuple[str, Sequence[Part]]]:
    return [(s.heading, (*s.parts, Text(s.link)) if s.link else s.parts) for s in sections]
