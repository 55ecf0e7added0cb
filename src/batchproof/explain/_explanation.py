"""The result of a topic: a verdict, the steps to it, and the numbers, in any of three forms."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.panel import Panel
from rich.text import Text as Line

from batchproof.page import Part, Text, fragment, page, to_rich


@dataclass(frozen=True, slots=True)
class Explanation:
    """One loss worked out on paper, with the numbers that were given.

    Attributes:
        topic: the name of the topic.
        title: its question.
        verdict: the answer, in one sentence, with numbers.
        parts: the way to it: text, formulae, tables, pictures.
        numbers: the computed values by name, not rounded.

    Examples:
        >>> from batchproof import explain
        >>> explain.cross_entropy().numbers["loss"].__format__(".3f")
        '0.417'
    """

    topic: str
    title: str
    verdict: str
    parts: tuple[Part, ...]
    numbers: Mapping[str, float]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        verdict, title = Line(self.verdict), Line(self.title)
        if len(self.title) + 6 > options.max_width:
            yield Line(self.title, style="bold")
            yield Panel(verdict, expand=False)
        else:
            least = len(self.title) + 6
            width = None if len(self.verdict) + 4 >= least else least
            yield Panel(verdict, title=title, title_align="left", expand=False, width=width)
        for index, part in enumerate(self.parts):
            if index:
                yield ""
            yield to_rich(part)

    def to_text(self, width: int = 100) -> str:
        """Return the explanation as plain text, without colours."""
        console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
        console.print(self)
        buffer: io.StringIO = console.file  # type: ignore[assignment]
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"

    def to_html(self) -> str:
        """Return the explanation as a page of its own: no network, no script."""
        return page(self.title, self.verdict, [("", self.parts)])

    def _repr_html_(self) -> str:
        return fragment([(self.title, (Text(self.verdict), *self.parts))])

    def __str__(self) -> str:
        return self.to_text()
