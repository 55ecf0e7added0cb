"""What is logged: pairs, never only their ratio.

A pair can be added to others, compared and plotted later; a ratio that was logged alone cannot be
pooled any more.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from batchproof._errors import EmptyMeanError
from batchproof.mean import LOSS
from batchproof.meter import Estimate, Meter
from batchproof.train._position import Position
from batchproof.train._sums import Sums

Span = Literal["steps", "epoch"]


@dataclass(frozen=True, slots=True)
class Record:
    """One mean at one moment of a run.

    Attributes:
        step: optimiser steps done.
        epoch: the epoch, from 1.
        name: what was measured: "train_loss", "val_loss", "val_accuracy", "lr" ...
        total: the sum of what is averaged.
        weight: the sum of its weights.
        unit: what the mean is a mean of; "objective" for a sum of several means, "step" for a
            setting of the step.
        span: what it is taken over: the "steps" since the last record, or the "epoch".
        samples: how many samples, where they were seen one by one.
        standard_error: of total / weight, where samples were seen one by one.
        mean_of_batch_means: what the usual loop would have printed.
    """

    step: int
    epoch: int
    name: str
    total: float
    weight: float
    unit: str
    span: Span
    samples: int | None = None
    standard_error: float | None = None
    mean_of_batch_means: float | None = None

    @property
    def value(self) -> float:
        """The mean, total / weight; NaN where there is no weight."""
        return self.total / self.weight if self.weight else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the record as it stands in metrics.jsonl; what is not finite or absent is None."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record that a line of metrics.jsonl holds."""
        known = {name: values[name] for name in COLUMNS if name in values}
        for name in ("total", "weight"):
            known[name] = math.nan if known[name] is None else float(known[name])
        return cls(**known)


COLUMNS = tuple(field.name for field in fields(Record))


def records_of(sums: Sums, prefix: str, position: Position, span: Span) -> list[Record]:
    """Return the objective, its terms and the metrics of a pass as records.

    Args:
        sums: of the pass.
        prefix: "train" or "val".
        position: where the run stands; an epoch under way counts as the next.
        span: what the sums were taken over.
    """
    at = (position.step, position.epoch + 1)
    found: list[Record] = []
    if set(sums.terms) != {LOSS} or sums.weighted:
        found += _objective(sums, f"{prefix}_{LOSS}", at, span)
        named = {f"{LOSS}_term" if n == LOSS else n: meter for n, meter in sums.terms.items()}
        found += _each(named, prefix, at, span)
    else:
        found += _each(sums.terms, prefix, at, span)
    return [*found, *_each(sums.metrics, prefix, at, span)]


def setting(name: str, value: float, position: Position, span: Span) -> Record:
    """Return a setting of the step, such as the learning rate, as a record."""
    return Record(position.step, position.epoch + 1, name, value, 1.0, "step", span)


def _objective(sums: Sums, name: str, at: tuple[int, int], span: Span) -> list[Record]:
    try:
        found = sums.estimate()
    except EmptyMeanError:
        return []
    return [
        Record(
            *at,
            name,
            found.value,
            1.0,
            "objective",
            span,
            found.samples,
            None,
            found.mean_of_batch_means,
        )
    ]


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
    found: Estimate, name: str, at: tuple[int, int], span: Span, total: float, weight: float
) -> Record:
    return Record(
        *at,
        name,
        total,
        weight,
        found.unit,
        span,
        found.samples,
        found.standard_error,
        found.mean_of_batch_means,
    )
