"""The report as one self-contained page: verdict, picture of error against cut, table, remedies."""

import math
from collections.abc import Sequence

from batchproof.check._report._many import Heads
from batchproof.check._report._report import CutResult, Diagnosis, Report
from batchproof.check._report._table import number
from batchproof.page import Bar, Bars, Code, Part, Table, Text, Tone
from batchproof.page import page as whole_page

Section = tuple[str, Sequence[Part]]

# powers of ten below which an error is drawn as nothing: float64 rounds at 1e-16
_LEAST = -17.0
_TITLE = "batchproof check"


def page(report: Report) -> str:
    """Return a report as a page.

    Args:
        report: the report.
    """
    return whole_page(report.name or _TITLE, _lede(report), _sections(report))


def pages(heads: Heads) -> str:
    """Return many reports as one page, each under its name.

    Args:
        heads: the reports.
    """
    rows = [
        (name, _verdict(dependent=not report.ok), report.unit, ", ".join(report.names))
        for name, report in heads.reports.items()
    ]
    tones: list[Tone] = [_tone(dependent=not r.ok) for r in heads.reports.values()]
    rows += [(name, "not run", "", reason) for name, reason in heads.failures.items()]
    tones += ["muted"] * len(heads.failures)
    table = Table(("head", "verdict", "mean over", "why"), tuple(rows), tuple(tones))
    sections: list[Section] = [("Heads", [table])]
    for name, report in heads.reports.items():
        first, *others = _sections(report)
        sections.append((name, [*first[1], Text(_lede(report))]))
        sections += [(f"{name}: {heading}", parts) for heading, parts in others]
    return whole_page(_TITLE, heads.verdict, sections)


def _lede(report: Report) -> str:
    return (
        f"{report.samples} samples, {report.runs} runs; the same cut twice: "
        f"{number(report.noise, 1)}; errors above {number(report.tolerance, 1)} count."
    )


def _sections(report: Report) -> list[Section]:
    verdict = Text(report.verdict, tone=_tone(dependent=not report.ok))
    notes = [Text(f"{note[:1].upper()}{note[1:]}.") for note in report.notes]
    unit = Text(f"Mean over: {report.unit_text or report.unit}.")
    return [
        ("", [verdict, _picture(report)]),
        *((diagnosis.name, _remedy(diagnosis)) for diagnosis in report.diagnoses),
        ("Cuts", [_table(report)]),
        ("What was measured", [unit, *notes]),
    ]


def _remedy(diagnosis: Diagnosis) -> list[Part]:
    parts: list[Part] = [Text(diagnosis.sentence)]
    if diagnosis.residual is not None:
        parts.append(Text(f"This predicts every cut to {number(diagnosis.residual, 1)}."))
    parts.append(Text(diagnosis.remedy, heading="Remedy"))
    if diagnosis.code:
        parts.append(Code(diagnosis.code))
    return parts


def _tone(*, dependent: bool) -> Tone:
    return "wrong" if dependent else "exact"


def _verdict(*, dependent: bool) -> str:
    return "DEPENDS" if dependent else "same"


def _table(report: Report) -> Table:
    step = report.kind == "step"
    columns = ["cut", "micro-batches" if step else "batches"]
    columns += ["gradient, x uncut", "cosine"] if step else []
    columns += ["relative error", "reported" if step else "number", "verdict"]
    rows = tuple(tuple(_row(cut, step=step)) for cut in report.cuts)
    return Table(tuple(columns), rows, tuple(_cut_tone(cut) for cut in report.cuts))


def _cut_tone(cut: CutResult) -> Tone:
    return "muted" if cut.failure else ("wrong" if cut.dependent else "plain")


def _row(cut: CutResult, *, step: bool) -> list[str]:
    if cut.failure:
        return [cut.name, cut.sizes, *["-"] * (4 if step else 2), "not run"]
    middle = [number(cut.scale, 4), number(cut.cosine, 4)] if step else []
    verdict = _verdict(dependent=cut.dependent)
    return [cut.name, cut.sizes, *middle, number(cut.error, 2), number(cut.loss, 6), verdict]


def _picture(report: Report) -> Bars:
    """Draw error against cut, in powers of ten, beside the error that arithmetic alone can make."""
    what = (
        "Relative error" if report.kind == "evaluate" else "Error of gradient and reported number"
    )
    limit = Bar(
        "arithmetic ends here", _height(report.tolerance), "amber", _noted(report.tolerance)
    )
    cuts = [cut for cut in report.cuts if not cut.failure]
    errors = [max(cut.error, cut.loss_error or 0.0) for cut in cuts]
    high = max([_height(error) for error in errors if math.isfinite(error)] + [limit.value])
    bars = [
        Bar(
            cut.name,
            _height(error) if math.isfinite(error) else high,
            _tone(dependent=cut.dependent),
            _noted(error),
        )
        for cut, error in zip(cuts, errors, strict=True)
    ]
    return Bars(f"{what} against the uncut one, in powers of ten", (*bars, limit))


def _height(error: float) -> float:
    return max(0.0, math.log10(error) - _LEAST) if error > 0 else 0.0


def _noted(error: float) -> str:
    return number(error, 2)
