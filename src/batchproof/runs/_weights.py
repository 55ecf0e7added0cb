"""Weights in a file that cannot hold code: safetensors.

Tied weights are written once, with their other names in the file's metadata.
"""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from batchproof._errors import CheckpointError
from batchproof._files import parse_json
from batchproof.runs._shards import read_shards, with_shards

WEIGHTS, EXTRA = "weights.safetensors", "extra.pt"
_ALIASES = "aliases"


def save_weights(state: Mapping[str, Any], path: Path) -> None:
    """Write the tensors of a state, without its other values.

    Raises:
        OSError: if the system refuses, for example because the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    names: dict[tuple[Any, ...], str] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            continue
        place = _place(tensor)
        if place in names and tensor.numel():
            aliases[name] = names[place]
            continue
        names[place] = name
        tensors[name] = _own(tensor, storages)
    try:
        save_file(tensors, path, metadata={_ALIASES: json.dumps(aliases)})
    except SafetensorError as error:
        # a refusal by the system, such as a full disk, arrives as text alone
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a state for torch.load.

    Raises:
        OSError: if the system refuses, for example because the disk is full.
    """
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # torch's own error, raised while the system's propagates
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load_weights_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, under all their names.

    Raises:
        CheckpointError: if it is not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights ({error}); take another checkpoint of the run."
        ) from None
    return state | {name: state[first] for name, first in _aliases(path, metadata, state).items()}


def _aliases(path: Path, metadata: dict[str, str], state: dict[str, Tensor]) -> dict[str, str]:
    """Return, for each further name of a tensor, the name it is stored under."""
    try:
        aliases = parse_json(metadata.get(_ALIASES, "{}"))
    except ValueError:
        aliases = None
    valid = isinstance(aliases, dict) and all(
        isinstance(first, str) and first in state for first in aliases.values()
    )
    if not valid:
        raise CheckpointError(
            f"{path} names tensors that are not in it; take another checkpoint of the run."
        )
    return dict(aliases)


def load_state(path: Path) -> dict[str, Any]:
    """Return a state that save_state wrote; no code in the file is run.

    Raises:
        CheckpointError: if it is not such a file, or holds values that only code could load.
    """
    try:
        _expect_stored(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
        raise CheckpointError(
            f"{path} holds values that only running code could load ({reason}); give optimiser, "
            "schedule and modules states of tensors, numbers and strings."
        ) from None
    except MemoryError:
        raise
    except Exception as error:
        # a damaged pickle can make torch raise any error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason}); take another checkpoint."
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no state; take another checkpoint.")
    return state


def _expect_stored(path: Path) -> None:
    """Refuse an archive that is larger in memory than on the disk; torch compresses nothing.

    Raises:
        ValueError: if it is.
        BadZipFile: if it is not an archive.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"it unpacks to {size} bytes, more than the file holds")


def local_weights(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's weights without those in shards, with the modules' extra state.

    Raises:
        CheckpointError: if they cannot be read.
    """
    extra = folder / EXTRA
    return load_weights_file(folder / WEIGHTS) | (load_state(extra) if extra.exists() else {})


def read_weights(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's weights whole, with the modules' extra state.

    Raises:
        CheckpointError: if they cannot be read.
    """
    shards = read_shards(folder, lambda _: None, only="weights")
    whole: dict[str, Any] = with_shards({"weights": local_weights(folder)}, shards)
    return dict(whole["weights"])


def not_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a state that are not tensors: the extra state of some modules."""
    return {name: value for name, value in state.items() if not isinstance(value, Tensor)}


def _place(tensor: Tensor) -> tuple[Any, ...]:
    storage = tensor.untyped_storage().data_ptr()
    return (storage, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride())


def _own(tensor: Tensor, storages: set[int]) -> Tensor:
    """Return the tensor on the host, contiguous, in a storage that no other one is in."""
    host = tensor.detach().cpu().contiguous()
    storage = host.untyped_storage().data_ptr()
    if storage in storages:
        host = host.clone(memory_format=torch.contiguous_format)
    storages.add(host.untyped_storage().data_ptr())
    return host
