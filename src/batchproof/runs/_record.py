"""One line of a run's log: a pair, never only its ratio.

A pair can be added to others, compared and plotted later; a ratio that was logged alone can no
longer be pooled.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Span = Literal["steps", "epoch"]
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Record:
    """One mean at one moment of a run.

    Attributes:
        step: optimiser steps done.
        epoch: the epoch, from 1.
        name: what was measured: "train_loss", "val_loss", "val_accuracy", "lr" ...
        total: the sum of the averaged values.
        weight: the sum of its weights.
        unit: what the mean is a mean of; "objective" for a sum of several means, "step" for a
            setting of the step.
        span: what the mean is over: the "steps" since the last record, or the "epoch".
        samples: the number of samples, where pairs came one per sample.
        standard_error: of total / weight, where pairs came one per sample.
        mean_of_batch_means: the number that the usual loop would have printed.

    Examples:
        >>> Record(4, 1, "val_loss", 6.0, 4.0, "element", "epoch").value
        1.5
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
        """Return the record as a line of metrics.jsonl; absent and non-finite values are None."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record of a line of metrics.jsonl, with defaults for its optional values.

        Args:
            values: the line; names that are not in COLUMNS are ignored.

        Raises:
            ValueError: if a value is missing, or of another type than the record's.
        """
        total, weight = (_number(values, name, required=True) for name in ("total", "weight"))
        span = values.get("span", "epoch")
        if span not in ("steps", "epoch"):
            raise ValueError(f"span is {_short(span)}; expected 'steps' or 'epoch'")
        return cls(
            step=_count(values, "step"),
            epoch=_count(values, "epoch"),
            name=_text(values, "name"),
            total=math.nan if total is None else total,
            weight=math.nan if weight is None else weight,
            unit=_text(values, "unit"),
            span=span,
            samples=None if values.get("samples") is None else _count(values, "samples"),
            standard_error=_number(values, "standard_error"),
            mean_of_batch_means=_number(values, "mean_of_batch_means"),
        )


COLUMNS = tuple(field.name for field in fields(Record))


def _value(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise ValueError(f"{name} is missing")
    return values[name]


def _count(values: Mapping[str, Any], name: str) -> int:
    count = _value(values, name)
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _LARGEST:
        raise ValueError(f"{name} is {_short(count)}; expected an integer from 0 to 2**63 - 1")
    return count


def _text(values: Mapping[str, Any], name: str) -> str:
    text = _value(values, name)
    if not isinstance(text, str):
        raise ValueError(f"{name} is {_short(text)}; expected a string")  # noqa: TRY004 - the file is invalid
    return text


def _number(values: Mapping[str, Any], name: str, *, required: bool = False) -> float | None:
    """Return a number; None where it is null or NaN, or absent and not required."""
    number = _value(values, name) if required else values.get(name)
    if number is None:
        return None
    requirement = "expected a number that float64 holds, or null"
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} is {_short(number)}; {requirement}")  # noqa: TRY004
    try:
        number = float(number)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ValueError(f"{name} is too large; {requirement}")
    return None if math.isnan(number) else number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
