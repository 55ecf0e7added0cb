"""Where the model runs, and batches brought there."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from batchproof._errors import SettingError
from batchproof._trees import to_device


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
