"""Perplexity, the exponential of the mean negative log-likelihood: the mean is taken first.

P = exp(L),     se(P) = P se(L)     to first order
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from batchproof.mean import exact
from batchproof.meter._meter import Meter
from batchproof.meter._score import Score


class Perplexity:
    """The exponential of the mean cross entropy over all elements, not of that of a batch.

    Args:
        ignore_index: targets of this value are left out.

    Attributes:
        meter: the mean cross entropy.

    Examples:
        >>> perplexity = Perplexity()
        >>> perplexity.update(torch.zeros(2, 8, 5), torch.ones(2, 5, dtype=torch.long))
        >>> round(float(perplexity.compute()), 3)
        8.0
    """

    def __init__(self, *, ignore_index: int = -100) -> None:
        self._loss = exact(nn.CrossEntropyLoss(ignore_index=ignore_index))
        self.meter = Meter()

    def __repr__(self) -> str:
        return f"Perplexity({self.meter!r})"

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            outputs: logits, shape (samples, classes, *elements).
            targets: class indices, shape (samples, *elements).
        """
        wide = outputs if outputs.dtype == torch.float64 else outputs.float()
        self.meter.add(self._loss(wide, targets))

    def compute(self) -> Score:
        """Return the perplexity, with its standard error over samples.

        Raises:
            EmptyMeanError: if nothing was added, or all targets are left out.
        """
        loss = self.meter.estimate()
        value = math.exp(loss.value)
        error = loss.standard_error
        return Score(value, None if error is None else value * error)

    def merge_state(self, metrics: Iterable["Perplexity"]) -> None:
        """Add the sums of others, such as those of other ranks."""
        for other in metrics:
            self.meter.merge(other.meter)
