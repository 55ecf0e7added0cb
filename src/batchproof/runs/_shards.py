"""Tensors in shards: each rank writes and reads its own, and the next run may have other ranks.

torch.distributed.checkpoint writes them as safetensors, which hold no code. A state is a nested
mapping, and a sharded tensor is named by its path in it, as JSON: '["weights", "0.bias"]'.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import CheckpointError
from batchproof._files import digest_of
from batchproof.ranks import in_a_group, in_shards, of_all, on_first, rank, world_size

SHARDS = "shards"


def without_shards(
    state: Mapping[Any, Any], shards: dict[str, Tensor], path: Sequence[Any] = ()
) -> dict[Any, Any]:
    """Return a nested state without its tensors in shards, which are put in `shards` by path."""
    rest: dict[Any, Any] = {}
    for key, value in state.items():
        here = [*path, key]
        if isinstance(value, Mapping):
            rest[key] = without_shards(value, shards, here)
        elif in_shards(value):
            shards[json.dumps(here)] = value
        else:
            rest[key] = value
    return rest


def with_shards(state: dict[Any, Any], shards: Mapping[str, Tensor]) -> dict[Any, Any]:
    """Return a nested state with the tensors that without_shards removed."""
    for path, tensor in shards.items():
        *above, last = json.loads(path)
        inner = state
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = tensor
    return state


def laid_out(value: Any, like: Any) -> Any:
    """Return a whole tensor laid out in shards like another of its shape, or the value unchanged.

    Each rank keeps its part of its own copy; nothing is sent.
    """
    if in_shards(value) or not in_shards(like) or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def write_shards(shards: Mapping[str, Tensor], folder: Path | None, group: Any) -> dict[str, str]:
    """Write tensors to a folder, each rank its own shards; every rank calls it.

    Args:
        shards: tensors by path; of each, a rank writes its own part.
        folder: the folder on rank 0; the other ranks' value is ignored.
        group: the process group.

    Returns:
        The digest of each file, by its path in the folder.

    Raises:
        OSError: if a rank cannot write; every rank raises it.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter  # noqa: PLC0415
    from torch.distributed.checkpoint.state_dict_saver import save  # noqa: PLC0415

    place: Any = on_first(lambda: folder, group)
    writer = HuggingFaceStorageWriter(str(place / SHARDS), save_distributed=True)
    with _quietly():
        alone = not in_a_group(group)
        save(dict(shards), storage_writer=writer, process_group=group, no_dist=alone)
    # on a network file system some files may not be visible yet; rank 0 looks again
    mine = sorted((place / SHARDS).iterdir())[rank(group) :: world_size(group)]
    digests = of_all({f"{SHARDS}/{path.name}": digest_of(path) for path in mine}, group)
    return {name: digest for part in digests for name, digest in part.items()}


def read_shards(
    folder: Path, like: Callable[[list[Any]], Tensor | None], *, only: str | None = None
) -> dict[str, Tensor]:
    """Return tensors by path; a rank reads its own shards alone, and waits for no other.

    Args:
        folder: the folder that write_shards wrote to; one without shards gives an empty result.
        like: returns, for a path, a tensor whose layout the loaded one gets. For None, or a tensor
            that is not sharded, it is read whole, on the host.
        only: a prefix of the paths to read; None reads all.

    Raises:
        CheckpointError: if they cannot be read.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader  # noqa: PLC0415
    from torch.distributed.checkpoint.state_dict_loader import load  # noqa: PLC0415

    place = folder / SHARDS
    if not place.is_dir():
        return {}
    reader = HuggingFaceStorageReader(str(place))
    with _quietly(place):
        metadata: Any = reader.read_metadata().state_dict_metadata
        tensors = {
            path: _room(about.size, about.properties.dtype, like(json.loads(path)))
            for path, about in metadata.items()
            if only in (None, json.loads(path)[0])
        }
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def _room(size: torch.Size, dtype: torch.dtype, like: Tensor | None) -> Tensor:
    if like is None or not in_shards(like):
        return torch.empty(size, dtype=dtype)
    if like.shape == size:
        return torch.empty_like(like, dtype=dtype)
    from torch.distributed import tensor  # noqa: PLC0415

    layout: Any = like
    whole = [tensor.Replicate()] * layout.device_mesh.ndim
    return tensor.empty(size, dtype=dtype, device_mesh=layout.device_mesh, placements=whole)


@contextmanager
def _quietly(place: Path | None = None) -> Iterator[None]:
    """Silence torch's warnings, and raise the failure of one rank as an error of its own type."""
    from torch.distributed.checkpoint.api import CheckpointException  # noqa: PLC0415

    log = logging.getLogger("torch.distributed.checkpoint")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is (disabled|unavailable|unini)")
            yield
    except CheckpointException as error:
        raise _cause_of(error, place) from None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _unreadable(error, place) from None
    finally:
        log.setLevel(level)


def _cause_of(error: Any, place: Path | None) -> Exception:
    rank, (cause, _) = next(iter(error.failures.items()))
    if place is None and isinstance(cause, OSError):
        return OSError(cause.errno, f"{cause.strerror or cause} (on rank {rank})", cause.filename)
    return _unreadable(cause, place)


def _unreadable(cause: BaseException, place: Path | None) -> Exception:
    if place is None:
        assert isinstance(cause, Exception)
        return cause
    reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    return CheckpointError(f"{place} cannot be read ({reason}); take another checkpoint.")
