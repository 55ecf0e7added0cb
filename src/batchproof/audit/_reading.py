"""Python text out of files that may be anything: other encodings, binary, enormous, broken.

What cannot be read as Python is an UnreadableError, which says where and why in a line. Nothing is
executed: text is decoded by its BOM or coding line (PEP 263) and parsed by `ast`.
"""

import ast
import codecs
import io
import os
import re
import stat
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

LARGEST = 2**20  # bytes of Python text; its syntax tree takes about forty times as much
# the statement print of Python 2, and a keyword of PyTorch 0.3 that Python 3.7 reserved
_OLD = re.compile(r"((?:^|:)[ \t]*)print[ \t](?=[^\s(=,])|\basync(?=[ \t]*=)", re.MULTILINE)
# the magics of IPython, in scripts that an editor runs cell by cell
_MAGIC = re.compile(r"^([ \t]*)[%!]\w.*$", re.MULTILINE)
_LINE_END = re.compile(r"\r\n|\r|\n")


class UnreadableError(Exception):
    """A file that cannot be read as Python.

    Attributes:
        line: where, from 1; 0 where it is not a single line.
        reason: why, in lower case, without a full stop.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text, and its encoding, in which it is written again.

    Attributes:
        text: decoded; its line endings are those of the file, a BOM is left out.
        encoding: a codec's name; "utf-8-sig" where there is a BOM.
    """

    text: str
    encoding: str

    def encode(self, text: str) -> bytes:
        """Return other text in the bytes of this file's encoding."""
        return text.encode(self.encoding)


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file; a link is followed, a pipe or a device is refused, for it may not end.
        largest: the most bytes to read.

    Raises:
        UnreadableError: if it is missing, larger, not a regular file, or may not be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as file:  # noqa: PTH123
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise UnreadableError("is not a regular file")
            if state.st_size > largest:
                raise UnreadableError(f"has {state.st_size} bytes; at most {largest} are read")
            return file.read(largest + 1)
    except OSError as error:
        raise UnreadableError((error.strerror or str(error)).lower()) from None


def decode(content: bytes) -> Text:
    """Return the text of Python source.

    Args:
        content: bytes whose first two lines may name their encoding.

    Raises:
        UnreadableError: if they do not decode, or hold a null byte.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        codecs.lookup(encoding)
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"is not {error.encoding}", line) from None
    except (SyntaxError, LookupError, ValueError) as error:
        raise UnreadableError(_one_line(error), 1) from None
    if "\0" in text:
        raise UnreadableError("holds a null byte", text.count("\n", 0, text.index("\0")) + 1)
    return Text(text, encoding)


def parse(text: str, *, magics: bool = True) -> ast.Module:
    """Return the syntax tree of Python text.

    Args:
        text: Python, with line endings of any kind.
        magics: whether lines that are magics of IPython are left out.

    Raises:
        UnreadableError: if it is not Python, or nested too deeply.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _parse_almost(text, magics=magics)
    except SyntaxError as error:
        why = _one_line(error).removeprefix("invalid syntax").lstrip(" .:,(").rstrip(")")
        reason = f"invalid syntax: {why}" if why else "invalid syntax"
        raise UnreadableError(reason, error.lineno or 0) from None
    except (RecursionError, MemoryError):
        raise UnreadableError("is nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(_one_line(error)) from None


def _parse_almost(text: str, *, magics: bool) -> ast.Module:
    """Return the syntax tree of text that may use the words of older Pythons, or magics.

    `print x` becomes the tuple `print,x`, `async=` another keyword and a magic `pass`, so that
    every other node keeps its place; the tuple is made a call again.
    """
    try:
        return ast.parse(text)
    except SyntaxError:
        new = _OLD.sub(lambda m: f"{m[1]}print," if m[1] is not None else "asynk", text)
        new = _MAGIC.sub(r"\1pass", new) if magics else new
        if new == text:
            raise
        tree = ast.parse(new)
    for node in ast.walk(tree):
        match node:
            case ast.Expr(ast.Tuple([ast.Name("print") as name, *values]) as place):
                node.value = ast.copy_location(ast.Call(name, values, []), place)
    return tree


def lines_of(text: str) -> list[str]:
    """Return the lines of Python text as its parser counts them, without their ends."""
    return _LINE_END.split(text)


def _one_line(error: Exception) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(message.split())
