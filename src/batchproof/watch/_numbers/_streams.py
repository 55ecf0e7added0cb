"""The standard streams and the files that a script writes, with one method of each watched.

A stream stays the object that it is: its file number, encoding, buffer and everything else are
untouched, and `write` is called as before, after its argument was recorded.
"""

import builtins
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from batchproof.watch._numbers._recorder import Recorder

_KINDS = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".log")


@contextmanager
def watched_streams(recorder: Recorder) -> Iterator[None]:
    """Record the text written to the standard streams, and to text files that are opened to write.

    Args:
        recorder: takes the text.

    Yields:
        None, while they are watched.
    """
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stack.enter_context(_noted(getattr(sys, name), name, recorder))
        stack.enter_context(_noted_files(recorder))
        yield


@contextmanager
def _noted(stream: Any, source: str, recorder: Recorder) -> Iterator[None]:
    # a notebook's stream has a write of its own
    own = getattr(stream, "__dict__", {}).get("write")
    set_here = _watch_write(stream, source, recorder)
    try:
        yield
    finally:
        if set_here and own is not None:
            stream.write = own
        elif set_here:
            with suppress(AttributeError):
                del stream.write


def _watch_write(stream: Any, source: str, recorder: Recorder) -> bool:
    """Watch a stream's write, and return whether that was possible."""
    write: Callable[[Any], Any] | None = getattr(stream, "write", None)
    if write is None or not hasattr(stream, "__dict__"):
        return False

    def noted(text: Any) -> Any:
        count = write(text)
        recorder.write(text, source)
        return count

    stream.write = noted
    return True


@contextmanager
def _noted_files(recorder: Recorder) -> Iterator[None]:
    plain = io.open

    def noted(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = plain(file, mode, *args, **kwargs)
        if _is_table(file, mode):
            _watch_write(stream, os.path.basename(os.fspath(file)), recorder)  # noqa: PTH119
        return stream

    builtins.open = io.open = noted
    try:
        yield
    finally:
        builtins.open = io.open = plain


def _is_table(file: Any, mode: Any) -> bool:
    writes = isinstance(mode, str) and "b" not in mode and set(mode) & set("wax+")
    return (
        bool(writes) and isinstance(file, str | os.PathLike) and (os.fspath(file).endswith(_KINDS))
    )
