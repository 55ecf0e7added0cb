"""A variable is named after the value it holds, not after what was done to make it."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchproof

ROOT = Path(batchproof.__file__).parent

ROOMS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)

PARTICIPLES = """
    added answered asked assembled averaged begun built called carried caught changed chosen
    clipped compared completed copied counted described divided done drawn dropped ended
    expected failed fetched flipped followed found given gone held joined judged kept known
    landed left listed located logged looked lost made marked meant measured merged met moved
    named needed noted observed opened ordered parsed picked placed pooled predicted probed
    proved reached received recovered released repeated reported returned said saved
    scaled scheduled seen sent shown sized skipped stacked stepped stopped swapped taken
    told tried turned unknown unpacked validated visited waited wanted wrapped written yielded
"""

# each is a name that others rely on, or says its value in the words of the field
EXCEPTIONS = {
    # one line of a script that users copy: the loss as it is logged
    ("check/example.py", "logged"),
    # a public keyword: the name under which a step logs its loss
    ("integrations/lightning.py", "reported"),
}


def files(room: Path) -> list[Path]:
    """Return the files of a room, which may be a single file."""
    return sorted(room.rglob("*.py")) if room.is_dir() else [room]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def bound_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the names of the parameters and variables of a function."""
    names = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            names.add(node.name)
    # of a pair, left is the side
    return names - {"left"} if "right" in names else names


@pytest.mark.parametrize("room", ROOMS)
def test_no_variable_is_a_bare_participle(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {name}"
        for path in files(ROOT / room)
        for function in functions(path)
        for name in bound_in(function) & set(PARTICIPLES.split())
        if (path.relative_to(ROOT).as_posix(), name) not in EXCEPTIONS
    }
    assert not wrong, "name what the value is"


# each is public, and said by users' code
ATTRIBUTES = {
    ("audit/_finding.py", "meant"),
    ("audit/_reports.py", "meant"),
    ("check/_report/_results.py", "wanted"),
    ("data/_window.py", "drawn"),
    ("runs/_history.py", "stopped"),
    ("step/_verdict.py", "skipped"),
    ("watch/_events.py", "dropped"),
}


def attributes_of(class_: ast.ClassDef) -> set[str]:
    """Return the names of a class's fields, and of the attributes that its methods set."""
    fields = {
        node.target.id
        for node in class_.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return fields | {
        node.attr
        for node in ast.walk(class_)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


@pytest.mark.parametrize("room", ROOMS)
def test_no_attribute_is_a_bare_participle(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}.{name}"
        for path in files(ROOT / room)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
        for name in attributes_of(node)
        if name.strip("_") in PARTICIPLES.split()
        and (path.relative_to(ROOT).as_posix(), name) not in ATTRIBUTES
    }
    assert not wrong, "name what the value is"


def test_a_participle_is_found_wherever_an_attribute_is_set() -> None:
    text = """
class Meter:
    held: int
    def add(self, mean):
        self._pooled = True
"""
    class_ = ast.parse(text).body[0]
    assert isinstance(class_, ast.ClassDef)
    assert attributes_of(class_) == {"held", "_pooled"}


def test_a_participle_is_found_wherever_a_name_is_bound() -> None:
    text = """
def count(given, *, left, right):
    found = [kept for kept in given]
    try:
        pass
    except ValueError as said:
        pass
"""
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert bound_in(function) & set(PARTICIPLES.split()) == {"given", "found", "kept", "said"}
