"""`batchproof report RUN...`: one page about one run or several."""

from pathlib import Path
from typing import Annotated

import typer

from batchproof._errors import RunFolderError


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="run folders to compare")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="the page; without it RUN/report.html"),
    ] = None,
) -> None:
    """Write one HTML page about runs: curves, means, times."""
    from batchproof.report import write_report

    if out is None:
        out = runs[0] / "report.html"
        # the folder may be somebody else's: no link is followed, and no pipe written to
        if out.is_symlink() or (out.exists() and not out.is_file()):
            raise RunFolderError(f"{out} is not a regular file; name another page: --out FILE.")
    typer.echo(f"wrote {write_report(runs, out)}")
