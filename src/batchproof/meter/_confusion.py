"""The confusion matrix and what is worked out from it: counts add, F1 does not.

    F1_c = 2 tp_c / (2 tp_c + fp_c + fn_c)

F1 is a function of the counts K_ab of samples of class a that are predicted as b, and stays the
same when all are multiplied by one factor. So the standard error over n independent samples is

    sqrt( n / (n - 1) * sum_ab K_ab (dF1 / dK_ab)^2 )

References:
    Cochran (1977): Sampling Techniques, 3rd edition, section 6.4, of which this is the linear form.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from batchproof._errors import DataError, SettingError, ShapeError
from batchproof.meter._score import Score

Average = Literal["macro", "micro", "weighted", "none"]


@dataclass(kw_only=True, eq=False)
class ConfusionMatrix:
    """The number of samples of each class, in rows, that are predicted as each, in columns.

    Attributes:
        binary: whether each output is one logit, above 0 for yes; several labels per sample have
            a matrix of 2 x 2 each.
        ignore_index: targets of this value are left out.
        counts: the count of every label, row and column, then the number of targets that are not
            classes, int64; None before the first batch.
        shape: (labels, classes, classes); classes are one label.
        independent: whether each sample had one target.

    Examples:
        >>> matrix, targets = ConfusionMatrix(), torch.tensor([0, 1, 1])
        >>> matrix.update(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), targets)
        >>> matrix.compute().tolist()
        [[1, 0], [1, 1]]
    """

    binary: bool = False
    ignore_index: int = -100
    counts: Tensor | None = field(default=None, init=False, repr=False)
    shape: tuple[int, int, int] = field(default=(0, 0, 0), init=False)
    independent: bool = field(default=True, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            outputs: scores of each class, shape (samples, classes, *elements); with binary one
                logit per question, shape (samples, *labels).
            targets: class indices, shape (samples, *elements); with binary 0 or 1.

        Raises:
            ShapeError: if the shapes disagree.
        """
        prediction, targets, classes = predictions(outputs, targets, binary=self.binary)
        self.independent &= targets.ndim == 1
        # one row per sample, one column per label
        labels = targets.shape[1] if self.binary and targets.ndim > 1 else 1
        prediction, targets = (
            prediction.reshape(-1, labels),
            targets.reshape(-1, labels).long(),
        )
        label = torch.arange(labels, device=outputs.device)
        place = (label * classes + targets) * classes + prediction
        outside = (targets < 0) | (targets >= classes)
        place = place.masked_fill(outside, labels * classes**2).flatten()
        counts = torch.zeros(labels * classes**2 + 1, dtype=torch.int64, device=outputs.device)
        counts.index_add_(0, place, (targets != self.ignore_index).flatten().long())
        self._add(counts, (labels, classes, classes))

    def compute(self) -> Tensor:
        """Return the counts, int64, shape (classes, classes), or (labels, 2, 2) of several labels.

        Raises:
            DataError: if nothing was added, or a target is not a class.
        """
        return self.by_label().squeeze(0)

    def by_label(self) -> Tensor:
        """Return the counts on the host, shape (labels, classes, classes); classes are one label.

        Raises:
            DataError: if nothing was added, or a target is not a class.
        """
        if self.counts is None:
            raise DataError("a confusion matrix was given no batch; expected one or more.")
        *counts, outside = self.counts.tolist()
        if outside:
            raise DataError(
                f"{outside} targets are not classes; expected 0 to {self.shape[1] - 1}, or "
                f"ignore_index, which is {self.ignore_index}."
            )
        return torch.tensor(counts).reshape(self.shape)

    def merge_state(self, metrics: Iterable["ConfusionMatrix"]) -> None:
        """Add the counts of others, such as those of other ranks.

        Raises:
            ShapeError: if they have other classes.
        """
        for other in metrics:
            self.independent &= other.independent
            if other.counts is not None:
                self._add(other.counts, other.shape)

    def to(self, device: torch.device) -> "ConfusionMatrix":
        """Move the counts to a device, and return this matrix."""
        self.counts = None if self.counts is None else self.counts.to(device)
        return self

    def _add(self, counts: Tensor, shape: tuple[int, int, int]) -> None:
        if self.counts is None:
            self.counts, self.shape = counts, shape
        elif self.shape == shape:
            self.counts = self.counts + counts
        else:
            raise ShapeError(
                f"outputs have {_size(shape)}, and had {_size(self.shape)}; expected as many in "
                "every batch, on every rank."
            )


def predictions(outputs: Tensor, targets: Tensor, *, binary: bool) -> tuple[Tensor, Tensor, int]:
    """Return the predicted classes, the targets in their shape, and the number of classes.

    Raises:
        ShapeError: if the shapes disagree.
    """
    if binary:
        outputs, targets = answers(outputs, targets)
        return (outputs > 0).long(), targets, 2
    expect_classes(outputs, targets)
    return outputs.argmax(1), targets, outputs.shape[1]


def expect_classes(outputs: Tensor, targets: Tensor) -> None:
    """Refuse outputs that are not a score of each class for each target.

    Raises:
        ShapeError: if they are not.
    """
    if outputs.ndim < 2 or outputs.shape[:1] + outputs.shape[2:] != targets.shape:
        raise ShapeError(
            f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}; "
            "expected (samples, classes, ...) and (samples, ...). For yes-or-no questions of one "
            "logit each, give binary=True."
        )


def answers(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and targets of yes-or-no questions in one shape, without a last dimension of 1.

    Raises:
        ShapeError: if the shapes disagree.
    """
    flat, aims = (
        t.squeeze(-1) if t.ndim > 1 and t.shape[-1] == 1 else t for t in (outputs, targets)
    )
    if flat.shape != aims.shape or not flat.ndim:
        raise ShapeError(
            f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}; "
            "expected one logit for each target, (samples, ...). Leave binary out where outputs "
            "are scores of classes."
        )
    return flat, aims


@dataclass(kw_only=True, eq=False)
class F1:
    """The harmonic mean of precision and recall, from counts over all samples.

    A class that is neither a target nor predicted is left out of the average, and one that is
    never predicted rightly counts 0; of several labels each counts, also one that is in no sample.
    Both are as in scikit-learn.

    Attributes:
        average: "macro" over classes, "micro" over samples, "weighted" by the targets of each
            class, or "none" for each class.
        binary: whether each output is one logit, above 0 for yes: F1 of yes; with several labels
            per sample, the average over labels.
        ignore_index: targets of this value are left out.
        matrix: the counts.

    Raises:
        SettingError: if there is no such average.

    Examples:
        >>> f1 = F1(binary=True)
        >>> f1.update(torch.tensor([2.0, 1.0, -1.0, -3.0]), torch.tensor([1, 0, 1, 0]))
        >>> print(f1.compute())
        0.5 ± 0.35
    """

    average: Average = "macro"
    binary: bool = False
    ignore_index: int = -100
    matrix: ConfusionMatrix = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.average not in get_args(Average):
            choices = ", ".join(map(repr, get_args(Average)))
            raise SettingError(f"average is {self.average!r}; it is one of {choices}.")
        self.matrix = ConfusionMatrix(binary=self.binary, ignore_index=self.ignore_index)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, of the shapes that ConfusionMatrix.update takes."""
        self.matrix.update(outputs, targets)

    def compute(self) -> Score:
        """Return F1 with its standard error, which is known where each sample has one target.

        Raises:
            DataError: if nothing was added, or a target is not a class.
        """
        counts = self.matrix.by_label().double()
        with torch.enable_grad():
            scores = self._scores(counts.requires_grad_())
            errors = [self._standard_error(score, counts) for score in scores]
        value = scores.detach()
        if self.average != "none":
            return Score(float(value[0]), errors[0])
        finite = [error for error in errors if error is not None]
        return Score(value, torch.tensor(finite) if len(finite) == len(errors) else None)

    def merge_state(self, metrics: Iterable["F1"]) -> None:
        """Add the counts of others, such as those of other ranks."""
        self.matrix.merge_state([other.matrix for other in metrics])

    def to(self, device: torch.device) -> "F1":
        """Move the counts to a device, and return this metric."""
        self.matrix.to(device)
        return self

    def _scores(self, counts: Tensor) -> Tensor:
        """Return the average as a vector of one, or F1 of each class."""
        if self.binary:
            # for each label, the answer yes alone
            right, support, predictions = (
                counts[:, 1, 1],
                counts[:, 1].sum(-1),
                counts[..., 1].sum(-1),
            )
        else:
            right, support, predictions = counts[0].diagonal(), counts[0].sum(1), counts[0].sum(0)
        both = support + predictions
        each = 2 * right / both.clamp(min=1)
        if self.average == "none":
            return each
        # the ratio of sums is the mean of ratios with their denominators as weights
        there = torch.ones_like(both) if self.binary else (both > 0).double()
        weights = {"macro": there, "micro": both, "weighted": support}[self.average]
        return ((weights * each).sum() / weights.sum().clamp(min=1))[None]

    def _standard_error(self, score: Tensor, counts: Tensor) -> float | None:
        samples = counts.sum().item()
        if not self.matrix.independent or len(counts) > 1 or samples < 2:
            return None
        (move,) = torch.autograd.grad(score, counts, retain_graph=True)
        spread = (counts * move**2).sum().item()
        return math.sqrt(samples / (samples - 1) * spread)


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]} classes" if shape[0] == 1 else f"{shape[0]} labels"
