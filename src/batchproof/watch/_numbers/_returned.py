"""Numbers that an evaluation returns, whether or not they are ever printed.

When a pass over a loader or a block without gradients ends, the function of the user's that read it
is about to return. From there to its return the calls of this thread are followed. From a line that
did not return before the next batch nothing is followed again, and nothing where a profiler is at
work.
"""

import inspect
import sys
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any

from batchproof.watch._numbers._recorder import Recorder
from batchproof.watch._place import site_of, users_frame

SOURCE = "returned"
# so many calls and returns are followed at most
CALLS = 2000


class Returned:
    """The values that functions return which read batches without a gradient.

    Args:
        recorder: takes the numbers.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._losses = 0
        self._from: tuple[CodeType, int] | None = None
        self._vain: set[tuple[CodeType, int]] = set()

    def heard(self, training: bool) -> None:  # noqa: FBT001
        """Count the losses since the last that records a graph."""
        self._losses = 0 if training else self._losses + 1
        if self._from is not None:
            self._give_up()

    def ended(self) -> None:
        """Follow the function that read a pass, which has ended, to its return."""
        if self._losses < 2 or sys.getprofile() is not None:
            return
        frame = _function(sys._getframe(1))  # noqa: SLF001
        if frame is None or (frame.f_code, frame.f_lasti) in self._vain:
            return
        budget = CALLS

        def saw(at: FrameType, event: str, value: Any) -> None:
            nonlocal budget
            budget -= 1
            if event == "return" and at is frame:
                self._leave()
                self._take(at, value)
            elif not budget:
                self._give_up()

        self._from = frame.f_code, frame.f_lasti
        sys.setprofile(saw)

    def _give_up(self) -> None:
        if self._from is not None:
            self._vain.add(self._from)
        self._leave()

    def _leave(self) -> None:
        if self._from is not None:
            sys.setprofile(None)
            self._from = None

    def _take(self, frame: FrameType, value: Any) -> None:
        name = frame.f_code.co_name
        place = site_of(users_frame(frame.f_back))
        self._recorder.values(_named(value, f"{name}()"), SOURCE, place)

    def stop(self) -> None:
        """Follow nothing any more."""
        self._losses = 0
        self._leave()


def _function(frame: FrameType | None) -> FrameType | None:
    """Return the innermost function of the user's; a generator or a comprehension is not one."""
    frame = users_frame(frame)
    while frame is not None:
        generates = frame.f_code.co_flags & inspect.CO_GENERATOR
        if not generates and frame.f_code.co_name not in {"<listcomp>", "<setcomp>", "<dictcomp>"}:
            break
        frame = users_frame(frame.f_back)
    return None if frame is None or frame.f_code.co_name == "<module>" else frame


def _named(value: Any, name: str) -> Mapping[str, Any]:
    """Return a returned value by a name, those of a dict or a tuple by one each."""
    if isinstance(value, Mapping):
        return {f"{name}[{key!r}]": each for key, each in value.items()}
    if isinstance(value, tuple):
        return {f"{name}[{place}]": each for place, each in enumerate(value)}
    return {name: value}
