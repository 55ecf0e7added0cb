"""The weighted mean as a pair of sums, which adds exactly where means do not.

`x1/n1 + x2/n2` is not `(x1+x2)/(n1+n2)`: a mean of means is wrong as soon as the parts have
different sizes. A pair (total, weight) has no such trouble. Pairs add, `Mean.zero()` is their
identity, and the one division happens at the end, in `Mean.value`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from batchproof._errors import EmptyMeanError, ShapeError, UnitError

Unit = Literal["element", "sample", "sample-sum"]
UNITS: tuple[str, ...] = get_args(Unit)


def exact_dtype(device: torch.device) -> torch.dtype:
    """Return the widest float of a device: float64, or float32 where there is no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_unit(unit: str) -> None:
    """Refuse a unit that is not one of the three.

    Raises:
        UnitError: if it is not.
    """
    if unit not in UNITS:
        raise UnitError(f"unit is {unit!r}; it is one of {', '.join(map(repr, UNITS))}.")


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """A mean that has not been divided yet: the sum of what is averaged, and of its weights.

    One pair a sample, shape (samples,), or one pair for all of them, shape (). Pairs add, pooling
    first, so the value of a sum of pairs is the mean over everything, however it was cut.

    Attributes:
        total: sums of weighted losses, shape () or (samples,); gradients flow through it.
        weight: sums of weights, of the same shape; it never carries a graph.
        unit: what the mean is a mean of: "element", "sample" or "sample-sum".

    Raises:
        ShapeError: if total and weight are no tensors, differ in shape, or have more than one
            dimension.
        UnitError: if the unit is not one of the three, or means of different units are added.

    Example:
        >>> import torch
        >>> first = Mean(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))
        >>> last = Mean(torch.tensor([10.0]), torch.ones(1))
        >>> (first + last).item()
        4.0
        >>> (first.item() + last.item()) / 2
        6.0
    """

    total: Float[Tensor, "*samples"]
    weight: Float[Tensor, "*samples"]
    unit: Unit = "element"

    def __post_init__(self) -> None:
        if not (isinstance(self.total, Tensor) and isinstance(self.weight, Tensor)):
            raise ShapeError(
                f"total is {type(self.total).__name__} and weight {type(self.weight).__name__}; "
                "both are tensors, of shape () or (samples,). Wrap a number: torch.tensor(number)."
            )
        if self.total.shape != self.weight.shape or self.total.ndim > 1:
            raise ShapeError(
                f"total has shape {tuple(self.total.shape)} and weight "
                f"{tuple(self.weight.shape)}; both are () or (samples,). "
                "Make pairs from losses with batchproof.reduce(losses)."
            )
        if self.unit not in UNITS:
            check_unit(self.unit)
        if self.weight.requires_grad:
            object.__setattr__(self, "weight", self.weight.detach())

    @classmethod
    def zero(cls, unit: Unit = "element", *, device: torch.device | str = "cpu") -> "Mean":
        """Return the pair (0, 0), which changes nothing it is added to."""
        zero = torch.zeros((), dtype=exact_dtype(torch.device(device)), device=device)
        return cls(zero, zero, unit)

    def pool(self) -> "Mean":
        """Return the scalar pair: the sums over all samples."""
        if self.total.ndim == 0:
            return self
        return Mean(self.total.sum(), self.weight.sum(), self.unit)

    def __add__(self, other: object) -> "Mean":
        if not isinstance(other, Mean):
            return NotImplemented
        if self.unit != other.unit:
            raise UnitError(
                f"a mean over {self.unit!r} and one over {other.unit!r} have no common mean; "
                "reduce both with one unit, or make them two terms of an objective."
            )
        left, right = self.pool(), other.pool()
        return Mean(left.total + right.total, left.weight + right.weight, self.unit)

    def __radd__(self, other: object) -> "Mean":
        # sum() starts at the integer 0
        if isinstance(other, int) and other == 0:
            return self.pool()
        return NotImplemented

    def value(self) -> Float[Tensor, ""]:
        """Return total / weight, pooled: the only division. NaN where there is no weight.

        It has the total's dtype, or that of the division where totals are counts.
        """
        pooled = self.pool()
        value = pooled.total / pooled.weight
        # a weight in a narrow dtype would be another weight: float16 ends at 65504
        return value.to(pooled.total.dtype) if pooled.total.is_floating_point() else value

    def item(self) -> float:
        """Return the value as a float, read on the host.

        Raises:
            EmptyMeanError: if the weight is 0.
        """
        pooled = self.pool()
        total, weight = pooled.total.detach().item(), pooled.weight.item()
        if weight == 0:
            raise EmptyMeanError(
                f"the mean over {self.unit!r} has weight 0: nothing was averaged. "
                "Look for a mask that keeps nothing, or an empty batch."
            )
        return total / weight

    def detach(self) -> "Mean":
        """Return the same pair without its graph."""
        return Mean(self.total.detach(), self.weight, self.unit)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Mean":
        """Return the pair on another device, in the widest float that device has."""
        target = torch.device(device)
        dtype = exact_dtype(target)
        return Mean(
            self.total.to(target, dtype, non_blocking=non_blocking),
            self.weight.to(target, dtype, non_blocking=non_blocking),
            self.unit,
        )
