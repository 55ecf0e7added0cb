"""The files of a checkpoint: weights that hold no code, the rest loadable with weights_only=True.

The tensors of a model in shards are beside: see runs/_shards.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchproof._errors import CheckpointError
from batchproof._files import broken, follow_umask
from batchproof.runs import RECORD, Record
from batchproof.runs._shards import SHARDS
from batchproof.runs._weights import (
    EXTRA,
    WEIGHTS,
    load_state,
    load_weights_file,
    local_weights,
    not_tensors,
    save_state,
    save_weights,
)
from batchproof.train._checkpoints._checkpoint import Checkpoint

AVERAGED, STATE = "averaged.safetensors", "state.pt"
FORMAT = 1


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint's files to a folder, but for what is in shards.

    Raises:
        CheckpointError: if a state holds objects that only code could load again.
    """
    _write_weights(checkpoint.weights, folder)
    if checkpoint.average is not None:
        save_weights(checkpoint.average, folder / AVERAGED)
        follow_umask(folder / AVERAGED)
    save_state({"format": FORMAT, **checkpoint.rest}, folder / STATE)


def check_loadable(folder: Path) -> None:
    """Refuse a state that could not be loaded again.

    Raises:
        CheckpointError: if it holds objects that only code could load.
    """
    for name in (STATE, EXTRA):
        if (folder / name).exists():
            load_state(folder / name)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return a checkpoint.

    Raises:
        CheckpointError: if it is damaged, or of another format.
    """
    fault = broken(folder)
    if fault is not None:
        raise CheckpointError(f"{fault}; take another checkpoint of the run.")
    state = load_state(folder / STATE)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {state.get('format')}; this version reads {FORMAT}. "
            "Resume it with the version of batchproof that config.json names."
        )
    average, shards = folder / AVERAGED, folder / SHARDS
    return Checkpoint(
        local_weights(folder),
        load_weights_file(average) if average.exists() else None,
        state,
        folder if shards.exists() else None,
    )


def write_best(weights: Mapping[str, Any], record: Record | None, folder: Path) -> None:
    """Write weights to evaluate to a folder, with the mean they were chosen for, if they were."""
    _write_weights(weights, folder)
    if record is not None:
        (folder / RECORD).write_text(json.dumps(record.to_json(), indent=1), encoding="utf-8")


def _write_weights(weights: Mapping[str, Any], folder: Path) -> None:
    save_weights(weights, folder / WEIGHTS)
    # safetensors makes its files for their owner alone
    follow_umask(folder / WEIGHTS)
    if extra := not_tensors(weights):
        save_state(extra, folder / EXTRA)
