"""What is told of a run as it goes: the protocol of callbacks."""

from collections.abc import Sequence
from typing import Any

from batchproof.runs import History, Record
from batchproof.step import StepResult
from batchproof.train._position import Position


class Callback:
    """Told what happens in a run; override what you need.

    What a callback raises stops the run.

    Example:
        >>> class Names(Callback):
        ...     def on_records(self, records):
        ...         print([record.name for record in records])
    """

    def on_begin(self, model: Any, history: History) -> None:
        """Hear that training begins, or goes on."""

    def on_step(self, position: Position, result: StepResult) -> None:
        """Hear of an optimiser step; its numbers are on the device until they are read."""

    def on_records(self, records: Sequence[Record]) -> None:
        """Hear of records: every few steps, and at the end of an epoch."""

    def on_epoch(self, position: Position, history: History) -> None:
        """Hear that an epoch is over, and its checkpoint written."""

    def on_end(self, history: History) -> None:
        """Hear that training is over."""


def listens(callback: Callback, name: str) -> bool:
    """Return whether a callback overrides a method."""
    return getattr(type(callback), name, None) is not getattr(Callback, name)
