"""One step of everything, kept nowhere: train, validate, save, load."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from batchproof._errors import CheckpointError
from batchproof.ranks import full, on_first
from batchproof.runs import RunFolder
from batchproof.train._session import Session
from batchproof.train._snapshot import put_back
from batchproof.train._walk import Walk


def try_everything(session: Session, train: Iterable[Any], val: Iterable[Any] | None) -> str:
    """Take one step, validate one batch, save and load it; put everything back.

    Returns:
        What was done, as one line.

    Raises:
        CheckpointError: if what is loaded is not what was saved.
    """
    settings = replace(
        session.settings,
        limit_train_batches=session.settings.accumulate,
        limit_val_batches=1,
        log_every=1,
    )
    with put_back(session.parts, Walk(train)), tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        session.settings = settings
        session.outlets = replace(
            session.outlets, run_dir=run_dir, callbacks=(), loggers=(), progress=False, plot=False
        )
        history = session.run(train, val, max_epochs=None, max_steps=1, resume=None)
        weights = {name: full(weight) for name, weight in session.parts.weights().items()}
        # of several ranks the first has written
        size = on_first(lambda: _compared(run_dir, weights), session.outlets.group)
    means = ", ".join(
        f"{record.name} {record.value:.4g}"
        for record in history.records
        if record.span == "epoch" and record.unit != "step" and "/" not in record.name
    )
    return f"dry run: one step, one validation batch ({means}), {size:,} bytes saved and loaded"


def _compared(run_dir: Path, weights: Mapping[str, Any]) -> int:
    """Return the size of the last checkpoint, which holds these weights."""
    saved = RunFolder(run_dir).weights("last")
    for name, weight in weights.items():
        if isinstance(weight, torch.Tensor) and not torch.equal(saved[name], weight.cpu()):
            raise CheckpointError(f"{name} is loaded otherwise than it was saved.")
    files = (run_dir / "last").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())
