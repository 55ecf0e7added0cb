"""`batchproof recipe`: list the recipes, or copy one as your own script."""

from pathlib import Path
from typing import Annotated

import typer

from batchproof.recipes import copy, names, summary
from batchproof.shell import Command

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List the recipes, or copy one as a script of your own.",
)


@app.command("list", cls=Command)
def list_recipes() -> None:
    """List the recipes, a line each."""
    width = max(map(len, names()))
    for name in names():
        typer.echo(f"{name:{width}}  {summary(name)}")


@app.command("copy", cls=Command, short_help="Copy a recipe as a script of your own.")
def copy_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the recipe, as `list` names it")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the script to write")],
) -> None:
    """Copy a recipe's script to FILE, which is yours to change; nothing is overwritten."""
    copy(name, file)
    typer.echo(f"copied {name} to {file}; run it: python {file} --help")
