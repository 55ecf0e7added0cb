"""Pairs that were added and not folded yet, from any thread.

Adding appends one entry to a list, which is one operation that no other thread can interrupt. It
changes nothing else: an entry holds the number of writes to its tensors so far.
"""

from collections.abc import Sequence
from operator import attrgetter

from torch import Tensor

from batchproof._errors import SettingError
from batchproof.meter._sums import Entries

# total, weight, how often both had been written to, and the group of each sample where there are
Entry = tuple[Tensor, Tensor, int, Tensor | None]

_VERSION = attrgetter("_version")


class Buffer:
    """Pairs in the order in which they were added.

    Attributes:
        entries: the list that adding appends to; it stays the same object.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def read(self) -> Entries:
        """Return the pairs, which stay.

        Raises:
            SettingError: if one was written to since it was added.
        """
        return _pairs(self.entries[:])

    def take(self) -> Entries:
        """Return the pairs there are now, which are removed.

        Raises:
            SettingError: if one was written to since it was added.
        """
        entries = self.entries[:]
        pairs = _pairs(entries)
        # entries that other threads add meanwhile come after these, and stay
        del self.entries[: len(entries)]
        return pairs

    def state(self) -> list[list[Tensor]]:
        """Return totals, weights and groups, for a checkpoint."""
        entries = self.entries[:]
        groups = [entry[3] for entry in entries if entry[3] is not None]
        return [[entry[0] for entry in entries], [entry[1] for entry in entries], groups]

    def load(self, state: Sequence[Sequence[Tensor]]) -> None:
        """Load the result of state."""
        totals, weights, groups = state
        self.entries.clear()
        for number, (total, weight) in enumerate(zip(totals, weights, strict=True)):
            group = groups[number] if groups else None
            self.entries.append((total, weight, _writes([total, weight]), group))


def _pairs(entries: Sequence[Entry]) -> Entries:
    if not entries:
        return Entries((), (), ())
    totals, weights, writes, groups = zip(*entries, strict=True)
    if _writes((*totals, *weights)) != sum(writes):
        raise SettingError(
            "a pair was written to in place after it was added to a meter, before it was "
            "folded in. Add a copy: Mean(total.clone(), weight.clone(), unit)."
        )
    return Entries(totals, weights, () if groups[0] is None else groups)


def _writes(tensors: Sequence[Tensor]) -> int:
    """Return the number of writes to tensors; inference tensors do not count theirs."""
    try:
        return sum(map(_VERSION, tensors))
    except RuntimeError:
        return sum(t._version for t in tensors if not t.is_inference())  # noqa: SLF001
