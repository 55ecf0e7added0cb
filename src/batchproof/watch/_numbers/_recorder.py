"""The recorder of captured text and values, with the time and the line of code of each."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from batchproof.watch._numbers._shown import of_value
from batchproof.watch._numbers._slots import LONGEST, Slots
from batchproof.watch._place import user_site

_DIGIT = re.compile(r"\d")
_BREAK = re.compile(r"[\r\n]+")
# a progress bar draws its line again and again; what it shows is read from the bar itself
_BAR = re.compile(r"\d%\|.*\[|(?:it/s|s/it)\]?")


class Recorder:
    """Collects what reaches a person, and never raises into the script.

    Args:
        clock: the clock of the events.
        after_line: called when a line was taken.
    """

    def __init__(
        self, clock: Callable[[], int], after_line: Callable[[], None] | None = None
    ) -> None:
        self.slots = Slots()
        self._after_line = after_line
        self._clock = clock
        self._open: dict[str, tuple[str, str]] = {}
        self._busy = False
        self._process = os.getpid()

    def write(self, text: Any, source: str) -> None:
        """Take what was written to a stream; its lines may come in pieces.

        Args:
            text: what was written.
            source: the stream.
        """
        if self._busy or not isinstance(text, str) or not text:
            return
        with self.muted():
            before, place = self._open.get(source, ("", ""))
            if _DIGIT.search(text):
                place = user_site()
            *whole, rest = _BREAK.split(before + text)
            self._open[source] = (rest[-LONGEST:], place if rest or not whole else "")
            for line in whole:
                self._line(line, place, source)
        if whole:
            self._tell()

    def line(self, text: str, source: str, place: str = "") -> None:
        """Take a whole line.

        Args:
            text: the line.
            source: how it reaches a person.
            place: the line of code that wrote it; the user's that is running where empty.
        """
        if self._busy:
            return
        with self.muted():
            self._line(text, place or user_site(), source)
        self._tell()

    def values(self, values: Mapping[Any, Any], source: str, place: str = "") -> None:
        """Take numbers that are handed over by their names.

        Args:
            values: the numbers.
            source: how they reach a person.
            place: the line of code that took them; the user's that is running where empty.
        """
        if self._busy:
            return
        with self.muted():
            place, stamp = place or user_site(), self._clock()
            for name, value in values.items():
                number = of_value(value, str(name))
                if number is not None:
                    self.slots.add_value(number, stamp, place, source)
        self._tell()

    def end_lines(self) -> None:
        """Take the lines that were begun and never ended."""
        for source, (text, place) in list(self._open.items()):
            self._line(text, place, source)
        self._open.clear()

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Take nothing until the block ends."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _tell(self) -> None:
        if self._after_line is not None:
            with self.muted():
                self._after_line()

    def _line(self, text: str, place: str, source: str) -> None:
        if self._process == os.getpid() and _DIGIT.search(text) and not _BAR.search(text):
            self.slots.add_line(text, self._clock(), place, source)
