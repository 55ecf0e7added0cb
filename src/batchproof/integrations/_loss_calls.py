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

P keeps float16 in range; it is W_1 where all micro-batches weigh as much as the first, and nothing
is left to apply. r_k = W_k / W_1 must be one number for the whole window.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F  # noqa: N812

from batchproof._errors import CriterionError, MissingCountError, NonFiniteError, ShapeError
from batchproof.mean import Mean, Unit, exact_dtype
from batchproof.mean._exact_layout import Aligned
from batchproof.mean._exact_specs import BY_FUNCTION, Spec
from batchproof.mean._reduce import NARROW, reduce_counted
from batchproof.ranks import device_of, in_a_group, largest, world_size
from batchproof.step._gradients import gradients, scale
from batchproof.step._number import Number, nonzero, number, power_of_two_above


@dataclass(frozen=True, slots=True, eq=False)
class LossCall:
    """One call of a loss.

    Attributes:
        name: of the function.
        output: what the caller got, with its graph: the mean over the micro-batch.
        value: the same, without.
        weight: what the mean was divided by; of no weight the mean is 0.
        rows: its pairs, one per row of the loss's input, where they were asked for.
        edge: where the gradient arrives at the mean, whatever becomes of the output in place;
            None without a graph.
    """

    name: str
    output: Tensor
    value: Number
    weight: Number
    rows: Mean | None
    edge: Any

    @property
    def total(self) -> Number:
        """The sum of the losses."""
        return self.value * self.weight

    def pooled(self) -> Mean:
        """Return the pair of the whole call."""
        pair = [torch.as_tensor(each, dtype=self._dtype) for each in (self.total, self.weight)]
        return Mean(pair[0], pair[1])

    def by_sample(self, rows: int, width: int = 0) -> Mean:
        """Return pairs, one per sample, of those of a loss over all positions of all samples.

        Where a loss was called over positions that were picked out, they are pooled.

        Args:
            rows: number of samples.
            width: positions of a sample; 0 for any number.
        """
        mean = self.pooled() if self.rows is None else self.rows
        count = mean.total.numel()
        if count == rows or not rows:
            return mean
        if count % rows or (width and count not in {rows * width, rows * (width - 1)}):
            return mean.pool()
        total, weight = mean.total.view(rows, -1).sum(1), mean.weight.view(rows, -1).sum(1)
        return Mean(total, weight, mean.unit)

    def is_value(self, value: Any) -> bool:
        """Return whether this is the mean that the call returned, and not changed since."""
        if isinstance(value, Tensor):
            output = self.output
            # tensors of inference mode count no changes
            unchanged = output.is_inference() or output._version == 0  # noqa: SLF001
            return unchanged and value.data_ptr() == output.data_ptr()
        return isinstance(value, float) and value == self.output.item()

    def divide_gradient(self, divisor: Number) -> None:
        """Let the gradient that arrives at the mean be divided by this, not by the weight."""
        if self.edge is None:
            return
        factor, (node, index, *_) = self.weight / divisor, self.edge

        def scaled(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
            arrived = gradients[index]
            by = factor.to(arrived.dtype) if isinstance(factor, Tensor) else factor
            return (*gradients[:index], arrived * by, *gradients[index + 1 :])

        node.register_prehook(scaled)

    @property
    def _dtype(self) -> torch.dtype:
        return exact_dtype(self.output.device)


class LossCalls:
    """Records the means that torch's losses return while it is active, in this process.

    Args:
        saw: called with each call as it is recorded.
        counting: (k, n) where only the first k of the n samples of the micro-batch count, as the
            others repeat samples; None where all do.
        leaves: return means that start a graph of their own, for coefficients_of.
        by_row: keep pairs, one per row; else the mean of a call and its weight, which cost less.

    Attributes:
        calls: those recorded, in their order.
    """

    def __init__(
        self,
        saw: Callable[[LossCall], None] | None = None,
        *,
        counting: tuple[int, int] | None = None,
        leaves: bool = False,
        by_row: bool = False,
    ) -> None:
        self.calls: list[LossCall] = []
        self._saw = saw
        self._counting, self._leaves, self._by_row = counting, leaves, by_row
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "LossCalls":  # noqa: PYI034
        _ACTIVE.append(self)
        stand_ins, functions = _stand_ins(), vars(F)
        self._functions = {name: functions[name] for name in stand_ins}
        functions.update(stand_ins)
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)
        self._undo = []
        vars(F).update(self._functions)
        _ACTIVE.remove(self)

    def replace(self, owner: Any, name: str, stand_in: Any) -> None:
        """Put something in place of an attribute until the recording ends."""
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, stand_in)

    def take(self, name: str, mean: Mean) -> Tensor:
        """Record pairs that carry their graph, and return their mean; 0 of no weight."""
        if self._counting is not None:
            mean = _first_samples(name, mean, *self._counting)
        total = mean.total.sum()
        weight = number(mean.weight.sum())
        # a weight in float64 does not widen the loss
        value = (total / nonzero(weight)).to(total.dtype)
        return self._keep(name, value, weight, mean.detach() if self._by_row else None)

    def record(self, function: Callable[..., Any], values: Any, options: Any) -> Any:
        """Call a loss of torch, and record its mean where it returns one that is known."""
        arguments = _bound(function, values, options)
        # a checkpointed layer runs its forward again within a backward pass
        if arguments is None or torch._C._current_graph_task_id() != -1:  # noqa: SLF001
            return function(*values, **options)
        name, spec = function.__name__, BY_FUNCTION[function]
        unit = _unit(spec, arguments)
        if unit is None:
            return function(*values, **options)
        by_row = self._by_row or self._counting is not None or unit != "element"
        weight = None if by_row else _weight(spec, arguments)
        with torch.no_grad() if self._leaves else nullcontext():
            if weight:
                value: Tensor = function(*values, **options)
            if not weight or value.dtype in NARROW:
                mean, weight = _pairs(function, spec, arguments, unit), None
        return self._keep(name, value, weight) if weight else self.take(name, mean)

    def _keep(self, name: str, value: Tensor, weight: Number, rows: Mean | None = None) -> Tensor:
        if self._leaves:
            value = value.detach().requires_grad_()
        # so that who looks at the loss itself, as watch does, sees the gradient that it gets
        output = value.clone() if value.requires_grad else value
        # a metric may be computed without gradient
        edge = get_gradient_edge(output) if output.requires_grad else None
        read = value.item() if value.is_cpu else value.detach()
        call = LossCall(name, output, read, weight, rows, edge)
        self.calls.append(call)
        if self._saw is not None:
            self._saw(call)
        return output


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


def _unit(spec: Spec, arguments: Mapping[str, Any]) -> Unit | None:
    """Return what the mean of a call is a mean of; None where it returns no mean that is known."""
    weighted = "weight" not in spec.options and arguments.get("weight") is not None
    legacy = arguments.get("size_average") is not None or arguments.get("reduce") is not None
    if weighted or legacy or spec.prepare is not None:
        return None
    return spec.units.get(arguments["reduction"])


def _inputs(spec: Spec, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the inputs of a call, and its options."""
    settings = {"size_average", "reduce", "reduction", "weight", *spec.options}
    inputs = [value for name, value in arguments.items() if name not in settings]
    return inputs, {name: arguments[name] for name in spec.options}


def _weight(spec: Spec, arguments: Mapping[str, Any]) -> float | None:
    """Return what a loss divides the sum of its losses by; None where only its losses show it."""
    inputs, options = _inputs(spec, arguments)
    counts = spec.counts(inputs, options)
    if counts is not None:
        # elsewhere than on the CPU a read waits for the device
        if not counts.is_cpu:
            return None
        is_mask = counts.dtype == torch.bool
        return float(counts.count_nonzero() if is_mask else counts.sum(dtype=torch.float64))
    if not isinstance(spec.layout, Aligned):
        return None
    with suppress(ShapeError):
        return float(math.prod(spec.layout.losses_shape(inputs)))
    return None


def _pairs(
    function: Callable[..., Any], spec: Spec, arguments: Mapping[str, Any], unit: Unit
) -> Mean:
    """Return the pairs of a call, one per row."""
    inputs, options = _inputs(spec, arguments)
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
    graded = [call for call in calls if call.edge is not None]
    arrived = (
        torch.autograd.grad(
            loss, [call.edge for call in graded], retain_graph=True, allow_unused=True
        )
        if graded and loss.requires_grad
        else ()
    )
    by_call = {id(c): float(g) for c, g in zip(graded, arrived, strict=False) if g is not None}
    coefficients = [by_call.get(id(call), 0.0) for call in calls]
    parts = [c * float(call.value) for c, call in zip(coefficients, calls, strict=True) if c]
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


def provisional_for(weights: Iterable[Number]) -> float:
    """Return P of windows whose micro-batches weigh about as much; every rank calls it at once.

    Args:
        weights: of the losses of one micro-batch.
    """
    (most,) = largest([max(map(float, weights), default=1.0)])
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
        micro_batches: that a whole window has, from which one process chooses P; 0 to leave it.
    """

    coefficients: Sequence[float]
    provisional: float = 1.0
    weights: Sequence[Number] | None = None
    alone: bool = False
    further: float = 1.0
    micro_batches: float = 0
    _sums: list[list[tuple[Number, Number]]] = field(default_factory=list)
    _open: list[LossCall] = field(default_factory=list)

    def add(self, call: LossCall) -> None:
        """Add the next call of the micro-batch, before its backward pass."""
        index = len(self._open)
        self._open.append(call)
        if index >= len(self.coefficients):
            raise CriterionError(_other_calls(index + 1, len(self.coefficients)))
        if not self.alone and self.coefficients[index]:
            call.divide_gradient(self._divisor(index, call))
        if len(self._open) == len(self.coefficients):
            self._sums.append([(each.total, each.weight) for each in self._open])
            self._open.clear()

    def _divisor(self, index: int, call: LossCall) -> Number:
        if self.weights is not None:
            return nonzero(self.weights[index])
        lead = next(k for k, c in enumerate(self.coefficients) if c)
        if index == lead:
            is_first = self.micro_batches and not self._sums
            if is_first and not isinstance(call.weight, Tensor) and not in_a_group():
                window_weight = call.weight * self.micro_batches / self.further
                self.provisional = max(self.provisional / 2, window_weight)
            return self.provisional
        leading = self._sums[0][lead][1] if self._sums else self._open[lead].weight
        weight = self._sums[0][index][1] if self._sums else call.weight
        return self.provisional * nonzero(weight) / nonzero(leading)

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
        entering = [k for k, c in enumerate(self.coefficients) if c]
        if self.weights is None and not self.alone and len(entering) > 1:
            expect_one_ratio(_read(self._sums)[:, entering, 1])
        totals, weights = _pooled(self._sums)
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
        if abs(factor - 1) > 4 * sys.float_info.epsilon:
            scale(gradients([p for p in parameters if p.requires_grad]), factor)


def _pooled(sums: Sequence[Sequence[tuple[Number, Number]]]) -> Sequence[Sequence[float]]:
    """Return the totals and the weights over all micro-batches of all ranks, one per call."""
    is_read = not any(isinstance(each, Tensor) for call in sums for pair in call for each in pair)
    if is_read and not in_a_group():
        calls = list(zip(*sums, strict=True))
        return [[sum(pair[i] for pair in call) for call in calls] for i in (0, 1)]
    window = _read(sums).sum(0)
    if in_a_group():
        window = window.to(device_of())
        distributed.all_reduce(window)
    return window.T.tolist()


def _read(sums: Sequence[Sequence[tuple[Number, Number]]]) -> Tensor:
    """Return totals and weights, shape (micro-batches, calls, 2), on the device that has them."""
    numbers = [each for call in sums for pair in call for each in pair]
    device = next((each.device for each in numbers if isinstance(each, Tensor)), None)
    if device is None:
        return torch.tensor(sums, dtype=torch.float64)
    dtype = exact_dtype(device)
    flat = torch.stack([torch.as_tensor(each, dtype=dtype, device=device) for each in numbers])
    return flat.view(len(sums), -1, 2)


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
