"""The look before training: at the model, and at the first batch."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._errors import BatchproofError, DataError
from batchproof._random import undisturbed
from batchproof._trees import first_nonfinite, tensors, tree_map
from batchproof.data import Padding
from batchproof.mean import Pairs
from batchproof.train._evaluate import evaluating
from batchproof.train._loss import Loss, Supervised


def model_summary(model: nn.Module) -> str:
    """Return a model's layers, parameters and their types as one line.

    Args:
        model: whose submodules without submodules count as layers.

    Examples:
        >>> import torch
        >>> model_summary(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))
        'Sequential: 10 parameters (all trained, float32) in 1 Linear, 1 ReLU'
    """
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    share = "all trained" if trained == total else f"{trained:,} trained"
    dtypes = "/".join(sorted({str(p.dtype).removeprefix("torch.") for p in parameters}))
    kinds: dict[str, int] = {}
    for module in model.modules():
        if not any(True for _ in module.children()):
            kinds[type(module).__name__] = kinds.get(type(module).__name__, 0) + 1
    layers = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    detail = ", ".join(part for part in (share, dtypes) if part)
    return f"{type(model).__name__}: {total:,} parameters ({detail}) in {layers}"


def first_batch(
    model: nn.Module,
    loss: Loss,
    batch: Any,
    *,
    criterion: Any = None,
    padding: Padding | None = None,
) -> str:
    """Return a line about the first batch, before training; model and batch are left as they are.

    The loss at the start is given beside log(classes), which a classifier that knows nothing yet
    has; labels are checked against the classes; the share of padding is counted.

    Args:
        model: as it will be trained.
        loss: called as loss(model, batch), in evaluation mode and without gradient.
        batch: the first one.
        criterion: the Supervised that loss wraps, where it is one.
        padding: that of the first window, where it was cut by plan.

    Raises:
        DataError: if a label is not a class, or the loss is not finite as the input is not; the
            sample is named.
    """
    wrapped = criterion if isinstance(criterion, Supervised) else loss
    parts = [f"first batch {_shapes(batch)}"]
    with undisturbed(), evaluating(model):
        classes = _classes(model, wrapped, _copied(batch))
        terms = Pairs.of(loss(model, _copied(batch))).terms
    starts = {name: float(mean.value()) for name, mean in terms.items()}
    if not all(map(math.isfinite, starts.values())):
        # what is under a mask may be anything, so the loss is asked before the batch
        expect_finite(batch)
    parts += [f"{name} at the start {value:.4g}" for name, value in starts.items()]
    if classes is not None and len(terms) == 1:
        parts.append(f"log({classes} classes) is {math.log(classes):.4g}")
    share = padding_share(batch)
    if padding is not None:
        parts.append(
            f"padding {padding.share_after:.0%} of the first step's {padding.after:,} positions, "
            f"{padding.share_before:.0%} in the order given"
        )
    elif share is not None:
        parts.append(f"padding {share:.0%} of the elements")
    return "; ".join(parts)


def expect_finite(batch: Any) -> None:
    """Refuse a batch that holds NaN or infinity.

    Raises:
        DataError: if it does; the sample is named.
    """
    nonfinite = first_nonfinite(batch)
    if nonfinite is not None:
        sample, tensor = nonfinite
        raise DataError(
            f"the first batch holds NaN or infinity in sample {sample} (from 0) of a tensor of "
            f"shape {tuple(tensor.shape)}; fix or drop that sample."
        )


def padding_share(batch: Any) -> float | None:
    """Return the share of a batch's elements that are padding, or None where nothing says so.

    A mask says so: a boolean tensor of two dimensions or more, True where an element counts.
    Without one, an integer tensor does whose only negative value, such as -1 or ignore_index, fills
    up rows on the right.
    """
    grids = [t for t in tensors(batch) if t.ndim >= 2 and t.numel()]
    masks = [t for t in grids if t.dtype == torch.bool]
    padded = (~mask for mask in masks) if masks else map(_filled_up, grids)
    padding = next((where for where in padded if where is not None), None)
    return None if padding is None else float(padding.float().mean())


def _filled_up(tensor: Tensor) -> Tensor | None:
    """Return the mask of an integer tensor's padding on the right, None without any."""
    if tensor.is_floating_point() or tensor.is_complex():
        return None
    negative = tensor < 0
    values = tensor[negative]
    on_the_right = negative[..., 1:] | ~negative[..., :-1]
    alike = bool(values.numel()) and bool((values == values[0]).all())
    return negative if alike and bool(on_the_right.all()) else None


def _classes(model: nn.Module, loss: Any, batch: Any) -> int | None:
    """Return the number of classes of a supervised classifier, its labels checked, or None."""
    if not isinstance(loss, Supervised):
        return None
    try:
        output, target = loss.predict(model, batch)
    except BatchproofError:
        return None
    return loss.classes(output, target, where="the first batch")


def _shapes(batch: Any) -> str:
    shapes = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors(batch)]
    return ", ".join(shapes) if shapes else type(batch).__name__


def _copied(batch: Any) -> Any:
    """Return a copy for a loss to change, as one does that pops the labels off a mapping."""
    copied = tree_map(torch.clone, batch)
    return copy.copy(batch) if copied is batch else copied
