"""`batchproof check MODULE:NAME`: does a step or an evaluation depend on how its data is cut?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchproof._errors import SettingError

if TYPE_CHECKING:
    from batchproof.check import Heads, Report

# the cuts of all probes, named without loading torch; some need a probe with optional parts
CUTS = ("whole", "one-by-one", "halves", "uneven", "sorted", "permuted", "masked", "padded")


_Probe = Annotated[
    str | None,
    typer.Argument(
        metavar="MODULE:NAME",
        help="probe to run, or FILE.py:NAME; the file that --example and --from write",
    ),
]
_Cuts = Annotated[
    str | None,
    typer.Option("--cuts", metavar="NAMES", help=f"standard, or some of {', '.join(CUTS)}: a,b"),
]
_Ranks = Annotated[
    str | None,
    typer.Option("--ranks", metavar="NUMBERS", help="processes to spread samples over: 1,2"),
]
_Dtype = Annotated[
    str | None,
    typer.Option("--dtype", metavar="NAME", help="float64, float32, ...: the probe's without"),
]
_Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="write the report as JSON too")
]
_Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="write the report as a page too")
]
_Example = Annotated[
    bool,
    typer.Option("--example", help="write a probe to start from and stop: probe.py, or FILE.py"),
]
_Place = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE:LINE",
        help="write a probe of the function at that line and stop: probe.py, or FILE.py",
    ),
]


def check(
    probe: _Probe = None,
    cuts: _Cuts = None,
    ranks: _Ranks = None,
    dtype: _Dtype = None,
    json: _Json = None,
    html: _Html = None,
    example: _Example = False,
    place: _Place = None,
) -> None:
    """Say whether a training step depends on how data is cut.

    Exit status: 0 where nothing depends on the cut, 1 where something does, 2 for wrong use.
    """
    if example:
        from batchproof.check import write_example

        path = write_example(probe or "probe.py")
        typer.echo(f"wrote {path}; run it: batchproof check {path}:step")
        return
    if place is not None:
        from batchproof.check import write_draft

        path = write_draft(place, probe or "probe.py")
        typer.echo(f"wrote {path}; run it: batchproof check {path}:probe")
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
