"""A command of the shell from the options of a function.

Each option becomes a flag with its default, limits and help. The function called gets every value,
and the names of those that the command line gave.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from batchproof._errors import SettingError
from batchproof.shell._option import Option

CONTEXT = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help names its arguments as the usage line does, without their types."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the pieces of the usage line, without braces around required arguments."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.replace("{", "").replace("}", "") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, if any, and the options."""
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name, text = record
                is_argument = parameter.param_type_name == "argument"
                label = name.partition(" <")[0] if is_argument else name
                # some versions of typer escape brackets for a renderer that is not used here
                records[parameter.param_type_name].append((label, text.replace("\\[", "[")))
        for title, rows in (("Arguments", records["argument"]), ("Options", records["option"])):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def command(
    name: str,
    options: Iterable[Option],
    call: Callable[[dict[str, Any], set[str]], None],
    *,
    text: str,
) -> Any:
    """Return a typer command.

    Args:
        name: the command's name.
        options: the options, in the order in which help lists them.
        call: called with all values by name, and the names of those that the command line gave.
        text: the help; its indented lines are shown as they are.
    """

    def callback(typer_context: Any, **values: Any) -> None:
        names = {key for key in values if _was_given(typer_context, key)}
        call(values, names)

    context = inspect.Parameter(
        "typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
    )
    # typer reads the signature only where there are no annotations
    callback.__annotations__ = {}
    parameters = [context, *map(_parameter, options)]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=Command, help=verbatim(text), context_settings=CONTEXT)(callback)
    return typer.main.get_command(app)


def verbatim(text: str) -> str:
    """Return a help text in which typer leaves indented paragraphs as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"\b\n{p}" if p.startswith(" ") else p for p in paragraphs)


def _was_given(context: Any, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _parameter(option: Option) -> inspect.Parameter:
    default, kind = option.default, option.kind
    more: dict[str, Any] = {}
    if option.is_list:
        # typer shows this text, and parses it
        default, kind = option.text() or None, Any
        more = {"parser": _parser(option)}
    elif kind == tuple[str, ...]:
        default, kind = list(default), list[str]
    info = typer.Option(
        option.flag,
        help=option.help,
        metavar=option.metavar or None,
        min=option.least,
        max=option.most,
        **more,
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if default is None and kind is not Any else kind, info],
    )


def _parser(option: Option) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return option.parse(text)
        except SettingError as error:
            raise typer.BadParameter(str(error)) from None

    return parse
