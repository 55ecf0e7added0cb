"""The description of one call of a loss: its losses, what each weighs, and how many hits.

The weight is what the loss's own mean divides by, from the table behind `exact(criterion)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from batchproof._errors import BatchproofError
from batchproof.mean._exact_specs import BY_FUNCTION, Spec

CLASSES = (F.cross_entropy, F.nll_loss)
# with a weight of the elements, their mean divides by it
WEIGHTED = (F.mse_loss, F.l1_loss, F.smooth_l1_loss)
# so many logits cost less to look through than a loss does
FEW = 1 << 16
# ratios of counts are looked for among so many classes
MOST_CLASSES = 64


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a loss, described.

    Attributes:
        kind: the name of the function.
        reduction: "mean", "sum", "none" or "batchmean".
        samples: size of the first dimension of the input.
        elements: number of losses, those that do not count included.
        counts: whether each loss counts, or what it weighs; None where each counts 1.
        weight: what a mean divides by.
        first: the input.
        classes: input and target, where the largest input is the class that is chosen.
        ignored: the target that does not count; no class is below 0.
    """

    kind: str
    reduction: str
    samples: int
    elements: int
    counts: Tensor | None
    weight: Tensor | float
    first: Tensor
    classes: tuple[Tensor, Tensor] | None = None
    ignored: int = -100


def described(spec: Spec, arguments: Mapping[str, Any], out: Tensor) -> Call:
    """Return the description of a call.

    Args:
        spec: what is known of the loss.
        arguments: the call's arguments by name, defaults included.
        out: what it returned.
    """
    if spec.function in CLASSES:
        call = _of_classes(spec, arguments)
        if call is not None:
            return call
    inputs = _inputs(spec, arguments)
    options = {name: arguments[name] for name in spec.options if name in arguments}
    first = inputs[0]
    elements = out.numel() if arguments["reduction"] == "none" else _elements(spec, inputs)
    counts = spec.counts(inputs, options) if spec.function is not F.ctc_loss else None
    reduction = _reduction(arguments)
    weight: Tensor | float = float(elements)
    if counts is not None:
        weight = counts.sum()
    elif spec.function in WEIGHTED and arguments.get("weight") is not None:
        weight = arguments["weight"].detach().sum()
    elif reduction == "batchmean":
        weight = float(first.shape[0])
    samples = _samples(spec, inputs)
    kind = _kind(spec)
    classes = _classes(spec, inputs)
    ignore_index = arguments.get("ignore_index", -100)
    return Call(kind, reduction, samples, elements, counts, weight, first, classes, ignore_index)


def _kind(spec: Spec) -> str:
    return getattr(spec.function, "__name__", "loss")


def _of_classes(spec: Spec, arguments: Mapping[str, Any]) -> Call | None:
    """Return what a plain call says of itself: on the CPU, no weight, every target counts."""
    logits, target = arguments["input"], arguments["target"]
    ignore_index = arguments["ignore_index"]
    if type(target) is not Tensor or not target.is_cpu or ignore_index >= 0:
        return None
    if logits.ndim != target.ndim + 1 or logits.ndim < 2 or arguments["weight"] is not None:
        return None
    elements = target.numel()
    # numpy has less to do before it begins
    if not elements or target.numpy().min() < 0:
        return None
    kind, reduction = _kind(spec), _reduction(arguments)
    size, samples = float(elements), logits.shape[0]
    return Call(
        kind, reduction, samples, elements, None, size, logits, (logits, target), ignore_index
    )


def _inputs(spec: Spec, arguments: Mapping[str, Any]) -> Sequence[Any]:
    return [arguments[name] for name in _names(spec.options, tuple(arguments))]


@cache
def _names(options: Sequence[str], arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments that are inputs."""
    others = {*options, "size_average", "reduce", "reduction", "weight"}
    return [name for name in arguments if name not in others]


def _reduction(arguments: Mapping[str, Any]) -> str:
    average, reduce = arguments.get("size_average"), arguments.get("reduce")
    if average is None and reduce is None:
        return str(arguments["reduction"])
    if reduce is False:
        return "none"
    return "sum" if average is False else "mean"


def _elements(spec: Spec, inputs: Sequence[Any]) -> int:
    try:
        shape = spec.layout.losses_shape(inputs)
    except (BatchproofError, AttributeError, TypeError, IndexError):
        shape = None
    if shape is None:
        first = inputs[0]
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        try:
            shape = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
                *(value.shape for value in tensors)
            )
        except RuntimeError:
            shape = first.shape[:1]
    count = 1
    for size in shape:
        count *= int(size)
    return count


def _samples(spec: Spec, inputs: Sequence[Any]) -> int:
    first = inputs[0]
    if spec.function is F.ctc_loss:
        return int(first.shape[1]) if first.ndim == 3 else 1
    return int(first.shape[0]) if first.ndim > (spec.function in CLASSES) else 1


def _classes(spec: Spec, inputs: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
    if spec.function in CLASSES:
        logits, target = inputs[0], inputs[1]
        return (logits, target) if target.ndim == logits.ndim - 1 and logits.ndim else None
    if spec.function is F.binary_cross_entropy_with_logits:
        return inputs[0], inputs[1]
    return None


def hits_of(call: Call) -> Tensor | None:
    """Return the number of elements with their largest logit at the target, shape ()."""
    if call.classes is None:
        return None
    logits, target = call.classes
    if logits.shape == target.shape:
        return (logits > 0).eq(target > 0.5).sum()
    right = logits.argmax(1 if logits.ndim > 1 else 0).eq(target)
    if call.ignored >= 0 and call.counts is not None:
        right &= call.counts.ne(0)
    return right.sum()


def counts_of(call: Call) -> Tensor | None:
    """Return the hits, predictions and targets of each class, shape (classes, 3)."""
    if call.classes is None:
        return None
    logits, target = call.classes
    if logits.shape == target.shape:
        predictions, targets = logits > 0, target > 0.5
        return torch.stack([(predictions & targets).sum(), predictions.sum(), targets.sum()])[None]
    axis = 1 if logits.ndim > 1 else 0
    number = logits.shape[axis]
    if number > MOST_CLASSES or not logits.numel():
        return None
    predictions, targets = logits.argmax(axis).flatten(), target.flatten()
    if call.counts is not None:
        there = call.counts.flatten().ne(0)
        predictions, targets = predictions[there], targets[there]
    hits = targets[predictions.eq(targets)]
    return torch.stack([x.bincount(minlength=number) for x in (hits, predictions, targets)], 1)


def elements_of(call: Call) -> Tensor | float:
    """Return the number of losses that count."""
    if call.counts is None:
        return float(call.elements)
    if call.counts.dtype == torch.bool and isinstance(call.weight, Tensor):
        return call.weight
    return call.counts.ne(0).sum()


def is_small(call: Call) -> bool:
    """Return whether looking through the logits costs next to nothing."""
    return call.classes is not None and call.classes[0].numel() <= FEW


def specs() -> Mapping[Any, Spec]:
    """Return the description of each functional loss of torch."""
    return BY_FUNCTION


@dataclass(frozen=True, slots=True)
class Arrival:
    """The gradient that arrived at one loss in one backward pass, as numbers on the device.

    Attributes:
        mass: sum over what counts of gradient times weight; shape ().
        weight: the weight of what counts and received a gradient; None for a mean or a sum.
        low: the smallest gradient of those, high: the largest; None for a mean or a sum.
        rows_low: the smallest sum of gradients of a sample, rows_high: the largest.
        padded: whether what received none is the end (or the beginning) of rows of an array.
    """

    mass: Tensor | float
    weight: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None
    rows_low: Tensor | None = None
    rows_high: Tensor | None = None
    padded: Tensor | None = None


def arrival_of(gradient: Tensor, counts: Tensor | None) -> Arrival:
    """Return the shares of the elements of a loss, read off a gradient.

    Args:
        gradient: arrived at the loss: a scalar for a mean or a sum, else one for each element.
        counts: what each element weighs; None where each weighs 1.
    """
    g = gradient.detach()
    if g.ndim == 0:
        return Arrival(g)
    if g.dtype in {torch.float16, torch.bfloat16}:
        g = g.float()
    weights = torch.ones_like(g) if counts is None or counts.shape != g.shape else counts.to(g)
    there = g.ne(0) & weights.ne(0)
    shares = torch.where(there, g, 0)
    high = torch.where(there, g, -torch.inf).amax()
    low = torch.where(there, g, torch.inf).amin()
    rows_low = rows_high = padding = None
    if g.ndim > 1 and g.numel():
        rows = shares.flatten(1).sum(1)
        some = there.flatten(1).any(1)
        rows_low = torch.where(some, rows, torch.inf).amin()
        rows_high = torch.where(some, rows, -torch.inf).amax()
        padding = _is_padding(there.flatten(1))
    weight = torch.where(there, weights, 0).sum()
    return Arrival((shares * weights).sum(), weight, low, high, rows_low, rows_high, padding)


def _is_padding(there: Tensor) -> Tensor:
    """Return whether each row is missing at one end only, and not all rows alike; shape ()."""
    rises = there[:, 1:] & ~there[:, :-1]
    falls = ~there[:, 1:] & there[:, :-1]
    one_end = ~rises.any() | ~falls.any()
    lengths = there.sum(1)
    return one_end & lengths.amax().ne(lengths.amin())
