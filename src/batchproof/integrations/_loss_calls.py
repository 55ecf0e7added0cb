"""The losses that a framework's code calls, recorded as pairs, and the window they add up to.

A trainer, a head or a user's own function computes its loss with torch's functions, as a mean over
each micro-batch. While `LossCalls` is active every such call returns its mean v = X / W as before;
what the mean was divided by is recorded beside it, and the gradient that arrives at it is
multiplied by W / D, so that micro-batches add up whatever their sizes:

    wanted       sum_k c_k grad( sum_rm X_krm ) / W_k       W_k = sum_rm W_krm
    a call       v_km = X_km / W_km receives c_k, and hands on c_k W_km / D_k to X_km / W_km
    ranks        give 1/world times their sum: their wrapper averages
    so           D_k = W_k where the weights are known beforehand, and world is applied at the end;
                 else D_k = P r_k, and world P / W_1 is applied at the end

P keeps float16 in range. r_k = W_k / W_1 must then be one number for the whole window.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F  # noqa: N812

from batchproof._errors import CriterionError, MissingCountError, NonFiniteError
from batchproof.mean import Mean, exact_dtype
from batchproof.mean._exact_specs import BY_FUNCTION, Spec
from batchproof.mean._reduce import reduce_counted
from batchproof.ranks import device_of, in_a_group, largest, world_size
from batchproof.step._gradients import gradients, scale
from batchproof.step._number import power_of_two_above


@dataclass(frozen=True, slots=True)
class LossCall:
    """One call of a loss.

    Attributes:
        name: of the function.
        value: what the call returned, with its graph: the mean over the micro-batch.
        mean: its pairs, one per row of the loss's input, without graph.
        outputs: the one tensor that the caller got, which has the same value.
    """

    name: str
    value: Tensor
    mean: Mean
    outputs: list[Tensor] = field(default_factory=list)

    def by_sample(self, rows: int, width: int = 0) -> Mean:
        """Return pairs, one per sample, of those of a loss over all positions of all samples.

        Where a loss was called over positions that were picked out, they are pooled.

        Args:
            rows: number of samples.
            width: positions of a sample; 0 for any number.
        """
        mean, count = self.mean, len(self.mean.total)
        if count == rows or not rows:
            return mean
        if count % rows or (width and count not in {rows * width, rows * (width - 1)}):
            return mean.pool()
        total, weight = mean.total.view(rows, -1).sum(1), mean.weight.view(rows, -1).sum(1)
        return Mean(total, weight, mean.unit)

    def sums(self) -> Tensor:
        """Return total and weight of the whole call, shape (2,)."""
        mean = self.mean.pool()
        return torch.stack([mean.total, mean.weight]).to(exact_dtype(self.value.device))

    def divide_gradient(self, divisor: Tensor | float) -> None:
        """Let the gradient that arrives at the mean be divided by this, not by the weight."""
        if self.value.requires_grad:
            factor = self.mean.weight.sum() / divisor
            self.value.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: gradient * factor.to(gradient.dtype)
            )


class LossCalls:
    """Records the means that torch's losses return while it is active, in this process.

    Args:
        saw: called with each call as it is recorded.
        counting: (k, n) where only the first k of the n samples of the micro-batch count, as the
            others repeat samples; None where all do.
        leaves: return means that start a graph of their own, for coefficients_of.

    Attributes:
        calls: those recorded, in their order.
    """

    def __init__(
        self,
        saw: Callable[[LossCall], None] | None = None,
        *,
        counting: tuple[int, int] | None = None,
        leaves: bool = False,
    ) -> None:
        self.calls: list[LossCall] = []
        self._saw = saw
        self._counting, self._leaves = counting, leaves
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "LossCalls":  # noqa: PYI034
        _ACTIVE.append(self)
        for name, stand_in in _stand_ins().items():
            self.replace(F, name, stand_in)
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)
        self._undo = []
        _ACTIVE.remove(self)

    def replace(self, owner: Any, name: str, stand_in: Any) -> None:
        """Put something in place of an attribute until the recording ends."""
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, stand_in)

    def take(self, name: str, mean: Mean) -> Tensor:
        """Record pairs that carry their graph, and return their mean; 0 of no weight."""
        if self._counting is not None:
            mean = _first_samples(name, mean, *self._counting)
        weight = mean.weight.sum()
        value = mean.total.sum() / torch.where(weight == 0, 1, weight)
        if self._leaves:
            value = value.detach().requires_grad_()
        call = LossCall(name, value, mean.detach())
        self.calls.append(call)
        if self._saw is not None:
            self._saw(call)
        # a head that adds a term in place leaves the call's own value as it is
        call.outputs.append(value.clone())
        return call.outputs[0]

    def record(self, function: Callable[..., Any], values: Any, options: Any) -> Any:
        """Call a loss of torch, and record its mean where it returns one that is known."""
        arguments = _bound(function, values, options)
        # a checkpointed layer runs its forward again within a backward pass
        if arguments is None or torch._C._current_graph_task_id() != -1:  # noqa: SLF001
            return function(*values, **options)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._leaves):
            mean = _pairs(function, BY_FUNCTION[function], arguments)
        return function(*values, **options) if mean is None else self.take(function.__name__, mean)


# the innermost recording is the last
_ACTIVE: list[LossCalls] = []


@cache
def _stand_ins() -> dict[str, Callable[..., Any]]:
    """Return what stands in place of each loss of torch while calls are recorded."""

    def stand_in(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*values: Any, **options: Any) -> Any:
            if not _ACTIVE:
                return function(*values, **options)
            return _ACTIVE[-1].record(function, values, options)

        return call

    return {function.__name__: stand_in(function) for function in BY_FUNCTION}


def _first_samples(name: str, mean: Mean, counting: int, samples: int) -> Mean:
    """Return pairs of which only those of the first samples count."""
    rows = len(mean.total)
    if rows % samples:
        raise CriterionError(
            f"{name} was called on {rows} rows for {samples} samples, {samples - counting} of "
            "which repeat others, so theirs cannot be told apart; expected as many rows per "
            "sample. Choose a batch size that divides the samples over the ranks."
        )
    place = torch.arange(rows, device=mean.total.device) < counting * (rows // samples)
    total = torch.where(place, mean.total, 0)
    return Mean(total, torch.where(place, mean.weight, 0), mean.unit)


@cache
def _parameters_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of a function's parameters, and the values of those that have one."""
    parameters = signature(function).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return tuple(parameters), defaults


def _bound(function: Callable[..., Any], values: Any, options: Any) -> dict[str, Any] | None:
    """Return the arguments of a call by name; None where the function itself refuses them."""
    names, defaults = _parameters_of(function)
    arguments = {**defaults, **dict(zip(names, values, strict=False)), **options}
    twice = not options.keys().isdisjoint(names[: len(values)])
    return None if twice or len(values) > len(names) or arguments.keys() != {*names} else arguments


def _pairs(function: Callable[..., Any], spec: Spec, arguments: Mapping[str, Any]) -> Mean | None:
    """Return the pairs of a call, one per row; None where it returns no mean that is known."""
    weighted = "weight" not in spec.options and arguments.get("weight") is not None
    legacy = arguments.get("size_average") is not None or arguments.get("reduce") is not None
    unit = spec.units.get(arguments["reduction"])
    if unit is None or weighted or legacy or spec.prepare is not None:
        return None
    settings = {"size_average", "reduce", "reduction", "weight", *spec.options}
    inputs = [value for name, value in arguments.items() if name not in settings]
    options = {name: arguments[name] for name in spec.options}
    losses = spec.losses(function, inputs, options)
    counts = spec.counts(inputs, options)
    if losses.ndim == 0:
        losses, counts = losses[None], None if counts is None else counts[None]
    return reduce_counted(losses, counts, unit=unit)


def coefficients_of(loss: Tensor, calls: Sequence[LossCall], who: str) -> list[float]:
    """Return the coefficient c_k of every call in a loss, loss = sum_k c_k v_k.

    Args:
        loss: with its graph, which stays.
        calls: recorded while it was computed, their gradients not divided yet.
        who: what computed it.

    Raises:
        CriterionError: if the loss is something else than such a sum.
    """
    graded = [call for call in calls if call.value.requires_grad]
    arrived = (
        torch.autograd.grad(
            loss, [call.value for call in graded], retain_graph=True, allow_unused=True
        )
        if graded and loss.requires_grad
        else ()
    )
    by_call = {id(c): float(g) for c, g in zip(graded, arrived, strict=False) if g is not None}
    coefficients = [by_call.get(id(call), 0.0) for call in calls]
    parts = [c * call.value.item() for c, call in zip(coefficients, calls, strict=True) if c]
    rounding = 16 * torch.finfo(loss.dtype).eps * max(map(abs, [loss.item(), *parts]))
    if not parts or abs(loss.item() - math.fsum(parts)) > rounding:
        sum_of = [f"{c:g} * {call.name}" for c, call in zip(coefficients, calls, strict=True) if c]
        raise CriterionError(
            f"the loss of {who} is {loss.item():.6g}, and what torch's losses returned makes "
            f"{math.fsum(parts):.6g} of it ({' + '.join(sum_of) or 'none was called'}); expected "
            "a sum of their means. Call them as torch.nn.functional.NAME or torch.nn.NAMELoss "
            'with reduction="mean", or return a batchproof.Mean.'
        )
    return coefficients


def provisional_for(means: Iterable[Mean]) -> float:
    """Return P of windows whose micro-batches weigh about as much; every rank calls it at once.

    Args:
        means: of the losses of one micro-batch.
    """
    (most,) = largest([max((float(mean.weight.sum()) for mean in means), default=1.0)])
    return float(power_of_two_above(most))


@dataclass(slots=True)
class OpenWindow:
    """The pairs of one optimiser step so far, on this rank.

    Attributes:
        coefficients: c_k of every call of a micro-batch; 0 for one that does not enter the loss.
        provisional: P.
        weights: W_k over all ranks, where they are known beforehand.
        alone: whether the window is one micro-batch of one rank, whose mean is right as it is.
        further: what a framework divides the gradient by besides, such as the number of
            micro-batches that it was set to accumulate.
    """

    coefficients: Sequence[float]
    provisional: float = 1.0
    weights: Sequence[Tensor | float] | None = None
    alone: bool = False
    further: float = 1.0
    _sums: list[Tensor] = field(default_factory=list)
    _open: list[LossCall] = field(default_factory=list)
    _ratios: list[Tensor] = field(default_factory=list)

    def add(self, call: LossCall) -> None:
        """Add the next call of the micro-batch, before its backward pass."""
        index = len(self._open)
        self._open.append(call)
        if index >= len(self.coefficients):
            raise CriterionError(_other_calls(index + 1, len(self.coefficients)))
        if not self.alone and self.coefficients[index]:
            call.divide_gradient(self._divisor(index, call))
        if len(self._open) == len(self.coefficients):
            self._sums.append(torch.stack([call.sums() for call in self._open]))
            self._open.clear()

    def _divisor(self, index: int, call: LossCall) -> Tensor | float:
        if self.weights is not None:
            return _nonzero(torch.as_tensor(self.weights[index]))
        lead = self._lead()
        if index == lead:
            return self.provisional
        leading = self._sums[0][lead, 1] if self._sums else self._open[lead].mean.weight.sum()
        weight = self._sums[0][index, 1] if self._sums else call.mean.weight.sum()
        return self.provisional * _nonzero(weight) / _nonzero(leading)

    def _lead(self) -> int:
        return next(k for k, c in enumerate(self.coefficients) if c)

    def close(self, parameters: Iterable[Tensor]) -> float:
        """Make the gradients those of the mean over the window, and return that mean.

        A window without weight leaves no gradient, so that the optimiser does nothing.

        Raises:
            NonFiniteError: if the mean is NaN or infinite; before the gradients are used.
            MissingCountError: if several losses have weights that are not in one ratio.
            CriterionError: if a micro-batch called fewer losses than the first.
        """
        if self._open or not self._sums:
            raise CriterionError(_other_calls(len(self._open), len(self.coefficients)))
        sums = torch.stack(self._sums)
        entering = [k for k, c in enumerate(self.coefficients) if c]
        if self.weights is None and not self.alone and len(entering) > 1:
            expect_one_ratio(sums[:, entering, 1])
        window = sums.sum(0)
        if in_a_group():
            window = window.to(device_of())
            distributed.all_reduce(window)
        totals, weights = window.T.tolist()
        value = math.fsum(self.coefficients[k] * totals[k] / (weights[k] or 1) for k in entering)
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the loss of this step is {value}, so no step was taken. Look for NaN in the "
                "data, or a learning rate that is too large."
            )
        self._divide(parameters, weights[entering[0]])
        return value

    def _divide(self, parameters: Iterable[Tensor], weight: float) -> None:
        if not weight:
            for parameter in parameters:
                parameter.grad = None
            return
        factor = self.further
        if not self.alone:
            has_weights = self.weights is not None
            factor *= world_size() * (1.0 if has_weights else self.provisional / weight)
        if factor != 1.0:
            scale(gradients([p for p in parameters if p.requires_grad]), factor)


def _nonzero(weight: Tensor) -> Tensor:
    return torch.where(weight == 0, 1, weight)


def expect_one_ratio(weights: Tensor) -> None:
    """Refuse weights (micro-batches, calls) that are not multiples of one another.

    Raises:
        MissingCountError: if they are not.
    """
    first = weights[0]
    apart = weights * first[0] - weights[:, :1] * first
    if bool((apart.abs() > 1e-6 * weights.amax() ** 2).any()):
        raise MissingCountError(
            f"the loss has {weights.shape[1]} terms, whose weights are {weights.long().tolist()}, "
            "one row per micro-batch, so no one number divides their gradients; expected weights "
            "in one ratio. Take one micro-batch per step, or batchproof.Step(count=...)."
        )


def _other_calls(count: int, before: int) -> str:
    return (
        f"a micro-batch called {count} losses of torch and the first one {before}; expected the "
        "same losses in every micro-batch."
    )
