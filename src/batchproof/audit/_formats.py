"""Findings as programs read them: JSON, GitHub's commands, GitLab's reports, JUnit's XML."""

import html
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from batchproof.audit._audit import Report
from batchproof.audit._auditor import Located
from batchproof.audit._fingerprint import below, fingerprints
from batchproof.audit._sarif import as_sarif
from batchproof.audit._text import as_lines, as_text

_BREAKS = str.maketrans({"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})


def as_json(report: Report) -> str:
    """Return a report as a list of objects, one for each finding."""
    prints = fingerprints(report.files, report.settings.root)
    return json.dumps([_object(f, prints[id(f)]) for f in report.findings], indent=1) + "\n"


def _object(entry: Located, fingerprint: str) -> dict[str, Any]:
    finding, place = entry.finding, entry.place
    return {
        "path": finding.path,
        "line": place.line,
        "column": finding.column,
        "end_line": entry.end_line,
        "end_column": finding.end_column,
        "cell": place.cell,
        "cell_line": place.cell_line,
        "name": finding.name,
        "code": finding.code,
        "grade": finding.grade,
        "sentence": finding.sentence,
        "computes": finding.computes,
        "meant": finding.meant,
        "evidence": list(finding.evidence),
        "remedy": finding.remedy,
        "fix": None if finding.fix is None else asdict(finding.fix),
        "proof": entry.proof,
        "page": finding.page,
        "fingerprint": fingerprint,
    }


def as_github(report: Report) -> str:
    """Return a report as commands that annotate a pull request."""
    lines = []
    for entry in report.findings:
        finding = entry.finding
        kind = "error" if finding.grade == "sure" else "warning"
        values = {
            "title": f"batchproof {finding.name} ({finding.code})",
            "file": below(finding.path, report.settings.root),
            "line": entry.place.line,
            "endLine": entry.end_line,
        }
        if entry.place.cell is None:
            values |= {"col": finding.column, "endColumn": finding.end_column}
        settings = ",".join(f"{key}={_property(str(value))}" for key, value in values.items())
        lines.append(f"::{kind} {settings}::{_data(entry.message)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_gitlab(report: Report) -> str:
    """Return a report as GitLab's code quality takes it."""
    prints = fingerprints(report.files, report.settings.root)
    issues = [
        {
            "description": f"{f.finding.name}: {f.finding.sentence}",
            "check_name": f.finding.code,
            "fingerprint": prints[id(f)],
            "severity": "major" if f.finding.grade == "sure" else "minor",
            "location": {
                "path": below(f.finding.path, report.settings.root),
                "lines": {"begin": f.place.line, "end": f.end_line},
            },
        }
        for f in report.findings
    ]
    return json.dumps(issues, indent=1) + "\n"


def as_junit(report: Report) -> str:
    """Return a report as JUnit's XML: a suite for each file, a failed case for each finding."""
    findings, notices = report.findings, report.notices
    tests = max(1, len(findings) + len(notices))
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{tests}" failures="{len(findings)}" errors="{len(notices)}">',
    ]
    for audited in report.files:
        count, errors = len(audited.findings), len(audited.notices)
        if not count and not errors:
            continue
        lines.append(
            f'  <testsuite name={_attribute(audited.path)} tests="{count + errors}" '
            f'failures="{count}" errors="{errors}">'
        )
        lines += [f"    {_case(entry)}" for entry in audited.findings]
        lines += [
            f'    <testcase name="read" line="{notice.line}">'
            f"<error message={_attribute(notice.reason)}/></testcase>"
            for notice in audited.notices
        ]
        lines.append("  </testsuite>")
    if not findings and not notices:
        lines.append('  <testsuite name="batchproof audit" tests="1" failures="0" errors="0">')
        lines.append('    <testcase name="No mistake found"/>')
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def _case(entry: Located) -> str:
    finding = entry.finding
    classname = _attribute(finding.path)
    return (
        f"<testcase name={_attribute(f'{finding.code} {finding.name}')} classname={classname} "
        f'line="{entry.place.line}" column="{finding.column}">'
        f"<failure message={_attribute(finding.sentence)}>"
        f"{html.escape(_xml(entry.message), quote=False)}</failure></testcase>"
    )


def _attribute(text: str) -> str:
    """Return a text as the value of an attribute, in which a reader would turn breaks to spaces."""
    return f'"{html.escape(_xml(text)).translate(_BREAKS)}"'


def _xml(text: str) -> str:
    """Return a text without the characters that XML cannot hold."""
    return "".join(
        c
        if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
        else "\ufffd"
        for c in text
    )


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text,
    "concise": as_lines,
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
    "gitlab": as_gitlab,
    "junit": as_junit,
}
