"""The checkpoints of a run: in its folder, whole at every moment, or in memory without one."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from batchproof._errors import CheckpointError
from batchproof._files import remove_folder, seal, to_disk, write_sealed
from batchproof.ranks import is_first
from batchproof.runs import (
    BEST,
    CONFIG,
    FORMER_BEST,
    KEPT,
    LAST,
    METRICS,
    PREVIOUS,
    TABLE,
    TIMING,
    Record,
    RunFolder,
    expect_free,
)
from batchproof.runs._folder import kept_at
from batchproof.runs._shards import write_shards
from batchproof.train._checkpoints._checkpoint import Checkpoint, on_host
from batchproof.train._checkpoints._files import (
    check_loadable,
    read_checkpoint,
    write_best,
    write_checkpoint,
)
from batchproof.train._outputs._log import LogFiles, header, locked
from batchproof.train._outputs._refusals import explaining

# what a checkpoint holds of the log at its moment
LOGGED, LOG_DIGEST = "logged", "log digest"
_DAMAGED = "damaged"


class Checkpoints:
    """Keeps the last and the best state of a run.

    Rank 0 alone writes, and of a model in shards every rank its own. Without a run folder, and on
    the other ranks of a model that is whole on each, the best weights are kept in memory.

    Args:
        run_dir: the run folder, or None.
        group: the process group.
        sharded: whether the model is in shards.

    Attributes:
        run_dir: the run folder, or None.
        log: the files of the log, on the rank that writes them; None on others.
        notices: damage that was found and passed over, one line each.
    """

    def __init__(self, run_dir: Path | None, group: Any = None, *, sharded: bool = False) -> None:
        self.run_dir = run_dir
        self.log = LogFiles(run_dir) if run_dir is not None and is_first() else None
        self.notices: list[str] = []
        self._group = group
        self._in_folder = self.log is not None or (run_dir is not None and sharded)
        self._best: Mapping[str, Tensor] | None = None
        self._verified = False

    def begin(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        """Make the run folder with a configuration and a first checkpoint, in one rename.

        Args:
            checkpoint: the state before the first step.
            config: written to config.json.
        """
        if self.log is None:
            self._write_shards(checkpoint)
            return
        run_dir = self.log.run_dir
        expect_free(run_dir)
        draft = run_dir.with_name(f".{run_dir.name}.{os.getpid()}.draft")
        with explaining("make", run_dir):
            _remove_drafts(run_dir)
            self.log.folder = draft
            try:
                draft.mkdir(parents=True)
                self.log.open()
                self._fill_draft(draft, checkpoint, config)
                _put_in_place(draft, run_dir)
                self.log.folder = run_dir
                to_disk(run_dir.parent)
            except BaseException:
                self.log.on_close()
                shutil.rmtree(draft, ignore_errors=True)
                raise
        self.log.saved_step = checkpoint.rest["position"]["step"]

    def _fill_draft(self, draft: Path, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        assert self.log is not None
        (draft / LAST).mkdir()
        identity = checkpoint.rest["identity"]
        text = json.dumps({**config, "identity": identity}, indent=1)
        (draft / CONFIG).write_text(text, encoding="utf-8")
        (draft / TABLE).write_text(header(), encoding="utf-8")
        for name in (METRICS, TIMING):
            (draft / name).touch()
        seal(draft / LAST, self._fill_last(checkpoint, draft / LAST))
        for name in (CONFIG, METRICS):
            to_disk(draft / name)

    def reopen(self) -> tuple[Checkpoint, list[Record]]:
        """Return the newest whole checkpoint, and the records up to it, to which the log is cut.

        Raises:
            RunFolderError: if there is no run, or another process writes to it.
            CheckpointError: if no checkpoint is whole, or the log is not what was written.
        """
        assert self.log is not None
        RunFolder(self.log.run_dir)
        with explaining("resume in", self.log.run_dir):
            self.log.open()
            checkpoint = self._newest(self.log.run_dir)
            rest = checkpoint.rest
            records = self.log.resume(rest[LOGGED], rest.get(LOG_DIGEST))
            _recover_best(self.log.run_dir)
            self.drop_kept(lambda step: step > rest["position"]["step"])
        self.log.saved_step = rest["position"]["step"]
        return checkpoint, records

    def _newest(self, run_dir: Path) -> Checkpoint:
        faults: list[str] = []
        for name in (LAST, PREVIOUS):
            folder = run_dir / name
            if not folder.exists():
                continue
            try:
                checkpoint = read_checkpoint(folder)
                _expect_state(checkpoint.rest, folder)
            except CheckpointError as error:
                faults.append(str(error).partition(";")[0])
                continue
            if faults:
                remove_folder(run_dir / _DAMAGED)
                (run_dir / LAST).rename(run_dir / _DAMAGED)
                step = checkpoint.rest["position"]["step"]
                self.notices.append(f"{faults[0]}; resuming from {folder}, made at step {step}.")
            return checkpoint
        reasons = "; ".join(faults) or f"{run_dir} has none"
        raise CheckpointError(f"no whole checkpoint: {reasons}. Start a new run in another folder.")

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write the state to resume from; the one before is kept as well."""
        fill = partial(self._fill_last, checkpoint)
        self._replace(LAST, PREVIOUS, checkpoint, fill, keep_former=True)
        if self.log is not None:
            self.log.saved_step = checkpoint.rest["position"]["step"]

    def save_best(self, weights: Mapping[str, Any], record: Record) -> None:
        """Write the best weights in the place of those before."""
        if not self._in_folder:
            self._best = on_host(weights)
            return
        self._save_weights(BEST, FORMER_BEST, weights, record)

    def _save_weights(
        self, name: str, former: str, weights: Mapping[str, Any], record: Record | None
    ) -> None:
        checkpoint = Checkpoint(weights, None, {})

        def fill(folder: Path) -> Mapping[str, str]:
            write_best(checkpoint.split()[0].weights, record, folder)
            return self._write_shards(checkpoint, folder)

        self._replace(name, former, checkpoint, fill, keep_former=False)

    def keep(self, step: int, weights: Mapping[str, Any], record: Record | None) -> Path:
        """Write the weights after a step to a folder of their own, and return it."""
        assert self.run_dir is not None
        folder = self.run_dir / kept_at(step)
        if self.log is not None:
            with explaining("save to", self.run_dir, self.log.saved_step):
                if folder.parent.is_symlink():
                    # another's, which is not followed
                    folder.parent.unlink()
                folder.parent.mkdir(exist_ok=True)
        self._save_weights(kept_at(step), f"{KEPT}/.{folder.name}.former", weights, record)
        return folder

    def drop_kept(self, is_dropped: Callable[[int], Any]) -> None:
        """Remove the weights that are kept of some steps."""
        if self.log is not None:
            for step in RunFolder(self.log.run_dir).kept():
                if is_dropped(step):
                    remove_folder(self.log.run_dir / kept_at(step))

    def _replace(
        self,
        name: str,
        former: str,
        checkpoint: Checkpoint,
        fill: Callable[[Path], Mapping[str, str]],
        *,
        keep_former: bool,
    ) -> None:
        """Write a folder of the run whole; ranks other than 0, their shards alone."""
        if self.log is None:
            self._write_shards(checkpoint)
            return
        run_dir = self.log.run_dir
        with explaining("save to", run_dir, self.log.saved_step):
            write_sealed(run_dir / name, fill, former=run_dir / former, keep_former=keep_former)

    def best_state(self) -> Mapping[str, Tensor] | None:
        """Return the best weights; None before the first."""
        if not self._in_folder:
            return self._best
        assert self.run_dir is not None
        return RunFolder(self.run_dir).weights(BEST) if (self.run_dir / BEST).exists() else None

    def share_best(self, best: Mapping[str, Tensor] | None) -> None:
        """Take the best weights that rank 0 has read, where they are kept in memory."""
        if not self._in_folder:
            self._best = None if best is None else dict(best)

    def _fill_last(self, checkpoint: Checkpoint, folder: Path) -> Mapping[str, str]:
        """Write a checkpoint with the log's length and digest; return the digests of its shards."""
        assert self.log is not None
        length, digest = self.log.seal()
        whole, _ = checkpoint.split()
        whole.rest |= {LOGGED: length, LOG_DIGEST: digest}
        write_checkpoint(whole, folder)
        if not self._verified:
            check_loadable(folder)
            self._verified = True
        return self._write_shards(checkpoint, folder)

    def _write_shards(
        self, checkpoint: Checkpoint, folder: Path | None = None
    ) -> Mapping[str, str]:
        """Write this rank's shards into the folder that rank 0 fills; return their digests."""
        _, shards = checkpoint.split()
        if not self._in_folder or (folder is not None and not shards):
            return {}
        return write_shards(shards, folder, self._group)


def _expect_state(rest: Mapping[str, Any], folder: Path) -> None:
    """Refuse a state that is not that of a run.

    Raises:
        CheckpointError: if a part is missing, or of another type.
    """
    mappings = ("position", "identity", "parts", "best", "sums", "recent", "generators")
    kinds: dict[str, type] = {**dict.fromkeys(mappings, dict), "ranks": list, LOGGED: int}
    for name, kind in kinds.items():
        if not isinstance(rest.get(name), kind):
            raise CheckpointError(f"{folder} holds no {name} of a run; take another checkpoint.")
    for name in ("epoch", "step", "batch"):
        count = rest["position"].get(name)
        if not isinstance(count, int) or count < 0:
            raise CheckpointError(f"{folder} holds no {name}; take another checkpoint.")


def _put_in_place(draft: Path, run_dir: Path) -> None:
    try:
        draft.rename(run_dir)
    except OSError:
        # another run may have been begun there a moment ago
        expect_free(run_dir)
        raise


def _remove_drafts(run_dir: Path) -> None:
    """Remove the drafts of runs that were killed while they began."""
    name = re.compile(rf"\.{re.escape(run_dir.name)}\.\d+\.draft")
    with suppress(OSError):
        for draft in list(run_dir.parent.iterdir()):
            if name.fullmatch(draft.name) and not draft.is_symlink():
                _remove_if_abandoned(draft)


def _remove_if_abandoned(draft: Path) -> None:
    lock = locked(draft)
    if lock is not None:
        shutil.rmtree(draft, ignore_errors=True)
        lock.release()


def _recover_best(run_dir: Path) -> None:
    former = run_dir / FORMER_BEST
    if former.exists() and not (run_dir / BEST).exists():
        former.rename(run_dir / BEST)
