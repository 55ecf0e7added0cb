"""The protocol of everything that hears of a run, and the fan-out to all that do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from batchproof.runs import History, Record
from batchproof.step import StepResult
from batchproof.train._position import Position


class Callback:
    """Hears what happens in a run; override what you need.

    An error that a callback raises stops the run.

    Examples:
        >>> class Names(Callback):
        ...     def on_records(self, records):
        ...         print([record.name for record in records])
    """

    def on_begin(self, model: Any, history: History) -> None:
        """Hear that training begins, or is resumed."""

    def on_notice(self, text: str) -> None:
        """Hear a sentence that the user should read."""

    def on_epoch_begin(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Hear that an epoch begins, counted from 1; its length is in micro-batches."""

    def on_step(self, position: Position, result: StepResult) -> None:
        """Hear of an optimiser step; its numbers are on the device until they are read."""

    def on_records(self, records: Sequence[Record]) -> None:
        """Hear of records: every few steps, and at the end of an epoch."""

    def on_validation_begin(self, batches: int | None) -> None:
        """Hear that the validation at an epoch's end begins."""

    def on_validation_batch(self) -> None:
        """Hear that a batch of the validation is done."""

    def on_times(self, times: Mapping[str, Any]) -> None:
        """Hear how many seconds an epoch took, and its parts."""

    def on_epoch(self, position: Position, history: History) -> None:
        """Hear that an epoch is over, and its checkpoint written."""

    def on_end(self, history: History) -> None:
        """Hear that training is over."""

    def on_close(self) -> None:
        """Hear that nothing more comes, also where an error or a signal ended the run."""


_EVENTS = [name for name in vars(Callback) if name.startswith("on_")]


class Outputs(Callback):
    """Hands each event to every output that overrides its method, in order."""

    def __init__(self, outputs: Iterable[Callback]) -> None:
        for name in _EVENTS:
            methods = [getattr(each, name) for each in outputs if _listens(each, name)]
            setattr(self, name, partial(_call_all, methods))


def _listens(callback: Callback, name: str) -> bool:
    return getattr(getattr(callback, name), "__func__", None) is not getattr(Callback, name)


def _call_all(methods: Sequence[Callable[..., None]], *arguments: Any) -> None:
    for method in methods:
        method(*arguments)
