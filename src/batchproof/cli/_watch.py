"""`batchproof watch SCRIPT`: run a script as it is, and say what it does to its losses."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from batchproof._errors import SettingError

# what follows the script is the script's
SETTINGS = {"allow_interspersed_args": False}


def watch(
    script: Annotated[
        list[str] | None,
        typer.Argument(metavar="SCRIPT [ARG]...", help="script to run, and its arguments"),
    ] = None,
    module: Annotated[
        bool, typer.Option("-m", help="run a module, as python -m MODULE does")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write the report as JSON too")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write the report as a page too")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="watch the first N optimiser steps only"),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="say at once when something wrong is certain")
    ] = False,
) -> None:
    """Run a script as it is, and say what each sample and each number counted.

    Exit status: 0 where nothing is wrong, 1 where something is, 2 for wrong use; that of the
    script where it fails.
    """
    from batchproof._files import refuse_file
    from batchproof.watch import Program, run_watched

    if not script:
        raise SettingError("no script was given; give SCRIPT, or -m MODULE.")
    for file in filter(None, (json, html)):
        refuse_file(file)
    program = Program(script[0], tuple(script[1:]), is_module=module)

    def show(report: Any) -> None:
        _show(report, json=json, html=html)

    say = _say if live else None
    raise typer.Exit(run_watched(program, show, steps=steps, say=say))


def _say(sentence: str) -> None:
    typer.echo(f"batchproof: {sentence}", err=True)


def _show(report: Any, *, json: Path | None, html: Path | None) -> None:
    from rich.console import Console

    is_closed = getattr(sys.stdout, "closed", True)
    console = Console(file=sys.__stderr__ if is_closed else sys.stdout)
    console.print()
    console.print(report)
    if json is not None:
        report.to_json(json)
    if html is not None:
        report.to_html(html)
