"""The code cells of a notebook as one Python text, and each of its lines as a place in the file.

The text has a line for each line of the code cells. Magics, which are not Python, are blanked
there, so that lines and columns stay what they are in the notebook.
"""

import json
import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from json.decoder import JSONDecoder
from typing import Any

from batchproof.audit._reading import UnreadableError, parse

LARGEST = 2**25  # bytes of a notebook; most of one are pictures

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = JSONDecoder()
# cell magics whose cell is Python all the same
_PYTHON_MAGICS = re.compile(r"%%(time|timeit|capture|prun|memit|mprun|lprun|debug|python3?)\b")
_MAGIC = re.compile(r"(\s*)(?:[%!?]|[\w.]+(?:\[[^\]]*\])?\?{1,2}\s*$)")
# line magics that run the statement behind them
_TIMED = re.compile(r"(\s*)(%(?:time|timeit|prun|memit)[ \t]+)(?=[A-Za-z_])")
_ASSIGNED = re.compile(r"(\s*[\w.,\s]+=\s*)[!%]")


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell.

    Attributes:
        number: its place among all cells, from 1.
        lines: of its source, without their ends.
        places: for each of them the line of the file that holds it, from 1.
        start: where the source's value begins in the file's text.
        end: where it ends.
        python: the lines with magics blanked; all blank where it is not Python.
        wrong: why it is not Python, "" where it is.
        source: its source, as it is written.
    """

    number: int
    lines: tuple[str, ...]
    places: tuple[int, ...]
    start: int
    end: int
    python: tuple[str, ...]
    wrong: str
    source: str


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook's code.

    Attributes:
        raw: the file's text.
        cells: its code cells, in order.
    """

    raw: str
    cells: tuple[Cell, ...]

    @property
    def text(self) -> str:
        """Return the Python of all cells."""
        return "".join(f"{line}\n" for cell in self.cells for line in cell.python)

    def place(self, line: int) -> tuple[Cell, int]:
        """Return the cell that a line of the text is in, and its line there, both from 1."""
        for cell in self.cells:
            if line <= len(cell.lines):
                return cell, line
            line -= len(cell.lines)
        last = self.cells[-1]
        return last, len(last.lines)

    def rewritten(self, sources: dict[int, str]) -> str:
        """Return the file's text with other sources for cells.

        Args:
            sources: by the cell's number.
        """
        raw = self.raw
        for cell in reversed(self.cells):
            if cell.number in sources:
                value = _dumped(raw[cell.start : cell.end], sources[cell.number])
                raw = raw[: cell.start] + value + raw[cell.end :]
        return raw


def read_notebook(raw: str) -> Notebook:
    """Return the code cells of a notebook.

    Args:
        raw: the file's text.

    Returns:
        The notebook; it has no cells where it is not in Python.

    Raises:
        UnreadableError: if it is not a notebook.
    """
    try:
        top = dict(_members(raw, _SPACE.match(raw).end()))  # type: ignore[union-attr]
        if "cells" not in top or raw[top["cells"]] != "[":
            raise UnreadableError("is not a notebook: it has no list of cells")
        if not _is_python(raw, top):
            return Notebook(raw, ())
        ends = [match.start() for match in re.finditer("\n", raw)]
        cells = [
            _cell(raw, number, dict(_members(raw, start)), ends)
            for number, start in enumerate(_items(raw, top["cells"]), 1)
        ]
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not a notebook: {error.msg.lower()}", error.lineno) from None
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"is not a notebook: {error}") from None
    return Notebook(raw, tuple(cell for cell in cells if cell))


def _is_python(raw: str, top: dict[str, int]) -> bool:
    metadata = _value(raw, top["metadata"]) if "metadata" in top else {}
    spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    language = spec.get("language", "python") if isinstance(spec, dict) else "python"
    return str(language).lower().startswith(("python", "ipython"))


def _cell(raw: str, number: int, members: dict[str, int], ends: list[int]) -> Cell | None:
    kind = _value(raw, members["cell_type"]) if "cell_type" in members else None
    if kind != "code" or "source" not in members:
        return None
    start = members["source"]
    value, end = _DECODER.raw_decode(raw, start)
    starts = list(_items(raw, start)) if isinstance(value, list) else [start]
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise json.JSONDecodeError("the source of a cell is not text", raw, start)
    lines, places = _lines(parts, [bisect(ends, place) + 1 for place in starts])
    if not lines:
        lines, places = [""], [bisect(ends, start) + 1]
    python, wrong = _python(lines)
    return Cell(number, tuple(lines), tuple(places), start, end, python, wrong, "".join(parts))


def _lines(parts: list[str], at: list[int]) -> tuple[list[str], list[int]]:
    """Return the lines of a source's parts, and for each the line of the file where it begins."""
    lines, places, has_part = list[str](), list[int](), False
    for part, place in zip(parts, at, strict=True):
        for i, piece in enumerate(part.split("\n")):
            if has_part and not i:
                places[-1] = places[-1] if lines[-1] else place
                lines[-1] += piece
            else:
                lines.append(piece)
                places.append(place)
            has_part = True
    if len(lines) > 1 and not lines[-1]:
        lines.pop(), places.pop()
    return [line.removesuffix("\r") for line in lines], places


def _python(lines: list[str]) -> tuple[tuple[str, ...], str]:
    """Return the lines of a cell with magics blanked, and why they are not Python."""
    lines = [line.replace("\r", " ") for line in lines]
    for attempt in (lines, _without_magics(lines, runs=True), _without_magics(lines)):
        try:
            parse("\n".join(attempt), magics=False)
        except UnreadableError as error:
            wrong = error
        else:
            return tuple(attempt), ""
    return ("",) * len(lines), str(wrong)


def _without_magics(lines: list[str], *, runs: bool = False) -> list[str]:
    """Return the lines of a cell with magics blanked.

    Args:
        lines: the lines.
        runs: whether the statement behind a magic that runs one is kept, as by `if 1: f(x)`.
    """
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and not _PYTHON_MAGICS.match(first):
        return [""] * len(lines)
    blanked, continued = [], False
    for line in lines:
        run = _TIMED.match(line) if runs else None
        magic, assigned = _MAGIC.match(line), _ASSIGNED.match(line)
        if continued:
            code = ""
        elif run:
            code = f"{run[1]}if {'1' * (len(run[2]) - 5)}: {line[run.end() :]}"
        elif assigned:
            code = f"{assigned[1]}None"
        elif magic:
            code = f"{magic[1]}pass" if magic[1] else ""
        else:
            code = line
        continued = (continued or code != line) and line.endswith("\\")
        blanked.append(code)
    return blanked


def _dumped(before: str, source: str) -> str:
    """Return a cell's source as JSON in the form that it had: a list of lines, or one text."""
    ascii_only = before.isascii()
    if not before.startswith("["):
        return json.dumps(source, ensure_ascii=ascii_only)
    lines = re.findall(r"[^\n]*\n|[^\n]+", source)
    dumped = [json.dumps(line, ensure_ascii=ascii_only) for line in lines]
    opening = re.match(r"\[(\s*)", before)
    closing = re.search(r"(\s*)\]$", before)
    inner, outer = opening[1] if opening else "", closing[1] if closing else ""
    return f"[{inner}{(',' + (inner or ' ')).join(dumped)}{outer}]"


def _value(raw: str, start: int) -> Any:
    return _DECODER.raw_decode(raw, start)[0]


def _members(raw: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield the keys of a JSON object that begins here, and where their values begin."""
    i = _after(raw, start, "{")
    while not raw.startswith("}", i):
        key, i = _DECODER.raw_decode(raw, i)
        if not isinstance(key, str):
            raise json.JSONDecodeError("a key is not text", raw, i)
        value = _after(raw, _skip(raw, i), ":")
        yield key, value
        i = _next(raw, _DECODER.raw_decode(raw, value)[1], "}")


def _items(raw: str, start: int) -> Iterator[int]:
    """Yield the places where the items of a JSON list begin."""
    i = _after(raw, start, "[")
    while not raw.startswith("]", i):
        yield i
        i = _next(raw, _DECODER.raw_decode(raw, i)[1], "]")


def _skip(raw: str, i: int) -> int:
    space = _SPACE.match(raw, i)
    return space.end() if space else i


def _after(raw: str, i: int, sign: str) -> int:
    if not raw.startswith(sign, i):
        raise json.JSONDecodeError(f"expected {sign!r}", raw, i)
    return _skip(raw, i + 1)


def _next(raw: str, i: int, closing: str) -> int:
    """Return the place where the next item begins, or the closing bracket."""
    i = _skip(raw, i)
    if raw.startswith(",", i):
        return _skip(raw, i + 1)
    if not raw.startswith(closing, i):
        raise json.JSONDecodeError(f"expected ',' or {closing!r}", raw, i)
    return i
