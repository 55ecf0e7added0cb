"""Numbers that are read where reading is free, and stay on the device where it is not.

On the CPU a number is a Python float, which costs a tenth of a tensor of shape (); elsewhere it is
a tensor of shape (), so that no step ever waits for the device.
"""

import math

import torch
from torch import Tensor

Number = float | Tensor
Flag = bool | Tensor


def number(value: Tensor) -> Number:
    """Return a tensor of shape () as a float if it is on the CPU, else unchanged."""
    return value.item() if value.device.type == "cpu" else value


def nonzero(value: Number) -> Number:
    """Return the number, or 1 in place of 0."""
    if isinstance(value, Tensor):
        return torch.where(value == 0, 1, value)
    return value or 1.0


def at_most_one(value: Number) -> Number:
    """Return the number, or 1 if it is larger."""
    return value.clamp(max=1.0) if isinstance(value, Tensor) else min(value, 1.0)


def not_finite(value: Number) -> Flag:
    """Return whether the number is NaN or infinite."""
    return ~torch.isfinite(value) if isinstance(value, Tensor) else not math.isfinite(value)


def differ(first: Number, second: Number) -> Flag:
    """Return whether two weights differ by more than their rounding: one part in a million."""
    return (first - second) ** 2 > (1e-6 * second) ** 2


def power_of_two_above(value: Number) -> Number:
    """Return the smallest power of two that is at least the number, and at least 1."""
    if isinstance(value, Tensor):
        return torch.exp2(torch.log2(value.clamp(min=1)).ceil())
    return 2.0 ** math.ceil(math.log2(max(value, 1.0)))


def as_tensor(value: Number, like: Tensor) -> Tensor:
    """Return the number as a tensor of shape (), in the dtype and on the device of another."""
    if isinstance(value, Tensor):
        return value.to(like)
    return like.new_full((), value)
