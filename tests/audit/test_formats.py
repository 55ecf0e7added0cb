"""Findings as other programs take them."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from audit_rule import analyse
from batchproof.audit._audit import audit_paths
from batchproof.audit._formats import FORMATS
from batchproof.audit._settings import Settings
from sarif_schema import SCHEMA

CELLS = {"cells": [{"cell_type": "code", "source": ["x = 1\n", "bare(\n", "x)"]}]}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A tree with findings of all kinds, and names of all kinds, in a format."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b%é.py").write_text("wrong(1), maybe(2)\nx = 1  # noqa: BP401\n")
    (tmp_path / "c,d:\n.py").write_text("bare('\\x01 <&\">')\n")
    (tmp_path / "n.ipynb").write_text(json.dumps(CELLS, indent=1))
    (tmp_path / "broken.py").write_text("x = (\n")
    Path(os.fsdecode(b"\xff.py")).write_text("odd(1)\n")

    def write(output_format, *paths, likely=True):
        settings = Settings(tmp_path, likely=likely)
        report = audit_paths(paths or [Path()], settings, analyse=analyse, cached=False)
        return FORMATS[output_format](report)

    return write


def test_sarif_holds_to_its_schema(written):
    log = json.loads(written("sarif"))
    jsonschema.Draft7Validator(
        SCHEMA, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    ).validate(log)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert {result["ruleId"] for result in run["results"]} == set(rules)
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    assert {result["level"] for result in run["results"]} == {"error", "warning"}
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 1


def test_sarif_of_a_tree_without_findings_is_a_run_without_results(written, tmp_path):
    (tmp_path / "fine.py").write_text("x = 1\n")
    log = json.loads(written("sarif", Path("fine.py")))
    jsonschema.validate(log, SCHEMA)
    assert log["runs"][0]["results"] == []


def test_fingerprints_hold_when_lines_move_and_differ_between_findings(written, tmp_path):
    def prints():
        (run,) = json.loads(written("sarif"))["runs"]
        return [r["partialFingerprints"]["batchproof/v1"] for r in run["results"]]

    before = prints()
    assert len(set(before)) == len(before)
    for path in tmp_path.glob("*.py"):
        if path.name != "broken.py":
            path.write_text(f"import os\n\n\n{path.read_text()}")
    assert prints() == before


def test_github_escapes_what_would_end_a_command(written):
    lines = written("github").splitlines()
    assert len(lines) == 6
    assert all(line.startswith(("::error title=", "::warning title=")) for line in lines)
    assert any("file=c%2Cd%3A%0A.py,line=1" in line for line in lines)
    assert all("because" not in line and "%0Acomputes: a / b" in line for line in lines[:1])
    (cell,) = [line for line in lines if "n.ipynb" in line]
    assert ",col=" not in cell


def test_gitlab_has_a_fingerprint_a_severity_and_a_place_for_each(written):
    issues = json.loads(written("gitlab"))
    assert len({issue["fingerprint"] for issue in issues}) == len(issues) == 6
    assert {issue["severity"] for issue in issues} == {"major", "minor"}
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["location"]["lines"]["begin"] <= issue["location"]["lines"]["end"]
        assert not issue["location"]["path"].startswith("/")


def test_junit_is_xml_with_a_failure_for_each(written, tmp_path):
    root = ET.fromstring(written("junit"))
    assert root.get("failures") == "6"
    assert root.get("errors") == "1"
    assert len(root.findall(".//failure")) == 6
    assert len(root.findall(".//error")) == 1
    assert sum(int(suite.get("tests")) for suite in root) == int(root.get("tests"))
    (tmp_path / "fine.py").write_text("x = 1\n")
    fine = ET.fromstring(written("junit", Path("fine.py")))
    assert (fine.get("tests"), fine.get("failures")) == ("1", "0")
    assert len(fine.findall(".//testcase")) == 1


def test_lines_of_a_notebook_are_those_of_its_file(written, tmp_path):
    (one,) = [f for f in json.loads(written("json")) if f["cell"]]
    lines = (tmp_path / "n.ipynb").read_text().split("\n")
    assert "bare(" in lines[one["line"] - 1]
    assert "x)" in lines[one["end_line"] - 1]


@pytest.mark.parametrize("output_format", list(FORMATS))
def test_every_format_writes_every_finding(written, output_format):
    text = written(output_format)
    for code in ("BP401", "BP205", "BP103", "BP000", "BP201"):
        assert code in text
