"""The patterns of .gitignore files, matched as git matches them, without running git.

git itself is not asked: the configuration of an audited repository may name programs that it runs.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LARGEST = 2**20  # characters of a .gitignore that are read


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line of a .gitignore.

    Attributes:
        regex: what the path below the file's folder must match, whole.
        takes_back: whether a match is not ignored after all, the line beginning with "!".
        folders_only: whether it matches folders alone, the line ending in "/".
    """

    regex: re.Pattern[str]
    takes_back: bool
    folders_only: bool


def patterns_of(text: str) -> tuple[Pattern, ...]:
    """Return the patterns of a .gitignore in its order, without lines that match nothing."""
    return tuple(filter(None, map(_pattern, text.split("\n"))))


def user_ignore() -> Path:
    """Return the file of patterns that git applies to all repositories of its user.

    That is core.excludesFile of the user's configuration, or ~/.config/git/ignore.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    for file in (home / ".gitconfig", folder / "config"):
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        setting = re.search(
            r"^\s*excludesfile\s*=\s*\"?([^\"\n]+?)\"?\s*$", text, re.IGNORECASE | re.MULTILINE
        )
        if setting:
            return Path(os.path.expanduser(setting[1]))  # noqa: PTH111
    return folder / "ignore"


def read_patterns(path: Path) -> tuple[Pattern, ...]:
    """Return the patterns of a file; none where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            return patterns_of(file.read(LARGEST).removeprefix("\ufeff"))
    except OSError:
        return ()


def verdict(patterns: Sequence[Pattern], path: str, *, folder: bool) -> bool | None:
    """Return whether the last pattern that matches ignores a path, None where none matches.

    Args:
        patterns: of one .gitignore.
        path: relative to the folder that the .gitignore is in, with slashes.
        folder: whether it is a folder.

    Examples:
        >>> verdict(patterns_of("*.py" + chr(10) + "!keep.py"), "a/keep.py", folder=False)
        False
    """
    for pattern in reversed(patterns):
        if (folder or not pattern.folders_only) and pattern.regex.fullmatch(path):
            return not pattern.takes_back
    return None


@lru_cache(4096)
def _pattern(line: str) -> Pattern | None:
    line = _without_trailing_spaces(line.removesuffix("\r"))
    if not line or line.startswith("#"):
        return None
    takes_back = line.startswith("!")
    line = line.removeprefix("!")
    folders_only = line.endswith("/")
    line = line.removesuffix("/")
    anchored = "/" in line
    line = line.removeprefix("/")
    if not line:
        return None
    translated = _translated(line)
    if translated is None:
        return None
    try:
        regex = re.compile(translated if anchored else f"(?:.*/)?{translated}", re.DOTALL)
    except re.error:
        return None
    return Pattern(regex, takes_back, folders_only)


def _without_trailing_spaces(line: str) -> str:
    stripped = line.rstrip(" ")
    escapes = len(stripped) - len(stripped.rstrip("\\"))
    return f"{stripped} " if escapes % 2 and stripped != line else stripped


def _translated(glob: str) -> str | None:
    """Return a git glob as a regular expression, None where nothing matches it."""
    parts, i = [], 0
    while i < len(glob):
        if glob.startswith("**/", i) and (i == 0 or glob[i - 1] == "/"):
            parts.append("(?:.*/)?")
            i += 3
        elif glob.startswith("**", i) and i + 2 == len(glob) and i and glob[i - 1] == "/":
            parts.append(".+")
            i += 2
        elif glob[i] == "*":
            parts.append("[^/]*")
            i += len(glob[i:]) - len(glob[i:].lstrip("*"))
        elif glob[i] == "?":
            parts.append("[^/]")
            i += 1
        elif glob[i] == "[":
            bracket = _bracket(glob, i)
            if bracket is None:
                return None
            parts.append(bracket[0])
            i = bracket[1]
        else:
            i += glob[i] == "\\"
            if i == len(glob):
                return None
            parts.append(re.escape(glob[i]))
            i += 1
    return "".join(parts)


_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "space": r"\s", "blank": r" \t", "xdigit": "0-9a-fA-F", "punct": r"!-/:-@\[-`{-~",
    "cntrl": r"\x00-\x1f\x7f", "print": " -~", "graph": "!-~",
}  # fmt: skip


def _bracket(glob: str, start: int) -> tuple[str, int] | None:
    """Return a bracket expression as a regular expression, and where the glob continues."""
    i = start + 1
    negated = glob[i : i + 1] in {"!", "^"}
    i += negated
    members, first = [], True
    while first or glob[i : i + 1] != "]":
        if i >= len(glob):
            return None
        class_name = re.compile(r"\[:(\w+):\]").match(glob, i)
        if class_name:
            if class_name[1] not in _CLASSES:
                return None
            members.append(_CLASSES[class_name[1]])
            i, first = class_name.end(), False
            continue
        low, i = _member(glob, i)
        first = False
        if glob[i : i + 1] == "-" and glob[i + 1 : i + 2] not in {"]", ""}:
            high, i = _member(glob, i + 1)
            if low and high and low <= high:
                members.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            members.append(re.escape(low))
    if not any(members):
        return None if not negated else ("[^/]", i + 1)
    inside = "".join(members)
    return (f"[^/{inside}]" if negated else f"(?!/)[{inside}]"), i + 1


def _member(glob: str, i: int) -> tuple[str, int]:
    i += glob[i] == "\\"
    return glob[i : i + 1], i + 1
