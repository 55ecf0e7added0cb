"""The files of a run's log: metrics.jsonl, the same as a table, and times in a file of their own.

The log is appended to. A checkpoint holds its length and digest at that moment; a run that is
resumed cuts the log to that length, for what came later is logged again, and refuses a log whose
beginning is not what was written.
"""

import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from batchproof._errors import CheckpointError, RunFolderError, RunStoppedError
from batchproof._files import MEBIBYTE, parse_json, read_file, reason_of, write_file
from batchproof.runs import COLUMNS, METRICS, TABLE, TIMING, History, Record
from batchproof.train._outputs._callback import Callback
from batchproof.train._outputs._refusals import explaining

LOCK = ".lock"
_LARGEST = 2048 * MEBIBYTE
# a link that somebody else left there is not followed, and a pipe not waited for
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# a table or times that somebody deleted are made again; the log is not
_CREATE = {METRICS: 0, TABLE: os.O_CREAT, TIMING: os.O_CREAT}


class LogFiles(Callback):
    """Appends records and times to the files of a run folder, which it locks.

    Args:
        run_dir: the run folder.

    Attributes:
        run_dir: the run folder.
        folder: the same; another name of it while it is made.
        saved_step: the step of the newest checkpoint, for the sentence that says what is safe.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = self.folder = run_dir
        self.saved_step: int | None = None
        self._lock: BaseFileLock | None = None
        self._length = 0
        self._digest = hashlib.sha256()

    def open(self) -> None:
        """Lock the folder for this process and no process that it forks, also when it is renamed.

        Raises:
            RunFolderError: if another process writes to the run.
        """
        self._lock = locked(self.folder)
        if self._lock is None:
            raise RunFolderError(
                f"another process is training in {self.run_dir}; wait for it, or end it first."
            )

    def resume(self, length: int, digest: str | None) -> list[Record]:
        """Cut the log to a checkpoint's length, rewrite the table, and return the records.

        Args:
            length: of the log in bytes, when the checkpoint was made.
            digest: of those bytes; None where an older version made the checkpoint.

        Raises:
            CheckpointError: if the log is not what was written.
        """
        path = self.run_dir / METRICS
        content = _content(path)
        if len(content) < length:
            raise CheckpointError(
                f"{path} is shorter than its checkpoint says ({len(content)} bytes of {length}), "
                f"so it was altered; {_RESTORE}"
            )
        content = content[:length]
        self._length, self._digest = length, hashlib.sha256(content)
        if digest is not None and self._digest.hexdigest() != digest:
            raise CheckpointError(f"{_altered(path, content, self._table())}; {_RESTORE}")
        records = [record for _, record in _records(path, content)]
        os.truncate(path, length)
        rows = header() + _rows([record.to_json() for record in records])
        write_file(self.run_dir / TABLE, rows, through=False)
        self._trim_timing()
        return records

    def seal(self) -> tuple[int, str]:
        """Return the log's length and digest, once all of it is on the disk.

        Raises:
            RunStoppedError: if another program has altered it.
        """
        handle = os.open(self.folder / METRICS, _APPEND)
        try:
            size = os.fstat(handle).st_size
            if size != self._length:
                raise RunStoppedError(
                    f"{self.run_dir / METRICS} was altered while the run was writing to it (it has "
                    f"{size} bytes, and {self._length} were written); {_RESTORE}"
                )
            os.fsync(handle)
        finally:
            os.close(handle)
        return self._length, self._digest.hexdigest()

    def on_records(self, records: Sequence[Record]) -> None:
        """Append records to the log, each one line, and to the table."""
        values = [record.to_json() for record in records]
        lines = "".join(json.dumps(value, allow_nan=False) + "\n" for value in values).encode()
        with explaining("write to", self.run_dir, self.saved_step):
            self._append(METRICS, lines)
            self._length += len(lines)
            self._digest.update(lines)
            self._append(TABLE, _rows(values).encode())

    def on_times(self, times: Mapping[str, Any]) -> None:
        """Append times and throughput."""
        with explaining("write to", self.run_dir, self.saved_step):
            self._append(TIMING, (json.dumps(times) + "\n").encode())

    def on_end(self, history: History) -> None:
        """Append the reason that training ended."""
        self.on_times({"stopped": history.stopped})

    def on_close(self) -> None:
        """Release the lock, and remove its file."""
        if self._lock is not None:
            # removed while it is locked: who opens it later makes a new one
            with suppress(OSError):
                (self.folder / LOCK).unlink()
            self._lock.release()
            self._lock = None

    def _append(self, name: str, text: bytes) -> None:
        handle = os.open(self.run_dir / name, _APPEND | _CREATE[name], 0o666)
        with closing(os.fdopen(handle, "ab", buffering=0)) as file:
            # an unbuffered write may take less than it is given; the next one then says why
            rest = memoryview(text)
            while rest:
                rest = rest[file.write(rest) :]

    def _table(self) -> list[str]:
        try:
            return (
                read_file(self.run_dir / TABLE, most=_LARGEST).decode(errors="replace").split("\n")
            )
        except OSError:
            return []

    def _trim_timing(self) -> None:
        """Drop a last line that a kill or a full disk has cut short."""
        path = self.run_dir / TIMING
        if os.path.lexists(path):
            whole, newline, _ = _content(path).rpartition(b"\n")
            os.truncate(path, len(whole + newline))


_RESTORE = "restore it from a copy, or start a new run in another folder."


def locked(folder: Path) -> BaseFileLock | None:
    """Return the lock of a run folder, held by this process; None where another one holds it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def header() -> str:
    """Return the first line of the table."""
    return ",".join(COLUMNS) + "\n"


def _content(path: Path) -> bytes:
    """Return the content of a regular file; refuse a link, a pipe or a device in its place."""
    try:
        return read_file(path, most=_LARGEST)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise
        why = reason_of(error)
        raise CheckpointError(f"{path} cannot be read: {why}; {_RESTORE}") from None


def _records(path: Path, content: bytes) -> Iterator[tuple[int, Record]]:
    """Yield the records of a log with the numbers of their lines, from 1."""
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            record = _record(line)
        except ValueError:
            raise CheckpointError(f"line {number} of {path} is not a record; {_RESTORE}") from None
        yield number, record
    if rest:
        raise CheckpointError(f"line {len(lines) + 1} of {path} was cut short; {_RESTORE}")


def _record(line: bytes) -> Record:
    values = parse_json(line)
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the content is invalid
    return Record.from_json(values)


def _altered(path: Path, content: bytes, table: Sequence[str]) -> str:
    """Return a clause that names the altered line of a log: the first that the table lacks."""
    number = 0
    for number, record in _records(path, content):
        if number >= len(table) or table[number] != _rows([record.to_json()]).rstrip("\n"):
            return f"line {number} of {path} was altered"
    return f"a line of the first {number} of {path} was altered"


def _rows(values: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(values)
    return text.getvalue()
