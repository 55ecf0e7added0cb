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
from batchproof.ranks import in_a_group, rank, unwrapped
from batchproof.train._batches import Epochs
from batchproof.train._evaluate import evaluating
from batchproof.train._loss import Loss, Supervised


def model_summary(model: nn.Module) -> str:
    """Return a model's layers, parameters and their types as one line.

    Args:
        model: whose submodules without submodules count as layers; in a wrapper of ranks, the inner
            model.

    Examples:
        >>> import torch
        >>> model_summary(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))
        'Sequential: 10 parameters (all trained, float32) in 1 Linear, 1 ReLU'
    """
    model = unwrapped(model)
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    share = "all trained" if trainable == total else f"{trainable:,} trained"
    dtypes = "/".join(sorted({str(p.dtype).removeprefix("torch.") for p in parameters}))
    kinds: dict[str, int] = {}
    for module in model.modules():
        if not any(True for _ in module.children()):
            kinds[type(module).__name__] = kinds.get(type(module).__name__, 0) + 1
    layers = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    detail = ", ".join(part for part in (share, dtypes) if part)
    return f"{type(model).__name__}: {total:,} parameters ({detail}) in {layers}"


def layer_summary(model: nn.Module, loss: Loss, batch: Any) -> str:
    """Return the layers of a model with the shapes that a batch gives them, one line each.

    Args:
        model: whose submodules without submodules are the layers, in the order they are called.
        loss: called as loss(model, batch), in evaluation mode and without gradient.
        batch: as loss takes it; it and the model are left as they are.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> batch = (torch.zeros(8, 4), torch.zeros(8, 2))
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
        >>> print(layer_summary(model, bp.supervised(torch.nn.MSELoss()), batch))
        layer  kind    output  parameters
        0      Linear  (8, 2)          10
        1      ReLU    (8, 2)           0
    """
    rows: dict[str, tuple[str, ...]] = {}

    def note(name: str, module: nn.Module, output: Any) -> None:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors(output))
        count = sum(p.numel() for p in module.parameters())
        # a model that is one layer has no name of its own
        rows.setdefault(name, (name or "model", type(module).__name__, shapes, f"{count:,}"))

    handles = [
        module.register_forward_hook(
            lambda module, _, output, name=name: note(name, module, output)
        )
        for name, module in unwrapped(model).named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        with undisturbed(), evaluating(model):
            loss(model, _copied(batch))
    finally:
        for handle in handles:
            handle.remove()
    table = [("layer", "kind", "output", "parameters"), *rows.values()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([*map(str.ljust, row[:3], widths), row[3].rjust(widths[3])]) for row in table
    )


def data_summary(name: str, epochs: Epochs, group: Any = None) -> str:
    """Return the size of a data set, as far as its loader says it.

    Args:
        name: what the data are for.
        epochs: of its loader.
        group: the ranks that share it, of which each has batches of its own.
    """
    loader = epochs.loader
    dataset: Any = getattr(loader, "dataset", None)
    samples = getattr(loader, "samples", len(dataset) if hasattr(dataset, "__len__") else None)
    of_rank = f"batches on rank {rank(group)}" if in_a_group(group) else "batches"
    sizes = {"samples": samples, of_rank: epochs.batches}
    texts = [f"{size:,} {what}" for what, size in sizes.items() if size is not None]
    return f"{name}: {' in '.join(texts) or 'of unknown length'}"


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

    Examples:
        >>> import batchproof as bp
        >>> batch = (torch.zeros(8, 4), torch.ones(8, 4))
        >>> first_batch(nn.Identity(), bp.supervised(nn.MSELoss()), batch)
        'first batch (8, 4) float32, (8, 4) float32; loss at the start 1'
    """
    inner = criterion if isinstance(criterion, Supervised) else loss
    parts = [f"first batch {_shapes(batch)}"]
    with undisturbed(), evaluating(model):
        classes = _classes(model, inner, _copied(batch))
        terms = Pairs.of(loss(model, _copied(batch))).terms
    nothing = [name for name, mean in terms.items() if not mean.weight.item()]
    starts = {name: mean.item() for name, mean in terms.items() if name not in nothing}
    if not all(map(math.isfinite, starts.values())):
        # what is under a mask may be anything, so the loss is asked before the batch
        expect_finite(batch)
    parts += [f"{name} at the start {value:.4g}" for name, value in starts.items()]
    parts += [f"{name}: nothing in it counts" for name in nothing]
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
    paddings = (~mask for mask in masks) if masks else map(_filled_up, grids)
    padding = next((where for where in paddings if where is not None), None)
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
    result = tree_map(torch.clone, batch)
    return copy.copy(batch) if result is batch else result
