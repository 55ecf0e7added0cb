"""Numbers on the device, read in batches.

A read of one number waits for the device. Numbers are therefore kept where they are and read
many at once, when so many are waiting or when they are asked for. On the CPU nothing has to be
waited for, and a number is read as it comes.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

WAITING = 512


class Reads:
    """Numbers that wait to be read, and the callback of each.

    Attributes:
        before: called before what waits is read.
    """

    def __init__(self) -> None:
        self.before: Callable[[], None] = _nobody
        self._waiting: list[tuple[Tensor, Callable[[float], None]]] = []

    def later(self, number: Tensor, then: Callable[[float], None]) -> None:
        """Call `then` with the number, now on the CPU, else when it is read.

        Args:
            number: shape (), without a graph. Nothing may write to it later. On the meta device
                there is none to read.
            then: called with the number as a float.
        """
        if number.is_meta:
            return
        if number.is_cpu:
            then(float(number))
            return
        self._waiting.append((number, then))
        if len(self._waiting) >= WAITING:
            self.settle()

    def into(self, number: Tensor | float, thing: object, name: str) -> None:
        """Set an attribute to a number, now on the CPU, else when it is read.

        Args:
            number: shape (), without a graph. Nothing may write to it later.
            thing: what has the attribute.
            name: the attribute.
        """
        if isinstance(number, Tensor) and not number.is_cpu:
            self.later(number, partial(setattr, thing, name))
        else:
            setattr(thing, name, float(number))

    def settle(self) -> None:
        """Read every number that waits."""
        self.before()
        waiting, self._waiting = self._waiting, []
        by_device: dict[torch.device, list[tuple[Tensor, Callable[[float], None]]]] = {}
        for number, then in waiting:
            by_device.setdefault(number.device, []).append((number, then))
        for device, group in by_device.items():
            dtype = torch.float32 if device.type == "mps" else torch.float64
            values = torch.stack([number.to(dtype) for number, _ in group]).tolist()
            for (_, then), value in zip(group, values, strict=True):
                then(value)


def _nobody() -> None:
    return None
