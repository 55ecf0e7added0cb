"""The state of a meter: its sums, and the pairs that are not folded in yet.

Adding needs no lock, since it only appends to the buffer. A thread that folds, reads or changes the
sums holds the lock, so that several threads may add to one meter and read it.
"""

from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any

from batchproof._errors import EmptyMeanError, SettingError, UnitError
from batchproof.mean import Mean, Unit
from batchproof.meter._buffer import Buffer
from batchproof.meter._ranks import Part
from batchproof.meter._sums import Sums

ROOM_OF_A_PAIR = 64


class Accumulator:
    """The sums of a meter, and the pairs that are not folded in yet.

    Args:
        groups: the number of groups of its breakdown; None without one.
        room: the number of numbers that are buffered before they are folded.

    Attributes:
        ready: the unit that is added without further checks; None where they are needed.
        room: the number of numbers that are still buffered before the next fold.
        append: takes an entry of the buffer, in one operation.
        synced: whether the sums are those of all ranks.
    """

    def __init__(self, groups: int | None, room: int) -> None:
        self.groups = groups
        self._whole_room = room
        self.lock = RLock()
        self._buffer = Buffer()
        self.append = self._buffer.entries.append
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self.unit: Unit | None = None
            self.ready: Unit | None = None
            self.room = self._whole_room
            self.synced = False
            self._sums: Sums | None = None
            self._is_pooled = False
            self._buffer.entries.clear()

    def admit(self, mean: Mean) -> None:
        """Prepare for pairs of this unit on this device.

        Raises:
            UnitError: if the pairs before are of another unit.
            SettingError: if the sums are those of all ranks.
        """
        with self.lock:
            if self.synced:
                raise SettingError(
                    "this meter holds the sums of all ranks; a pair added now would count for this "
                    "rank alone. Use reset() first, or sync() last."
                )
            if self.unit is not None and mean.unit != self.unit:
                raise UnitError(
                    f"this meter holds means over {self.unit!r} and was given one over "
                    f"{mean.unit!r}; use a meter for each."
                )
            device = mean.total.device
            if self._sums is None:
                self._sums = Sums.zero(self.groups or 0, device)
            elif self.ready is None and self._sums.hi.device != device:
                # loaded from a state on another device
                self._sums = self._sums.to(device)
            self.unit = mean.unit
            self.ready = mean.unit if self.groups is None else None

    def fold(self) -> Sums:
        """Fold the buffered pairs for good, and return the sums."""
        with self.lock:
            assert self._sums is not None
            pairs = self._buffer.take()
            self.room = self._whole_room
            if pairs.totals:
                self._is_pooled = self._is_pooled or any(total.ndim == 0 for total in pairs.totals)
                self._sums = self._sums.fold(pairs)
            return self._sums

    def read(self) -> Part:
        """Return the sums with all pairs in them; when pairs are folded for good stays the same.

        Raises:
            EmptyMeanError: if nothing was added.
        """
        with self.lock:
            if self.unit is None:
                raise EmptyMeanError(
                    "the meter is empty: no pair was added. Look at whether the loader gave "
                    "batches."
                )
            assert self._sums is not None
            pairs = self._buffer.read()
            if not pairs.totals:
                return Part(self._sums, self.unit, self._is_pooled)
            is_pooled = self._is_pooled or any(total.ndim == 0 for total in pairs.totals)
            return Part(self._sums.fold(pairs), self.unit, is_pooled)

    def part(self) -> Part | None:
        """Return the content, for another meter; None if there is none.

        Raises:
            SettingError: if it is that of all ranks.
        """
        with self.lock:
            if self.synced:
                raise SettingError(
                    "a meter that holds the sums of all ranks cannot be merged; merge before "
                    "sync()."
                )
            return None if self.unit is None else self.read()

    def take(self, part: Part) -> None:
        """Add the content of another meter.

        Raises:
            UnitError: if it is of another unit.
        """
        with self.lock:
            if self.unit is None:
                self._sums, self.unit, self._is_pooled = part.sums, part.unit, part.is_pooled
                return
            if self.unit != part.unit:
                raise UnitError(
                    f"a meter of {self.unit!r} and one of {part.unit!r} cannot be merged."
                )
            mine = self.fold()
            self._sums = mine.merge(part.sums.to(mine.hi.device))
            self._is_pooled = self._is_pooled or part.is_pooled

    def become(self, parts: Sequence[Part]) -> None:
        """Replace the content by the sums of all ranks."""
        with self.lock:
            device = None if self._sums is None else self._sums.hi.device
            self.clear()
            for part in parts:
                self.take(part)
            if device is not None and self._sums is not None:
                self._sums = self._sums.to(device)
            self.synced = True

    def state(self) -> dict[str, Any]:
        """Return all of it as plain tensors and numbers, with the pairs not folded in yet."""
        with self.lock:
            return {
                "unit": self.unit,
                "pooled": self._is_pooled,
                "synced": self.synced,
                "sums": None if self._sums is None else self._sums.pack(),
                "pairs": self._buffer.state(),
            }

    def load(self, state: Mapping[str, Any]) -> None:
        """Load the result of state."""
        with self.lock:
            self.clear()
            self.unit, self._is_pooled = state["unit"], state["pooled"]
            self.synced = state["synced"]
            self._sums = None if state["sums"] is None else Sums.unpack(state["sums"])
            self._buffer.load(state["pairs"])
            self.room = self._whole_room - sum(
                ROOM_OF_A_PAIR + total.numel() for total in state["pairs"][0]
            )
