"""Accuracy as a Mean, so that it pools over any cut like the loss."""

from jaxtyping import Bool, Num
from torch import Tensor

from batchproof._errors import ShapeError
from batchproof.mean._mean import Mean, Unit
from batchproof.mean._reduce import reduce, refuse_complex


def accuracy(
    logits: Num[Tensor, "..."],
    target: Num[Tensor, "..."] | Bool[Tensor, "..."],
    *,
    binary: bool = False,
    mask: Bool[Tensor, "samples *elements"] | None = None,
    weight: Num[Tensor, "..."] | None = None,
    unit: Unit = "element",
) -> Mean:
    """Return the share of predictions that equal the target.

    Args:
        logits: scores of each class, shape (samples, classes, *elements), of which the largest is
            predicted. With binary, one logit per question, shape (samples, *elements), above 0 for
            yes; a trailing dimension of 1 is allowed.
        target: class indices, shape (samples, *elements); with binary 0 or 1, of that shape.
        binary: whether each logit answers a question of its own: one per sample, or one per label
            where a sample has several.
        mask: True where an element counts.
        weight: one per sample or one per element.
        unit: what the mean is a mean of.

    Returns:
        Pairs of shape (samples,): correct predictions, and predictions.

    Raises:
        ShapeError: if the shapes disagree.
        SettingError: if logits, target or weight are complex.

    Examples:
        >>> import torch
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
        0.5
        >>> accuracy(torch.tensor([2.0, -1.0, 3.0]), torch.tensor([1, 0, 0]), binary=True).pool()
        Mean(0.6667, weight=3, unit='element')
    """
    refuse_complex("logits", logits)
    refuse_complex("target", target)
    correct = _is_yes(logits, target) if binary else _is_largest(logits, target)
    return reduce(correct, unit=unit, mask=mask, weight=weight)


def _is_largest(logits: Tensor, target: Tensor) -> Tensor:
    classes_first = logits.ndim >= 2 and logits.shape[:1] + logits.shape[2:] == target.shape
    if not classes_first or logits.shape[1] == 1:
        raise ShapeError(
            f"logits have shape {tuple(logits.shape)} and target {tuple(target.shape)}; expected "
            "(samples, classes, ...) and (samples, ...), of two classes or more. Move the classes "
            "to dimension 1; for yes-or-no questions of one logit each, give binary=True."
        )
    return logits.detach().argmax(1) == target


def _is_yes(logits: Tensor, target: Tensor) -> Tensor:
    if logits.shape == (*target.shape, 1):
        logits = logits.squeeze(-1)
    if logits.shape != target.shape or not logits.ndim:
        raise ShapeError(
            f"logits have shape {tuple(logits.shape)} and target {tuple(target.shape)}; expected "
            "one logit for each target, (samples, ...). Leave binary out where logits are scores "
            "of classes."
        )
    return (logits.detach() > 0) == (target > 0.5)
