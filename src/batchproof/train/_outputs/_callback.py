"""The protocol of everything that is notified of a run, and the fan-out to all of it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from batchproof._errors import BatchproofError, SettingError
from batchproof.runs import History, Record
from batchproof.step import StepResult
from batchproof.train._position import Position

Reason = str | None


class Callback:
    """Is notified of the events of a run; override what you need.

    Each method may return a sentence that says why the run is to stop, which it then does after
    the step under way, on all ranks; History.stopped, the log and the progress show the reason. An
    error that a callback raises ends the run.

    Examples:
        >>> class Enough(Callback):
        ...     def on_records(self, records):
        ...         losses = [record.value for record in records if record.name == "train_loss"]
        ...         return "the loss is below 0.1" if min(losses, default=1) < 0.1 else None
    """

    def on_begin(self, model: Any, history: History) -> Reason:
        """Handle the start of training, new or resumed."""

    def on_notice(self, text: str) -> Reason:
        """Handle a sentence that the user should read."""

    def on_epoch_begin(self, epoch: int, epochs: int | None, batches: int | None) -> Reason:
        """Handle the start of an epoch, counted from 1; its length is in micro-batches."""

    def on_window(self, position: Position, window: Sequence[Any]) -> Reason:
        """Handle the micro-batches of a step that is to be taken, on the device."""

    def on_step(self, position: Position, result: StepResult) -> Reason:
        """Handle an optimiser step; its numbers are on the device until they are read."""

    def on_records(self, records: Sequence[Record]) -> Reason:
        """Handle records: every few steps, of a validation, and at the end of an epoch."""

    def on_validation_begin(self, batches: int | None) -> Reason:
        """Handle the start of a validation, once for each of the validation data."""

    def on_validation_batch(self) -> Reason:
        """Handle a batch of the validation."""

    def on_validation(self, position: Position, records: Sequence[Record]) -> Reason:
        """Handle the end of a validation, with what it measured."""

    def on_checkpoint(self, position: Position, folder: Path) -> Reason:
        """Handle a checkpoint that was written: RUN/last, RUN/best, or one that is kept."""

    def on_times(self, times: Mapping[str, Any]) -> Reason:
        """Handle the seconds that an epoch and its parts took."""

    def on_epoch(self, position: Position, history: History) -> Reason:
        """Handle the end of an epoch, whose checkpoint is written."""

    def on_end(self, history: History) -> Reason:
        """Handle the end of training."""

    def on_close(self) -> Reason:
        """Handle the end of the run, also where an error or a signal ended it."""


_EVENTS = [name for name in vars(Callback) if name.startswith("on_")]


class Outputs(Callback):
    """Hands each event to every output that overrides its method, in order.

    Attributes:
        stop: why the first that asked to stop did so; "" while none did.
    """

    def __init__(self, outputs: Iterable[Callback]) -> None:
        self.stop = ""
        for name in _EVENTS:
            methods = [getattr(each, name) for each in outputs if _listens(each, name)]
            setattr(self, name, partial(self._call_all, name, methods))

    def _call_all(self, event: str, methods: Sequence[Callable[..., Any]], *arguments: Any) -> None:
        for method in methods:
            try:
                reason = method(*arguments)
            except (BatchproofError, OSError):
                raise
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                raise SettingError(
                    f"callback {_owner(method)} raised in {event}: {text}"
                ) from error
            if reason is None or reason == "":
                continue
            if not isinstance(reason, str):
                raise SettingError(
                    f"callback {_owner(method)} returned {reason!r} from {event}; expected None, "
                    "or a sentence that says why the run is to stop."
                )
            self.stop = self.stop or reason


def _listens(callback: Callback, name: str) -> bool:
    return getattr(getattr(callback, name), "__func__", None) is not getattr(Callback, name)


def _owner(method: Any) -> str:
    return type(getattr(method, "__self__", method)).__name__


class Deadline(Callback):
    """Stops a run when it has taken so long.

    Args:
        limit: from the start of training, new or resumed.
    """

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit
        self._end = time.monotonic() + limit.total_seconds()

    def on_step(self, position: Position, result: StepResult) -> Reason:
        """Look at the clock."""
        del position, result
        late = time.monotonic() >= self._end
        return f"max_time reached ({self._limit})" if late else None
