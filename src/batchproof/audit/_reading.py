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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LARGEST = 2**20  # bytes of Python text; its syntax tree takes about forty times as much
# what Python 3 no longer reads, and what is read in its place: text of the same length
_OLD: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"((?:^|:)[ \t]*)print[ \t](?=[^\s(=,>])", re.MULTILINE), r"\1print,"),
    (
        re.compile(r"((?:^|:)[ \t]*)print[ \t]*>>", re.MULTILINE),
        lambda m: f"{m[1]}print,".ljust(len(m[0])),
    ),
    (
        re.compile(r"^([ \t]*except\b[^:#\n]*?),([ \t]*\w+[ \t]*)(?=:)", re.MULTILINE),
        lambda m: m[1].ljust(len(m[0])),
    ),
    (re.compile(r"^([ \t]*raise[ \t]+[\w.]+),(?=[ \t])", re.MULTILINE), r"\1;"),
    (re.compile(r"\basync(?=[ \t]*=)"), "asynk"),
)
# the magics of IPython, in scripts that an editor runs cell by cell
_MAGIC = re.compile(r"^([ \t]*)(?:%{1,2}|!)\w.*$", re.MULTILINE)
# comments and strings, of which those over several lines begin no statement
_QUOTED = re.compile(
    r"#[^\n]*|(\"{3}|'{3})(?:\\.|[^\\])*?\1|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'",
    re.DOTALL,
)
# the start of an f-string, or a string or comment that is none
_STRING = re.compile(
    r"(?<!\w)(?:[fF][rR]?|[rR][fF])(?P<quote>[\"'])|#.*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
)
_MOST_STRINGS = 100  # lines of a file whose f-strings are written as Python 3.11 reads them
_INNER = re.compile(r"[\s#)\]}]|(?:else|elif|except|finally)\b|$")
_AFTER = re.compile(r"expected an indented block after .* on line (\d+)")
_CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)
_MOST = 20  # statements of a file that may be left out
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


def parse_rest(text: str) -> tuple[ast.Module, list[tuple[int, str]]]:
    """Return the syntax tree of Python text without the statements that are not Python.

    Args:
        text: Python, with line endings of any kind.

    Returns:
        The tree, and where and why statements of the file are left out of it.

    Raises:
        UnreadableError: if nothing of it is Python, or it is nested too deeply.
    """
    lines, faults, first = lines_of(text), list[tuple[int, str]](), None
    while True:
        try:
            tree = parse("\n".join(lines) if faults else text)
        except UnreadableError as error:
            after = _AFTER.search(error.reason)  # the statement whose block is missing
            line = int(after[1]) if after else error.line
            first, cut = first or error, _statement(lines, line - 1)
            if cut is None or len(faults) == _MOST or _CONFLICT.search(text):
                raise first from None
            faults.append(
                (error.line, f"{error.reason}; lines {cut.start + 1} to {cut.stop} are not read")
            )
            lines[cut] = [""] * len(lines[cut])
        else:
            if first is not None and not tree.body:
                raise first
            return tree, faults


def _statement(lines: list[str], place: int) -> slice | None:
    """Return the lines of the file's own statement that holds a line; None where it is blank."""
    text, inside = "\n".join(lines), set[int]()
    for match in _QUOTED.finditer(text):
        first = text.count("\n", 0, match.start()) + 1
        inside |= set(range(first, first + match[0].count("\n")))
    begins = [i for i, line in enumerate(lines) if i not in inside and not _INNER.match(line)]
    start = max((i for i in begins if i <= place), default=0)
    above = [i for i in begins if i < start]
    while above and lines[above[-1]].startswith("@"):
        start = above.pop()
    cut = slice(start, min((i for i in begins if i > place), default=len(lines)))
    return cut if place >= 0 and any(map(str.strip, lines[cut])) else None


def _parse_almost(text: str, *, magics: bool) -> ast.Module:
    """Return the syntax tree of text that may use the words of older Pythons, or magics.

    `print x` becomes the tuple `print,x`, `async=` another keyword and a magic `pass`, so that
    every other node keeps its place; the tuple is made a call again.
    """
    try:
        return ast.parse(text)
    except SyntaxError as error:
        new = _requoted(text, error)
        for pattern, words in _OLD:
            new = pattern.sub(words, new)
        new = _MAGIC.sub(r"\1pass", new) if magics else new
        if new == text:
            raise
        tree = ast.parse(new)
    for node in ast.walk(tree):
        match node:
            case ast.Expr(ast.Tuple([ast.Name("print") as name, *values]) as place):
                node.value = ast.copy_location(ast.Call(name, values, []), place)
    return tree


def _requoted(text: str, error: SyntaxError) -> str:
    """Return text whose f-strings of Python 3.12 are written as Python 3.11 reads them.

    Quotes within braces that are those of the f-string itself become the other ones, and
    backslashes there become spaces; every node keeps its place.
    """
    lines = text.split("\n")
    for _ in range(_MOST_STRINGS):
        line = (error.lineno or 0) - 1
        if "f-string" not in error.msg or not 0 <= line < len(lines):
            break
        before, lines[line] = lines[line], _older(lines[line])
        if lines[line] == before:
            break
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as next_error:
            error = next_error
        else:
            break
    return "\n".join(lines)


def _older(line: str) -> str:
    """Return a line whose f-strings have neither their own quotes nor backslashes in braces."""
    signs, quote, depth, i = list(line), "", 0, 0
    while i < len(line):
        sign, begin = line[i], _STRING.match(line, i)
        if quote and depth:
            depth += {"{": 1, "}": -1}.get(sign, 0)
            signs[i] = {quote: "\"'".replace(quote, ""), "\\": " "}.get(sign, sign)
        elif quote and line[i : i + 2] in {"{{", "}}", f"\\{quote}"}:
            i += 1
        elif quote:
            depth, quote = int(sign == "{"), "" if sign == quote else quote
        elif begin is not None:
            quote = begin["quote"] or ""
            i = begin.end() - 1
        i += 1
    return "".join(signs)


def lines_of(text: str) -> list[str]:
    """Return the lines of Python text as its parser counts them, without their ends."""
    return _LINE_END.split(text)


def _one_line(error: Exception) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(message.split())
