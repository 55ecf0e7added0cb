"""Accuracy as a Mean, so that it pools over any cut like the loss."""

from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from batchproof._errors import ShapeError
from batchproof.mean._mean import Mean, Unit
from batchproof.mean._reduce import reduce


def accuracy(
    logits: Float[Tensor, "samples classes *elements"],
    target: Int[Tensor, "samples *elements"],
    *,
    mask: Bool[Tensor, "samples *elements"] | None = None,
    weight: Num[Tensor, "..."] | None = None,
    unit: Unit = "element",
) -> Mean:
    """Return the share of predictions whose largest logit is at the target class.

    Args:
        logits: scores of each class, shape (samples, classes, *elements).
        target: class indices, shape (samples, *elements).
        mask: True where an element counts.
        weight: one a sample or one an element.
        unit: what the mean is a mean of.

    Returns:
        Pairs of shape (samples,): correct predictions, and predictions.

    Raises:
        ShapeError: if the shapes disagree.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
        0.5
    """
    if logits.ndim < 2 or logits.shape[:1] + logits.shape[2:] != target.shape:
        raise ShapeError(
            f"logits have shape {tuple(logits.shape)} and target {tuple(target.shape)}; expected "
            "(samples, classes, ...) and (samples, ...). Move the classes to dimension 1."
        )
    correct = logits.detach().argmax(1) == target
    return reduce(correct, unit=unit, mask=mask, weight=weight)
