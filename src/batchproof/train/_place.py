"""Where the model runs, and batches brought there."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._errors import SettingError
from batchproof.step import in_a_group


def find_device(device: str | torch.device) -> torch.device:
    """Return the device that is meant; "auto" is the machine's accelerator, else the CPU.

    Raises:
        SettingError: if there is no such device.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"device is {str(device)!r}, which this machine does not offer "
            f'({str(error).splitlines()[0]}); choose "auto" or "cpu".'
        ) from None
    return chosen


def device_of(model: Any) -> torch.device:
    """Return where a model's parameters lie; the CPU where it has none."""
    tensors = model.parameters() if isinstance(model, nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def rank_in(group: Any) -> int:
    """Return this process's rank in a group, or in the default one; 0 without ranks."""
    return torch.distributed.get_rank(group) if in_a_group(group) else 0


def ranks_in(group: Any) -> int:
    """Return the number of ranks in a group, or in the default one; 1 without ranks."""
    return torch.distributed.get_world_size(group) if in_a_group(group) else 1


class Sized:
    """Batches that are drawn once, with their number."""

    def __init__(self, batches: Iterable[Any], size: int) -> None:
        self._batches, self._size = batches, size

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)

    def __len__(self) -> int:
        return self._size


def placed(loader: Iterable[Any], device: torch.device) -> Iterable[Any]:
    """Return the loader's batches on a device; on the CPU they are left as they come."""
    if device.type == "cpu":
        return loader
    return _mapped(loader, lambda batch: to_device(batch, device))


def _mapped(loader: Iterable[Any], of: Callable[[Any], Any]) -> Iterable[Any]:
    for batch in loader:
        yield of(batch)


def to_device(batch: Any, device: torch.device) -> Any:
    """Return a batch with every tensor in it on a device.

    Args:
        batch: a tensor, an object with `.to(device)`, or tuples, lists, mappings and dataclasses
            of them; anything else is left as it is.
        device: where to.
    """
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple | list):
        parts = [to_device(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(part, device) for key, part in batch.items()}
    if is_dataclass(batch) and not isinstance(batch, type):
        moved = {f.name: to_device(getattr(batch, f.name), device) for f in fields(batch)}
        return replace(batch, **moved)
    return batch
