"""A recipe's main as a command: its signature is the command line, with defaults and help.

    def main(
        settings: Settings = Settings(...),
        *,
        momentum: Annotated[float, AtLeast(0), "of SGD"] = 0.9,
    )

becomes --momentum, refused below 0, and one option for each field of Settings with the defaults
given there.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from batchproof.recipes._settings import AtLeast, Settings

Main = Callable[..., Any]


def own_options(main: Main) -> dict[str, inspect.Parameter]:
    """Return the keyword parameters of a recipe's main: its own options."""
    _, *own = inspect.signature(main).parameters.values()
    return {parameter.name: parameter for parameter in own}


def default_settings(main: Main) -> Settings:
    """Return the Settings that a recipe's main has by default."""
    first = next(iter(inspect.signature(main).parameters.values()))
    settings = first.default
    assert isinstance(settings, Settings)
    return settings


def typed(main: Main, name: str, value: Any) -> Any:
    """Return an option's value, as JSON holds it, in the option's own type."""
    hints = get_type_hints(main) if name in own_options(main) else get_type_hints(Settings)
    choices = (hints[name], *get_args(hints[name]))
    if Path in choices and value is not None:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def command(main: Main, name: str, call: Callable[[dict[str, Any], set[str]], None]) -> Any:
    """Return a recipe as a command of typer's.

    Args:
        main: the recipe's.
        name: of the command.
        call: called with all values, and the names of those that the command line gave.

    Returns:
        The command, whose help is the docstring of main's module.
    """

    def callback(typer_context: Any, **values: Any) -> None:
        given = {key for key in values if _was_given(typer_context, key)}
        call(values, given)

    options = {**_own(main), **_shared(default_settings(main))}
    context = inspect.Parameter(
        "typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
    )
    # typer reads the signature, and would take annotations before it
    callback.__annotations__ = {}
    callback.__signature__ = inspect.Signature([context, *options.values()])  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, help=inspect.getmodule(main).__doc__)(callback)
    return typer.main.get_command(app)


def _was_given(context: Any, name: str) -> bool:
    found = context.get_parameter_source(name)
    return found is not None and found.name != "DEFAULT"


def _own(main: Main) -> Mapping[str, inspect.Parameter]:
    hints = get_type_hints(main, include_extras=True)
    found = {}
    for name, parameter in own_options(main).items():
        hint = hints[name]
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        text = " ".join(note for note in notes if isinstance(note, str))
        least = next((note.least for note in notes if isinstance(note, AtLeast)), None)
        found[name] = _parameter(name, kind, parameter.default, text, least=least)
    return found


def _shared(defaults: Settings) -> Mapping[str, inspect.Parameter]:
    found = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, shown = get_args(hint)
            kind = list[str] if get_origin(kind) is tuple else kind
            default = getattr(defaults, name)
            found[name] = _parameter(name, kind, default, shown.help, shown.metavar or None)
    return found


def _parameter(
    name: str,
    kind: Any,
    default: Any,
    text: str,
    metavar: str | None = None,
    least: int | None = None,
) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(flag, help=text, metavar=metavar, min=least)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=list(default) if isinstance(default, tuple) else default,
        annotation=Annotated[kind, option],
    )
