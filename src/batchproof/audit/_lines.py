"""Line numbers that know their file, so that a fact about one file can be told in another."""

import ast
import os
import re
from pathlib import Path
from typing import Self

_MARK = "\x1f"
_PLACE = re.compile(f"(\\d+){_MARK}([^{_MARK}]*){_MARK}")


class Line(int):
    """A line number that is written with its file, until `told` says how a reader sees it.

    Attributes:
        path: the file, absolute.
    """

    path: str

    def __new__(cls, number: int, path: str) -> Self:
        """Return the line of a file."""
        line = super().__new__(cls, number)
        line.path = path
        return line

    def __reduce__(self) -> tuple[type["Line"], tuple[int, str]]:
        return Line, (int(self), self.path)

    def __str__(self) -> str:
        return f"{int(self)}{_MARK}{self.path}{_MARK}"


def number_lines(tree: ast.Module, path: Path) -> None:
    """Let the line of each node of a syntax tree know its file."""
    place, lines = os.path.realpath(path), dict[int, Line]()
    for node in ast.walk(tree):
        number = getattr(node, "lineno", None)
        if number is not None:
            if number not in lines:
                lines[number] = Line(number, place)
            node.lineno = lines[number]  # type: ignore[attr-defined]


def file_of(node: ast.AST) -> str:
    """Return the file that holds a node, "" where its line does not know."""
    return getattr(getattr(node, "lineno", 0), "path", "")


def told(fact: str, path: str, root: Path | None) -> str:
    """Return a sentence as a reader of one file sees it: lines of others are named with their file.

    Args:
        fact: the sentence.
        path: the file that it is read in, absolute.
        root: the project's folder, which the names of files are relative to.

    Examples:
        >>> loader = Line(40, "/project/train.py")
        >>> told(f"the loader at line {loader} has no drop_last", "/project/train.py", None)
        'the loader at line 40 has no drop_last'
        >>> told(f"the loader at line {loader} has no drop_last", "/project/engine.py", None)
        'the loader at line 40 of train.py has no drop_last'
    """

    def place(match: re.Match[str]) -> str:
        number, file = match.groups()
        return number if file == path else f"{number} of {name_in(file, root)}"

    return _PLACE.sub(place, fact)


def name_in(path: str, root: Path | None) -> str:
    """Return the name of a file as a project says it: relative to its folder, with slashes."""
    inside = root is not None and Path(path).is_relative_to(root)
    return os.path.relpath(path, root).replace(os.sep, "/") if inside else Path(path).name
