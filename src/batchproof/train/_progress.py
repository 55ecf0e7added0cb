"""What is shown while training goes on.

On a terminal one line is redrawn, at most ten times a second, and the running sums are read only
then. Elsewhere whole plain lines are written, without control codes. NoProgress shows nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from rich.console import Console

from batchproof.runs import Record
from batchproof.train._position import Position

Read = Callable[[], Mapping[str, float]]


@runtime_checkable
class Progress(Protocol):
    """What a run tells of its progress."""

    def notice(self, text: str) -> None:
        """Show a line."""

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Begin an epoch, counted from 1; its length is in micro-batches."""

    def tick(self, position: Position, read: Read) -> None:
        """Hear of a step; `read` gives the running means, and waits for the device."""

    def records(self, records: Sequence[Record]) -> None:
        """Hear of the means over the last steps."""

    def begin_validation(self, batches: int | None) -> None:
        """Begin the validation at an epoch's end."""

    def tick_validation(self) -> None:
        """Hear of a batch of the validation."""

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Show what an epoch gave."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class NoProgress:
    """Shows nothing."""

    def notice(self, text: str) -> None:
        """Do nothing."""

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Do nothing."""

    def tick(self, position: Position, read: Read) -> None:
        """Do nothing."""

    def records(self, records: Sequence[Record]) -> None:
        """Do nothing."""

    def begin_validation(self, batches: int | None) -> None:
        """Do nothing."""

    def tick_validation(self) -> None:
        """Do nothing."""

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainProgress(NoProgress):
    """Writes whole lines: one every so many steps, and one an epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epoch = self._of = ""
        self._position = Position()

    def notice(self, text: str) -> None:
        """Write a line."""
        self._line(text)

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Note how long the epoch is."""
        self._epoch = epoch_label(epoch, epochs)
        self._of = "" if batches is None else f"/{batches}"

    def tick(self, position: Position, read: Read) -> None:
        """Note where the run stands."""
        del read
        self._position = position

    def records(self, records: Sequence[Record]) -> None:
        """Write the means over the last steps."""
        if records:
            batch = f"batch {self._position.batch}{self._of}"
            self._line(f"{self._epoch}  {batch}  {summary(records)}")

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Write what an epoch gave."""
        self._line(f"{self._epoch}  {summary(records)}  {seconds:.1f} s")

    def _line(self, text: str) -> None:
        self._console.out(text, highlight=False)
        self._console.file.flush()


def epoch_label(epoch: int, epochs: int | None) -> str:
    """Return "epoch 3/12", or "epoch 3" where no end is set."""
    return f"epoch {epoch}" if epochs is None else f"epoch {epoch}/{epochs}"


def summary(records: Sequence[Record]) -> str:
    """Return means with their standard errors on one line; breakdowns by group are left out."""
    shown = [record for record in records if "/" not in record.name]
    return "  ".join(f"{record.name} {_value(record)}" for record in shown)


def _value(record: Record) -> str:
    if record.standard_error is None:
        return f"{record.value:.4g}"
    return f"{record.value:.4g} ± {record.standard_error:.1g}"


def progress_on(console: Console) -> Progress:
    """Return what suits a console: a line redrawn on a terminal, else whole lines."""
    if console.is_terminal and not console.is_dumb_terminal:
        from batchproof.train._live import LiveProgress  # noqa: PLC0415

        return LiveProgress(console)
    return PlainProgress(console)
