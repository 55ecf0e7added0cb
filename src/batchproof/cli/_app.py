"""The application: every command under its name, and the one way in and out."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from batchproof import __version__
from batchproof.cli import _audit, _check, _demo, _evaluate, _explain, _recipe, _report, _train
from batchproof.recipes import guarded

ORDER = ("demo", "train", "evaluate", "check", "audit", "explain", "report", "recipe")


class _Ordered(TyperGroup):
    """The commands in the order in which one meets them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(ORDER)


app = typer.Typer(
    cls=_Ordered,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The loss you meant, however the data is cut: train, evaluate, check, audit and explain.",
)


def _show_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"batchproof {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool | None, typer.Option("--version", help="Show the version.", callback=_show_version)
    ] = None,
) -> None:
    pass


app.command("demo")(_demo.demo)
app.add_typer(_train.app, name="train", short_help="Train a recipe.")
app.command("evaluate", short_help="Evaluate a run's best weights again.")(_evaluate.evaluate)
app.command("check")(_check.check)
app.command("audit", short_help="Read training code, and find what is wrong.")(_audit.audit)
app.add_typer(_explain.app, name="explain")
app.command("report")(_report.report)
app.add_typer(_recipe.app, name="recipe")


def main() -> None:
    """Run the command line, and exit with its status."""
    sys.exit(guarded(typer.main.get_command(app), None, "batchproof"))
