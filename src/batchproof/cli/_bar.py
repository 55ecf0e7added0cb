"""One bar for a whole training, on a terminal; elsewhere the trainer's own plain lines."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from batchproof.train import NoProgress, Position, Record
from batchproof.train import Progress as Shows

INTERVAL = 0.1


@contextmanager
def bar_on(console: Console) -> Iterator[Shows | bool]:
    """Yield a training's progress display on a console: a Bar on a terminal, else plain lines."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield True
        return
    bar = Bar(console)
    try:
        yield bar
    finally:
        bar.close()


class Bar(NoProgress):
    """One line, redrawn at most ten times a second, gone when training is over."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
        self._bar = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._bar.add_task("getting ready", total=None, loss="")
        self._start, self._batches, self._next = 0, 0, 0.0
        self._bar.start()
        self._bar.refresh()

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Show which epoch it is."""
        self._batches = batches or 0
        self._start = (epoch - 1) * self._batches
        self._bar.start()
        total = None if epochs is None else epochs * self._batches
        self._bar.update(self._task, total=total, description=f"epoch {epoch}/{epochs}")
        self._bar.refresh()

    def tick(self, position: Position, read: object) -> None:
        """Redraw, at most ten times a second."""
        del read
        if time.monotonic() < self._next:
            return
        self._bar.update(self._task, completed=self._start + position.batch)
        self._bar.refresh()
        self._next = time.monotonic() + INTERVAL

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Show the validation mean."""
        del seconds
        val = next((record for record in records if record.name == "val_loss"), None)
        loss = "" if val is None else f"validation loss {val.value:.4f}"
        self._bar.update(self._task, completed=self._start + self._batches, loss=loss)
        self._bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()
