"""`batchproof report RUN...`: one page about one run or several."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="run folders to compare")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="the page; without it RUN/report.html"),
    ] = None,
) -> None:
    """Write one HTML page about runs: curves, means, times."""
    from batchproof.report import write_report

    typer.echo(f"wrote {write_report(runs, out or runs[0] / 'report.html')}")
