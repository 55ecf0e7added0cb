"""The line of the user's code that led to a call.

The user's code is what is neither in a folder of installed packages, nor Python's own, nor
batchproof. The line is the innermost of the user's: where a library called torch on behalf of a
user's line, it is that line.
"""

import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

_PATHS = sysconfig.get_paths()
_LIBRARIES = tuple(
    {_PATHS["stdlib"], _PATHS["platstdlib"], _PATHS["purelib"], _PATHS["platlib"]}
    | {str(Path(__file__).parents[1]), "<frozen", "<eval_with_key>"}
)
_INSTALLED = ("/site-packages/", "/dist-packages/")
# by identity, for a code object takes long to hash; it is kept, so that no other gets its identity
_USERS: dict[int, tuple[CodeType, bool]] = {}
_EXPRESSIONS: dict[int, tuple[CodeType, Sequence[int]]] = {}


def is_users(code: CodeType) -> bool:
    """Return whether code is the user's: in no library."""
    entry = _USERS.get(id(code))
    if entry is None:
        path = code.co_filename
        users = not path.startswith(_LIBRARIES) and not any(part in path for part in _INSTALLED)
        entry = _USERS[id(code)] = code, users or "/batchproof/recipes/" in path
    return entry[1]


def users_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's code, or None where there is none."""
    entries = _USERS
    while frame is not None:
        code = frame.f_code
        entry = entries.get(id(code))
        if entry[1] if entry is not None else is_users(code):
            break
        frame = frame.f_back
    return frame


def user_site() -> str:
    """Return "file:line" of the user's code that led here; "?" where there is none."""
    return site_of(users_frame(sys._getframe(1)))  # noqa: SLF001


def site_of(frame: FrameType | None) -> str:
    """Return "file:line" of a frame, relative to the working folder where it is below it."""
    if frame is None:
        return "?"
    return f"{_shown(frame.f_code.co_filename)}:{frame.f_lineno}"


@cache
def _shown(path: str) -> str:
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def _expressions(code: CodeType) -> Sequence[int]:
    """Return for each instruction of a code object the first of the same expression.

    As a program warms up, Python calls from another instruction of the same expression.
    """
    entry = _EXPRESSIONS.get(id(code))
    if entry is None:
        first: dict[object, int] = {}
        positions = enumerate(code.co_positions())
        numbers = [first.setdefault(position, place) for place, position in positions]
        entry = _EXPRESSIONS[id(code)] = code, numbers
    return entry[1]


def occasion() -> tuple[FrameType | None, tuple[int, ...]]:
    """Return the user's frame, and what tells this call from calls by another way.

    Two calls from one line are one occasion only if every line of the user's that led there is
    the same: a helper that is called for real and for generated images has two.
    """
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001
    users = None
    parts: list[int] = []
    entries, expressions = _USERS, _EXPRESSIONS
    while frame is not None:
        code = frame.f_code
        there = entries.get(id(code))
        if there[1] if there is not None else is_users(code):
            users = users or frame
            entry = expressions.get(id(code))
            first = entry[1] if entry is not None else _expressions(code)
            parts += (id(code), first[frame.f_lasti >> 1])
        elif users is None:
            parts.append(id(code))
        frame = frame.f_back
    return users, tuple(parts)
