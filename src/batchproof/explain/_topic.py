"""A topic is a function; its options are read off its signature.

The type, the default and the help of an option stand once, where the function takes it:

    def padding(lengths: Annotated[Sequence[int], "tokens in each sequence"] = (7, 3)) -> ...
"""

import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation

Kind = Literal["integer", "number", "integers", "numbers", "choice"]
_KINDS: dict[Any, Kind] = {
    int: "integer",
    float: "number",
    Sequence[int]: "integers",
    Sequence[float]: "numbers",
}
_WANTED: dict[Kind, str] = {
    "integer": "a whole number",
    "number": "a number",
    "integers": "whole numbers separated by commas",
    "numbers": "numbers separated by commas",
    "choice": "a name",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One value that a topic takes.

    Attributes:
        name: as Python names it; the command line writes "-" for "_".
        kind: "integer", "number", "integers", "numbers" or "choice".
        default: what is used where none is given; None where the topic works it out.
        help: what it is, with its unit.
        choices: the names allowed, for a choice.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for, such as "2.0,1.0,0.1".

        Raises:
            SettingError: if it stands for none of this kind.
        """
        try:
            return self._parse(text.strip())
        except ValueError:
            wanted = _WANTED[self.kind]
            if self.choices:
                wanted = f"one of {', '.join(self.choices)}"
            raise SettingError(
                f"{self.name} is {text!r}; expected {wanted}. {self._example()}"
            ) from None

    def _parse(self, text: str) -> Any:
        one = int if self.kind in ("integer", "integers") else float
        if self.kind == "choice":
            if text not in self.choices:
                raise ValueError(text)
            return text
        if self.kind in ("integer", "number"):
            return one(text)
        return tuple(one(part) for part in text.split(",")) if text else ()

    def text(self) -> str:
        """Return the default as one would write it, or "" where there is none."""
        if self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return ",".join(str(value) for value in self.default)
        return str(self.default)

    def _example(self) -> str:
        flag = self.name.replace("_", "-")
        return f"Write it like --{flag} {self.text() or '1'}"


@dataclass(frozen=True, slots=True)
class Topic:
    """One subject that can be worked out live.

    Attributes:
        name: as the command line writes it.
        summary: what it shows, in one line.
        function: called with the options; returns the Explanation.
        options: the values that it takes.
    """

    name: str
    summary: str
    function: Callable[..., Explanation]
    options: tuple[Option, ...]

    @classmethod
    def of(cls, function: Callable[..., Explanation]) -> "Topic":
        """Return the topic of a function: its name, first line and annotated parameters."""
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        options = tuple(_option(p.name, hints[p.name], p.default) for p in parameters)
        return cls(function.__name__.replace("_", "-"), summary, function, options)

    def explain(self, **given: Any) -> Explanation:
        """Work the topic out; values may be given as text, as on the command line.

        Raises:
            SettingError: if an option is unknown or its value cannot be meant.
        """
        known = {option.name: option for option in self.options}
        for name in given:
            if name not in known:
                raise SettingError(
                    f"topic {self.name} has no option {name!r}; it takes {', '.join(known)}."
                )
        values = {
            name: known[name].parse(value) if isinstance(value, str) else value
            for name, value in given.items()
        }
        return self.function(**values)


def _option(name: str, hint: Any, default: Any) -> Option:
    kind, help_text = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
    if get_origin(kind) in (types.UnionType, Union):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return Option(name, "choice", default, help_text, get_args(kind))
    return Option(name, _KINDS[kind], default, help_text)
