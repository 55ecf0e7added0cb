"""The protocol of everything that is notified of a run, and the fan-out to all of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from batchproof.runs import History, Record
from batchproof.step import StepResult
from batchproof.train._position import Position


class Callback:
    """Is notified of the events of a run; override what you need.

    An error that a callback raises stops the run.

    Examples:
        >>> class Names(Callback):
        ...     def on_records(self, records):
        ...         print([record.name for record in records])
    """

    def on_begin(self, model: Any, history: History) -> None:
        """Handle the start of training, new or resumed."""

    def on_notice(self, text: str) -> None:
        """Handle a sentence that the user should read."""

    def on_epoch_begin(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Handle the start of an epoch, counted from 1; its length is in micro-batches."""

    def on_step(self, position: Position, result: StepResult) -> None:
        """Handle an optimiser step; its numbers are on the device until they are read."""

    def on_records(self, records: Sequence[Record]) -> None:
        """Handle records: every few steps, and at the end of an epoch."""

    def on_validation_begin(self, batches: int | None) -> None:
        """Handle the start of the validation at an epoch's end."""

    def on_validation_batch(self) -> None:
        """Handle a batch of the validation."""

    def on_times(self, times: Mapping[str, Any]) -> None:
        """Handle the seconds that an epoch and its parts took."""

    def on_epoch(self, position: Position, history: History) -> None:
        """Handle the end of an epoch, whose checkpoint is written."""

    def on_end(self, history: History) -> None:
        """Handle the end of training."""

    def on_close(self) -> None:
        """Handle the end of the run, also where an error or a signal ended it."""


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
