"""What a run has measured, and what came of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from batchproof._errors import SettingError
from batchproof.train._records import Record

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Choice:
    """The best epoch and the next best, by the monitored mean.

    Attributes:
        best: the record of the best epoch.
        runner_up: that of the next best, None where there was one epoch only.
    """

    best: Record
    runner_up: Record | None

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

    def __str__(self) -> str:
        best = f"best: epoch {self.best.epoch}, {self.best.name} {_shown(self.best)}"
        if self.runner_up is None:
            return best
        second = f"runner-up: epoch {self.runner_up.epoch}, {_shown(self.runner_up)}"
        verdict = {
            True: "they differ by more than their standard errors",
            False: "they differ by no more than their standard errors",
            None: "whether they differ by more than chance is unknown",
        }[self.apart]
        return f"{best}; {second}; {verdict}"


@dataclass(slots=True, repr=False)
class History:
    """Every record of a run, in order, with what came of it.

    Attributes:
        records: pairs, over the epochs and over the steps between two log lines.
        monitor: the name by which the best epoch is chosen.
        mode: "min" or "max".
        notices: what went wrong on the way and did not stop the run, one line each.
        stopped: why training ended.
        run_dir: the run folder, or None where nothing was written.
    """

    monitor: str = "val_loss"
    mode: Literal["min", "max"] = "min"
    records: list[Record] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    stopped: str = ""
    run_dir: Path | None = None
    _best_state: Callable[[], State | None] = field(default=lambda: None, repr=False)

    def epochs(self, name: str) -> list[Record]:
        """Return a name's records over whole epochs, in order."""
        return [r for r in self.records if r.name == name and r.span == "epoch"]

    def values(self, name: str) -> list[float]:
        """Return a name's means over whole epochs, in order."""
        return [record.value for record in self.epochs(name)]

    def last(self, name: str) -> Record:
        """Return a name's latest record over an epoch.

        Raises:
            SettingError: if nothing of that name was recorded.
        """
        found = self.epochs(name)
        if not found:
            names = sorted({r.name for r in self.records if r.span == "epoch"})
            raise SettingError(f"nothing named {name!r} was recorded; there is {', '.join(names)}.")
        return found[-1]

    @property
    def choice(self) -> Choice | None:
        """The best epoch and the runner-up; None where the monitored mean was not recorded."""
        sign = 1.0 if self.mode == "min" else -1.0
        found = [r for r in self.epochs(self.monitor) if math.isfinite(r.value)]
        ranked = sorted(found, key=lambda record: sign * record.value)
        return Choice(ranked[0], ranked[1] if len(ranked) > 1 else None) if ranked else None

    @property
    def best(self) -> Record | None:
        """The monitored mean's record in the best epoch."""
        return None if self.choice is None else self.choice.best

    def best_state(self) -> State | None:
        """Return the weights of the best epoch, a copy; None where no epoch was monitored.

        They are as the model's load_state_dict takes them: in shards where it is.
        """
        return self._best_state()

    def table(self, names: Sequence[str] | None = None) -> list[dict[str, float | int]]:
        """Return one row an epoch: its number and the mean of each name.

        Args:
            names: the columns; without it, all losses and metrics recorded over epochs.
        """
        whole = [record for record in self.records if record.span == "epoch"]
        if names is None:
            names = list(dict.fromkeys(r.name for r in whole if r.unit != "step"))
        rows: dict[int, dict[str, float | int]] = {}
        for record in whole:
            row = rows.setdefault(record.epoch, {"epoch": record.epoch})
            if record.name in names:
                row[record.name] = record.value
        return [rows[epoch] for epoch in sorted(rows)]

    def __str__(self) -> str:
        names = [n for n in self._columns() if "/" not in n]
        lines = ["  ".join(["epoch", *(f"{name:>14}" for name in names)])]
        for row in self.table(names):
            cells = [f"{row[n]:>14.6g}" if n in row else " " * 14 for n in names]
            lines.append("  ".join([f"{row['epoch']:>5}", *cells]))
        if self.choice is not None:
            lines.append(str(self.choice))
        return "\n".join(lines)

    # a notebook shows what fit returns: the table, and not every record
    __repr__ = __str__

    def _columns(self) -> list[str]:
        whole = (r for r in self.records if r.span == "epoch" and r.unit != "step")
        return list(dict.fromkeys(record.name for record in whole))


def _shown(record: Record) -> str:
    if record.standard_error is None:
        return f"{record.value:.6g}"
    return f"{record.value:.6g} ± {record.standard_error:.2g}"
