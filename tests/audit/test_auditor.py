"""One file at a time: limits, the cache, several processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import audit_rule
from batchproof.audit._audit import audit_paths
from batchproof.audit._auditor import Auditor
from batchproof.audit._cache import Cache, cache_place
from batchproof.audit._settings import Settings


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


class Counting:
    """A rule that counts how often it is asked."""

    def __init__(self):
        self.paths = []

    def __call__(self, source, path, project):
        self.paths.append(path)
        return audit_rule.analyse(source, path, project)


def audit(root, analyse, **options):
    report = audit_paths([Path()], Settings(root), analyse=analyse, processes=1, **options)
    return [(f.finding.code, f.finding.path, f.place.line) for f in report.findings]


# limits


def test_a_file_that_takes_too_long_is_left_and_timers_are_as_before(tree):
    (tree / "a.py").write_text("slow()\n")
    former = signal.getsignal(signal.SIGPROF)
    timer = signal.getitimer(signal.ITIMER_PROF)
    auditor = Auditor(audit_rule.analyse, Settings(tree), Cache(None), seconds=0.2)
    (notice,) = auditor.file(Path("a.py")).notices
    assert str(notice) == "a.py: took longer than 0.2 seconds to audit"
    assert signal.getsignal(signal.SIGPROF) is former
    left = signal.getitimer(signal.ITIMER_PROF)
    assert left[1] == timer[1]
    assert (left[0] > 0) == (timer[0] > 0)


def test_text_that_is_decoded_already_is_not_decoded_again(tree):
    auditor = Auditor(audit_rule.analyse, Settings(tree), Cache(None))
    audited = auditor.text(Path("a.py"), "# coding: latin-1\nbare('变')\n")
    assert [f.finding.end_column for f in audited.findings] == [10]


# the cache


def test_a_file_that_did_not_change_is_not_analysed_again(tree):
    (tree / "a.py").write_text("bare(1)  # why\nmaybe(2)\nwrong(3)\n")
    (tree / "b.py").write_text("x = 1\n")
    first = Counting()
    found = audit(tree, first)
    assert first.paths == ["a.py", "b.py"]
    second = Counting()
    assert audit(tree, second) == found
    assert second.paths == []
    (tree / "a.py").write_text("\nbare(1)\n")
    third = Counting()
    assert audit(tree, third) == [("BP205", "a.py", 2)]
    assert third.paths == ["a.py"]


def test_comments_and_settings_count_though_findings_are_kept(tree):
    (tree / "a.py").write_text("bare(1)  # noqa: BP205\nwrong(1)\n")
    assert audit(tree, Counting()) == [("BP401", "a.py", 2)]
    counting = Counting()
    settings = Settings(tree).over(ignore=["BP401"])
    report = audit_paths([Path()], settings, analyse=counting, processes=1)
    assert (report.findings, counting.paths) == ([], [])


def test_a_change_in_a_file_that_was_followed_counts(tree):
    (tree / "a.py").write_text("import b\nfollow(b)\n")
    (tree / "b.py").write_text("no\n")
    assert audit(tree, Counting()) == []
    (tree / "b.py").write_text("yes\n")
    assert audit(tree, Counting()) == [("BP301", "a.py", 2)]
    (tree / "b.py").unlink()
    assert audit(tree, Counting()) == []


def test_what_could_not_be_read_in_part_is_said_again(tree):
    cells = [{"cell_type": "code", "source": [text]} for text in ("x = (", "bare(1)")]
    (tree / "n.ipynb").write_text(json.dumps({"cells": cells}))
    said = []
    for _ in range(2):
        report = audit_paths([Path()], Settings(tree), analyse=audit_rule.analyse)
        said.append(([str(n) for n in report.notices], [f.place for f in report.findings]))
    assert said[0] == said[1]
    assert said[0][0]


def test_the_cache_is_a_folder_that_git_ignores_or_where_the_user_has_caches(tree, monkeypatch):
    (tree / "a.py").write_text("bare(1)\n")
    audit(tree, Counting())
    assert (tree / ".batchproof_cache/.gitignore").read_text() == "*\n"
    assert json.loads((tree / ".batchproof_cache/audit.json").read_text())["files"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / "caches"))
    assert cache_place(tree).parent == tree / "caches/batchproof"
    audit(tree, Counting())
    assert cache_place(tree).exists()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_place(tree).parent == tree / ".batchproof_cache"


def test_without_the_cache_nothing_is_kept(tree):
    (tree / "a.py").write_text("bare(1)\n")
    audit(tree, Counting(), cached=False)
    assert not (tree / ".batchproof_cache").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"BP205"', "[1]"),
        lambda text: text.replace('"findings"', '"foundings"'),
        lambda text: text.replace('"line":1', '"line":"one"'),
        lambda text: text.replace('"version"', '"former"'),
        lambda text: text.replace('"followed":{}', '"followed":[1]'),
        lambda text: json.dumps({**json.loads(text), "version": "other"}),
        lambda text: json.dumps({**json.loads(text), "files": [1]}),
        lambda text: json.dumps(
            {**json.loads(text), "files": dict.fromkeys(json.loads(text)["files"], 1)}
        ),
    ],
)
def test_a_damaged_cache_counts_as_none(tree, damage):
    (tree / "a.py").write_text("bare(1)\n")
    found = audit(tree, Counting())
    place = tree / ".batchproof_cache/audit.json"
    place.write_text(damage(place.read_text()))
    counting = Counting()
    assert audit(tree, counting) == found
    assert counting.paths == ["a.py"]


def test_a_cache_that_cannot_be_written_is_not(tree):
    (tree / "a.py").write_text("bare(1)\n")
    (tree / ".batchproof_cache").write_text("a file")
    assert audit(tree, Counting()) == [("BP205", "a.py", 1)]


# several processes


def many(root, count=150, **special):
    for i in range(count):
        (root / f"m{i:03}.py").write_text("bare(1)\n" if i % 50 == 0 else "x = 1\n")
    for name, text in special.items():
        (root / f"{name}.py").write_text(text)


def test_several_processes_find_what_one_does_and_keep_it(tree):
    many(tree, m010="wrong(1)\n", m020="x = (\n")
    settings = Settings(tree)
    one = audit_paths([Path()], settings, analyse=audit_rule.analyse, cached=False, processes=1)
    several = audit_paths([Path()], settings, analyse=audit_rule.analyse, processes=2)
    assert several == one
    counting = Counting()
    audit(tree, counting)
    assert counting.paths == []


def test_a_file_that_ends_its_process_costs_itself_alone(tree):
    many(tree, m010="kills()\n", m080="kills()\n")
    report = audit_paths(
        [Path()], Settings(tree), analyse=audit_rule.analyse, cached=False, processes=2
    )
    assert [str(notice) for notice in report.notices] == [
        "m010.py: ended the process that read it",
        "m080.py: ended the process that read it",
    ]
    assert [f.finding.path for f in report.findings] == ["m000.py", "m050.py", "m100.py"]
    assert len(report.files) == 150


# what an audit loads


def test_an_audit_loads_neither_torch_nor_what_it_does_not_need(tree):
    code = (
        "import sys, batchproof.cli, batchproof.audit._audit, batchproof.audit._formats\n"
        "heavy = {'torch', 'numpy', 'pygls', 'multiprocessing', 'rich'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        timeout=60, env=os.environ,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("", 0)
