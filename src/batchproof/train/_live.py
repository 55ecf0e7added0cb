"""One line on a terminal, redrawn at most ten times a second."""

import textwrap
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from batchproof.runs import Record
from batchproof.train._position import Position
from batchproof.train._progress import NoProgress, Read, epoch_label, summary

_INTERVAL = 0.1


class LiveProgress(NoProgress):
    """Redraws one line, and leaves one line an epoch above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[means]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None
        self._label = ""
        self._next = 0.0
        self._validated = 0

    def notice(self, text: str) -> None:
        """Show a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Draw an empty bar."""
        self._label = epoch_label(epoch, epochs)
        self._bar.start()
        self._renew(self._label, batches)

    def tick(self, position: Position, read: Read) -> None:
        """Redraw, if the last time is long enough ago."""
        now = time.monotonic()
        if now < self._next or self._task is None:
            return
        means = "  ".join(f"{name} {value:.4g}" for name, value in read().items())
        self._bar.update(self._task, completed=position.batch, means=means)
        self._bar.refresh()
        self._next = time.monotonic() + _INTERVAL

    def begin_validation(self, batches: int | None) -> None:
        """Draw an empty bar for the validation."""
        self._validated = 0
        self._renew(f"{self._label}  validation", batches)

    def tick_validation(self) -> None:
        """Redraw, if the last time is long enough ago."""
        self._validated += 1
        now = time.monotonic()
        if now < self._next or self._task is None:
            return
        self._bar.update(self._task, completed=self._validated)
        self._bar.refresh()
        self._next = now + _INTERVAL

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
        self._bar.refresh()
        self._next = 0.0


def _folded(line: str, width: int) -> str:
    """Return a line of items that stand two spaces apart, folded between them where it is long."""
    bound = "  ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in line.split("  "))
    folded = textwrap.fill(bound, width, subsequent_indent="  ", break_on_hyphens=False)
    return folded.replace("\N{NO-BREAK SPACE}", " ")
