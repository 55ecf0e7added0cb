"""Where a process stands in the user's own code, asked from outside while it answers to nothing.

Python's faulthandler writes the stack to a file when a signal comes, also where a process waits in
a collective and runs no Python.
"""

import faulthandler
import os
import re
import signal
import tempfile
import time
from pathlib import Path

_SIGNAL = getattr(signal, "SIGUSR1", None)
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$', re.MULTILINE)
_NOT_THE_USERS = (
    "<",
    "site-packages",
    str(Path(os.__file__).parent),
    str(Path(__file__).parents[1]),
)


def answer_here() -> None:
    """Have this process write its stack to a file of its own when it is asked where it stands."""
    if _SIGNAL is None:
        return
    place = _place(os.getpid())
    place.unlink(missing_ok=True)
    # kept open as long as the process lives
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    faulthandler.register(_SIGNAL, file=handle, all_threads=False)


def forget(pid: int | None) -> None:
    """Remove the file of a process that has ended."""
    if pid is not None:
        _place(pid).unlink(missing_ok=True)


def where_stands(pid: int | None) -> str:
    """Return where a process stands, such as "probe.py:48 in run", or "" where it is not known.

    Args:
        pid: of a process that has called `answer_here`, if it has come so far.
    """
    if _SIGNAL is None or pid is None or not _place(pid).exists():
        return ""
    try:
        os.kill(pid, _SIGNAL)
    except OSError:
        return ""
    time.sleep(0.2)
    for frame in _FRAME.finditer(_place(pid).read_text(errors="replace")):
        if not any(part in frame["file"] for part in _NOT_THE_USERS):
            return f"{Path(frame['file']).name}:{frame['line']} in {frame['name']}"
    return ""


def _place(pid: int) -> Path:
    return Path(tempfile.gettempdir()) / f"batchproof-{pid}.stack"
