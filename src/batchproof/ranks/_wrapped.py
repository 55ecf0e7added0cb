"""The wrappers that spread a model over ranks: DistributedDataParallel, FSDP2, torch.compile."""

import sys
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def unwrapped(model: Any) -> Any:
    """Return the module inside DistributedDataParallel and torch.compile, or the model as it is.

    It runs over data without taking part in any collective, and names its parameters plainly.
    """
    inner = unwrapped_of_compile(model)
    return inner.module if isinstance(inner, DistributedDataParallel) else model


def unwrapped_of_compile(model: Any) -> Any:
    """Return the module that torch.compile wrapped, or the model as it is."""
    return getattr(model, "_orig_mod", model) if isinstance(model, nn.Module) else model


def reshard(model: Any) -> None:
    """Have every parameter in its shards, as optimisers hold it.

    A forward pass without a backward pass leaves those of the outermost module whole.
    """
    for module in model.modules():
        if is_sharded(module):
            module.reshard()


def is_sharded(module: Any) -> bool:
    """Return whether fully_shard was called on the module."""
    # where nobody has imported it, which takes a second, nobody has called it
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)


def in_shards(value: Any) -> bool:
    """Return whether a tensor is spread over ranks (a DTensor)."""
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def full(value: Tensor) -> Tensor:
    """Return the whole of a tensor, gathered where it is spread over ranks: a collective."""
    return value.full_tensor() if in_shards(value) else value  # type: ignore[attr-defined]


def local(value: Tensor) -> Tensor:
    """Return this rank's part of a tensor; the tensor itself where it is not spread."""
    return value.to_local() if in_shards(value) else value  # type: ignore[attr-defined]
