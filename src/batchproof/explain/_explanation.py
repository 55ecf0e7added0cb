"""What a topic returns: a verdict, the steps to it, and the numbers, in any of three forms."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text as Line

from batchproof.page import Part, page, to_rich


@dataclass(frozen=True, slots=True)
class Explanation:
    """One loss worked out on paper, with the numbers that were given.

    Attributes:
        topic: the name of the topic.
        title: its question.
        verdict: the answer, in one sentence, with numbers.
        parts: the way to it: text, formulae, tables, pictures.
        numbers: what was computed, by name, as it is (not rounded).

    Example:
        >>> from batchproof import explain
        >>> explain.cross_entropy().numbers["loss"].__format__(".3f")
        '0.417'
    """

    topic: str
    title: str
    verdict: str
    parts: tuple[Part, ...]
    numbers: Mapping[str, float]

    def __rich__(self) -> RenderableType:
        head = Panel(Line(self.verdict), title=Line(self.title), title_align="left", expand=False)
        spaced: list[RenderableType] = [head]
        for part in self.parts:
            spaced += [to_rich(part), ""]
        return Group(*spaced[:-1])

    def to_text(self, width: int = 100) -> str:
        """Return the explanation as plain text, without colours."""
        console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
        console.print(self)
        written: io.StringIO = console.file  # type: ignore[assignment]
        return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"

    def to_html(self) -> str:
        """Return the explanation as a page of its own: no network, no script."""
        return page(self.title, self.verdict, [("", self.parts)])

    def __str__(self) -> str:
        return self.to_text()
