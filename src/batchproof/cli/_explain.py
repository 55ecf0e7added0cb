"""`batchproof explain TOPIC`: the numbers of one loss, worked out from your own values."""

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
        from batchproof._errors import SettingError
        from batchproof.mistakes import CATALOGUE

        name, *rest = args
        topic = self.get_command(ctx, name)
        if topic is None and name in CATALOGUE:
            raise SettingError(
                f"{name} is a mistake, not a topic; run batchproof audit --explain {name}."
            )
        if topic is None:
            topics = ", ".join(self.list_commands(ctx))
            raise SettingError(f"there is no topic {name!r}; the topics are {topics}.")
        return name, topic, rest


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
    from batchproof.shell import Metavar, Option, command

    hint = Annotated[Path | None, Metavar("FILE"), "write a page to FILE instead"]
    page = Option.of("html", hint, None)

    def call(values: dict[str, Any], options: set[str]) -> None:
        _show(topic, {name: values[name] for name in options - {"html"}}, values["html"])

    return command(topic.name, [*topic.options, page], call, text=topic.summary)


def _show(topic: "Topic", options: dict[str, Any], html: Path | None) -> None:
    from rich.console import Console

    from batchproof._files import write_file

    explanation = topic.explain(**options)
    if html is None:
        Console().print(explanation)
        return
    typer.echo(f"wrote {write_file(html, explanation.to_html())}")
