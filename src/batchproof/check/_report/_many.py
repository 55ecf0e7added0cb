"""Several probes in one call, one row each: for those who maintain a library of models."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich import box
from rich.console import Console
from rich.table import Table

from batchproof._errors import CutDependenceError, ProbeError
from batchproof.check._measure._ranks import kept_ranks
from batchproof.check._report._report import SCHEMA, Report, written
from batchproof.check._report._table import number


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
        """Tell whether every probe ran and none depends on the cut."""
        return not self.failures and all(report.ok for report in self.reports.values())

    @property
    def verdict(self) -> str:
        """Return the table in one sentence."""
        bad = [name for name, report in self.reports.items() if not report.ok]
        failed = f"; {len(self.failures)} could not be run" if self.failures else ""
        total = len(self.reports) + len(self.failures)
        return f"{len(bad)} of {total} depend on the cut{failed}."

    def __str__(self) -> str:
        file = io.StringIO()
        console = Console(
            file=file,
            width=110,
            color_system=None,
            highlight=False,
            markup=False,
            force_terminal=False,
        )
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("head", "verdict", "largest error", "gradient, x uncut", "mean over", "why"):
            table.add_column(title, overflow="fold")
        for name, report in self.reports.items():
            worst = max(report.cuts, key=lambda cut: 0.0 if cut.failure else cut.error)
            scales = sorted(cut.scale for cut in report.cuts if not cut.failure)
            spread = f"{number(scales[0])} to {number(scales[-1])}" if scales else "-"
            verdict = "same" if report.ok else "DEPENDS"
            why = ", ".join(report.names)
            table.add_row(name, verdict, number(worst.error, 2), spread, report.unit, why)
        for name, reason in self.failures.items():
            table.add_row(name, "not run", "-", "-", "-", reason)
        console.print(self.verdict)
        console.print(table)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

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
        return written(json.dumps(content, indent=2, allow_nan=False) + "\n", path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return one page with every report in it, and write it where a path is given.

        Args:
            path: the file to write.
        """
        from batchproof.check._report._page import pages  # noqa: PLC0415

        return written(pages(self), path)

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
