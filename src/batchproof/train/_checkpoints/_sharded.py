"""A model and its optimiser in a folder, each rank its shards, for a loop of one's own."""

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from batchproof._errors import CheckpointError
from batchproof._files import write_sealed
from batchproof.ranks import is_first, of_all, on_first, unwrapped
from batchproof.runs._shards import write_shards
from batchproof.train._checkpoints._checkpoint import Checkpoint, load_into
from batchproof.train._checkpoints._files import read_checkpoint, write_checkpoint


def save_sharded(folder: str | PathLike[str], model: nn.Module, optimizer: Optimizer) -> None:
    """Write weights and the optimiser's state, each rank its own shards; every rank calls it.

    They can be loaded on any other number of ranks, and in any other wrapper. A folder that is
    there is replaced when the new one is whole and on the disk.

    Args:
        folder: where to, on a file system that all ranks share.
        model: sharded, in DistributedDataParallel, or bare.
        optimizer: a torch optimiser over the model's parameters.

    Examples:
        >>> import torch
        >>> model, other = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> save_sharded("checkpoint", model, torch.optim.Adam(model.parameters()))
        >>> load_sharded("checkpoint", other, torch.optim.Adam(other.parameters()))
        >>> torch.equal(model.weight, other.weight)
        True
    """
    place = Path(folder)
    weights: Any = unwrapped(model).state_dict()
    whole = Checkpoint(weights, None, {"parts": {"optimizer": optimizer.state_dict()}})
    rest, shards = whole.split()

    def fill(draft: Path) -> dict[str, str]:
        write_checkpoint(rest, draft)
        return write_shards(shards, draft, None) if shards else {}

    if is_first():
        place.parent.mkdir(parents=True, exist_ok=True)
        former = place.with_name(f".{place.name}.former")
        write_sealed(place, fill, former=former, keep_former=False)
    elif shards:
        write_shards(shards, None, None)
    of_all(None)


def load_sharded(folder: str | PathLike[str], model: nn.Module, optimizer: Optimizer) -> None:
    """Read what save_sharded wrote, on any number of ranks; every rank calls it.

    Args:
        folder: where it was written to.
        model: built as the one that was saved; its shards may be others, or it may have none.
        optimizer: made as the one that was saved.

    Raises:
        CheckpointError: if the folder holds no such checkpoint, a damaged one, or that of another
            model.
    """
    try:
        checkpoint = on_first(lambda: read_checkpoint(Path(folder)))
        load_into(checkpoint, model, optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1].strip().partition(";")[0]
        raise CheckpointError(
            f"{folder} cannot be loaded ({reason}); expected what save_sharded wrote of this "
            "model and optimiser."
        ) from None
