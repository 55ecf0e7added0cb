"""`batchproof train RECIPE`: the recipe's main with the options that its signature declares."""

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from batchproof.recipes import names, source, summary


class _Recipes(TyperGroup):
    """The recipes as commands: listed by their first line, imported only when one is run."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        # typer shows a short help whole, but would cut a help
        return TyperCommand(cmd_name, short_help=summary(cmd_name)) if cmd_name in names() else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, *rest = args
        source(name)
        if sys.stderr.isatty() and not ctx.resilient_parsing and not {"-h", "--help"} & set(rest):
            typer.echo("loading torch ...", err=True)
        from batchproof.recipes import recipe_command

        return name, recipe_command(name), rest


app = typer.Typer(
    cls=_Recipes,
    rich_markup_mode=None,
    no_args_is_help=True,
    subcommand_metavar="RECIPE [OPTIONS]",
    help="Train a recipe; `batchproof train RECIPE --help` shows its options and numbers.",
)


@app.callback()
def _train() -> None:
    pass
