"""A recipe's main, run from the shell: as `batchproof train NAME`, and as the user's own script."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from batchproof.ranks import distributed_group
from batchproof.recipes._catalogue import HERE, load
from batchproof.recipes._results import Results, show
from batchproof.recipes._session import options_by_name, train
from batchproof.shell import command, guarded


def run(main: Callable[..., Results], arguments: Sequence[str] | None = None) -> None:
    """Run a recipe's main as a script, and exit with its status.

    Args:
        main: takes Settings first and its own options after; returns Results.
        arguments: command-line arguments; None for those of this process.
    """
    path = Path(inspect.getfile(inspect.unwrap(main))).resolve()
    recipe = path.stem if path.parent == HERE else str(path)
    program = f"python {Path(sys.argv[0])}"
    sys.exit(guarded(_trained(main, recipe, path.stem, program), arguments, path.name))


def recipe_command(name: str) -> Any:
    """Return a recipe of batchproof's as a typer command; this imports torch."""
    return _trained(load(name).main, name, name, f"batchproof train {name}")


def _trained(main: Callable[..., Results], recipe: str, name: str, program: str) -> Any:
    def call(values: dict[str, Any], from_user: set[str]) -> None:
        with distributed_group(values["device"]) as place:
            results, folder = train(main, recipe, values, from_user, program)
        if place.rank:
            return
        try:
            _report(results, folder)
        except OSError as error:
            if folder is not None:
                error.add_note(f"the run is whole, see it again: batchproof evaluate {folder}")
            raise

    # the help of a copy names the copy
    text = re.sub(r"batchproof train \w+", lambda _: program, inspect.getmodule(main).__doc__ or "")
    return command(name, options_by_name(main).values(), call, text=text)


def _report(results: Results, folder: Path | None) -> None:
    console = terminal()
    console.print()
    show(results, console)
    if folder is None:
        typer.echo("\ndry run: train, validate, save and load work; nothing was kept")
    else:
        typer.echo(f"\nrun folder: {folder}\nnext: batchproof report {folder}")
    sys.stdout.flush()


def terminal() -> Console:
    """Return the standard output as a console; wide enough for tables where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=120)
