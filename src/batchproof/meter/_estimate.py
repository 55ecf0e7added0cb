"""The result of a pass over data, as numbers on the host: the mean and its standard error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from batchproof._errors import PairError
from batchproof.mean import Unit
from batchproof.meter._score import Score
from batchproof.meter._sums import (
    BATCH_MEANS,
    BATCHES,
    RR,
    RW,
    SAMPLES,
    TOTAL,
    WEIGHT,
    WW,
)
from batchproof.page import Table, fragment, number


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over a pass over data, with its standard error where that is known.

    The standard error is that of a ratio of sums over n independent samples,

        sqrt( n / (n - 1) * sum_i (x_i - L w_i)^2 ) / sum_i w_i

    Attributes:
        value: the mean, L = sum of totals / sum of weights; NaN for a group without weight.
        weight: the sum of weights.
        samples: the number of samples with something that counts; None where pairs came pooled.
        standard_error: of value; None where pairs came pooled, or for fewer than two samples.
        mean_of_batch_means: the number that a loop averaging the means of its batches would print.
        unit: what the mean is a mean of.
        groups: the same for each group, by name.
        terms: the same for each term of an objective, by name.
        metrics: the same for each metric, by name.
        scores: the metrics that are not means, by name.

    Examples:
        >>> estimate = Estimate(0.18283, 32.0, 32, 0.0469, 0.2, "element")
        >>> print(estimate, f"{estimate:.2f}", float(estimate))
        0.1828 ± 0.047 0.18 0.18283

    References:
        Cochran (1977): Sampling Techniques, 3rd edition, section 6.4, the ratio estimate.
    """

    value: float
    weight: float
    samples: int | None
    standard_error: float | None
    mean_of_batch_means: float
    unit: Unit
    groups: Mapping[str, "Estimate"] = field(default_factory=dict)
    terms: Mapping[str, "Estimate"] = field(default_factory=dict)
    metrics: Mapping[str, "Estimate"] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value

    def _refuse_order(self, other: object) -> NoReturn:
        del other
        raise PairError(
            "an Estimate has no order: it is a mean and its standard error. Compare numbers: "
            "estimate.value."
        )

    # a type checker refuses these by itself
    if not TYPE_CHECKING:
        __lt__ = __le__ = __gt__ = __ge__ = _refuse_order

    def __str__(self) -> str:
        error = self.standard_error
        return f"{self.value:.4g}" if error is None else f"{self.value:.4g} ± {error:.2g}"

    def __format__(self, spec: str) -> str:
        """Return the value in this form; without one, with its standard error."""
        return format(self.value, spec) if spec else str(self)

    def _repr_html_(self) -> str:
        kinds = {"term": self.terms, "metric": self.metrics, "group": self.groups}
        rows = [("mean", *_row(self))]
        for kind, parts in kinds.items():
            rows += [(f"{kind} {name}", *_row(part)) for name, part in parts.items()]
        rows += [(f"score {name}", str(score), "", "", "") for name, score in self.scores.items()]
        columns = ("", "value", "weight", "samples", "mean of batch means")
        return fragment([("", (Table(columns, tuple(rows)),))])

    def __repr__(self) -> str:
        samples = "" if self.samples is None else f", samples={self.samples}"
        names = ("groups", "terms", "metrics", "scores")
        parts = ((name, getattr(self, name)) for name in names)
        inner = "".join(f", {name}={', '.join(texts)}" for name, texts in parts if texts)
        return f"Estimate({self}, weight={self.weight:g}{samples}, unit={self.unit!r}{inner})"


def _row(estimate: Estimate) -> tuple[str, ...]:
    samples = "" if estimate.samples is None else str(estimate.samples)
    means = number(estimate.mean_of_batch_means)
    return f"{estimate}", f"{estimate.weight:g} {estimate.unit}", samples, means


@dataclass(frozen=True, slots=True)
class Column:
    """One column of Sums on the host."""

    hi: Sequence[float]
    lo: Sequence[float]
    ratio: float

    def estimate(
        self, unit: Unit, *, is_pooled: bool, groups: Mapping[str, Estimate] | None = None
    ) -> Estimate:
        """Return the estimate from these sums."""
        weight = self._sum(WEIGHT)
        value = _divided(self._sum(TOTAL), weight)
        return Estimate(
            value=value,
            weight=weight,
            samples=None if is_pooled else round(self._sum(SAMPLES)),
            standard_error=None if is_pooled else self._standard_error(value, weight),
            mean_of_batch_means=_divided(self._sum(BATCH_MEANS), self._sum(BATCHES)),
            unit=unit,
            groups=groups or {},
        )

    def _standard_error(self, value: float, weight: float) -> float | None:
        samples = self._sum(SAMPLES)
        if samples < 2 or weight == 0:
            return None
        difference = value - self.ratio
        spread = self._sum(RR) + difference * (difference * self._sum(WW) - 2 * self._sum(RW))
        # rounding can leave a spread of nothing a little below zero; nan stays nan
        spread = 0.0 if spread < 0 else spread
        return math.sqrt(samples / (samples - 1) * spread) / weight

    def _sum(self, row: int) -> float:
        return self.hi[row] + self.lo[row]


def _divided(total: float, weight: float) -> float:
    return total / weight if weight else math.nan
