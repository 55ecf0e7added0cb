"""`batchproof evaluate RUN`: the numbers of a run, computed again from its folder alone."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder that training made")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="data folder; without it, the run's own"),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps, ...")
    ] = "auto",
    script: Annotated[
        Path | None,
        typer.Option("--script", metavar="FILE", help="your script, where one trained the run"),
    ] = None,
) -> None:
    """Evaluate a run's best weights on the data that its recipe measures."""
    from batchproof.recipes import evaluate_run, read_record, show, terminal

    read_record(run)
    show(evaluate_run(run, data, script, device=device), terminal())
