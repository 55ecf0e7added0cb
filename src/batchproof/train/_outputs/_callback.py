"""The protocol of everything that is notified of a run, and the fan-out to all of it."""

import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch

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

    What a callback counts or keeps is saved in each checkpoint of the run where it has state_dict()
    and load_state_dict(state), so that a resumed run has what a run that was never stopped has. A
    state is tensors, numbers, strings, and containers of them. It is saved before on_checkpoint of
    that checkpoint, and loaded before on_begin. A resumed run is notified again of on_begin, and of
    on_epoch_begin where it was left within an epoch.

    Examples:
        >>> class Enough(Callback):
        ...     def on_records(self, records):
        ...         losses = [record.value for record in records if record.name == "train_loss"]
        ...         return "the loss is below 0.1" if min(losses, default=1) < 0.1 else None

        >>> class Samples(Callback):
        ...     count = 0
        ...     def on_window(self, position, window):
        ...         self.count += sum(len(inputs) for inputs, _ in window)
        ...     def state_dict(self):
        ...         return {"count": self.count}
        ...     def load_state_dict(self, state):
        ...         self.count = state["count"]
    """

    def on_begin(self, model: Any, history: History) -> Reason:
        """Handle the start of training, new or resumed."""

    def on_notice(self, text: str) -> Reason:
        """Handle what the user should read: a sentence, or the table of layers."""

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
        """Handle the end of an epoch, before its checkpoint is written."""

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
                raise _raised(_owner(method), event, error) from error
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


def _raised(name: str, event: str, error: Exception) -> SettingError:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return SettingError(f"callback {name} raised in {event}: {text}")


def _has_state(callback: Callback) -> bool:
    return hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")


def states_of_callbacks(callbacks: Iterable[Callback]) -> list[tuple[str, Any]]:
    """Return copies of the states of callbacks that have any, each after the name of its class.

    Raises:
        SettingError: if a callback raises, or a checkpoint could not load its state again.
    """
    states = []
    for callback in filter(_has_state, callbacks):
        name = type(callback).__name__
        try:
            state = callback.state_dict()  # type: ignore[attr-defined]
        except Exception as error:
            raise _raised(name, "state_dict", error) from error
        states.append((name, _copied(name, state)))
    return states


def _copied(name: str, state: Any) -> Any:
    """Return a copy of a state, written and read as a checkpoint is."""
    file = io.BytesIO()
    try:
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)
    except Exception as error:
        raise SettingError(
            f"callback {name} returned from state_dict what a checkpoint cannot load again; "
            "expected tensors, numbers, strings, and dicts, lists and tuples of them."
        ) from error


def load_callbacks(callbacks: Iterable[Callback], states: Iterable[tuple[str, Any]]) -> list[str]:
    """Load states into the callbacks of the same class, in order; one without any stays as it is.

    Returns:
        The class of each state that no callback took.

    Raises:
        SettingError: if a callback raises.
    """
    by_name: dict[str, list[Any]] = {}
    for name, state in states:
        by_name.setdefault(name, []).append(state)
    for callback in filter(_has_state, callbacks):
        name = type(callback).__name__
        if by_name.get(name):
            try:
                callback.load_state_dict(by_name[name].pop(0))  # type: ignore[attr-defined]
            except Exception as error:
                raise _raised(name, "load_state_dict", error) from error
    return [name for name, rest in by_name.items() for _ in rest]


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
