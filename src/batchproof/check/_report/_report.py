"""The report: what was measured under each cut, and which mistakes were proved.

`to_json` writes schema 1:

    {"schema": 1, "kind": "step" | "evaluate", "ok": bool, "verdict": str, "name": str,
     "unit": str, "reported_unit": str | null, "tolerance": float, "noise": float,
     "samples": int, "runs": int, "notes": [str],
     "cuts": [{"name", "sizes", "ranks", "dependent", "error", "scale", "cosine", "change",
               "loss", "loss_error", "worst", "failure"}],
     "diagnoses": [{"name", "sentence", "remedy", "code", "residual"}]}

Numbers that are not finite are written as the strings "nan", "inf" and "-inf".
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from batchproof._errors import CutDependenceError
from batchproof._files import write_file

SCHEMA = 1
# what a report begins with only if nothing else was found
_LATE = {"unknown": 1, "reported-loss": 2}


@dataclass(frozen=True)
class Diagnosis:
    """A mistake that the measurements prove.

    Attributes:
        name: its name in the catalogue of mistakes, or "unknown".
        sentence: what is wrong.
        remedy: what to do.
        code: lines of code to write.
        residual: the largest relative distance between what the mistake predicts for a cut and
            what was measured; None for "unknown", which predicts nothing.
    """

    name: str
    sentence: str
    remedy: str
    code: str = ""
    residual: float | None = None


@dataclass(frozen=True)
class CutResult:
    """What one cut gave, beside the uncut step.

    Attributes:
        name: the cut.
        sizes: sizes of its micro-batches; ranks are parted by a bar.
        ranks: number of processes.
        dependent: whether gradient or reported number differ from the uncut one's.
        error: the largest relative error of a parameter tensor's gradient (of the number, for
            an evaluation).
        scale: the number that makes the uncut gradient closest to this one.
        cosine: of the angle between this gradient and the uncut one.
        change: relative error of the parameters' change.
        loss: the number that was reported.
        loss_error: its relative error.
        worst: the parameter whose gradient is furthest off.
        failure: why the cut gave no result, if it gave none.
    """

    name: str
    sizes: str
    ranks: int
    dependent: bool
    error: float
    scale: float
    cosine: float
    change: float
    loss: float | None
    loss_error: float | None
    worst: str = ""
    failure: str | None = None

    @classmethod
    def not_run(cls, name: str, sizes: str, ranks: int, failure: str) -> "CutResult":
        """Return the result of a cut that gave none.

        Args:
            name: the cut.
            sizes: of its micro-batches.
            ranks: number of processes.
            failure: why.
        """
        none = math.nan
        return cls(
            name,
            sizes,
            ranks,
            dependent=False,
            error=none,
            scale=none,
            cosine=none,
            change=none,
            loss=None,
            loss_error=None,
            failure=failure,
        )


@dataclass(frozen=True)
class Report:
    """Whether a step, or an evaluation, depends on how its samples are cut, and why.

    Attributes:
        kind: "step" or "evaluate".
        cuts: one result a cut, the uncut one first.
        diagnoses: what is wrong; empty when nothing depends on the cut.
        unit: what the uncut step's gradient is a mean over: "element", "sample", "sample-sum",
            "weighted", "sum" (no mean at all), "several terms", "coupled" or "unknown".
        unit_text: the same in words, with what was counted.
        reported_unit: the same for the reported number; None where none was reported.
        notes: what was held still, left out, or could not be seen.
        tolerance: the relative error that arithmetic alone can make.
        noise: the relative error between two runs of the same cut.
        samples: number of samples.
        runs: how often the user's code was run.
        name: what was checked.
    """

    kind: Literal["step", "evaluate"]
    cuts: tuple[CutResult, ...]
    diagnoses: tuple[Diagnosis, ...]
    unit: str
    unit_text: str
    reported_unit: str | None
    notes: tuple[str, ...]
    tolerance: float
    noise: float
    samples: int
    runs: int
    name: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether nothing depends on the cut."""
        return not self.diagnoses

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the diagnoses."""
        return tuple(diagnosis.name for diagnosis in self.diagnoses)

    @property
    def verdict(self) -> str:
        """Return the report in one sentence."""
        what = "step" if self.kind == "step" else "evaluation"
        if self.ok:
            mean = self.unit in {"element", "sample", "sample-sum", "weighted"}
            of = f" (a mean over {self.unit_text})" if mean else ""
            return f"The {what} gives the same under all {len(self.cuts)} cuts{of}."
        # a gradient that nothing explains is worse than a reported loss that something does
        first = min(self.diagnoses, key=lambda d: _LATE.get(d.name, 0))
        more = f" ({len(self.diagnoses) - 1} more below)" if len(self.diagnoses) > 1 else ""
        cause = ", cause unknown." if first.name == "unknown" else f": {first.name}."
        return f"The {what} depends on the cut{cause} {first.sentence}{more}"

    def __str__(self) -> str:
        from batchproof.check._report._table import render  # noqa: PLC0415

        return render(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON, schema 1, and write it where a path is given.

        Args:
            path: the file to write.
        """
        content = {"schema": SCHEMA, "ok": self.ok, "verdict": self.verdict, **asdict(self)}
        text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
        return written(text, path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one self-contained page, and write it where a path is given.

        Args:
            path: the file to write.
        """
        from batchproof.check._report._page import page  # noqa: PLC0415

        return written(page(self), path)

    def raise_if_failed(self) -> None:
        """Raise the report if anything depends on the cut.

        Raises:
            CutDependenceError: whose text is the report.
        """
        __tracebackhide__ = True  # pytest shows the line that called it
        if not self.ok:
            raise CutDependenceError(str(self))


def merge(found: list[Diagnosis]) -> list[Diagnosis]:
    """Return the diagnoses with those of one name made one: all sentences, the worst residual.

    Args:
        found: diagnoses, in the order in which they are shown.
    """
    merged: dict[str, Diagnosis] = {}
    for one in found:
        before = merged.get(one.name)
        if before is None:
            merged[one.name] = one
        elif one.sentence not in before.sentence:
            residuals = [r for r in (before.residual, one.residual) if r is not None]
            merged[one.name] = replace(
                before,
                sentence=f"{before.sentence} {one.sentence}",
                residual=max(residuals, default=None),
            )
    return list(merged.values())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def written(text: str, path: str | Path | None) -> str:
    """Return the text, and write it where a path is given: whole, or not at all."""
    if path is not None:
        write_file(Path(path), text)
    return text
