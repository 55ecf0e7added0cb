"""Checkpoints on disk: weights that hold no code, and the rest loadable with weights_only=True.

Of a model in shards what lies on one rank is not whole, and stands beside: see _shards.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import CheckpointError
from batchproof._files import broken
from batchproof.train._keeper import Checkpoint
from batchproof.train._records import Record
from batchproof.train._shards import SHARDS, read_shards, with_shards
from batchproof.train._weights import load_weights_file, not_tensors, save_state, save_weights

WEIGHTS, AVERAGED, STATE, EXTRA, RECORD = (
    "weights.safetensors",
    "averaged.safetensors",
    "state.pt",
    "extra.pt",
    "record.json",
)
FORMAT = 1


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint's files to a folder; of one in shards, the rest.

    Raises:
        CheckpointError: if a state holds objects that only code could load again.
    """
    _write_weights(checkpoint.weights, folder)
    if checkpoint.averaged is not None:
        save_weights(checkpoint.averaged, folder / AVERAGED)
    save_state({"format": FORMAT, **checkpoint.rest}, folder / STATE)


def check_loadable(folder: Path) -> None:
    """Refuse a state that could not be loaded again.

    Raises:
        CheckpointError: if it holds objects that only code could load.
    """
    for name in (STATE, EXTRA):
        if (folder / name).exists():
            _load(folder / name)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return a checkpoint.

    Raises:
        CheckpointError: if it is damaged, or of another format.
    """
    fault = broken(folder)
    if fault is not None:
        raise CheckpointError(f"{fault}; take another checkpoint of the run.")
    state = _load(folder / STATE)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {state.get('format')}; this version reads {FORMAT}. "
            "Resume it with the version of batchproof that config.json names."
        )
    averaged, shards = folder / AVERAGED, folder / SHARDS
    return Checkpoint(
        _read_weights(folder),
        load_weights_file(averaged) if averaged.exists() else None,
        state,
        folder if shards.exists() else None,
    )


def write_best(weights: Mapping[str, Any], record: Record, folder: Path) -> None:
    """Write the best weights to a folder, with the mean they were chosen for."""
    _write_weights(weights, folder)
    (folder / RECORD).write_text(json.dumps(record.to_json(), indent=1), encoding="utf-8")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return a checkpoint's weights whole, with the extra state that some modules keep."""
    shards = read_shards(folder, lambda _: None, only="weights")
    whole: dict[str, Any] = with_shards({"weights": _read_weights(folder)}, shards)
    return dict(whole["weights"])


def _read_weights(folder: Path) -> dict[str, Tensor]:
    extra = folder / EXTRA
    return load_weights_file(folder / WEIGHTS) | (_load(extra) if extra.exists() else {})


def _write_weights(weights: Mapping[str, Any], folder: Path) -> None:
    save_weights(weights, folder / WEIGHTS)
    if extra := not_tensors(weights):
        save_state(extra, folder / EXTRA)


def _load(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
        raise CheckpointError(
            f"{path} holds what only running code could load ({reason}); give optimiser, schedule "
            "and modules states of tensors, numbers and strings."
        ) from None
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); take another checkpoint."
        ) from None
    assert isinstance(state, dict)
    return state
