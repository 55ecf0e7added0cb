"""SIGINT and SIGTERM, noticed between two optimiser steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Remembers the first signal; a second one acts as it would have without.

    Attributes:
        caught: the signal's number, None while there was none.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self._before: dict[int, Any] = {}

    @contextmanager
    def watched(self) -> Iterator["Signals"]:
        """Watch for signals in the body; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._before = {number: signal.signal(number, self._notice) for number in _WATCHED}
        try:
            yield self
        finally:
            self._release()

    def _notice(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.caught = number
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
