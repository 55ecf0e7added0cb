"""The application: every command under its name, and the entry point."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from batchproof._version import __version__
from batchproof.cli import (
    _audit,
    _check,
    _demo,
    _evaluate,
    _explain,
    _recipe,
    _report,
    _train,
    _watch,
)
from batchproof.shell import CONTEXT, Command, guarded

COMPLETE = "_BATCHPROOF_COMPLETE"
ORDER = ("demo", "train", "evaluate", "check", "watch", "audit", "explain", "report", "recipe")


class _Ordered(TyperGroup):
    """The commands in the order in which a user needs them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(ORDER)


app = typer.Typer(
    cls=_Ordered,
    context_settings=CONTEXT,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The loss you meant, however the data is cut: train, evaluate, check, audit and explain.",
)


def _show_version(show: bool | None) -> None:
    if show:
        typer.echo(f"batchproof {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool | None, typer.Option("--version", help="Show the version.", callback=_show_version)
    ] = None,
) -> None:
    pass


app.command("demo", cls=Command)(_demo.demo)
app.add_typer(_train.app, name="train", short_help="Train a recipe.")
app.command("evaluate", short_help="Evaluate a run's best weights again.", cls=Command)(
    _evaluate.evaluate
)
app.command("check", cls=Command)(_check.check)
app.command(
    "watch",
    short_help="Run a script, and say what each of its losses counts.",
    cls=Command,
    context_settings=_watch.SETTINGS,
)(_watch.watch)
app.command("audit", short_help="Read training code, and find what is wrong.", cls=Command)(
    _audit.audit
)
app.add_typer(_explain.app, name="explain")
app.command("report", cls=Command)(_report.report)
app.add_typer(_recipe.app, name="recipe")


def main() -> None:
    """Run the command line, and exit with its status."""
    command = typer.main.get_command(app)
    if COMPLETE in os.environ:
        # a shell asks for completions; typer answers, and exits
        command(prog_name="batchproof")
    sys.exit(guarded(command, None, "batchproof"))
