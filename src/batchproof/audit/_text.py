"""Findings as a person reads them: the line, a caret, the formulas, the evidence, the remedy."""

import unicodedata
from collections.abc import Callable, Iterator

from batchproof import page
from batchproof.audit._allowances import UNUSED
from batchproof.audit._audit import Report
from batchproof.audit._auditor import Located

Paint = Callable[[str, str], str]
_COLOURS = {"code": "1;31", "likely": "1;33", "place": "1", "bar": "34", "dim": "2"}


def plain(_part: str, text: str) -> str:
    """Return a text as it is."""
    return text


def coloured(part: str, text: str) -> str:
    """Return a text in the colour of its part, as terminals take it."""
    return f"\x1b[{_COLOURS[part]}m{text}\x1b[0m" if text else text


def as_text(report: Report, paint: Paint = plain) -> str:
    """Return a report with each finding's line and a caret, and a last line that sums it up.

    Args:
        report: the report.
        paint: colours a part of it.
    """
    blocks = ["\n".join(_block(entry, paint)) for entry in report.findings]
    return "\n\n".join([*blocks, summary(report)]) + "\n"


def as_lines(report: Report, paint: Paint = plain) -> str:
    """Return a report with one line for each finding, and a last line that sums it up."""
    lines = [_headline(entry, paint) for entry in report.findings]
    return "\n".join([*lines, summary(report)]) + "\n"


def summary(report: Report) -> str:
    """Return one line: how many findings, how many can be fixed, what was not asked for."""
    if not report.files:
        return "No Python file and no notebook was found."
    findings, unread = report.findings, sum(audited.unread for audited in report.files)
    read = len(report.files) - unread
    of_files = f"{read} file{'s' * (read != 1)}"
    if not read:
        parts = ["Nothing was audited"]
    elif not findings:
        parts = [f"No mistake found in {of_files}"]
    else:
        plural = "s" * (len(findings) != 1)
        parts = [f"Found {len(findings)} mistake{plural} in {of_files}"]
    safe = sum(f.finding.safe for f in findings)
    unsafe = sum(f.finding.fix is not None for f in findings) - safe
    if safe:
        parts.append(f"{safe} can be fixed with --fix")
    if unsafe:
        parts.append(f"{unsafe} with --fix --unsafe-fixes")
    unasked = sum(audited.unasked for audited in report.files)
    if unasked:
        parts.append(f"{unasked} more {'are' if unasked > 1 else 'is'} likely: --likely shows them")
    if unread:
        parts.append(f"{unread} could not be read")
    if report.in_baseline:
        parts.append(f"{report.in_baseline} known to the baseline")
    return "; ".join(parts) + "."


def statistics(report: Report) -> list[dict[str, object]]:
    """Return for each name how often it was found, most often first."""
    rows = []
    for name, count in report.counts.most_common():
        same = [f.finding for f in report.findings if f.finding.name == name]
        fixable = sum(finding.fix is not None for finding in same)
        rows.append({"count": count, "code": same[0].code, "name": name, "fixable": fixable})
    return rows


def printable(text: str) -> str:
    """Return a text on one line, without control characters; a tab becomes four spaces."""
    return page.printable(text.replace("\t", "    ")).replace("\n", "\\n")


def _headline(entry: Located, paint: Paint) -> str:
    finding, place = entry.finding, entry.place
    cell = f"cell {place.cell}:{place.cell_line}" if place.cell else str(place.line)
    where = paint("place", f"{printable(finding.path)}:{cell}:{finding.column}:")
    grade = paint("likely", " (likely)") if finding.grade == "likely" else ""
    star = " [*]" if finding.safe else ""
    label = paint("code", finding.code)
    return f"{where} {label} {finding.name}{grade}:{star} {printable(finding.sentence)}"


def _block(entry: Located, paint: Paint) -> Iterator[str]:
    finding = entry.finding
    yield _headline(entry, paint)
    number = str(entry.place.cell_line or entry.place.line)
    bar = paint("bar", f"{' ' * len(number)} |")
    yield bar
    yield f"{paint('bar', f'{number} |')} {printable(entry.excerpt)}"
    yield f"{bar} {_caret(entry, paint)}"
    facts = [
        ("computes", finding.computes),
        ("meant", finding.meant),
        *(("because", fact) for fact in finding.evidence),
        ("remedy", finding.remedy),
        ("see it", entry.proof),
        ("explain", "" if finding.name == UNUSED else f"batchproof audit --explain {finding.name}"),
    ]
    for label, fact in facts:
        lines = fact.splitlines()
        for i, line in enumerate(lines):
            title = f"{label}:" if i == 0 else ""
            yield f"{bar} {paint('dim', f'{title:9}')} {printable(line)}"


def _caret(entry: Located, paint: Paint) -> str:
    finding, text = entry.finding, entry.excerpt
    start = finding.column - 1
    end = finding.end_column - 1 if finding.end_line == finding.line else len(text.rstrip())
    width = max(1, _width(text[start:end]))
    kind = "likely" if finding.grade == "likely" else "code"
    return " " * _width(text[:start]) + paint(kind, "^" * width)


def _width(text: str) -> int:
    """Return the width of a text in columns of a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in text)
    marks = sum(unicodedata.combining(c) > 0 for c in text)
    return len(printable(text)) + wide - marks
