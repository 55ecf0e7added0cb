"""Patterns: the windows of one term of an objective under one optimiser."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from batchproof.watch._ledger import Ledger
from batchproof.watch._windows import Part, Window

FINE = 1e-5


@dataclass(frozen=True, slots=True)
class Pattern:
    """The windows of one term of an objective under one optimiser.

    Attributes:
        ledger: the optimiser.
        windows: for each step that the term takes part in, its micro-batches.
        passes: for each of those steps the number of its backward passes.
    """

    ledger: Ledger
    windows: tuple[tuple[Part, ...], ...]
    passes: tuple[int, ...]

    @property
    def sizes(self) -> list[int]:
        """Return the number of micro-batches of each window, on one rank."""
        return [max(1, len(window) // self.ledger.world) for window in self.windows]

    @property
    def is_in_every_pass(self) -> bool:
        """Return whether the term is part of every backward pass of its steps."""
        own = tuple(len({part.backward for part in window}) for window in self.windows)
        return own == self.passes

    @property
    def usual_size(self) -> int:
        """Return the number of micro-batches that most windows hold; of two, the larger."""
        counts = Counter(self.sizes)
        return max(counts, key=lambda size: (counts[size], size))

    @property
    def parts(self) -> list[Part]:
        """Return every micro-batch."""
        return [part for window in self.windows for part in window]

    @property
    def site(self) -> str:
        """Return "file:line" of its loss."""
        return self.windows[0][0].loss.site

    @property
    def precision(self) -> float:
        """Return the relative error of a mass that arithmetic alone may cause."""
        return max(part.precision for part in self.parts)

    def same(self, values: Iterable[float]) -> bool:
        """Return whether values are one value, up to arithmetic."""
        every = list(values)
        size = max((abs(value) for value in every), default=0.0)
        return bool(every) and max(every) - min(every) <= max(FINE, 4 * self.precision) * size

    def same_in_each(self, value: Callable[[Part], float]) -> bool:
        """Return whether micro-batches of one window have one value."""
        return all(self.same(value(part) for part in window) for window in self.windows)

    def sums(self) -> list[float]:
        """Return the sum of masses of each window."""
        return [sum(part.mass for part in window) for window in self.windows]

    @property
    def averages(self) -> bool:
        """Return whether the script makes a mean of each micro-batch.

        A sum over a constant has the masses of a mean where all micro-batches weigh the same.
        """
        weights = [part.weight for part in self.parts]
        return all(
            part.loss.reduction in {"mean", "batchmean"}
            or (part.loss.reduction == "none" and part.alike and not self.same(weights))
            for part in self.parts
        )


def patterns_of(ledger: Ledger, windows: Sequence[Window]) -> list[Pattern]:
    """Return a pattern for each term of the objective, of the windows that can be judged."""
    by_term: dict[tuple[int, int, int], list[tuple[Part, ...]]] = {}
    passes: dict[tuple[int, int, int], list[int]] = {}
    for window in windows:
        if window.is_changed or any(part.mass and not part.weight for part in window.parts):
            # changed by hand, or 0 divided by 0: its gradient is not that of a mean
            continue
        number = len({part.backward for part in window.parts})
        parts: dict[tuple[int, int, int], list[Part]] = {}
        for part in window.parts:
            if part.weight and part.mass == part.mass:
                parts.setdefault(part.term, []).append(part)
        for term, group in parts.items():
            by_term.setdefault(term, []).append(tuple(group))
            passes.setdefault(term, []).append(number)
    return [Pattern(ledger, tuple(groups), tuple(passes[term])) for term, groups in by_term.items()]
