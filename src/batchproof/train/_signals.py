"""SIGINT, SIGTERM and requests to stop, which all ranks obey between the same two steps."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from batchproof.ranks import in_a_group, largest, of_all

_WATCHED = (signal.SIGINT, signal.SIGTERM)
_INTERVAL = 1.0


class Signals:
    """Remembers the first signal; a second one has its usual effect.

    Args:
        group: the ranks that train, and stop, together.

    Attributes:
        number: the number of the signal that this process was sent, None while there was none.
        alone: whether there are no other ranks.
        stop: why all ranks stop, as any of them asked; "" while none did.
    """

    def __init__(self, group: Any = None) -> None:
        self.number: int | None = None
        self.stop = ""
        self.alone = not in_a_group(group)
        self._group = group
        self._before: dict[int, Any] = {}
        self._since = time.perf_counter()
        self._steps = self._rest = 1

    @contextmanager
    def watched(self) -> Iterator["Signals"]:
        """Watch for signals in the body; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        # what is ignored, as SIGINT is for a shell's background jobs, stays so
        numbers = [n for n in _WATCHED if signal.getsignal(n) not in (signal.SIG_IGN, None)]
        self._before = {number: signal.signal(number, self._notice) for number in numbers}
        try:
            yield self
        finally:
            self._release()

    def ask(self, reason: str = "") -> int | None:
        """Return the signal to stop for after this step, on all ranks the same; all call it.

        A process alone acts on its own at once. Ranks ask each other about once a second, after a
        step that they agreed on the last time: a rank that stopped elsewhere would leave others
        waiting for it, and random generators that are at different steps.

        Args:
            reason: why this rank asks to stop, "" if it does not.
        """
        if self.alone:
            self.stop = self.stop or reason
            return self.number
        self._rest -= 1
        if self._rest:
            return None
        pace = _INTERVAL * self._steps / max(time.perf_counter() - self._since, 1e-9)
        mine = [float(self.number or 0), float(bool(reason)), -max(1.0, pace // 1)]
        number, stops, fewest = largest(mine, self._group)
        if stops:
            self._agree_on(reason)
        self._rest = self._steps = int(-fewest)
        self._since = time.perf_counter()
        return int(number) or None

    def agree_to_stop(self, reason: str) -> None:
        """Stop if any rank asks to, as it may between two epochs; all call it."""
        if not self.stop and largest([float(bool(reason))], self._group)[0]:
            self._agree_on(reason)

    def _agree_on(self, reason: str) -> None:
        self.stop = self.stop or next(filter(None, of_all(reason, self._group)))

    def agreed(self) -> int | None:
        """Return the signal that any rank was sent so far, on all ranks the same; all call it."""
        self.ask_next()
        return int(largest([float(self.number or 0)], self._group)[0]) or None

    def ask_next(self) -> None:
        """Have ranks ask each other at the next call of ask, for calls come at another pace."""
        self._since = time.perf_counter()
        self._steps = self._rest = 1

    def _notice(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
