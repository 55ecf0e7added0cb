"""A file to audit: its Python text, where each line of it is in the file, and how it is edited."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchproof.audit import _notebook
from batchproof.audit._finding import Edit
from batchproof.audit._notebook import Notebook, read_notebook
from batchproof.audit._project import Source
from batchproof.audit._reading import (
    LARGEST,
    Text,
    UnreadableError,
    decode,
    lines_of,
    parse_rest,
    read_bytes,
)

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Place:
    """A line as the reader of a file knows it.

    Attributes:
        line: of the file's text, from 1.
        cell: the notebook's cell, from 1; None in a Python file.
        cell_line: the line in that cell, from 1; None in a Python file.
    """

    line: int
    cell: int | None = None
    cell_line: int | None = None


class OverlapError(ValueError):
    """Edits that overlap, or are outside the text."""


@dataclass(frozen=True)
class Document:
    """A Python file or a notebook, decoded.

    Attributes:
        path: the file, as it was named.
        raw: its text.
        notebook: its cells, None for a Python file.
    """

    path: Path
    raw: Text
    notebook: Notebook | None

    @cached_property
    def text(self) -> str:
        """Return its Python text."""
        return self.notebook.text if self.notebook else self.raw.text

    @cached_property
    def lines(self) -> list[str]:
        """Return the lines of its Python text, without their ends."""
        return lines_of(self.text)

    @property
    def faults(self) -> list[tuple[int, str]]:
        """Return where and why its cells, or its statements, are not Python."""
        if self.notebook is None:
            return self._parsed[1]
        cells = [cell for cell in self.notebook.cells if cell.wrong]
        return [(cell.places[0], f"cell {cell.number}: {cell.wrong}") for cell in cells]

    def source(self) -> Source:
        """Return its text and the syntax tree of what is Python.

        Raises:
            UnreadableError: if none of it is.
        """
        return Source(self.path, self.text, self._parsed[0])

    @cached_property
    def _parsed(self) -> tuple[ast.Module, list[tuple[int, str]]]:
        return parse_rest(self.text)

    def place(self, line: int) -> Place:
        """Return the place in the file of a line of the Python text."""
        if not self.notebook or not self.notebook.cells:
            return Place(line)
        cell, cell_line = self.notebook.place(line)
        return Place(cell.places[cell_line - 1], cell.number, cell_line)

    def edited(self, edits: Sequence[Edit]) -> bytes:
        """Return the content of the file after edits of its Python text.

        Args:
            edits: in lines and columns of the text.

        Raises:
            OverlapError: if edits overlap, are outside the text, or cross cells.
        """
        if self.notebook is None:
            return self.raw.encode(apply_edits(self.raw.text, edits))
        by_cell: dict[int, list[Edit]] = {}
        cells = {cell.number: cell for cell in self.notebook.cells}
        for edit in edits:
            cell, line = self.notebook.place(edit.line)
            ahead = edit.line - line
            inner = Edit(line, edit.column, edit.end_line - ahead, edit.end_column, edit.text)
            by_cell.setdefault(cell.number, []).append(inner)
        sources = {
            number: apply_edits(cells[number].source, own) for number, own in by_cell.items()
        }
        return self.raw.encode(self.notebook.rewritten(sources))


def read_document(path: Path, *, content: bytes | None = None) -> Document:
    """Return a file, decoded.

    Args:
        path: the file; what ends in ".ipynb" is a notebook.
        content: what it holds; read from the file where that is None.

    Raises:
        UnreadableError: if it cannot be read as text, or is not a notebook.
    """
    notebook = path.suffix == ".ipynb"
    if content is None:
        content = read_content(path)
    if not notebook:
        return Document(path, decode(content), None)
    try:
        encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
        raw = Text(content.decode(encoding), encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError("is not utf-8", line) from None
    return Document(path, raw, read_notebook(raw.text))


def read_content(path: Path) -> bytes:
    """Return the bytes of a Python file or a notebook, up to the limit for its kind."""
    return read_bytes(path, _notebook.LARGEST if path.suffix == ".ipynb" else LARGEST)


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    r"""Return text with edits applied, and its own line endings.

    Args:
        text: the text.
        edits: they do not overlap; of several insertions at one place, the first comes first.

    Raises:
        OverlapError: if edits overlap or are outside the text.

    Examples:
        >>> apply_edits("a\nb\n", [Edit(2, 1, 2, 2, "c"), Edit(1, 2, 1, 2, "!")])
        'a!\nc\n'
    """
    ends = [match.span() for match in _LINE_END.finditer(text)]
    starts = [0, *(end for _, end in ends)]
    stops = [*(start for start, _ in ends), len(text)]
    newline = text[slice(*ends[0])] if ends else "\n"

    def at(line: int, column: int) -> int:
        inside = 1 <= line <= len(starts)
        if not inside or not 1 <= column <= stops[line - 1] - starts[line - 1] + 1:
            raise OverlapError(f"line {line}, column {column} is not in the text")
        return starts[line - 1] + column - 1

    spans = [(at(e.line, e.column), at(e.end_line, e.end_column), e.text) for e in edits]
    parts, position = [], 0
    for start, end, new in sorted(spans, key=lambda span: span[:2]):
        if start < position or end < start:
            raise OverlapError("edits overlap")
        parts += [text[position:start], new.replace("\n", newline)]
        position = end
    return "".join([*parts, text[position:]])
