"""The records of a run, in order, and the choice of its best epoch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batchproof._errors import SettingError
from batchproof.page import Curves, Series, Table, Text, Tone, fragment, number, tone
from batchproof.runs._record import Record

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]
Over = Literal["epoch", "step"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The best of several means and the next best: epochs of one run, or runs.

    Attributes:
        best: the record of the best.
        runner_up: the record of the next best, or None if there is only one.
        over: what tells them apart: their epochs, or their steps where an epoch has several.

    Examples:
        >>> record = Record(
        ...     2, 1, "val_loss", 3.0, 4.0, "sample", "epoch", standard_error=0.1
        ... )
        >>> print(Choice(record, None))
        best: epoch 1, val_loss 0.75 ± 0.1
    """

    best: Record
    runner_up: Record | None
    over: Over = "epoch"

    @property
    def apart(self) -> bool | None:
        """Whether the two differ by more than their standard errors; None where these are unknown.

        The standard error of a difference of two means is at most sqrt(a^2 + b^2) where they are
        not negatively correlated, as two evaluations of the same samples are not.
        """
        if self.runner_up is None:
            return None
        errors = (self.best.standard_error, self.runner_up.standard_error)
        if errors[0] is None or errors[1] is None:
            return None
        return abs(self.best.value - self.runner_up.value) > math.hypot(errors[0], errors[1])

    @property
    def verdict(self) -> str:
        """The clause that says whether the two are apart."""
        return {
            True: "they differ by more than their standard errors",
            False: "they differ by no more than their standard errors",
            None: "their standard errors are not known",
        }[self.apart]

    def at(self, record: Record) -> str:
        """Return the epoch of one of the two, or its step where an epoch has several."""
        return f"{self.over} {getattr(record, self.over)}"

    def __str__(self) -> str:
        best = f"best: {self.at(self.best)}, {self.best.name} {value_with_error(self.best)}"
        if self.runner_up is None:
            return best
        second = f"runner-up: {self.at(self.runner_up)}, {value_with_error(self.runner_up)}"
        return f"{best}; {second}; {self.verdict}"


def choice(records: Sequence[Record], mode: Literal["min", "max"]) -> Choice | None:
    """Return the best record and the runner-up, or None if no mean is finite.

    Args:
        records: of one name; of two equal ones the earlier is the better.
        mode: "min" or "max".
    """
    sign = 1.0 if mode == "min" else -1.0
    finite = [record for record in records if math.isfinite(record.value)]
    in_order = sorted(finite, key=lambda record: sign * record.value)
    if not in_order:
        return None
    return Choice(in_order[0], in_order[1] if len(in_order) > 1 else None, over(records))


def over(records: Sequence[Record]) -> Over:
    """Return the axis of records of whole passes: steps where an epoch has several."""
    places = [(record.name, record.epoch) for record in records]
    return "epoch" if len(set(places)) == len(places) else "step"


def value_with_error(record: Record) -> str:
    """Return a record's mean, with its standard error if that is known."""
    if record.standard_error is None:
        return f"{record.value:.6g}"
    return f"{record.value:.6g} ± {record.standard_error:.2g}"


def curve_of(records: Sequence[Record], label: str, colour: Tone, axis: Over = "epoch") -> Series:
    """Return records of whole passes as a curve, with their standard errors as its band.

    Args:
        records: of one name, in order.
        label: the name of the curve.
        colour: its colour.
        axis: what it is drawn over.
    """
    x = tuple(float(getattr(record, axis)) for record in records)
    errors = (record.standard_error for record in records)
    band = tuple(math.nan if error is None else error for error in errors)
    return Series(label, x, tuple(record.value for record in records), band, colour)


@dataclass(slots=True, repr=False)
class History:
    """Every record of a run, in order, with its notices and the reason it ended.

    Attributes:
        records: pairs, over the epochs and over the steps between two log lines.
        monitor: the name by which the best epoch is chosen.
        mode: "min" or "max".
        notices: problems that did not stop the run, one line each.
        stopped: why training ended.
        run_dir: the run folder, or None where nothing was written.

    Examples:
        >>> history = History("val_loss")
        >>> history.records += [
        ...     Record(5 * epoch, epoch, "val_loss", total, 10.0, "sample", "epoch")
        ...     for epoch, total in ((1, 8.0), (2, 6.0), (3, 7.0))
        ... ]
        >>> history.values("val_loss"), history.best.epoch
        ([0.8, 0.6, 0.7], 2)
    """

    monitor: str = "val_loss"
    mode: Literal["min", "max"] = "min"
    records: list[Record] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    stopped: str = ""
    run_dir: Path | None = None
    _best_state: Callable[[], State | None] = field(default=lambda: None, repr=False)

    def epochs(self, name: str) -> list[Record]:
        """Return a name's records over whole passes, in order: epochs, and all validations."""
        return [r for r in self.records if r.name == name and r.span == "epoch"]

    def values(self, name: str) -> list[float]:
        """Return a name's means over whole passes, in order."""
        return [record.value for record in self.epochs(name)]

    def last(self, name: str) -> Record:
        """Return a name's latest record over an epoch.

        Raises:
            SettingError: if nothing of that name was recorded.
        """
        records = self.epochs(name)
        if not records:
            names = sorted({r.name for r in self.records if r.span == "epoch"})
            raise SettingError(f"nothing named {name!r} was recorded; there is {', '.join(names)}.")
        return records[-1]

    @property
    def choice(self) -> Choice | None:
        """The best epoch and the runner-up; None where the monitored mean was not recorded."""
        return choice(self.epochs(self.monitor), self.mode)

    @property
    def best(self) -> Record | None:
        """The monitored mean's record in the best epoch."""
        return None if self.choice is None else self.choice.best

    def best_of(self, most: int) -> list[Record]:
        """Return at most this number of records of the monitored mean, the best first."""
        sign = 1.0 if self.mode == "min" else -1.0
        finite = [r for r in self.epochs(self.monitor) if math.isfinite(r.value)]
        return sorted(finite, key=lambda record: sign * record.value)[:most]

    def best_state(self) -> State | None:
        """Return a copy of the best epoch's weights, or None if no epoch was monitored.

        They have the form that the model's load_state_dict takes: sharded if the model is.
        """
        return self._best_state()

    def table(self, names: Sequence[str] | None = None) -> list[dict[str, float | int]]:
        """Return one row per epoch, or validation within one: its step and the mean of each name.

        Args:
            names: the columns; by default all losses and metrics recorded over epochs.
        """
        whole = [record for record in self.records if record.span == "epoch"]
        if names is None:
            names = list(dict.fromkeys(r.name for r in whole if r.unit != "step"))
        rows: dict[tuple[int, int], dict[str, float | int]] = {}
        for record in whole:
            row = rows.setdefault((record.epoch, record.step), {})
            row |= {"epoch": record.epoch, "step": record.step}
            if record.name in names:
                row[record.name] = record.value
        return [rows[place] for place in sorted(rows)]

    def __str__(self) -> str:
        names = [n for n in self._columns() if "/" not in n]
        axis = over([record for name in names for record in self.epochs(name)])
        lines = ["  ".join([f"{axis:>5}", *(f"{name:>14}" for name in names)])]
        for row in self.table(names):
            cells = [f"{row[n]:>14.6g}" if n in row else " " * 14 for n in names]
            lines.append("  ".join([f"{row[axis]:>5}", *cells]))
        if self.choice is not None:
            lines.append(str(self.choice))
        return "\n".join(lines)

    # notebooks display the result of fit: as its curves or its table, not as every record
    __repr__ = __str__

    def _repr_html_(self) -> str:
        names = self._columns()
        losses = [name for name in names if name.endswith("_loss") or name == self.monitor]
        axis = over([record for name in losses for record in self.epochs(name)])
        curves = tuple(curve_of(self.epochs(n), n, tone(i), axis) for i, n in enumerate(losses))
        rows = tuple(
            (str(row[axis]), *(number(row[n]) if n in row else "" for n in names))
            for row in self.table()
        )
        table = Table((axis, *names), rows)
        best = () if self.choice is None else (Text(str(self.choice)),)
        return fragment([("", (Curves("losses", axis, "mean", curves), *best, table))])

    def _columns(self) -> list[str]:
        whole = (r for r in self.records if r.span == "epoch" and r.unit != "step")
        return list(dict.fromkeys(record.name for record in whole))
