"""The report: what was measured under each cut, and which mistakes were proved.

`to_json` writes schema 1:

    {"schema": 1, "kind": "step" | "evaluate", "ok": bool, "verdict": str, "name": str,
     "unit": str, "unit_text": str, "reported_unit": str | null, "tolerance": float,
     "noise": float, "samples": int, "runs": int, "notes": [str], "proof": str,
     "cuts": [{"name", "sizes", "ranks", "dependent", "error", "scale", "cosine", "change",
               "loss", "loss_error", "worst", "failure", "shares": [float], "wanted": [float],
               "share_residual"}],
     "diagnoses": [{"name", "sentence", "remedy", "code", "residual", "page"}]}

Numbers that are not finite are written as the strings "nan", "inf" and "-inf".
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import RenderableType

from batchproof._errors import CutDependenceError
from batchproof._files import json_text, save_text
from batchproof.check._report._document import (
    Section,
    as_cell,
    as_page,
    as_rich,
    as_text,
    number,
    pictures_of,
    section_of,
    table_of,
    tone_of,
)
from batchproof.check._report._results import CutResult, Diagnosis
from batchproof.page import Text

SCHEMA = 1
# what a report begins with only if nothing else was found
_LATE = {"unknown": 1, "reported-loss": 2}
# what is wrong whatever the cut, or though every gradient is the same
_NOT_THE_CUT = {
    "state-moved-per-micro-batch": (
        "The {what} has the same gradient under every cut, but does not leave the same behind"
    ),
    "nan-batch-dropped": "The {what} gives the same under every cut, but drops a batch of NaN",
    "gradient-of-another-loss": "The {what} gives the same under every cut, but of another loss",
    "wrong-divisor": "The {what} gives the same under every cut, but is not a mean",
    "random-draws": "The {what} gives another result in every run, whatever the cut",
    "leaking-state": "The {what} depends on what was run before it",
}


@dataclass(frozen=True)
class Report:
    """Whether a step, or an evaluation, depends on how its samples are cut, and why.

    Attributes:
        kind: "step" or "evaluate".
        cuts: one result a cut, the uncut one first.
        diagnoses: the mistakes; empty when nothing depends on the cut.
        unit: what the uncut step's gradient is a mean over: "element", "sample", "sample-sum",
            "weighted", "sum" (not a mean), "several terms", "coupled" or "unknown".
        unit_text: the same in words, with what was counted.
        reported_unit: the same for the reported number; None where none was reported.
        notes: what was switched off, left out, or could not be seen.
        tolerance: the relative error that arithmetic alone can make.
        noise: the relative error between two runs of the same cut.
        samples: number of samples.
        runs: how often the user's code was run.
        name: what was checked.
        proof: why it is right, where that is proved.
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
    proof: str = ""

    @property
    def ok(self) -> bool:
        """Return whether nothing is wrong."""
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
        return f"{self._headline(first, what)}{cause} {first.sentence}{more}"

    def _headline(self, first: Diagnosis, what: str) -> str:
        """Return the first words of the report: that it is the cut, unless it is not."""
        dependent = any(cut.dependent for cut in self.cuts)
        always = first.name in {"random-draws", "leaking-state"}
        if first.name in _NOT_THE_CUT and (always or not dependent):
            return _NOT_THE_CUT[first.name].format(what=what)
        return f"The {what} depends on the cut"

    @property
    def sections(self) -> tuple[Section, ...]:
        """Return the document that terminal, text and page are drawn from."""
        step = self.kind == "step"
        pictures = pictures_of(self.cuts, step=step, tolerance=self.tolerance)
        notes = (Text(f"Note: {note}") for note in self.notes)
        return (
            Section("", (Text(self.verdict, tone=tone_of(wrong=not self.ok)),)),
            Section("Cuts", (table_of(self.cuts, step=step), *pictures)),
            *(section_of(diagnosis) for diagnosis in self.diagnoses),
            *((Section("Why it is right", (Text(self.proof),)),) if self.proof else ()),
            Section("Measured", (self._unit(), *notes, Text(self.lede))),
        )

    def _unit(self) -> Text:
        if self.unit == "sum":
            return Text(f"Not a mean: {self.unit_text}")
        return Text(f"Mean over: {self.unit_text or self.unit}")

    @property
    def lede(self) -> str:
        """Return the number of runs, and the errors that count."""
        return (
            f"{self.samples} samples, {self.runs} runs. The same cut twice: error "
            f"{number(self.noise, 1)}. Errors up to {number(self.tolerance, 1)} are rounding."
        )

    def __repr__(self) -> str:
        return f"Report({', '.join(self.names) or 'nothing wrong'}, cuts={len(self.cuts)})"

    def __str__(self) -> str:
        return as_text(as_rich(self.sections))

    def __rich__(self) -> RenderableType:
        return as_rich(self.sections)

    def _repr_html_(self) -> str:
        return as_cell(self.sections)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON, schema 1, and write it where a path is given.

        Args:
            path: the file to write.
        """
        content = {"schema": SCHEMA, "ok": self.ok, "verdict": self.verdict, **asdict(self)}
        content["diagnoses"] = [{**asdict(one), "page": one.page} for one in self.diagnoses]
        return save_text(json_text(content), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one self-contained page, and write it where a path is given.

        Args:
            path: the file to write.
        """
        return save_text(as_page(self.name or "batchproof check", self.lede, self.sections), path)

    def raise_if_failed(self) -> None:
        """Raise the report if anything depends on the cut.

        Raises:
            CutDependenceError: whose text is the report.
        """
        __tracebackhide__ = True  # pytest shows the line that called it
        if not self.ok:
            raise CutDependenceError(str(self))
