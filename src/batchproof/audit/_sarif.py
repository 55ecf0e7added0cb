"""Findings as SARIF 2.1.0, the format in which code hosts take the results of a linter.

References:
    OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", 2020.
"""

import json
from typing import Any
from urllib.parse import quote

from batchproof._version import __version__
from batchproof.audit._allowances import UNUSED, UNUSED_CODE
from batchproof.audit._audit import Report
from batchproof.audit._auditor import Located, Notice
from batchproof.audit._finding import Fix
from batchproof.audit._fingerprint import below, fingerprints
from batchproof.mistakes import CATALOGUE

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
HOME = "https://github.com/batchproof/batchproof"


def as_sarif(report: Report) -> str:
    """Return a report as a SARIF log of one run."""
    names = sorted(report.counts)
    prints = fingerprints(report.files, report.settings.root)
    run = {
        "tool": {
            "driver": {
                "name": "batchproof",
                "version": __version__,
                "informationUri": HOME,
                "rules": [_rule(name) for name in names],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": report.status != 2,
                "toolExecutionNotifications": [_notification(n, report) for n in report.notices],
            }
        ],
        "results": [
            _result(entry, report, names.index(entry.finding.name), prints[id(entry)])
            for entry in report.findings
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(name: str) -> dict[str, Any]:
    if name == UNUSED:
        return {
            "id": UNUSED_CODE,
            "name": UNUSED,
            "shortDescription": {"text": "A comment allows a finding that is not there."},
        }
    mistake = CATALOGUE[name]
    return {
        "id": mistake.code,
        "name": name,
        "shortDescription": {"text": mistake.sentence},
        "help": {"text": mistake.remedy.sentence},
        "helpUri": mistake.page,
    }


def _result(entry: Located, report: Report, index: int, fingerprint: str) -> dict[str, Any]:
    finding = entry.finding
    region = {"startLine": entry.place.line, "endLine": entry.end_line}
    if entry.place.cell is None:
        region |= {"startColumn": finding.column, "endColumn": finding.end_column}
    uri = _uri(finding.path, report)
    result = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": "error" if finding.grade == "sure" else "warning",
        "message": {"text": entry.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
        "partialFingerprints": {"batchproof/v1": fingerprint},
        "properties": {"grade": finding.grade},
    }
    if finding.fix is not None and entry.place.cell is None:
        result["fixes"] = [_fix(finding.fix, uri)]
    return result


def _fix(fix: Fix, uri: str) -> dict[str, Any]:
    replacements = [
        {
            "deletedRegion": {
                "startLine": edit.line,
                "startColumn": edit.column,
                "endLine": edit.end_line,
                "endColumn": edit.end_column,
            },
            "insertedContent": {"text": edit.text},
        }
        for edit in fix.edits
    ]
    change = {"artifactLocation": {"uri": uri}, "replacements": replacements}
    return {"description": {"text": fix.message}, "artifactChanges": [change]}


def _notification(notice: Notice, report: Report) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(notice.path, report)}}
    if notice.line:
        location["region"] = {"startLine": notice.line}
    return {
        "level": "error" if notice.unread else "warning",
        "message": {"text": notice.reason},
        "locations": [{"physicalLocation": location}],
    }


def _uri(path: str, report: Report) -> str:
    relative = below(path, report.settings.root)
    drive = "file://" if relative.startswith("/") else ""
    return drive + quote(relative.encode(errors="surrogateescape"))
