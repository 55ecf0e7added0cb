"""The examples in docstrings run, and their arguments are those that there are."""

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import batchproof

SKIPPED = ("batchproof.integrations.", "batchproof.__main__")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(batchproof.__path__, "batchproof.")
    if not module.name.startswith(SKIPPED)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path, monkeypatch) -> None:
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_examples_have_the_heading_that_the_reference_reads() -> None:
    root = Path(batchproof.__path__[0])
    texts = {path: path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    heading = re.compile(r"^ *Example:$", re.MULTILINE)
    assert [path.name for path, text in texts.items() if heading.search(text)] == []


def documented(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The names under "Args:" in a docstring."""
    _, _, section = (ast.get_docstring(node) or "").partition("Args:\n")
    lines = section.partition("\n\n")[0].splitlines()
    return {name for line in lines for name in re.findall(r"^    \*{0,2}(\w+):", line)}


def parameters(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The names that a function takes, or a class when it is made."""
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        fields = {
            n.target.id
            for n in node.body
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        return fields.union(*map(parameters, made))
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return {arg.arg for arg in [*named, node.args.vararg, node.args.kwarg] if arg}


def test_only_what_is_a_parameter_is_documented_as_one() -> None:
    stale = []
    for path in Path(batchproof.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                stale += [
                    f"{path.name}: {node.name}: {n}" for n in documented(node) - parameters(node)
                ]
    assert not stale
