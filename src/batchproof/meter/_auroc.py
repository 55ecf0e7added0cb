"""The area under the ROC curve: how often a positive scores above a negative, ties counting half.

    AUROC = 1 / (m n) sum_i sum_j ([s_i > t_j] + [s_i = t_j] / 2)

over all m positives and n negatives of the whole data, so no batch has an area that could be
averaged. The sum is worked out from ranks, and so without rounding. Its standard error is from the
spread of the shares: of negatives below each positive, V_i, and of positives above each negative:

    se = sqrt( var(V) / m + var(V') / n )

References:
    DeLong, DeLong and Clarke-Pearson (1988): Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves: A Nonparametric Approach. Biometrics 44, 837-845.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from batchproof._errors import DataError, NonFiniteError
from batchproof.meter._confusion import answers, expect_classes
from batchproof.meter._score import Score


@dataclass(kw_only=True, eq=False)
class AUROC:
    """The area under the ROC curve, exact: every score is kept until it is computed.

    With two classes it is the area of the second. With more it is the mean over classes, each
    against the rest, by the probabilities of softmax; with several labels, the mean over labels.
    Classes and labels without a positive or without a negative are left out; of none it is NaN.

    Attributes:
        binary: whether each output is one logit, or any other score that grows with yes.
        ignore_index: targets of this value are left out.
        scores: of each batch, shape (samples, labels or classes).
        targets: of each batch, shape (samples, labels), -1 where one is left out.
        independent: whether each sample had one target.

    Examples:
        >>> auroc = AUROC(binary=True)
        >>> auroc.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
        >>> float(auroc.compute())
        0.75
    """

    binary: bool = False
    ignore_index: int = -100
    scores: list[Tensor] = field(default_factory=list, init=False, repr=False)
    targets: list[Tensor] = field(default_factory=list, init=False, repr=False)
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
        if self.binary:
            outputs, targets = answers(outputs, targets)
            labels = targets.shape[1:2].numel()
            scores, marks = outputs.reshape(-1, labels), targets.reshape(-1, labels)
        else:
            scores, marks = _by_class(outputs, targets)
            self.independent &= targets.ndim == 1
        marks = marks.long()
        self.scores.append(scores)
        self.targets.append(marks.masked_fill(marks == self.ignore_index, -1))

    def compute(self) -> Score:
        """Return the area, with its standard error where there is one area of independent samples.

        Raises:
            DataError: if nothing was added, or a target is not a class.
            NonFiniteError: if a score is NaN.
        """
        if not self.scores:
            raise DataError("AUROC was given no batch; expected one or more.")
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        if bool(scores.isnan().any()):
            raise NonFiniteError("a score for AUROC is NaN; fix the data or the model.")
        classes = 2 if self.binary or scores.shape[1] == 1 else scores.shape[1]
        if int(targets.max()) >= classes or int(targets.min()) < -1:
            raise DataError(
                f"a target for AUROC is {int(targets.max())}; expected 0 to {classes - 1}, or "
                f"ignore_index, which is {self.ignore_index}."
            )
        one_each = classes > 2
        columns = [
            _area(score[mark >= 0], mark[mark >= 0] == (index if one_each else 1))
            for index, score in enumerate(scores.unbind(1))
            for mark in (targets[:, 0] if one_each else targets[:, index],)
        ]
        defined = [area for area in columns if area is not None]
        if len(columns) == 1 and defined:
            value, error = defined[0]
            return Score(value, error if self.independent else None)
        return Score(sum(value for value, _ in defined) / len(defined) if defined else math.nan)

    def merge_state(self, metrics: Iterable["AUROC"]) -> None:
        """Add the scores of others, such as those of other ranks."""
        for other in metrics:
            self.scores += other.scores
            self.targets += other.targets
            self.independent &= other.independent

    def to(self, device: torch.device) -> "AUROC":
        """Move the scores to a device, and return this metric."""
        self.scores = [each.to(device) for each in self.scores]
        self.targets = [each.to(device) for each in self.targets]
        return self


def _by_class(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return a row of scores and the target of each element; two classes have one score."""
    expect_classes(outputs, targets)
    logits = outputs.movedim(1, -1).reshape(-1, outputs.shape[1]).double()
    if logits.shape[1] == 2:
        # the order of the probabilities, without rounding that would make ties
        return logits[:, 1:] - logits[:, :1], targets.reshape(-1, 1)
    return logits.softmax(1), targets.reshape(-1, 1)


def _area(scores: Tensor, positive: Tensor) -> tuple[float, float | None] | None:
    """Return the area and its standard error; None without a positive or without a negative."""
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return None
    ranks = _doubled_ranks(scores)
    above, below = ranks[positive], ranks[~positive]
    area = (int(above.sum()) - m * (m + 1)) / (2 * m * n)
    if m < 2 or n < 2:
        return area, None
    shares = (above - _doubled_ranks(scores[positive])).double() / (2 * n)
    others = (below - _doubled_ranks(scores[~positive])).double() / (2 * m)
    return area, math.sqrt(float(shares.var()) / m + float(others.var()) / n)


def _doubled_ranks(scores: Tensor) -> Tensor:
    """Return twice the rank of each score, from 1, which of tied scores is their mean rank."""
    _, inverse, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks: Tensor = 2 * counts.cumsum(0) - counts + 1
    return ranks[inverse]
