"""An option of a command, read from an annotated parameter of a function or field of a dataclass.

Its type, default, limits and help are written once, where the function takes it:

    def padding(lengths: Annotated[Sequence[int], "tokens in each sequence"] = (7, 3)) -> ...
    def main(*, momentum: Annotated[float, AtLeast(0), "momentum of SGD"] = 0.9) -> ...

A value may be a Python object, the text of a command line, or from an untrusted JSON file.
"""

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from batchproof._errors import SettingError


class AtLeast(NamedTuple):
    """The least valid value of an option."""

    least: int


class Between(NamedTuple):
    """The least and the largest valid value of an option."""

    least: int
    most: int


class Metavar(NamedTuple):
    """The name by which help refers to an option's value."""

    name: str


class _Kind(NamedTuple):
    description: str
    metavar: str


_KINDS: dict[Any, _Kind] = {
    bool: _Kind("true or false", ""),
    int: _Kind("a whole number", "INTEGER"),
    float: _Kind("a number", "NUMBER"),
    str: _Kind("a string", "TEXT"),
    Path: _Kind("a path", "PATH"),
    Sequence[int]: _Kind("whole numbers separated by commas", "INTEGERS"),
    Sequence[float]: _Kind("numbers separated by commas", "NUMBERS"),
    tuple[str, ...]: _Kind("strings", "TEXT"),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One value that a function takes.

    Attributes:
        name: as Python names it; the command line writes "-" for "_".
        kind: its type: bool, int, float, str, Path, a Literal of strings, Sequence[int],
            Sequence[float] or tuple[str, ...].
        optional: whether None is valid too.
        default: the value that is used if none is given.
        help: its description, with its unit.
        metavar: the name by which help refers to its value.
        least, most: the limits of a number, or None.
        notes: everything else in the annotation.

    Examples:
        >>> Option.of("rates", Annotated[Sequence[float], "learning rates"], (0.1,)).parse("1,0.5")
        (1.0, 0.5)
    """

    name: str
    kind: Any
    optional: bool
    default: Any
    help: str
    metavar: str
    least: int | None = None
    most: int | None = None
    notes: tuple[Any, ...] = ()

    @classmethod
    def of(cls, name: str, hint: Any, default: Any) -> "Option":
        """Return the option of a parameter, from its name, annotation and default."""
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        optional = get_origin(kind) in (types.UnionType, Union)
        if optional:
            kind = next(part for part in get_args(kind) if part is not type(None))
        limit = next((n for n in notes if isinstance(n, AtLeast | Between)), None)
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        metavar = "|".join(choices) if choices else _KINDS[kind].metavar
        own = (str, AtLeast, Between, Metavar)
        return cls(
            name,
            kind,
            optional,
            default,
            " ".join(note for note in notes if isinstance(note, str)),
            next((note.name for note in notes if isinstance(note, Metavar)), metavar),
            None if limit is None else limit.least,
            limit.most if isinstance(limit, Between) else None,
            tuple(note for note in notes if not isinstance(note, own)),
        )

    @property
    def choices(self) -> tuple[str, ...]:
        """The valid strings, if only some are."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def flag(self) -> str:
        """The option as the command line writes it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_list(self) -> bool:
        """Whether the value is a sequence of numbers."""
        return self.kind in (Sequence[int], Sequence[float])

    def parse(self, text: str) -> Any:
        """Return the value of a text such as "2.0,1.0,0.1".

        Raises:
            SettingError: if it is not a value of this kind.
        """
        text = text.strip()
        one = int if self.kind in (int, Sequence[int]) else float
        try:
            if self.is_list:
                return tuple(one(part) for part in text.split(",")) if text else ()
            return self.checked(one(text) if self.kind in (int, float) else text)
        except ValueError:
            raise SettingError(
                f"{self.name} is {text!r}; expected {self._expected()}. "
                f"Write it like {self.flag} {self.text() or '1'}"
            ) from None

    def checked(self, value: Any) -> Any:
        """Return a Python or JSON value in the option's type.

        Raises:
            ValueError: if it is of another type, or beyond a limit.
        """
        if value is None and self.optional:
            return None
        if not self._is_valid(value):
            text = repr(value)
            short = text if len(text) <= 40 else f"{text[:37]}..."
            raise ValueError(f"{self.name} is {short}; expected {self._expected()}")
        if self.kind == tuple[str, ...]:
            return tuple(value)
        return self.kind(value) if self.kind in (Path, float) else value

    def _is_valid(self, value: Any) -> bool:
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.kind in (int, float):
            least = -math.inf if self.least is None else self.least
            most = math.inf if self.most is None else self.most
            number = (int, float) if self.kind is float else int
            return _is_number(value, number) and least <= value <= most
        if self.is_list:
            number = (int, float) if self.kind == Sequence[float] else int
            return isinstance(value, list | tuple) and all(_is_number(v, number) for v in value)
        if self.kind == tuple[str, ...]:
            return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        if self.kind is Path:
            return isinstance(value, Path) or (isinstance(value, str) and "\0" not in value)
        return isinstance(value, self.kind)

    def _expected(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        limits = "" if self.least is None else f", {self.least} or more"
        if self.most is not None:
            limits = f" from {self.least} to {self.most}"
        return f"{_KINDS[self.kind].description}{limits}"

    def text(self) -> str:
        """Return the default as the command line takes it, or "" where there is none."""
        if self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return ",".join(str(value) for value in self.default)
        return str(self.default)


def _is_number(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    # arithmetic here could not use an integer that float64 does not hold
    return -(2**1000) < value < 2**1000 if isinstance(value, int) else math.isfinite(value)


def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """Return the options of a function by name: its annotated parameters that have a default."""
    import inspect  # noqa: PLC0415 - costs more than the rest of this file

    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: Option.of(p.name, hints[p.name], p.default)
        for p in parameters
        if get_origin(hints.get(p.name)) is Annotated
    }
