"""A run that is kept in a folder, so that it can go on after a kill at any moment.

What is logged after a checkpoint is dropped when the run goes on from it, for it will be logged
again: each checkpoint knows how long the log was.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from batchproof._errors import CheckpointError, RunFolderError, RunStoppedError
from batchproof._files import seal, to_disk, write_sealed
from batchproof.runs import (
    BEST,
    COLUMNS,
    CONFIG,
    FORMER_BEST,
    LAST,
    METRICS,
    PREVIOUS,
    TABLE,
    TIMING,
    Record,
    RunFolder,
    expect_free,
)
from batchproof.runs._shards import write_shards
from batchproof.train._checkpoint import (
    check_loadable,
    read_checkpoint,
    write_best,
    write_checkpoint,
)
from batchproof.train._keeper import Checkpoint
from batchproof.train._lock import locked

_LOGGED = "logged"
_DAMAGED = "damaged"


class FolderKeeper:
    """Keeps records and checkpoints in a run folder.

    Args:
        run_dir: the folder.
        config: written to config.json when the run begins.
        group: the process group, whose ranks write their own shards where a model lies in shards.

    Attributes:
        run_dir: the folder.
        notices: what was found wrong and passed over, one line each.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any], group: Any = None) -> None:
        self.run_dir: Path = run_dir
        self.notices: list[str] = []
        self._config = config
        self._group = group
        self._log: BinaryIO | None = None
        self._saved_step = 0
        self._verified = False

    def begin(self, checkpoint: Checkpoint) -> None:
        """Make the folder, with its configuration and first checkpoint in it, in one rename."""
        expect_free(self.run_dir)
        draft = self.run_dir.with_name(f".{self.run_dir.name}.{os.getpid()}.draft")
        with self._explaining("make"):
            shutil.rmtree(draft, ignore_errors=True)
            try:
                self._fill(draft, checkpoint)
                draft.rename(self.run_dir)
                to_disk(self.run_dir.parent)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            self._open()

    def _fill(self, draft: Path, checkpoint: Checkpoint) -> None:
        (draft / LAST).mkdir(parents=True)
        config = {**self._config, "identity": checkpoint.rest["identity"]}
        (draft / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
        (draft / TABLE).write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
        for name in (METRICS, TIMING):
            (draft / name).touch()
        seal(draft / LAST, self._write(_logged(checkpoint, 0), draft / LAST))
        for name in (CONFIG, METRICS):
            to_disk(draft / name)

    def reopen(self) -> Checkpoint:
        """Return the newest whole checkpoint of the run; the log is cut to where it was made.

        Raises:
            RunFolderError: if there is no run, or another process writes to it.
            CheckpointError: if no checkpoint is whole.
        """
        RunFolder(self.run_dir)
        with self._explaining("go on in"):
            self._open()
            checkpoint = self._newest()
            self._cut(checkpoint.rest[_LOGGED])
            self._trim_timing()
            self._recover_best()
        self._saved_step = checkpoint.rest["position"]["step"]
        return checkpoint

    def _newest(self) -> Checkpoint:
        faults: list[str] = []
        for name in (LAST, PREVIOUS):
            folder = self.run_dir / name
            if not folder.exists():
                continue
            try:
                checkpoint = read_checkpoint(folder)
            except CheckpointError as error:
                faults.append(str(error).partition(";")[0])
                continue
            if faults:
                self._set_aside(self.run_dir / LAST)
                step = checkpoint.rest["position"]["step"]
                self.notices.append(f"{faults[0]}; going on from {folder}, made at step {step}.")
            return checkpoint
        found = "; ".join(faults) or f"{self.run_dir} has none"
        raise CheckpointError(f"no whole checkpoint: {found}. Start a new run in another folder.")

    def _set_aside(self, folder: Path) -> None:
        shutil.rmtree(self.run_dir / _DAMAGED, ignore_errors=True)
        folder.rename(self.run_dir / _DAMAGED)

    def _cut(self, length: int) -> None:
        log = self.run_dir / METRICS
        if log.stat().st_size < length:
            raise CheckpointError(
                f"{log} is shorter than its checkpoint says ({log.stat().st_size} bytes of "
                f"{length}), so it was altered. Start a new run in another folder."
            )
        with log.open("r+b") as file:
            file.truncate(length)
        rows = [record.to_json() for record in RunFolder(self.run_dir).records()]
        (self.run_dir / TABLE).write_text(",".join(COLUMNS) + "\n" + _rows(rows), encoding="utf-8")

    def _trim_timing(self) -> None:
        """Drop a last line that a kill or a full disk has cut short."""
        path = self.run_dir / TIMING
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        path.write_bytes(whole + newline)

    def _recover_best(self) -> None:
        former = self.run_dir / FORMER_BEST
        if former.exists() and not (self.run_dir / BEST).exists():
            former.rename(self.run_dir / BEST)

    def _open(self) -> None:
        self._log = (self.run_dir / METRICS).open("ab", buffering=0)
        if not locked(self._log):
            self.close()
            raise RunFolderError(
                f"another process is training in {self.run_dir}; wait for it, or end it first."
            )

    def log(self, records: Sequence[Record]) -> None:
        """Append records to the log, each one line, and to the table."""
        values = [record.to_json() for record in records]
        lines = "".join(json.dumps(value, allow_nan=False) + "\n" for value in values)
        with self._explaining("write to"):
            assert self._log is not None
            _write_all(self._log, lines.encode())
            with (self.run_dir / TABLE).open("a", encoding="utf-8", newline="") as table:
                table.write(_rows(values))

    def time(self, values: Mapping[str, Any]) -> None:
        """Append times and throughput."""
        with (
            self._explaining("write to"),
            (self.run_dir / TIMING).open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(values) + "\n")

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write the state to go on from; the one before is kept."""
        assert self._log is not None
        with self._explaining("save to"):
            to_disk(self.run_dir / METRICS)
            logged = _logged(checkpoint, (self.run_dir / METRICS).stat().st_size)
            write_sealed(
                self.run_dir / LAST,
                lambda folder: self._write(logged, folder),
                former=self.run_dir / PREVIOUS,
                keep_former=True,
            )
        self._saved_step = checkpoint.rest["position"]["step"]

    def _write(self, checkpoint: Checkpoint, folder: Path) -> Mapping[str, str]:
        rest, shards = checkpoint.apart()
        write_checkpoint(rest, folder)
        if not self._verified:
            check_loadable(folder)
            self._verified = True
        return write_shards(shards, folder, self._group) if shards else {}

    def save_best(self, weights: Mapping[str, Any], record: Record) -> None:
        """Write the best weights in the place of those before."""
        with self._explaining("save to"):
            write_sealed(
                self.run_dir / BEST,
                lambda folder: self._write_best(weights, record, folder),
                former=self.run_dir / FORMER_BEST,
                keep_former=False,
            )

    def _write_best(
        self, weights: Mapping[str, Any], record: Record, folder: Path
    ) -> Mapping[str, str]:
        rest, shards = Checkpoint(weights, None, {}).apart()
        write_best(rest.weights, record, folder)
        return write_shards(shards, folder, self._group) if shards else {}

    def best_state(self) -> Mapping[str, Tensor] | None:
        """Return the best weights, read from the folder; None before the first."""
        return best_in(self.run_dir)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        """Say of what the system refuses, what is safe and how to go on."""
        try:
            yield
        except RunFolderError:
            raise
        except OSError as error:
            safe = self.run_dir / LAST
            failed = f"cannot {what} {self.run_dir}: {(error.strerror or str(error)).lower()}"
            if not safe.exists():
                msg = f"{failed}; choose a place with space that you may write to."
                raise RunFolderError(msg) from None
            raise RunStoppedError(
                f"{failed}; step {self._saved_step} is safe in {safe}; free some space and go on: "
                "resume=True, or --resume in the shell."
            ) from None


def best_in(run_dir: Path) -> Mapping[str, Tensor] | None:
    """Return the best weights in a run folder; None where there are none yet."""
    return RunFolder(run_dir).weights(BEST) if (run_dir / BEST).exists() else None


def _write_all(file: BinaryIO, text: bytes) -> None:
    # an unbuffered write may take less than it is given; the next one then says why
    rest = memoryview(text)
    while rest:
        rest = rest[file.write(rest) :]


def _logged(checkpoint: Checkpoint, length: int) -> Checkpoint:
    rest = {**checkpoint.rest, _LOGGED: length}
    return replace(checkpoint, rest=rest)


def _rows(values: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writerows(values)
    return text.getvalue()
