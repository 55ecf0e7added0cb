"""The weighted mean as a pair of sums, which adds exactly where means do not.

`x1/n1 + x2/n2` is not `(x1+x2)/(n1+n2)`: a mean of means is wrong as soon as the parts have
different sizes. A pair (total, weight) has no such trouble. Pairs add, `Mean.zero()` is their
identity, and the one division happens at the end, in `Mean.value`.

Adding pools: mse + l1 of two losses is (X1 + X2) / (W1 + W2), where X1 / W1 + X2 / W2 is meant. So
pairs that carry a graph, which an optimiser would follow, are joined by `pool` and not by +.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Number
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from batchproof._errors import EmptyMeanError, PairError, SettingError, ShapeError, UnitError
from batchproof.page import Table, fragment

Unit = Literal["element", "sample", "sample-sum"]
UNITS: tuple[str, ...] = get_args(Unit)
# names that trainers of language models have for aggregations of token losses
_AGGREGATIONS = {
    "token-mean": "'element'",
    "dapo": "'element'",
    "seq-mean-token-mean": "'sample'",
    "grpo": "'sample'",
    "seq-mean-token-sum": "'sample-sum'",
    "seq-mean-token-sum-norm": "'sample-sum' of losses * (sequences of a step / constant)",
    "dr_grpo": "'sample-sum' of losses / constant",
}


def exact_dtype(device: torch.device) -> torch.dtype:
    """Return the widest float of a device: float64, or float32 where there is no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_unit(unit: str) -> None:
    """Refuse a unit that is not one of the three.

    Raises:
        UnitError: if it is not.
    """
    if unit not in UNITS:
        same = f"; {unit} is {_AGGREGATIONS[unit]}" if unit in _AGGREGATIONS else ""
        raise UnitError(f"unit is {unit!r}; it is one of {', '.join(map(repr, UNITS))}{same}.")


def _in_a_notebook(mean: "Mean") -> str:
    """Return a pair as the table that a notebook shows."""
    has_numbers = not mean.total.is_meta
    value = f"{mean}" if has_numbers else "of no numbers"
    weight = f"{mean.weight.sum().item():g} {mean.unit}" if has_numbers else mean.unit
    samples = str(len(mean.total)) if mean.total.ndim else ""
    columns = ("", "value", "weight", "samples")
    return fragment([("", (Table(columns, (("mean", value, weight, samples),)),))])


def _refused(operation: str, remedy: str) -> Callable[..., NoReturn]:
    """Return a method that refuses an operation which a pair does not have."""

    def refuse(self: "Mean", *operands: object) -> NoReturn:
        del self, operands
        raise PairError(f"a Mean has no {operation}: it is a pair (total, weight). {remedy}")

    return refuse


_SCALED = (
    'A coefficient belongs to the objective: return {"name": mean} from the loss, and '
    'Step(..., coefficients={"name": 0.1}); the weight of a sample to its pair: reduce(..., '
    "weight=...). mean.value() is a number."
)
_DIVIDED = (
    "It is divided by its own weight, once, by Step or mean.value(); a window of micro-batches is "
    "not divided by their number. mean.value() is a number."
)
_SUBTRACTED = (
    "Of two means that are known take mean.item(), or mean.value() for tensors; a term of an "
    'objective has a coefficient: return {"name": mean}, and Step(..., coefficients={"name": -1}).'
)
_COMPARED = "Compare numbers: mean.item() on the host, or mean.value() for tensors."
_READ = "Read the number first: mean.item() on the host, or mean.value() for a tensor."
_PRESENT = "It is always true: test `mean is not None`, or a number, mean.item()."
_CURVED = (
    "No function of a mean but the mean itself adds over a cut. Apply it to the losses before "
    "reduce or exact, or to the number: mean.value()."
)
_JOINED = (
    'Parts of one mean: pool([a, b]). Terms of an objective: return {"a": a, "b": b} from the loss.'
)
# functions of torch whose names differ from their operator's
_OPERATORS = {
    "__div__": "__truediv__",
    "__divide__": "__truediv__",
    "__true_divide__": "__truediv__",
    "__subtract__": "__sub__",
    "__multiply__": "__mul__",
    "__negative__": "__neg__",
    "__backward__": "backward",
    "__power__": "__pow__",
    "__absolute__": "__abs__",
    **dict.fromkeys(("__less__", "__greater__", "__less_equal__", "__greater_equal__"), "__lt__"),
    **dict.fromkeys(("__equal__", "__not_equal__", "__eq__", "__ne__"), "__lt__"),
}
_BACKWARD = (
    "Hand the micro-batches to step(window, loss), or call step.backward(mean) for each and "
    "step.apply() once; for a batch that is a whole step: mean.value().backward()."
)


def _refuse_to_add(other: object) -> NoReturn:
    raise PairError(
        f"a Mean and {type(other).__name__} have no sum: a Mean is a pair (total, weight), "
        "which adds to pairs alone. Make losses pairs with exact or reduce; a penalty is a "
        'term of its own: return {"loss": mean, "penalty": reduce(penalty.reshape(1))}.'
    )


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """A mean that has not been divided yet: the sum of what is averaged, and of its weights.

    One pair per sample, shape (samples,), or one pair for all of them, shape (). Pairs add, pooling
    first, so the value of a sum of pairs is the mean over everything, however it was cut. Those
    that carry a graph are joined by `pool` alone.

    Attributes:
        total: sums of weighted losses, shape () or (samples,); gradients flow through it.
        weight: sums of weights, of the same shape; it never carries a graph.
        unit: what the mean is a mean of: "element", "sample" or "sample-sum".

    Raises:
        ShapeError: if total and weight are not tensors, differ in shape, or have more than one
            dimension.
        SettingError: if they are complex.
        UnitError: if the unit is not one of the three, or means of different units are added.

    Examples:
        >>> import torch
        >>> first = Mean(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))
        >>> last = Mean(torch.tensor([10.0]), torch.ones(1))
        >>> (first + last).item()
        4.0
        >>> (first.item() + last.item()) / 2
        6.0
        >>> print(first + last, f"{first:.2f}", repr(first))
        4 2.00 Mean(2, weight=3, unit='element', samples=3)
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
        if self.total.is_complex() or self.weight.is_complex():
            raise SettingError(
                f"total has dtype {self.total.dtype} and weight {self.weight.dtype}; expected real "
                "numbers, since complex ones have no minimum. Take the modulus, or the real part."
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
            return _refuse_to_add(other)
        _expect_one_unit([self, other])
        if self.total.requires_grad or other.total.requires_grad:
            raise PairError(
                "+ of pairs that carry a graph would pool them into one mean, and so halve the sum "
                "of two losses. Parts of one mean: pool([a, b]). Terms of an objective: return "
                '{"a": a, "b": b} from the loss, with Step(..., coefficients=...). Sums for a '
                "record: a.detach() + b.detach()."
            )
        return _pooled([self, other])

    def __radd__(self, other: object) -> "Mean":
        # sum() starts at the integer 0
        if isinstance(other, int) and other == 0:
            return self.pool()
        return _refuse_to_add(other)

    __sub__ = __rsub__ = __neg__ = _refused("-", _SUBTRACTED)
    __mul__ = __rmul__ = _refused("*", _SCALED)
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _refused("/", _DIVIDED)
    __pow__ = __rpow__ = _refused("**", _CURVED)
    __mod__ = __rmod__ = __divmod__ = __rdivmod__ = _refused("%", _CURVED)
    __abs__ = _refused("abs()", _CURVED)
    __round__ = _refused("round()", _READ)
    __matmul__ = __rmatmul__ = _refused("@", _SCALED)
    __lt__ = __le__ = __gt__ = __ge__ = _refused("<", _COMPARED)
    backward = _refused("backward()", _BACKWARD)
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Return whether it is this very pair; refuse a comparison with a number."""
        if self is other or not isinstance(other, Mean | Number | Tensor | np.ndarray):
            return self is other
        raise PairError(f"a Mean has no ==: it is a pair (total, weight). {_COMPARED}")

    # a type checker refuses these by itself
    if not TYPE_CHECKING:
        __int__ = __index__ = __trunc__ = _refused("int()", _READ)
        __bool__ = _refused("truth value", _PRESENT)
        __len__ = __getitem__ = _refused("length and no [index]", _READ)
        __array__ = _refused("numpy array", _READ)

        def __getattr__(self, name: str) -> NoReturn:
            """Refuse an attribute that a pair does not have; say where a tensor's is."""
            message = f"a Mean has no attribute {name!r}"
            if not name.startswith("_") and hasattr(Tensor, name):
                message += ": it is a pair (total, weight). mean.value() is a tensor."
            raise AttributeError(message, name=name, obj=self)

        def __array_ufunc__(
            self, function: Any, method: str, *operands: Any, **keywords: Any
        ) -> Any:
            """Refuse a function of numpy as one of torch."""
            del method, keywords
            return self.__torch_function__(function, (), operands)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: object, operands: Any = (), keywords: Any = None
    ) -> "Mean":
        """Refuse a function of torch in the words of the operator that it is."""
        del types, keywords
        name = getattr(function, "__name__", str(function))
        operator = f"__{name.strip('_')}__"
        parts = [
            p
            for operand in operands
            for p in (operand if isinstance(operand, tuple) else [operand])
        ]
        mean = next((part for part in parts if isinstance(part, Mean)), None)
        if operator in {"__add__", "__radd__"} and mean is not None:
            first, second, *_ = operands
            result: Mean = mean + (second if mean is first else first)
            return result
        operator = _OPERATORS.get(operator, operator)
        if mean is not None and operator in vars(cls):
            getattr(mean, operator)()
        remedy = _JOINED if name in {"stack", "cat", "concat", "hstack", "vstack"} else _CURVED
        raise PairError(f"a Mean has no {name}(): it is a pair (total, weight). {remedy}")

    def value(self) -> Float[Tensor, ""]:
        """Return total / weight, pooled: the only division. NaN where there is no weight.

        It has the total's dtype, or that of the division where totals are counts.
        """
        pair = self.pool()
        value = pair.total / pair.weight
        # a weight in a narrow dtype would be another weight: float16 ends at 65504
        return value.to(pair.total.dtype) if pair.total.is_floating_point() else value

    def item(self) -> float:
        """Return the value as a float, read on the host.

        Raises:
            EmptyMeanError: if the weight is 0.
        """
        pair = self.pool()
        total, weight = pair.total.detach().item(), pair.weight.item()
        if weight == 0:
            raise EmptyMeanError(
                f"the mean over {self.unit!r} has weight 0: nothing was averaged. "
                "Look for a mask that keeps nothing, or an empty batch."
            )
        return total / weight

    def __float__(self) -> float:
        return self.item()

    def __str__(self) -> str:
        return f"{self:.4g}"

    def __format__(self, spec: str) -> str:
        """Return the value in this form, read on the host; nan where there is no weight."""
        if not spec:
            return str(self)
        pair = self.pool().detach()
        weight = pair.weight.item()
        return format(pair.total.item() / weight if weight else math.nan, spec)

    def __repr__(self) -> str:
        samples = f", samples={len(self.total)}" if self.total.ndim else ""
        if self.total.is_meta:
            return f"Mean(of no numbers, unit={self.unit!r}{samples})"
        return f"Mean({self}, weight={self.weight.sum().item():g}, unit={self.unit!r}{samples})"

    _repr_html_ = _in_a_notebook

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


def pool(means: Iterable[Mean]) -> Mean:
    """Join parts of one mean into one pair, with their graphs.

        pool([a, b]) = (Xa + Xb, Wa + Wb)

    The parts are samples of one loss: the heads of a batch of several tasks, the chunks of a long
    sequence. Losses that are to be added, each over its own weight, are not parts of one mean: let
    the loss function return a dict of them.

    Args:
        means: the parts, one or more, of one unit.

    Returns:
        The scalar pair over all parts.

    Raises:
        SettingError: if there is no part, or what is given is not a sequence of Means.
        UnitError: if the parts are of different units.

    Examples:
        >>> import torch
        >>> losses = torch.tensor([1.0, 2.0, 3.0, 10.0], requires_grad=True)
        >>> first, last = (Mean(part, torch.ones(len(part))) for part in losses.split(3))
        >>> pool([first, last]).value().backward()
        >>> losses.grad
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    one = isinstance(means, Mean | Mapping) or not isinstance(means, Iterable)
    parts = [] if one else list(means)
    if not parts or not all(isinstance(part, Mean) for part in parts):
        kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in parts))
        kind = type(means).__name__ if one else f"a sequence of {kinds or 'no'} parts"
        raise SettingError(
            f"pool was given {kind}; expected the parts of one mean: pool([a, b]). The samples of "
            "one pair are pooled by mean.pool(); the pair of nothing is Mean.zero(unit)."
        )
    _expect_one_unit(parts)
    return _pooled(parts)


def _pooled(parts: Iterable[Mean]) -> Mean:
    first, *rest = [part.pool() for part in parts]
    total, weight = first.total, first.weight
    for part in rest:
        total, weight = total + part.total, weight + part.weight
    return Mean(total, weight, first.unit)


def _expect_one_unit(parts: list[Mean]) -> None:
    for part in parts:
        if part.unit != parts[0].unit:
            raise UnitError(
                f"a mean over {parts[0].unit!r} and one over {part.unit!r} have no common mean; "
                "reduce both with one unit, or make them two terms of an objective."
            )
