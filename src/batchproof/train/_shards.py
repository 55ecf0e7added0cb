"""Models sharded by fully_shard: their state whole, in shards on disk, and evaluated evenly."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

from torch import nn
from torch.optim import Optimizer

from batchproof._errors import CheckpointError, DataError
from batchproof.step import in_a_group, is_sharded, windows


def whole_weights(model: nn.Module) -> dict[str, Any]:
    """Return a sharded model's weights whole, on the first rank's host; every rank calls it."""
    from torch.distributed.checkpoint import state_dict  # noqa: PLC0415

    options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(state_dict.get_model_state_dict(model, options=options))


def load_whole_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Give each rank its shards of weights that every rank holds whole."""
    from torch.distributed.checkpoint import state_dict  # noqa: PLC0415

    options = state_dict.StateDictOptions(full_state_dict=True)
    state_dict.set_model_state_dict(model, dict(weights), options=options)


def whole_optimizer(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return the optimiser's state whole, on the host of the first rank; every rank calls it."""
    from torch.distributed.checkpoint import state_dict  # noqa: PLC0415

    if not optimizer.state:
        # asked for it now, torch would take a step of its own to make one, which Adam counts
        return {}
    options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(state_dict.get_optimizer_state_dict(model, optimizer, options=options))


def load_whole_optimizer(model: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Give each rank its shards of an optimiser's state that every rank holds whole."""
    from torch.distributed.checkpoint import state_dict  # noqa: PLC0415

    if not state:
        return
    options = state_dict.StateDictOptions(full_state_dict=True)
    state_dict.set_optimizer_state_dict(model, optimizer, dict(state), options=options)


def save_sharded(folder: str | PathLike[str], model: nn.Module, optimizer: Optimizer) -> None:
    """Write weights and the optimiser's state, each rank its own shards; every rank calls it.

    They can be loaded on any other number of ranks, and by torch.distributed.checkpoint itself.

    Args:
        folder: where all ranks write to; made where it is not there.
        model: sharded, in DistributedDataParallel, or bare.
        optimizer: a torch optimiser over the model's parameters.
    """
    from torch.distributed.checkpoint.state_dict_saver import save  # noqa: PLC0415

    with _quiet_in_one_process():
        save(_state_of(model, optimizer), checkpoint_id=str(folder), no_dist=not in_a_group())


def load_sharded(folder: str | PathLike[str], model: nn.Module, optimizer: Optimizer) -> None:
    """Read what save_sharded wrote, on any number of ranks; every rank calls it.

    Args:
        folder: where it was written to.
        model: built as the one that was saved; its shards may be others.
        optimizer: made as the one that was saved.

    Raises:
        CheckpointError: if the folder holds no such checkpoint, or that of another model.
    """
    from torch.distributed.checkpoint import state_dict  # noqa: PLC0415
    from torch.distributed.checkpoint.api import CheckpointException  # noqa: PLC0415
    from torch.distributed.checkpoint.state_dict_loader import load  # noqa: PLC0415

    state = _state_of(model, optimizer)
    try:
        with _quiet_in_one_process():
            load(state, checkpoint_id=str(folder), no_dist=not in_a_group())
    except (CheckpointException, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{folder} cannot be loaded ({reason}); expected what save_sharded wrote of this "
            "model and optimiser."
        ) from None
    state_dict.set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
    )


@contextmanager
def _quiet_in_one_process() -> Iterator[None]:
    """Leave out torch's remark that it takes one process for one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is (disabled|unavailable|unini)")
        yield


def _state_of(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    from torch.distributed.checkpoint import state_dict  # noqa: PLC0415

    weights, states = state_dict.get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": states}


def evenly(model: Any, loader: Iterable[Any], group: Any) -> Iterator[tuple[Any, bool]]:
    """Yield batches, and whether each counts: the ranks of a sharded model run it equally often.

    A rank with fewer batches runs its last one again, which then does not count.

    Raises:
        DataError: if a rank of a sharded model has no batch at all.
    """
    if not (is_sharded(model) and in_a_group(group)):
        for batch in loader:
            yield batch, True
        return
    last = None
    for window in windows(loader, 1, group=group):
        if not window and last is None:
            msg = (
                "a rank has no batch to evaluate a sharded model on, which all ranks run equally "
                "often; give every rank one, with a smaller batch size or fewer ranks."
            )
            raise DataError(msg)
        last = window[0] if window else last
        yield last, bool(window)
