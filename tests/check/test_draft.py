"""Probes drafted from functions of a file that is read and not imported."""

import sys
from pathlib import Path

import pytest

from batchproof import ProbeError
from batchproof.check import run_probe, write_draft

TEXT = """import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, features=6, hidden=8):
        super().__init__()
        self.a = nn.Linear(features, hidden)
        self.b = nn.Linear(hidden, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


def whole(model, optimizer, batches, device):
    optimizer.zero_grad()
    count, total = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x.to(device)), y.to(device), reduction="sum") / count
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def windows(model, optimizer, train_loader, accumulate, epoch):
    for i, (x, y) in enumerate(train_loader):
        (F.cross_entropy(model(x), y) / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()


def plain(model, optimizer, loader):
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def evaluate(net, val_loader, criterion):
    with torch.no_grad():
        return sum(criterion(net(x), y).item() for x, y in val_loader) / len(val_loader)


def strange(model, optimizer, loader, args):
    optimizer.step()


def silent(model, loader):
    print(model, loader)


def many(model, optimizer, loader):
    for i, (x, y) in enumerate(loader):
        F.cross_entropy(model(x), y).backward()
        if i % EVERY == 0:
            optimizer.step()


class Trainer:
    def fit(self):
        pass
"""


def place(word: str) -> str:
    """Return train.py:LINE of the line that holds a word."""
    return f"train.py:{next(i for i, t in enumerate(TEXT.splitlines(), 1) if word in t)}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "train.py").write_text(TEXT)
    yield tmp_path
    for name in ("train", "probe", "part", "part.train"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("total = sum", ()),
        ("% accumulate", ("mean-of-micro-batch-means",)),
        ("criterion(net(x)", ("mean-of-micro-batch-means",)),
    ],
)
def test_a_draft_runs_and_says_what_the_function_does(here, word, names):
    written = write_draft(place(word))
    report = run_probe(f"{written}:probe")
    assert report.names == names
    assert report.ok is not bool(names)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("def plain", "plain of train.py steps after every batch"),
        ("def strange", "nothing says what args is"),
        ("def silent", "silent of train.py returns nothing"),
        ("EVERY", "steps every EVERY batches"),
        ("def fit", "is in a method of Trainer"),
        ("import torch", "is not in a function"),
    ],
)
def test_what_a_check_cannot_call_is_refused_in_one_line(here, word, reason):
    with pytest.raises(ProbeError, match=reason) as error:
        write_draft(place(word))
    assert "\n" not in str(error.value)
    assert not Path("probe.py").exists()


def test_the_file_is_read_and_not_imported(here):
    (here / "train.py").write_text(f"{TEXT}\n\nraise SystemExit('imported')\n")
    assert write_draft(place("def whole")).exists()


def test_a_file_that_trains_when_it_is_imported_is_refused(here):
    (here / "train.py").write_text(f"{TEXT}\nplain(Net(), None, [])\n")
    with pytest.raises(ProbeError, match="does its work when it is imported"):
        write_draft(place("def whole"))


def test_a_model_of_unknown_size_is_refused(here):
    text = TEXT.replace("features=6", "features").replace("nn.Linear(hidden, 3)", "make(hidden)")
    (here / "train.py").write_text(text)
    with pytest.raises(ProbeError, match="can be built and fed from its text alone"):
        write_draft(place("def whole"))


def test_images_have_the_shape_of_their_data_set(here):
    text = TEXT.replace("features=6", "features=784").replace("self.a(x)", "self.a(x.flatten(1))")
    (here / "train.py").write_text(f"DATA = 'MNIST'\n{text}")
    assert "torch.randn(1, 28, 28" in write_draft("train.py:20").read_text()
    assert run_probe("probe.py:probe").ok


def test_a_file_of_a_package_is_imported_by_its_full_name(here):
    (here / "part").mkdir()
    (here / "part/__init__.py").touch()
    (here / "train.py").rename(here / "part/train.py")
    write_draft(f"part/{place('def whole')}")
    assert "from part.train import Net, whole" in Path("probe.py").read_text()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("train.py", "is not a place; expected FILE:LINE"),
        ("none.py:3", "none.py is not a file"),
        ("broken.py:1", "broken.py is not a Python file"),
        ("train.py:9999", "is not in a function"),
    ],
)
def test_a_place_that_cannot_be_read_is_named(here, given, reason):
    (here / "broken.py").write_bytes(b"def \0(")
    with pytest.raises(ProbeError, match=reason):
        write_draft(given)


def test_nothing_is_overwritten(here):
    Path("probe.py").write_text("mine")
    with pytest.raises(ProbeError, match=r"probe\.py exists; choose another name"):
        write_draft(place("def whole"))
    assert Path("probe.py").read_text() == "mine"
