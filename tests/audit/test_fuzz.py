"""Whatever a file holds, an audit of it ends in findings or in notices of one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_rule import analyse
from batchproof import SettingError
from batchproof.audit._audit import Report, audit_text
from batchproof.audit._document import read_document
from batchproof.audit._fixes import fix_report
from batchproof.audit._formats import FORMATS
from batchproof.audit._reading import parse
from batchproof.audit._settings import Settings, read_settings

HERE = Path(__file__).parent
PYTHON = (HERE.parent / "support/audit_rule.py").read_bytes()
CODE = b"""\
import b
total = 0
for x in y:  # noqa: BP401
    total += wrong(x) + odd(x)  # batchproof: allow[graph-kept] a reason
print(bare(total), maybe(total), stuck(1), torn(1), follow(b), '''
%s \xf0\x9d\x84\x9e''')
"""
NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "source": ["# a\n", "b"]},
            {"cell_type": "code", "source": ["%time\n", "x = wrong(1)\n", "!ls"], "outputs": []},
            {"cell_type": "code", "source": "bare(x)  # noqa\nodd(2)\n", "metadata": {}},
        ],
        "metadata": {"kernelspec": {"language": "python"}},
        "nbformat": 4,
    },
    indent=1,
).encode()
PYPROJECT = b"""\
[project]
name = "x"
[tool.batchproof.audit]
select = ["ALL"]
ignore = ["BP1", "graph-kept"]
per-file-ignores = {"tests/*" = ["BP2"]}
likely = true
baseline = "known.json"
"""
PIECES = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b"\x0c", b"'", b'"""', b"(", b"[",
    b"{", b"}", b"\\", b"# noqa: BP401", b"# batchproof: allow[", b"# coding: latin-1\n", b"%",
    b"!",
    b"wrong(1)", b"torn(1)", b"lambda: ", b"if x:\n", b"\xe2\x80\xa8", b"\\ud800", b'["a", 1]',
    b"null", b"1e999", b"[tool.batchproof]\n", b"select = 1\n", b"\xf0\x9f\x98\x80", b"async ",
    b"\\\n", b";", b"x = ",
]  # fmt: skip


@st.composite
def mutated(draw, content):
    """The content with a few stretches cut out, doubled, or replaced by something awkward."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        piece = draw(st.sampled_from([*PIECES, b"", content[start:end] * 2]))
        content = content[:start] + piece + content[end:]
    return content


FILES = st.one_of(
    st.tuples(st.just("a.py"), st.binary(max_size=80)),
    st.tuples(st.just("a.py"), mutated(CODE)),
    st.tuples(st.just("a.py"), mutated(PYTHON)),
    st.tuples(st.just("a.ipynb"), st.binary(max_size=80)),
    st.tuples(st.just("a.ipynb"), mutated(NOTEBOOK)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=400)
@given(file=FILES)
def test_no_file_crashes_an_audit(folder, file):
    name, content = file
    report = audit_text(folder / name, content, Settings(folder, likely=True), analyse=analyse)
    assert not [notice for notice in report.notices if "bug of batchproof" in notice.reason]
    assert all("\n" not in str(notice) for notice in report.notices)
    lines = content.count(b"\n") + content.count(b"\r") + 1
    for located in report.findings:
        assert 1 <= located.place.line <= located.end_line <= lines
        assert 1 <= located.finding.column <= len(located.excerpt) + 1
    for write in FORMATS.values():
        write(report).encode(errors="replace")


@settings(max_examples=200)
@given(file=FILES, unsafe=st.booleans())
def test_a_fix_leaves_a_file_that_parses_and_a_second_run_nothing_to_fix(folder, file, unsafe):
    name, content = file
    report = audit_text(folder / name, content, Settings(folder), analyse=analyse)
    left, fixed = fix_report(report, unsafe=unsafe, content=content, analyse=analyse)
    for one in fixed:
        parse(read_document(folder / name, content=one.after).text)
        one.diff()
        assert len(left.findings) < len(report.findings)
        again = Report((one.result,), report.settings)
        assert fix_report(again, unsafe=unsafe, content=one.after, analyse=analyse)[1] == []


@given(content=st.one_of(st.binary(max_size=60), mutated(PYPROJECT)))
def test_a_pyproject_is_read_or_refused_in_one_line(folder, content):
    (folder / "pyproject.toml").write_bytes(content)
    try:
        read_settings([folder], folder)
        refusal = ""
    except SettingError as error:
        refusal = str(error)
    (folder / "pyproject.toml").unlink()
    assert "\n" not in refusal
