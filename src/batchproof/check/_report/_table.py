"""The report as plain text: the verdict first, then a table of cuts, then what to do."""

import io
import math

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from batchproof.check._report._report import CutResult, Report

WIDTH = 80


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for a table."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}g}"


def render(report: Report) -> str:
    """Return the report as text without colour or control codes."""
    console = Console(
        file=io.StringIO(),
        width=WIDTH,
        color_system=None,
        highlight=False,
        markup=False,
        legacy_windows=False,
        force_terminal=False,
    )
    console.print(report.verdict)
    console.print(_cuts(report))
    for diagnosis in report.diagnoses:
        console.print()
        shown = (
            f" (predicts every cut to {number(diagnosis.residual, 1)})"
            if diagnosis.residual is not None
            else ""
        )
        console.print(f"{diagnosis.name}{shown}")
        console.print(Padding(diagnosis.sentence, (0, 0, 0, 2)))
        console.print(Padding(f"Remedy: {diagnosis.remedy}", (0, 0, 0, 2)))
        for line in diagnosis.code.splitlines():
            console.print(f"      {line}", soft_wrap=True)
    _print_facts(console, report)
    file = console.file
    assert isinstance(file, io.StringIO)
    lines = (line.rstrip() for line in file.getvalue().splitlines())
    return "\n".join(lines)


def _cuts(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    step = report.kind == "step"
    table.add_column("cut", no_wrap=True)
    # the only one that may take several lines: the others are cut short where it does not
    table.add_column("micro-batches" if step else "batches")
    if step:
        table.add_column("x uncut", justify="right", no_wrap=True)
        table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("error", justify="right", no_wrap=True)
    table.add_column("reported" if step else "number", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for cut in report.cuts:
        table.add_row(*_row(cut, step=step))
    return table


def _row(cut: CutResult, *, step: bool) -> list[str]:
    verdict = "not run" if cut.failure else ("DEPENDS" if cut.dependent else "same")
    if cut.failure:
        return [cut.name, cut.sizes, *(["-", "-"] if step else []), "-", "-", verdict]
    middle = [number(cut.scale, 4), number(cut.cosine, 4)] if step else []
    # an evaluation's error is that of the rank whose number is furthest off
    error = cut.error if step else max(cut.error, cut.loss_error or 0.0)
    return [cut.name, cut.sizes, *middle, number(error, 2), number(cut.loss, 6), verdict]


def _print_facts(console: Console, report: Report) -> None:
    console.print()
    console.print(f"Mean over: {report.unit_text or report.unit}")
    for note in report.notes:
        console.print(f"Note: {note}")
    console.print(
        f"{report.samples} samples, {report.runs} runs; same cut twice: {number(report.noise, 1)}; "
        f"errors above {number(report.tolerance, 1)} count."
    )
