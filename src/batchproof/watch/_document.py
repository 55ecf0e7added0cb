"""The report as one document, shown in the terminal and on a page by the same parts."""

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text as Line

from batchproof.mistakes import CATALOGUE
from batchproof.page import Code, Part, Share, Table, Text, number, page, share_bars, to_rich
from batchproof.watch._events import Finding

WIDTH = 80

Section = tuple[str, Sequence[Part]]


def sections_of(
    findings: Sequence[Finding], right: Sequence[str], not_followed: Sequence[str]
) -> list[Section]:
    """Return a report section by section: findings, what is right, what was missed.

    Args:
        findings: what is wrong, or worth knowing.
        right: sentences about what was seen to be right.
        not_followed: sentences about what could not be followed.
    """
    sections: list[Section] = [(_heading(finding), _parts(finding)) for finding in findings]
    if right:
        sections.append(("Seen to be right", [Text(sentence) for sentence in right]))
    if not_followed:
        sections.append(("Not followed", [Text(sentence) for sentence in not_followed]))
    return sections


def _heading(finding: Finding) -> str:
    note = " (note)" if finding.grade == "note" else ""
    return f"{finding.place}  {finding.name}{note}"


def _parts(finding: Finding) -> list[Part]:
    parts: list[Part] = [Text(finding.sentence)]
    parts += _picture(finding.evidence.get("picture"))
    parts += [_numbers(one) for one in finding.evidence.get("numbers", ()) if _differs(one)]
    mistake = CATALOGUE.get(finding.name)
    if mistake is None:
        return [*parts, Text(finding.remedy, heading="Remedy")]
    remedy = mistake.remedy
    if mistake.evaluation is not None and finding.remedy == mistake.evaluation.code:
        remedy = mistake.evaluation
    parts.append(Text(remedy.sentence, heading="Remedy"))
    # a note may be what the script means, so it gets no code
    if finding.grade == "wrong" and finding.remedy and finding.remedy != remedy.sentence:
        parts.append(Code(finding.remedy))
    settings = finding.evidence.get("settings")
    if settings:
        parts.append(Text(f"To keep the path of this run after the fix: {', '.join(settings)}."))
    return [*parts, Text(f"More: batchproof audit --explain {finding.name}")]


def _picture(picture: dict[str, Any] | None) -> list[Part]:
    if not picture or not picture.get("rows"):
        return []
    rows = (
        Share(str(row["label"]), float(row["share"]), row.get("wanted")) for row in picture["rows"]
    )
    return share_bars(picture["title"], list(rows))


def _differs(one: dict[str, Any]) -> bool:
    """Return whether the numbers are not the means themselves."""
    return any(example["is"] != example["mean"] for example in one["examples"])


def _numbers(one: dict[str, Any]) -> Table:
    label = one["label"].strip() or "shown"
    rows = [
        (example["shown"], number(example["is"], 6), _mean(example["mean"]))
        for example in one["examples"]
    ]
    wholes = {"counts": "of all counts", "objective": "the objective"}
    whole = wholes.get(one.get("of", ""), "the mean")
    return Table((label, "as predicted", whole), tuple(rows))


def _mean(value: float | None) -> str:
    return "unknown" if value is None else number(value, 6)


def to_terminal(verdict: Text, sections: Sequence[Section]) -> RenderableType:
    """Return a report for a terminal.

    Args:
        verdict: its first sentence.
        sections: the rest.
    """
    lines: list[RenderableType] = [to_rich(verdict)]
    for heading, parts in sections:
        lines += ["", Line(heading, style="bold")]
        lines += [to_rich(part) for part in parts]
    return Group(*lines)


def to_text(report: RenderableType) -> str:
    """Return a report as text of 80 columns, without colour or control codes.

    Args:
        report: the report for a terminal.
    """
    file = io.StringIO()
    console = Console(
        file=file, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(report)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def to_page(verdict: str, sections: Sequence[Section]) -> str:
    """Return a report as a page of its own: no network, no script.

    Args:
        verdict: its first sentence.
        sections: the rest.
    """
    return page("batchproof watch", verdict, sections)
