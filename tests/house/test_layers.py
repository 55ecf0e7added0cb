"""Imports point down only, and importing the library loads no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import batchproof

SOURCE = Path(batchproof.__file__).parent
LEVEL = {
    "_errors": 0,
    "_files": 0,
    "_trees": 0,
    "mistakes": 0,
    "page": 1,
    "ranks": 1,
    "mean": 2,
    "runs": 2,
    "meter": 3,
    "step": 3,
    "data": 3,
    "train": 4,
    "check": 4,
    "watch": 4,
    "audit": 4,
    "integrations": 5,
    "recipes": 5,
    "explain": 5,
    "report": 5,
    "shell": 5,
    "cli": 6,
    "__main__": 7,
}
FILES = sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The packages of batchproof that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for parts in (name.split(".") for name in names):
            if parts[0] == "batchproof" and len(parts) > 1 and parts[1] in LEVEL:
                found.add(parts[1])
    return found


@pytest.mark.parametrize(
    "path", [f for f in FILES if f.parent != SOURCE or f.name.startswith("__main")], ids=str
)
def test_imports_point_down_only(path: Path) -> None:
    package = package_of(path)
    above = {
        other
        for other in imports_of(path)
        if other != package and LEVEL[other] >= LEVEL[package] > 0
    }
    assert not above, f"{path.relative_to(SOURCE)} ({package}) imports {sorted(above)}"


def test_every_package_has_a_level() -> None:
    packages = {p.name for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert packages <= LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno <= 60, f"{path.name}: {node.name}"


@pytest.mark.parametrize(
    "code",
    [
        "import batchproof",
        "import batchproof.cli",
        "import batchproof.explain",
        "import batchproof.integrations.pytest",
    ],
)
def test_importing_loads_no_torch(code: str) -> None:
    after = f"{code}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", after], check=False, timeout=120).returncode == 0
