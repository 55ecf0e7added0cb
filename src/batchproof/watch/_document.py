"""The report as one document, shown in the terminal and on a page by the same parts."""

import io
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from rich.console import Console, Group, RenderableType

from batchproof.mistakes import CATALOGUE
from batchproof.page import Bar, Bars, Code, Part, Table, Text, number, page, to_rich
from batchproof.watch._events import Finding

WIDTH = 80
MOST_ROWS = 24
_SAME = 1e-6  # relative; shares that arithmetic alone tells apart are equal

Section = tuple[str, Sequence[Part]]


@runtime_checkable
class Reported(Protocol):
    """What a report shows of a run."""

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""

    @property
    def verdict(self) -> str:
        """Return the report in one sentence."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong or worth knowing."""

    @property
    def right(self) -> tuple[str, ...]:
        """Return what was seen to be right."""

    @property
    def not_followed(self) -> tuple[str, ...]:
        """Return what could not be followed."""


def sections_of(report: Reported) -> list[Section]:
    """Return the report section by section: verdict, findings, what is right, what was missed.

    Args:
        report: of a run.
    """
    found: list[Section] = [("", [Text(report.verdict, tone="exact" if report.ok else "wrong")])]
    found += [(_heading(finding), _parts(finding)) for finding in report.findings]
    if report.right:
        found.append(("Seen to be right", [Text(sentence) for sentence in report.right]))
    if report.not_followed:
        found.append(("Not followed", [Text(sentence) for sentence in report.not_followed]))
    return found


def _heading(finding: Finding) -> str:
    note = " (note)" if finding.grade == "note" else ""
    return f"{finding.place}  {finding.name}{note}"


def _parts(finding: Finding) -> list[Part]:
    parts: list[Part] = [Text(finding.sentence)]
    parts += _picture(finding.evidence.get("picture"))
    parts += [_numbers(one) for one in finding.evidence.get("numbers", ()) if len(one["examples"])]
    known = CATALOGUE.get(finding.name)
    if known is None:
        return [*parts, Text(finding.remedy, heading="Remedy")]
    remedy = known.remedy
    if known.evaluation is not None and finding.remedy == known.evaluation.code:
        remedy = known.evaluation
    parts.append(Text(remedy.sentence, heading="Remedy"))
    if finding.remedy and finding.remedy != remedy.sentence:
        parts.append(Code(finding.remedy))
    return [*parts, Text(f"More: {known.page}")]


def _picture(picture: dict[str, Any] | None) -> list[Part]:
    if not picture or not picture.get("rows"):
        return []
    rows = picture["rows"]
    bars = [_bar(row) for row in rows[:MOST_ROWS]]
    parts: list[Part] = [Bars(picture["title"], tuple(bars))]
    if len(rows) > MOST_ROWS:
        parts.append(Text(f"{len(rows) - MOST_ROWS} more are not drawn."))
    return parts


def _bar(row: dict[str, Any]) -> Bar:
    share, wanted = float(row["share"]), row.get("wanted")
    if wanted is None:
        return Bar(str(row["label"]), share)
    same = abs(share - wanted) <= _SAME * abs(wanted)
    note = number(share) if same else f"{number(share)}, not {number(float(wanted))}"
    return Bar(str(row["label"]), share, "exact" if same else "wrong", note)


def _numbers(one: dict[str, Any]) -> Table:
    label = one["label"].strip() or "shown"
    rows = [
        (example["shown"], number(example["is"], 6), number(example["mean"], 6))
        for example in one["examples"]
    ]
    return Table((label, "as predicted", "the mean"), tuple(rows))


def to_text(report: Reported) -> str:
    """Return the report as text of 80 columns, without colour or control codes.

    Args:
        report: of a run.
    """
    file = io.StringIO()
    console = Console(
        file=file, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(to_rich_group(report))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def to_rich_group(report: Reported) -> RenderableType:
    """Return the report for a terminal.

    Args:
        report: of a run.
    """
    lines: list[RenderableType] = []
    for heading, parts in sections_of(report):
        if lines:
            lines.append("")
        if heading:
            lines.append(to_rich(Text("", heading=heading)))
        lines += [to_rich(part) for part in parts]
    return Group(*lines)


def to_page(report: Reported) -> str:
    """Return the report as a page of its own: no network, no script.

    Args:
        report: of a run.
    """
    _, *others = sections_of(report)
    return page("batchproof watch", report.verdict, others)
