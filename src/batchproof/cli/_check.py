"""`batchproof check MODULE:NAME`: does a step or an evaluation depend on how its data is cut?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchproof import SettingError

if TYPE_CHECKING:
    from batchproof.check import Heads, Report

# the cuts of all probes, named without loading torch; some need a probe with optional parts
CUTS = ("whole", "one-by-one", "halves", "uneven", "sorted", "permuted", "masked", "padded")


def check(
    probe: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:NAME", help="probe to run, or FILE.py:NAME; a FILE.py for --example"
        ),
    ] = None,
    cuts: Annotated[
        str | None,
        typer.Option(
            "--cuts", metavar="NAMES", help=f"standard, or some of {', '.join(CUTS)}: a,b"
        ),
    ] = None,
    ranks: Annotated[
        str | None,
        typer.Option("--ranks", metavar="NUMBERS", help="processes to spread samples over: 1,2"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="NAME", help="float64, float32, ...: the probe's without"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write the report as JSON too")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write the report as a page too")
    ] = None,
    example: Annotated[
        bool,
        typer.Option(
            "--example", help="write a probe to start from and stop: probe.py, or FILE.py"
        ),
    ] = False,
) -> None:
    """Say whether a training step depends on how data is cut.

    Exit status: 0 where nothing depends on the cut, 1 where something does, 2 for wrong use.
    """
    if example:
        from batchproof.check import write_example

        written = write_example(probe or "probe.py")
        typer.echo(f"wrote {written}; run it: batchproof check {written}:step")
        return
    if probe is None:
        raise SettingError(
            "no probe was given; give MODULE:NAME, or --example for a file to start from."
        )
    from batchproof._files import refuse_file
    from batchproof.check import run_probe

    for file in filter(None, (json, html)):
        refuse_file(file)
    report = run_probe(probe, cuts=cuts, ranks=ranks, dtype=dtype)
    _show(report)
    if json is not None:
        report.to_json(json)
    if html is not None:
        report.to_html(html)
    raise typer.Exit(0 if report.ok else 1)


def _show(report: "Report | Heads") -> None:
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(report)
    else:
        # lines of a file or a pipe are as long as they are
        typer.echo(str(report))
