"""Imports between the files of a tree are followed by reading, never by importing."""

import ast

import pytest

from batchproof.audit._analyse import analyse
from batchproof.audit._project import Project, Source
from batchproof.audit._reading import UnreadableError, decode, parse, read_bytes


@pytest.fixture
def tree(tmp_path):
    def write(name: str, text: str):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_an_absolute_import_is_found_beside_the_file_above_it_and_below_src(tree, tmp_path):
    train = tree("pkg/train.py", "")
    expected = {
        "pkg.net": tree("pkg/net.py", "x = 1"),
        "data": tree("data/__init__.py", ""),
        "beside": tree("pkg/beside.py", ""),
        "lib": tree("src/lib.py", ""),
    }
    project = Project(tmp_path)
    for name, path in expected.items():
        assert project.module(name, train).path == path
    assert project.module("torch", train) is None


def test_a_relative_import_goes_up_one_folder_for_each_dot(tree, tmp_path):
    train = tree("a/b/train.py", "")
    net, init = tree("a/net.py", ""), tree("a/b/__init__.py", "")
    project = Project(tmp_path)
    assert project.module("..net", train).path == net
    assert project.module(".", train).path == init
    assert project.module("......net", train) is None


def test_nothing_outside_the_tree_is_followed(tree, tmp_path):
    tree("outside.py", "")
    train = tree("inside/train.py", "")
    (tmp_path / "inside/link.py").symlink_to(tmp_path / "outside.py")
    project = Project(tmp_path / "inside")
    assert project.module("outside", train) is None
    assert project.module("link", train) is None
    assert project.module("..outside", train) is None


@pytest.mark.parametrize("name", ["", "a/b", "..\0", "a..b", "1x", "../outside"])
def test_a_name_that_is_none_leads_nowhere(name, tree, tmp_path):
    assert Project(tmp_path).module(name, tree("train.py", "")) is None


def test_a_module_is_never_imported(tree, tmp_path):
    train = tree("train.py", "import evil")
    tree("evil.py", f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert isinstance(Project(tmp_path).module("evil", train).tree, ast.Module)
    assert not (tmp_path / "ran").exists()


def test_a_broken_module_is_none(tree, tmp_path):
    train = tree("train.py", "")
    tree("broken.py", "def (")
    assert Project(tmp_path).module("broken", train) is None


def test_what_was_followed_is_told_through_every_import_and_known_for_changed(tree, tmp_path):
    train, net = tree("train.py", ""), tree("net.py", "")
    loss = tree("loss.py", "a = 1")
    project = Project(tmp_path)
    project.module("net", train)
    project.module("loss", net)
    project.module("later", loss)
    followed = project.followed(train)
    assert set(followed) == {str(train), str(net), str(loss)}
    assert Project(tmp_path).still(followed)
    loss.write_text("a = 2")
    assert not Project(tmp_path).still(followed)
    loss.write_text("a = 1")
    tree("later.py", "")
    assert not Project(tmp_path).still(followed)


def test_only_so_much_is_kept_parsed(tree, tmp_path):
    train = tree("train.py", "")
    for i in range(4):
        tree(f"m{i}.py", "x" * 50)
    project = Project(tmp_path, room=100)
    first = project.module("m0", train)
    assert project.module("m0", train) is first
    for i in range(1, 4):
        project.module(f"m{i}", train)
    assert project.module("m0", train) is not first


def test_columns_are_characters_from_one(tmp_path):
    text = 'x = "é𝄞"; y = f(x)\r\nz = 1\x0c\n'
    source = Source(tmp_path / "a.py", text, parse(text))
    call = source.tree.body[1].value  # type: ignore[attr-defined]
    line, column, end_line, end_column = source.span(call)
    assert source.lines[line - 1][column - 1 : end_column - 1] == "f(x)"
    assert end_line == 1
    assert source.span(source.tree.body[2]) == (2, 1, 2, 6)


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b"x = 1\ny = '\xff'\n", "is not utf-8", 2),
        (b"# coding: latin-2000\n", "unknown encoding", 1),
        (b"# coding: rot13\nx\n", "not a text encoding", 1),
        (b"x = 1\n\0\n", "holds a null byte", 2),
        (b"\xef\xbb\xbf# coding: latin-1\n", "encoding problem", 1),
    ],
)
def test_text_that_does_not_decode_says_where(content, reason, line):
    with pytest.raises(UnreadableError, match=reason) as caught:
        decode(content)
    assert caught.value.line == line


def test_a_coding_line_and_a_bom_are_followed_and_written_again():
    latin = decode("# coding: latin-1\r\nx = 'é'\r\n".encode("latin-1"))
    assert latin.text.endswith("'é'\r\n")
    assert latin.encode(latin.text) == "# coding: latin-1\r\nx = 'é'\r\n".encode("latin-1")
    bom = decode(b"\xef\xbb\xbfx = 1")
    assert bom.text == "x = 1"
    assert bom.encode(bom.text) == b"\xef\xbb\xbfx = 1"


@pytest.mark.parametrize(
    "text", ["(" * 5000, "x = " + "-" * 200_000 + "1", "+".join(["a"] * 200_000), "def f(:"]
)
def test_text_that_does_not_parse_is_a_line_not_a_crash(text):
    with pytest.raises(UnreadableError, match=r"syntax|too deeply"):
        parse(text)


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("""x = f"{d["a"]} b" + "c{" """, """x = f"{d['a']} b" + "c{" """),
        (
            """print(f'{d['a']:.3f}', f'{{ {d['b']}')""",
            """print(f'{d["a"]:.3f}', f'{{ {d["b"]}')""",
        ),
        ("""f"{x:{w["a"]}}" ; y = 1""", """f"{x:{w['a']}}" ; y = 1"""),
        (r"""z = rf"{a["b"]}\d \"" # f"{a["b"]}" """, r"""z = rf"{a['b']}\d \"" """),
    ],
)
def test_quotes_within_the_braces_of_an_f_string_are_read_as_python_312_does(newer, older):
    tree = parse(f"a = 1\n{newer}\nb = 2\n")
    assert ast.dump(tree) == ast.dump(ast.parse(f"a = 1\n{older}\nb = 2\n"))
    (same,) = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)][:1]
    assert newer[same.col_offset :].startswith(("f", "rf"))


def test_a_backslash_within_the_braces_of_an_f_string_is_read(tree):
    source = Source(tree("a.py", ""), "", parse(r"""print(f"{'\n'.join(x)} {loss.item()}")"""))
    assert any(isinstance(n, ast.Attribute) and n.attr == "item" for n in ast.walk(source.tree))


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "large.py").write_bytes(b"x" * 11)
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    for name, reason in [
        ("pipe.py", "not a regular file"),
        ("large.py", "has 11 bytes; at most 10"),
        ("loop.py", "symbolic links"),
        ("gone.py", "no such file"),
        ("", r"is a directory|not a regular file"),
    ]:
        with pytest.raises(UnreadableError, match=reason):
            read_bytes(tmp_path / name, largest=10)


NET = """
from common import *

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x, y):
        ZEROING
        return F.cross_entropy(self.layer(x), y)
"""
TRAIN = """
from net import *

def train(loader):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        loss = model(x, y)
        loss.backward()
        optimizer.step()
"""


@pytest.mark.parametrize(("zeroing", "names"), [("self.zero_grad()", []), ("pass", ["BP115"])])
def test_the_names_of_a_star_import_are_followed(tree, tmp_path, zeroing, names):
    tree("common.py", "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n")
    tree("net.py", NET.replace("ZEROING", zeroing))
    source = Source(tree("train.py", TRAIN), TRAIN, ast.parse(TRAIN))
    assert [f.code for f in analyse(source, "train.py", Project(tmp_path))] == names


LOADERS = """
from torch.utils.data import DataLoader
import torch.nn.functional as F

def loader_of(cfg, data):
    return DataLoader(data, batch_size=cfg.DATA.BATCH_SIZE)
"""
EVALUATE = """
import torch
import torch.nn.functional as F
from config import _C as cfg
from loaders import loader_of

@torch.no_grad()
def evaluate(model, data):
    loader, total = loader_of(cfg, data), 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)
"""


@pytest.mark.parametrize(
    ("sizes", "names"), [(["1"], []), (["8"], ["BP201"]), (["1", "8"], ["BP201"])]
)
def test_a_constant_that_an_imported_file_sets_once_is_followed(tree, tmp_path, sizes, names):
    lines = ["_C = CN()", "_C.DATA = CN()", *(f"_C.DATA.BATCH_SIZE = {n}" for n in sizes)]
    tree("config.py", "\n".join(lines))
    tree("loaders.py", LOADERS)
    source = Source(tree("evaluate.py", EVALUATE), EVALUATE, ast.parse(EVALUATE))
    assert [f.code for f in analyse(source, "evaluate.py", Project(tmp_path))] == names


BASE = """
import torch

class Trainer:
    def evaluate(self, model, data):
        model.eval()
        hits = 0
        for x, y in torch.utils.data.DataLoader(data, batch_size=64):
            hits += (self.outputs(model, x).argmax(1) == y).sum().item()
        return hits
"""
OURS = """
import torch
from base import Trainer
class Ours(Trainer):
    def outputs(self, model, x):
        return model(x)
criterion = torch.nn.MSELoss()
for data in parts:
    Ours().evaluate(model, data)
"""


def test_a_place_in_a_base_class_of_another_file_is_not_reported_here(tree, tmp_path):
    tree("base.py", BASE)
    source = Source(tree("ours.py", OURS), OURS, ast.parse(OURS))
    assert analyse(source, "ours.py", Project(tmp_path)) == []


PARTS = """
from torch.utils.data import DataLoader

def provide(args, data):
    if args.task == "series":
        loader = DataLoader(data, batch_size=args.batch_size, drop_last=FIRST)
        return data, loader
    loader = DataLoader(data, batch_size=args.batch_size, collate_fn=args.collate)
    return data, loader
"""
VALIDATE = """
import numpy as np
import torch
from torch import nn
from parts import provide

def validate(args, model, data):
    data, loader = provide(args, data)
    losses = []
    with torch.no_grad():
        for x, y in loader:
            losses.append(nn.functional.mse_loss(model(x), y).item())
    return np.average(losses)
"""


@pytest.mark.parametrize(("first", "grade"), [("False", "sure"), ("True", "likely")])
def test_a_function_of_another_file_returns_one_of_several_loaders(first, grade, tree, tmp_path):
    tree("parts.py", PARTS.replace("FIRST", first))
    source = Source(tree("validate.py", VALIDATE), VALIDATE, ast.parse(VALIDATE))
    found = analyse(source, "validate.py", Project(tmp_path))
    assert [(f.name, f.grade) for f in found] == [("mean-of-batch-means", grade)]


BATCHES = """
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

def pad_targets(samples):
    inputs, targets = zip(*samples)
    return torch.stack(inputs), pad_sequence(targets)
"""
OF_BATCHES = """
from torch.nn import functional as F
from batches import DataLoader, pad_targets

def train(model, data, optimizer):
    for x, y in DataLoader(data, batch_size=8, collate_fn=pad_targets):
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""


def test_a_loader_and_a_collator_of_another_file_are_followed(tree, tmp_path):
    tree("batches.py", BATCHES)
    source = Source(tree("train.py", OF_BATCHES), OF_BATCHES, ast.parse(OF_BATCHES))
    findings = analyse(source, "train.py", Project(tmp_path))
    assert [(f.name, f.line) for f in findings] == [("padding-counted", 7)]


LOSSES = """
from torch import nn

class Losses:
    def __init__(self, size_average=SIZES, batch_average=True):
        self.size_average = size_average
        self.batch_average = batch_average

    def entropy(self, scores, target):
        n = scores.size(0)
        loss = nn.CrossEntropyLoss(size_average=self.size_average)(scores, target)
        if self.batch_average:
            loss /= n
        return loss
"""
OF_LOSSES = """
from losses import Losses

def train(model, loader, optimizer):
    criterion = Losses().entropy
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""


@pytest.mark.parametrize(("average", "lines"), [("True", [13]), ("False", [])])
def test_settings_of_an_object_choose_its_reduction(tree, tmp_path, average, lines):
    tree("losses.py", LOSSES.replace("SIZES", average))
    source = Source(tree("train.py", OF_LOSSES), OF_LOSSES, ast.parse(OF_LOSSES))
    findings = analyse(source, "train.py", Project(tmp_path))
    assert [f.line for f in findings if f.name == "divided-twice"] == lines
