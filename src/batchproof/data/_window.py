"""A window: the micro-batches of an optimiser step on one rank, and how much is padding."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True)
class Padding:
    """The positions of micro-batches before they were cut by plan, and after.

    Attributes:
        tokens: positions that are not padding.
        before: positions of the order given, padding included.
        after: positions of the cut, padding included.

    Examples:
        >>> padding = Padding(tokens=60, before=100, after=75)
        >>> padding.share_before, padding.share_after
        (0.4, 0.2)
    """

    tokens: int = 0
    before: int = 0
    after: int = 0

    def __add__(self, other: "Padding") -> "Padding":
        return Padding(
            self.tokens + other.tokens, self.before + other.before, self.after + other.after
        )

    @property
    def share_before(self) -> float:
        """The share of padding in the order given."""
        return (self.before - self.tokens) / self.before if self.before else 0.0

    @property
    def share_after(self) -> float:
        """The share of padding after the cut."""
        return (self.after - self.tokens) / self.after if self.after else 0.0

    def state_dict(self) -> dict[str, int]:
        """Return the counts, for a checkpoint."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, int]) -> "Padding":
        """Return the counts of a checkpoint."""
        return cls(**state)


class Window(list[Batch], Generic[Batch]):
    """The micro-batches of one window on this rank.

    Attributes:
        longest: the number of micro-batches on the rank with the most in this window, where known.
        filled: the ranks that have any, where known.
        drawn: the number of the loader's batches that it has, or had before it was recut.
        padding: how much of it is padding, where it was cut by plan.

    Examples:
        >>> window = Window([[1, 2], [3]])
        >>> window.longest = 2
        >>> window.like([["a", "b"], ["c"]]).longest
        2
    """

    longest: int | None = None
    filled: Sequence[int] | None = None
    drawn: int | None = None
    padding: Padding | None = None

    def like(self, batches: Iterable[Batch]) -> "Window[Batch]":
        """Return a window of other micro-batches for these, such as the same on a device."""
        window = Window(batches)
        window.__dict__.update(self.__dict__)
        return window
