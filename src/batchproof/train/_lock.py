"""A lock on an open file, that goes with the process."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

# Windows has no such lock
_fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None


def locked(file: Any) -> bool:
    """Lock a file for this process; return whether no other one holds it."""
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(file.fileno(), _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except OSError:
        return False
    return True
