"""A topic is a function; its options are read from its signature.

The type, the default and the help of an option are written once, where the function takes it:

    def padding(lengths: Annotated[Sequence[int], "tokens in each sequence"] = (7, 3)) -> ...
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation
from batchproof.shell import Option, options_of


@dataclass(frozen=True, slots=True)
class Topic:
    """One subject that can be worked out from the user's values.

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
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        options = tuple(options_of(function).values())
        return cls(function.__name__.replace("_", "-"), summary, function, options)

    def explain(self, **values: Any) -> Explanation:
        """Work the topic out; values may be given as text, as on the command line.

        Raises:
            SettingError: if an option is unknown or its value is invalid.
        """
        options = {option.name: option for option in self.options}
        for name in values:
            if name not in options:
                raise SettingError(
                    f"topic {self.name} has no option {name!r}; it takes {', '.join(options)}."
                )
        parsed_values = {
            name: options[name].parse(value) if isinstance(value, str) else value
            for name, value in values.items()
        }
        return self.function(**parsed_values)
