"""A loop is judged with the loaders that its callers give it, whichever of the files is audited."""

import json
from pathlib import Path

import pytest

from batchproof.audit import _callers, audit_paths, audit_text
from batchproof.audit._fixes import fix_report
from batchproof.audit._settings import Settings, read_settings

ENGINE = """
import torch
import torch.nn.functional as F


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)
"""
TRAIN = """
from torch.utils.data import DataLoader
from data import Digits
from engine import evaluate

loader = DataLoader(Digits(), batch_size=64)
for epoch in range(3):
    print(evaluate(model, loader))
"""
FULL = TRAIN.replace("batch_size=64", "batch_size=64, drop_last=True")
BETWEEN = """
from engine import evaluate


class Trainer:
    def __init__(self, model, loader):
        self.model, self.loader = model, loader

    def run(self):
        return evaluate(self.model, self.loader)
"""
SCRIPT = """
from torch.utils.data import DataLoader
from trainer import Trainer

if __name__ == "__main__":
    print(Trainer(model, DataLoader(data, batch_size=64)).run())
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Write files, and audit from their folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()

    def write(**files):
        for name, text in files.items():
            Path(f"{name}.py").write_text(text)

    return write


def found(*names, **options):
    """Return what an audit of some paths reports."""
    options = {"cached": False, **options}
    paths = [Path(name) for name in names]
    return audit_paths(paths, read_settings(paths, Path.cwd()), **options)


def places(report):
    """Return path, line, name and grade of each finding."""
    items = [item.finding for item in report.findings]
    return [(f.path, f.line, f.name, f.grade) for f in items]


EXPECTED = [("engine.py", 12, "mean-of-batch-means", "sure")]


@pytest.mark.parametrize("names", [["."], ["engine.py", "train.py"], ["engine.py"]])
def test_a_loop_is_judged_with_the_loader_of_its_caller(names, tree):
    tree(engine=ENGINE, train=TRAIN)
    report = found(*names)
    assert places(report) == EXPECTED
    (item,) = report.findings
    assert item.finding.evidence == (
        "cross_entropy (line 11) is a mean over one batch",
        "the loader at line 6 of train.py has no drop_last: its last batch may be smaller",
    )
    assert item.proof == "batchproof watch train.py"
    assert not report.notices


def test_only_the_files_that_were_named_are_reported(tree):
    tree(engine=ENGINE, train=TRAIN)
    assert places(found("train.py")) == []


@pytest.mark.parametrize("names", [["."], ["engine.py"]])
def test_a_caller_whose_batches_are_equal_shows_nothing(names, tree):
    tree(engine=ENGINE, train=FULL)
    assert places(found(*names)) == []


@pytest.mark.parametrize("names", [["."], ["engine.py"]])
def test_a_caller_may_call_through_another_file(names, tree):
    tree(engine=ENGINE, trainer=BETWEEN, main=SCRIPT)
    report = found(*names)
    assert places(report) == EXPECTED
    assert "line 6 of main.py" in report.findings[0].finding.evidence[1]


def test_several_callers_and_the_file_itself_give_one_finding(tree):
    tree(engine=ENGINE, train=TRAIN, again=TRAIN, full=FULL)
    settings = Settings(Path.cwd(), likely=True)
    assert places(audit_paths([Path()], settings, cached=False)) == EXPECTED


def test_files_that_import_each_other_give_one_finding(tree):
    tree(engine=f"from train import loader\n{ENGINE}", train=TRAIN)
    assert places(found(".")) == [("engine.py", 13, "mean-of-batch-means", "sure")]


def test_several_processes_find_the_same(tree):
    tree(engine=ENGINE, train=TRAIN)
    assert places(found(".", processes=2)) == EXPECTED


def test_a_cached_caller_shows_the_same_until_it_changes(tree, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    tree(engine=ENGINE, train=TRAIN)
    for names in (["."], ["."], ["engine.py"], ["engine.py"]):
        assert places(found(*names, cached=True)) == EXPECTED
    tree(train=FULL)
    assert places(found("engine.py", cached=True)) == places(found(".", cached=True)) == []
    tree(train=TRAIN)
    assert places(found(".", cached=True)) == EXPECTED


ALLOWED = ENGINE.replace(
    "len(loader)\n", "len(loader)  # batchproof: allow[mean-of-batch-means] known\n"
)


@pytest.mark.parametrize("names", [["."], ["engine.py"]])
def test_a_comment_allows_what_a_caller_shows(names, tree):
    tree(engine=ALLOWED, train=TRAIN)
    assert places(found(*names)) == []


SUM = ENGINE.replace("(model(x), y)", "(model(x), y, reduction='sum')").replace(
    "len(loader)\n", "len(loader.dataset)  # batchproof: allow[divisor-not-seen] known\n"
)


@pytest.mark.parametrize("names", [["."], ["engine.py"]])
def test_a_comment_that_callers_alone_use_is_unused_without_them(names, tree):
    tree(engine=SUM, train=FULL)
    assert places(found(*names)) == []
    tree(train=TRAIN)
    assert places(found(*names)) == [("engine.py", 12, "unused-allowance", "sure")]


def test_a_comment_is_not_called_unused_where_callers_are_not_looked_at(tree, monkeypatch):
    tree(engine=SUM, train=TRAIN)
    settings = Settings(Path.cwd())
    assert not audit_text(Path("engine.py"), SUM, settings, callers=False).findings
    monkeypatch.setattr(_callers, "MOST", 1)
    assert not found("engine.py").findings


def test_settings_apply_to_the_file_that_holds_the_place(tree):
    tree(engine=ENGINE, train=TRAIN)
    table = '[tool.batchproof.audit]\nper-file-ignores = {"engine.py" = ["mean-of-batch-means"]}\n'
    Path("pyproject.toml").write_text(table)
    assert places(found(".")) == []


def test_lines_of_a_notebook_that_calls_are_named_by_cell(tree):
    tree(engine=ENGINE)
    cells = [{"cell_type": "code", "source": text, "metadata": {}, "outputs": []} for text in
             ("import torch\n", TRAIN.lstrip())]  # fmt: skip
    Path("run.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}))
    (item,) = found(".").findings
    assert "the loader at cell 2:5 of run.ipynb has no drop_last" in item.finding.evidence[1]


def test_what_is_not_saved_yet_is_what_callers_are_followed_into(tree):
    tree(engine="", train=TRAIN)
    report = audit_text(Path("engine.py"), f"\n\n{ENGINE}", Settings(Path.cwd()))
    assert places(report) == [("engine.py", 14, "mean-of-batch-means", "sure")]


@pytest.mark.parametrize("names", [["."], ["engine.py"]])
def test_what_a_caller_shows_is_fixed_and_gone(names, tree):
    tree(engine=ENGINE, train=TRAIN)
    report, (fixed,) = fix_report(found(*names), unsafe=True)
    assert report.findings == []
    fixed.write()
    assert "* y.size(0)" in Path("engine.py").read_text()
    assert places(found(".")) == []


def test_a_caller_that_is_broken_or_gone_is_no_notice_of_a_file_it_calls(tree):
    tree(engine=ENGINE, train=f"{TRAIN}\ndef (")
    Path("link.py").symlink_to("nowhere.py")
    report = found("engine.py")
    assert not report.notices
    assert places(report) == EXPECTED


def test_a_package_is_led_to_by_its_name_and_by_dots(tree):
    Path("engines").mkdir()
    tree(**{"engines/__init__": ENGINE, "train": TRAIN.replace("from engine ", "from engines ")})
    expected = [("engines/__init__.py", *EXPECTED[0][1:])]
    assert places(found("engines/__init__.py")) == expected
    tree(**{"train": "", "engines/run": TRAIN.replace("from engine ", "from . ")})
    assert places(found("engines/__init__.py")) == expected
