"""The records of a pass over data, and of the settings of a step."""

from collections.abc import Iterable, Mapping

from batchproof._errors import EmptyMeanError
from batchproof.mean import LOSS
from batchproof.meter import Estimate, Meter
from batchproof.runs import Record, Span
from batchproof.train._pass_means import PassMeans
from batchproof.train._position import Position


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
        named = {f"{LOSS}_term" if n == LOSS else n: meter for n, meter in sums.terms.items()}
        records += _each(named, prefix, at, span)
    else:
        records += _each(sums.terms, prefix, at, span)
    return [*records, *_each(sums.metrics, prefix, at, span)]


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
