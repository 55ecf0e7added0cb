"""Several probes in one call, one row each: for those who maintain a library of models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import RenderableType

from batchproof._errors import CutDependenceError, ProbeError
from batchproof._files import json_text, save_text
from batchproof.check._measure._ranks import kept_ranks
from batchproof.check._report._document import (
    Section,
    as_page,
    as_rich,
    as_text,
    error_of,
    number,
    tone_of,
)
from batchproof.check._report._report import SCHEMA, Report
from batchproof.page import Table, Text, Tone

_WIDTH = 110


@runtime_checkable
class Checkable(Protocol):
    """Anything with a check: a Probe, or a framework's own."""

    def check(self, *, name: str = "") -> Report:
        """Run the check."""
        ...


@dataclass(frozen=True)
class Heads:
    """Reports by name, and for probes that could not be run the reason.

    Attributes:
        reports: by name.
        failures: by name, one line each.
    """

    reports: Mapping[str, Report]
    failures: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Return whether every probe ran and none depends on the cut."""
        return not self.failures and all(report.ok for report in self.reports.values())

    @property
    def verdict(self) -> str:
        """Return the table in one sentence."""
        bad = [name for name, report in self.reports.items() if not report.ok]
        failures = f"; {len(self.failures)} could not be run" if self.failures else ""
        total = len(self.reports) + len(self.failures)
        return f"{len(bad)} of {total} depend on the cut{failures}."

    @property
    def table(self) -> Table:
        """Return one row a head."""
        rows: list[tuple[str, ...]] = []
        tones: list[Tone] = []
        for name, report in self.reports.items():
            step = report.kind == "step"
            ran = [cut for cut in report.cuts if not cut.failure]
            error = max((error_of(cut, step=step) for cut in ran), default=0.0)
            scales = sorted(cut.scale for cut in ran)
            spread = f"{number(scales[0])} to {number(scales[-1])}" if scales else "-"
            verdict, why = ("same" if report.ok else "DEPENDS"), ", ".join(report.names)
            rows.append((name, verdict, number(error, 2), spread, report.unit, why))
            tones.append(tone_of(wrong=not report.ok))
        rows += [(name, "not run", "-", "-", "-", "see below") for name in self.failures]
        tones += ["muted"] * len(self.failures)
        columns = ("head", "verdict", "largest error", "x uncut", "mean over", "why")
        return Table(columns, tuple(rows), tuple(tones))

    @property
    def sections(self) -> tuple[Section, ...]:
        """Return the document: the table, and why a head was not run."""
        verdict = Text(self.verdict, tone=tone_of(wrong=not self.ok))
        reasons = (Text(f"{name} was not run: {why}") for name, why in self.failures.items())
        return (Section("", (verdict, self.table, *reasons)),)

    def __str__(self) -> str:
        return as_text(as_rich(self.sections), _WIDTH)

    def __rich__(self) -> RenderableType:
        return as_rich(self.sections)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return schema 1: {"schema", "kind": "heads", "ok", "verdict", "heads", "failures"}.

        Args:
            path: the file to write.
        """
        heads: dict[str, Any] = {n: json.loads(r.to_json()) for n, r in self.reports.items()}
        content = {
            "schema": SCHEMA,
            "kind": "heads",
            "ok": self.ok,
            "verdict": self.verdict,
            "heads": heads,
            "failures": dict(self.failures),
        }
        return save_text(json_text(content), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return one page with every report in it, and write it where a path is given.

        Args:
            path: the file to write.
        """
        each = [
            replace(section, heading=f"{name}: {section.heading}" if section.heading else name)
            for name, report in self.reports.items()
            for section in report.sections
        ]
        return save_text(as_page("batchproof check", self.verdict, [*self.sections, *each]), path)

    def raise_if_failed(self) -> None:
        """Raise the table if any head depends on the cut or could not be run.

        Raises:
            CutDependenceError: whose text is the table.
        """
        if not self.ok:
            raise CutDependenceError(str(self))


def check_heads(heads: Mapping[str, Checkable]) -> Heads:
    """Check many probes, one after the other; one that cannot be run is a row, not the end.

    Args:
        heads: probes by name.

    Returns:
        A table, one row a head.
    """
    reports: dict[str, Report] = {}
    failures: dict[str, str] = {}
    with kept_ranks():
        for name, probe in heads.items():
            try:
                reports[name] = probe.check(name=name)
            except ProbeError as error:
                failures[name] = str(error)
    return Heads(reports, failures)
