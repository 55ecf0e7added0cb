"""The progress of a run: a line redrawn on a terminal, plain lines elsewhere, or nothing.

On a terminal one line is redrawn, at most ten times a second, and the running sums are read only
then. Elsewhere whole plain lines are written, without control codes. A mean that is shown under a
name is always the epoch's, so far or whole.
"""

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from batchproof.runs import History, Record
from batchproof.step import StepResult
from batchproof.train._outputs._callback import Callback
from batchproof.train._position import Position

_INTERVAL = 0.1
# columns on the terminal: of the bar, and of a time left such as 1:02:03
_BAR, _CLOCK = 24, 7
Read = Callable[[], Mapping[str, float]]


class Progress:
    """The display of a run's progress, which shows nothing; override what you need.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> class Epochs(Progress):
        ...     def end_epoch(self, records, seconds):
        ...         print(f"{records[0].name} {records[0].value:.3f}")
        >>> model = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> loss = bp.supervised(torch.nn.MSELoss())
        >>> trainer = bp.Trainer(model, loss, optimizer, progress=Epochs())
        >>> _ = trainer.fit([(torch.ones(4, 1), torch.ones(4, 1))], max_epochs=2)
        train_loss 1.000
        train_loss 0.360
    """

    def notice(self, text: str) -> None:
        """Show a sentence, or a table of text of several lines."""

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Begin an epoch, counted from 1; its length is in micro-batches."""

    def tick(self, position: Position, read: Read) -> None:
        """Show a step; `read` gives the epoch's means so far, and waits for the device."""

    def records(self, records: Sequence[Record]) -> None:
        """Show the epoch's means so far, every few steps."""

    def begin_validation(self, batches: int | None) -> None:
        """Begin a validation; its length is in batches, None where it is not known."""

    def tick_validation(self) -> None:
        """Show a batch of the validation."""

    def end_validation(self, position: Position, records: Sequence[Record]) -> None:
        """Show what a validation within an epoch gave, and show the epoch again."""

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Show what an epoch gave."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class NoProgress(Progress):
    """Shows nothing."""


class PlainProgress(Progress):
    """Writes whole lines: one every so many steps, and one per epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epoch = self._of = ""
        self._position = Position()

    def notice(self, text: str) -> None:
        """Write a line."""
        self._line(text)

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Remember the length of the epoch."""
        self._epoch = epoch_label(epoch, epochs)
        self._of = "" if batches is None else f"/{batches}"

    def tick(self, position: Position, read: Read) -> None:
        """Remember the position."""
        del read
        self._position = position

    def records(self, records: Sequence[Record]) -> None:
        """Write the epoch's means so far."""
        if records:
            batch = f"batch {self._position.batch}{self._of}"
            self._line(f"{self._epoch}  {batch}  {summary(records)}")

    def end_validation(self, position: Position, records: Sequence[Record]) -> None:
        """Write what the validation gave."""
        self._line(f"{self._epoch}  step {position.step}  {summary(records)}")

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Write what an epoch gave."""
        self._line(f"{self._epoch}  {summary(records)}  {seconds:.1f} s")

    def _line(self, text: str) -> None:
        self._console.out(text, highlight=False)
        self._console.file.flush()


class LiveProgress(Progress):
    """Redraws one line, and leaves one line an epoch above it.

    Where the line is longer than the terminal is wide, the means are what is shortened.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = BarColumn(bar_width=_BAR)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            self._line,
            TextColumn("{task.completed}/{task.total}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[means]}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None
        self._label = ""
        self._batches: int | None = None
        self._next = 0.0
        self._validation_batch = 0

    def notice(self, text: str) -> None:
        """Show a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Draw an empty bar."""
        self._label, self._batches = epoch_label(epoch, epochs), batches
        self._bar.start()
        self._renew(self._label, batches)

    def tick(self, position: Position, read: Read) -> None:
        """Redraw, if the last time is long enough ago."""
        now = time.monotonic()
        if now < self._next or self._task is None:
            return
        self._draw(self._task, position.batch, [f"{k} {v:.4g}" for k, v in read().items()])
        self._next = time.monotonic() + _INTERVAL

    def begin_validation(self, batches: int | None) -> None:
        """Draw an empty bar for the validation."""
        self._validation_batch = 0
        self._renew(f"{self._label}  validation", batches)

    def tick_validation(self) -> None:
        """Redraw, if the last time is long enough ago."""
        self._validation_batch += 1
        now = time.monotonic()
        if now < self._next or self._task is None:
            return
        self._draw(self._task, self._validation_batch, [])
        self._next = now + _INTERVAL

    def end_validation(self, position: Position, records: Sequence[Record]) -> None:
        """Leave the validation's line, and draw the epoch's bar again."""
        line = f"{self._label}  step {position.step}  {summary(records)}"
        self.notice(_folded(line, self._bar.console.width))
        self._renew(self._label, self._batches)

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Leave the epoch's line, and take the bar away."""
        self.close()
        line = f"{self._label}  {summary(records)}  {seconds:.1f} s"
        self.notice(_folded(line, self._bar.console.width))

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self._bar.stop()

    def _renew(self, label: str, batches: int | None) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(label, total=batches, means="")
        self._draw(self._task, 0, [])
        self._next = 0.0

    def _draw(self, task_id: TaskID, count: int, means: Sequence[str]) -> None:
        task = next(task for task in self._bar.tasks if task.id == task_id)
        counts = f"{count}/{'None' if task.total is None else int(task.total)}"
        # four spaces between the five columns
        room = self._console.width - len(task.description) - len(counts) - _CLOCK - 4
        self._line.bar_width = max(min(_BAR, room), 4)
        text = _shortened(means, room - self._line.bar_width)
        self._bar.update(task_id, completed=count, means=text)
        self._bar.refresh()


def epoch_label(epoch: int, epochs: int | None) -> str:
    """Return "epoch 3/12", or "epoch 3" where no end is set."""
    return f"epoch {epoch}" if epochs is None else f"epoch {epoch}/{epochs}"


def summary(records: Sequence[Record]) -> str:
    """Return means with their standard errors on one line; breakdowns by group are left out."""
    wholes = [record for record in records if "/" not in record.name]
    return "  ".join(f"{record.name} {mean_with_error(record)}" for record in wholes)


def mean_with_error(record: Record) -> str:
    """Return a mean with its standard error, as short as a line wants it."""
    if record.standard_error is None:
        return f"{record.value:.4g}"
    return f"{record.value:.4g} ± {record.standard_error:.1g}"


def _shortened(items: Sequence[str], room: int) -> str:
    """Return as many of the items as there is room for, with an ellipsis for the rest."""
    head = list(items)
    while head:
        text = "  ".join(head) + ("  …" if len(head) < len(items) else "")
        if len(text) <= room:
            return text
        head.pop()
    return "…" if items and room > 0 else ""


def _folded(line: str, width: int) -> str:
    """Return a line of items that are two spaces apart, folded between them where it is long."""
    bound = "  ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in line.split("  "))
    text = textwrap.fill(bound, width, subsequent_indent="  ", break_on_hyphens=False)
    return text.replace("\N{NO-BREAK SPACE}", " ")


class Display(Callback):
    """Shows a run's events on a Progress.

    Args:
        progress: what shows them.
        position: of the run, which moves with it.
        means: returns the epoch's means so far, by name.
        records: returns the same as records.
    """

    def __init__(
        self,
        progress: Progress,
        position: Position,
        means: Read,
        records: Callable[[], Sequence[Record]],
    ) -> None:
        self._progress, self._position = progress, position
        self._means, self._so_far = means, records
        self._ticked = -1
        self._whole: Sequence[Record] = ()
        # the records are read on the host, so only for a progress that shows them
        self._shows_records = type(progress).records is not Progress.records

    def on_notice(self, text: str) -> None:
        """Show a line."""
        self._progress.notice(text)

    def on_epoch_begin(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Begin an epoch."""
        self._progress.begin_epoch(epoch, epochs, batches)

    def on_step(self, position: Position, result: StepResult) -> None:
        """Show a step."""
        del position, result
        self._tick()

    def on_records(self, records: Sequence[Record]) -> None:
        """Show the means so far; keep those of a whole epoch for its end."""
        if records and records[0].name.startswith("val_"):
            self._progress.end_validation(self._position, records)
        elif not records or records[0].span == "epoch":
            self._whole = [record for record in records if record.unit != "step"]
        elif self._shows_records:
            # records come before the step that they are of is shown
            self._tick()
            self._progress.records(self._so_far())

    def _tick(self) -> None:
        if self._position.step != self._ticked:
            self._ticked = self._position.step
            self._progress.tick(self._position, self._means)

    def on_validation_begin(self, batches: int | None) -> None:
        """Begin a validation."""
        self._progress.begin_validation(batches)

    def on_validation_batch(self) -> None:
        """Show a batch of the validation."""
        self._progress.tick_validation()

    def on_times(self, times: Mapping[str, Any]) -> None:
        """Show what the epoch gave."""
        self._progress.end_epoch(self._whole, times["seconds"])

    def on_end(self, history: History) -> None:
        """Show why training ended before the end that fit was given."""
        if not history.stopped.startswith(("max_epochs", "max_steps")):
            self._progress.notice(f"stopped: {history.stopped}")

    def on_close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.close()


def progress_on(console: Console) -> Progress:
    """Return the display for a console: a line redrawn on a terminal, else whole lines."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(console)
    return PlainProgress(console)
