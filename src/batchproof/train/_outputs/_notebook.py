"""The progress of a run in a notebook: one table that grows by a row per epoch, and a bar below it.

It is one display of HTML that is redrawn, at most four times a second, so it needs no widget and is
there in a saved or converted notebook as well.
"""

import html
import time
from collections.abc import Sequence
from typing import Any

from batchproof.page import Code, Part, Table, Text, fragment
from batchproof.runs import Record
from batchproof.train._outputs._progress import Progress, Read, epoch_label, mean_with_error
from batchproof.train._position import Position

_INTERVAL = 0.25


class NotebookProgress(Progress):
    """Redraws one table and one bar."""

    def __init__(self) -> None:
        self._notices: list[str] = []
        self._rows: list[dict[str, str]] = []
        self._label, self._batches, self._batch, self._epoch = "", 0, 0, 0
        self._whole: tuple[str, int | None] = ("", None)
        self._means = ""
        self._next = 0.0
        self._handle: Any = None

    def notice(self, text: str) -> None:
        """Show a line, or a table of text, above the table."""
        self._notices.append(text)
        self._draw()

    def begin_epoch(self, epoch: int, epochs: int | None, batches: int | None) -> None:
        """Draw an empty bar."""
        self._epoch, self._whole = epoch, (epoch_label(epoch, epochs), batches)
        self._begin(*self._whole)

    def tick(self, position: Position, read: Read) -> None:
        """Redraw, if the last time is long enough ago."""
        self._batch = position.batch
        if time.monotonic() >= self._next:
            self._means = "  ".join(f"{name} {value:.4g}" for name, value in read().items())
            self._draw()

    def begin_validation(self, batches: int | None) -> None:
        """Draw an empty bar for the validation."""
        self._begin(f"{self._whole[0]}, validation", batches)

    def tick_validation(self) -> None:
        """Redraw, if the last time is long enough ago."""
        self._batch += 1
        if time.monotonic() >= self._next:
            self._draw()

    def end_validation(self, position: Position, records: Sequence[Record]) -> None:
        """Add a row for a validation within an epoch, and draw the epoch's bar again."""
        self._add(f"{self._epoch}, step {position.step}", records, "")
        self._begin(*self._whole)

    def end_epoch(self, records: Sequence[Record], seconds: float) -> None:
        """Add a row for the epoch."""
        self._add(str(self._epoch), records, f"{seconds:.1f} s")

    def close(self) -> None:
        """Take the bar away."""
        self._label = ""
        self._draw()

    def _begin(self, label: str, batches: int | None) -> None:
        self._label, self._batches, self._batch, self._means = label, batches or 0, 0, ""
        self._draw()

    def _add(self, epoch: str, records: Sequence[Record], took: str) -> None:
        means = {r.name: mean_with_error(r) for r in records if "/" not in r.name}
        self._rows.append({"epoch": epoch, **means, "time": took})
        self._label = ""
        self._draw()

    def _draw(self) -> None:
        from IPython.display import HTML, display  # noqa: PLC0415

        names = dict.fromkeys(name for row in self._rows for name in row if name != "time")
        columns = (*names, "time")
        rows = tuple(tuple(row.get(name, "") for name in columns) for row in self._rows)
        # a table of text keeps its columns
        parts: list[Part] = [Code(text) if "\n" in text else Text(text) for text in self._notices]
        parts += [Table(columns, rows)] if rows else []
        page = HTML(fragment([("", tuple(parts))]) + self._bar())
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)
        self._next = time.monotonic() + _INTERVAL

    def _bar(self) -> str:
        if not self._label:
            return ""
        length = f' value="{self._batch}" max="{self._batches}"' if self._batches else ""
        of = f"{self._batch}/{self._batches}" if self._batches else f"{self._batch}"
        text = html.escape(f"{self._label}  {of}  {self._means}")
        return f"<p><progress{length}></progress> {text}</p>"
