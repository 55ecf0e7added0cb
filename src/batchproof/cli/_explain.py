"""`batchproof explain TOPIC`: the numbers of one loss, worked out from values of one's own."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from batchproof.explain import Topic


class _Topics(TyperGroup):
    """The topics as commands, with the options that each declares."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        from batchproof.explain import topics

        return list(topics())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        from batchproof.explain import topics

        topic = topics().get(cmd_name)
        return None if topic is None else _command(topic)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        from batchproof import SettingError

        name, *rest = args
        found = self.get_command(ctx, name)
        if found is None:
            known = ", ".join(self.list_commands(ctx))
            raise SettingError(f"there is no topic {name!r}; the topics are {known}.")
        return name, found, rest


app = typer.Typer(
    cls=_Topics,
    rich_markup_mode=None,
    no_args_is_help=True,
    subcommand_metavar="TOPIC [OPTIONS]",
    help="Work the numbers of a loss out, from values of your own.",
)


@app.callback()
def _explain() -> None:
    pass


def _command(topic: "Topic") -> Any:
    def callback(typer_context: Any, *, html: Path | None, **texts: str) -> None:
        sources = {name: typer_context.get_parameter_source(name) for name in texts}
        given = {
            name: text
            for name, text in texts.items()
            if (source := sources[name]) is not None and source.name != "DEFAULT"
        }
        _show(topic, given, html)

    context = inspect.Parameter(
        "typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
    )
    page = _option("html", "write a page to FILE instead", None, Path | None, "FILE")
    own = [
        _option(
            option.name,
            option.help,
            option.text() or None,
            str,
            "|".join(option.choices) or option.kind.upper(),
        )
        for option in topic.options
    ]
    # typer reads the signature, and would take annotations before it
    callback.__annotations__ = {}
    callback.__signature__ = inspect.Signature([context, *own, page])  # type: ignore[attr-defined]
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(topic.name, help=topic.summary)(callback)
    return typer.main.get_command(single)


def _option(name: str, text: str, default: Any, kind: Any, metavar: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=text, metavar=metavar)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if default is None else kind, option],
    )


def _show(topic: "Topic", given: dict[str, str], html: Path | None) -> None:
    from rich.console import Console

    from batchproof._files import write_file

    explanation = topic.explain(**given)
    if html is None:
        Console().print(explanation)
        return
    typer.echo(f"wrote {write_file(html, explanation.to_html())}")
