"""The running sums of a pass over data, a Meter for each term and metric; and their records.

The objective of several terms, sum_t c_t X_t / W_t, is not a mean of samples itself: it is
worked out from its terms when it is read, never summed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Int
from torch import Tensor

from batchproof._errors import DataError, EmptyMeanError, SettingError
from batchproof.data import Padding
from batchproof.mean import LOSS, Mean, Outcome, Pairs, expect_coefficients
from batchproof.meter import Estimate, Meter, Score, sync_all
from batchproof.runs import Record, Span
from batchproof.train._position import Position

Groups = int | Sequence[str]
PADDING = "padding"


class PassMeans:
    """Running means of terms and metrics, by name.

    Attributes:
        terms: the meter of each term.
        metrics: the meter of each metric.
        scores: the metrics that are not means, worked out when the pass is over.
    """

    def __init__(
        self, *, coefficients: Mapping[str, float] | None = None, groups: Groups | None = None
    ) -> None:
        self.terms: dict[str, Meter] = {}
        self.metrics: dict[str, Meter] = {}
        self.scores: Mapping[str, Score] = {}
        expect_coefficients(coefficients)
        self._coefficients = dict(coefficients or {})
        self._groups = groups

    def add(
        self,
        terms: Mapping[str, Mean],
        metrics: Mapping[str, Mean],
        *,
        by: Int[Tensor, " samples"] | None = None,
    ) -> None:
        """Add the pairs of one batch or window; no host read."""
        for meters, means in ((self.terms, terms), (self.metrics, metrics)):
            for name, mean in means.items():
                meter = meters.get(name)
                if meter is None:
                    meter = meters[name] = Meter(by=self._groups)
                meter.add(mean, by=by)

    def merge(self, other: "PassMeans") -> None:
        """Add another pass's sums."""
        for mine, others in ((self.terms, other.terms), (self.metrics, other.metrics)):
            for name, meter in others.items():
                mine.setdefault(name, Meter(by=self._groups)).merge(meter)

    def reset(self) -> None:
        """Begin again with nothing."""
        self.terms, self.metrics = {}, {}

    def sync(self, group: Any = None) -> None:
        """Add the sums of all ranks, also on a rank that has none."""
        terms = {f"term {name}": meter for name, meter in self.terms.items()}
        metrics = {f"metric {name}": meter for name, meter in self.metrics.items()}
        both = terms | metrics
        sync_all(both, group, by=self._groups)
        parts = [(name.partition(" "), meter) for name, meter in both.items()]
        self.terms = {name: meter for (kind, _, name), meter in parts if kind == "term"}
        self.metrics = {name: meter for (kind, _, name), meter in parts if kind == "metric"}

    def take_scores(self, scores: Mapping[str, Score]) -> None:
        """Take the metrics that are not means, under names that nothing else has.

        Raises:
            SettingError: if a mean has the name of one.
        """
        if twice := sorted(scores.keys() & {*self.terms, *self.metrics}):
            raise SettingError(
                f"{twice[0]!r} is the name of a mean and of another metric; give each its own."
            )
        self.scores = scores

    def means(self) -> dict[str, Mean]:
        """Return the pair of each term and metric so far, on the device, by name."""
        return {name: meter.mean() for name, meter in (self.terms | self.metrics).items()}

    def estimate(self) -> Estimate:
        """Return the objective with its terms and metrics, read on the host.

        Raises:
            DataError: if nothing was added.
            EmptyMeanError: if a mean has no weight.
        """
        if not self.terms:
            raise DataError(
                "the loader gave no batch; expected one or more. Look for an empty data set."
            )
        terms = {name: _estimate(name, meter) for name, meter in self.terms.items()}
        metrics = {name: _estimate(name, meter) for name, meter in self.metrics.items()}
        if len(terms) > 1 or self.weighted:
            return self._objective(terms, metrics)
        ((name, only),) = terms.items()
        terms = {} if name == LOSS else terms
        return replace(only, terms=terms, metrics=metrics, scores=self.scores)

    @property
    def weighted(self) -> bool:
        """Whether a term has a coefficient other than 1."""
        return any(self._coefficients.get(name, 1.0) != 1.0 for name in self.terms)

    def _objective(self, terms: dict[str, Estimate], metrics: dict[str, Estimate]) -> Estimate:
        # L = sum_t c_t X_t / W_t
        scales = {name: self._coefficients.get(name, 1.0) for name in terms}
        first = next(iter(terms.values()))
        return Estimate(
            value=sum(scales[name] * term.value for name, term in terms.items()),
            weight=1.0,
            samples=first.samples,
            standard_error=None,
            mean_of_batch_means=sum(
                scales[name] * term.mean_of_batch_means for name, term in terms.items()
            ),
            unit=first.unit,
            terms=terms,
            metrics=metrics,
            scores=self.scores,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, for a checkpoint."""
        return {
            "terms": {name: meter.state_dict() for name, meter in self.terms.items()},
            "metrics": {name: meter.state_dict() for name, meter in self.metrics.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the sums of a checkpoint."""
        self.reset()
        for meters, states in ((self.terms, state["terms"]), (self.metrics, state["metrics"])):
            for name, sums in states.items():
                meters[name] = Meter(by=self._groups)
                meters[name].load_state_dict(sums)


def unpooled(result: Any) -> tuple[Mapping[str, Mean], Outcome]:
    """Return the terms that a loss function returned by name, not pooled over samples, and all.

    Raises:
        SettingError: if it is not a Mean, dict of Means or Outcome, or a metric is not a Mean.
    """
    outcome = result if isinstance(result, Outcome) else Outcome(result)
    terms = {LOSS: outcome.terms} if isinstance(outcome.terms, Mean) else outcome.terms
    means = (*terms.values(), *outcome.metrics.values()) if isinstance(terms, Mapping) else (terms,)
    if not all(isinstance(mean, Mean) for mean in means):
        Pairs.of(result)
    return terms, outcome


def _estimate(name: str, meter: Meter) -> Estimate:
    try:
        return meter.estimate()
    except EmptyMeanError as error:
        raise EmptyMeanError(f"{name}: {error}") from None


def records_of(sums: PassMeans, prefix: str, position: Position, span: Span) -> list[Record]:
    """Return the objective, its terms and the metrics of a pass as records.

    Args:
        sums: those of the pass.
        prefix: "train" or "val".
        position: of the run; an epoch under way counts as the next.
        span: what the sums were taken over.
    """
    at = (position.step, position.epoch + 1)
    records: list[Record] = []
    if set(sums.terms) != {LOSS} or sums.weighted:
        records += _objective(sums, f"{prefix}_{LOSS}", at, span)
        terms = {f"{LOSS}_term" if n == LOSS else n: meter for n, meter in sums.terms.items()}
        records += _each(terms, prefix, at, span)
    else:
        records += _each(sums.terms, prefix, at, span)
    records += _each(sums.metrics, prefix, at, span)
    scores = {f"{prefix}_{name}": score for name, score in sums.scores.items()}
    for score in (score.numbers(name) for name, score in scores.items()):
        records += [
            Record(*at, name, float(one), 1.0, "score", span, None, one.standard_error)
            for name, one in score.items()
        ]
    return records


def padding_records(padding: Padding, position: Position, span: Span) -> list[Record]:
    """Return the share of padding as cut by plan and in the order given, as records.

    Args:
        padding: of the windows of all ranks.
        position: of the run; an epoch under way counts as the next.
        span: what the windows are of.
    """
    shares = {PADDING: padding.after, f"{PADDING}_before": padding.before}
    return [
        Record(
            position.step,
            position.epoch + 1,
            f"train_{name}",
            float(positions - padding.tokens),
            float(positions),
            "position",
            span,
        )
        for name, positions in shares.items()
    ]


def setting(name: str, value: float, position: Position, span: Span) -> Record:
    """Return a setting of the step, such as the learning rate, as a record."""
    return Record(position.step, position.epoch + 1, name, value, 1.0, "step", span)


def _objective(sums: PassMeans, name: str, at: tuple[int, int], span: Span) -> list[Record]:
    try:
        objective = sums.estimate()
    except EmptyMeanError:
        return []
    samples, of_batches = objective.samples, objective.mean_of_batch_means
    return [Record(*at, name, objective.value, 1.0, "objective", span, samples, None, of_batches)]


def _each(
    meters: Mapping[str, Meter], prefix: str, at: tuple[int, int], span: Span
) -> Iterable[Record]:
    for name, meter in meters.items():
        mean = meter.mean()
        total, weight = float(mean.total), float(mean.weight)
        if weight == 0:
            yield Record(*at, f"{prefix}_{name}", total, weight, mean.unit, span)
            continue
        estimate = meter.estimate()
        yield _record(estimate, f"{prefix}_{name}", at, span, total, weight)
        for group, part in estimate.groups.items():
            whole = part.value * part.weight
            yield _record(part, f"{prefix}_{name}/{group}", at, span, whole, part.weight)


def _record(
    estimate: Estimate, name: str, at: tuple[int, int], span: Span, total: float, weight: float
) -> Record:
    return Record(
        *at,
        name,
        total,
        weight,
        estimate.unit,
        span,
        estimate.samples,
        estimate.standard_error,
        estimate.mean_of_batch_means,
    )
