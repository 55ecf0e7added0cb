"""Imports point down only, and importing the library loads no torch."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import batchproof

SOURCE = Path(batchproof.__file__).parent
LEVEL = {
    "_errors": 0,
    "_extras": 0,
    "_plan": 0,
    "_files": 0,
    "_random": 0,
    "_trees": 0,
    "_version": 0,
    "mistakes": 0,
    "page": 1,
    "ranks": 1,
    "shell": 2,
    "mean": 2,
    "runs": 2,
    "data": 2,
    "meter": 3,
    "step": 3,
    "train": 4,
    "check": 4,
    "watch": 4,
    "audit": 4,
    "integrations": 5,
    "recipes": 5,
    "explain": 5,
    "report": 5,
    "cli": 6,
    "__main__": 7,
}
FILES = sorted(SOURCE.rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The packages of batchproof that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
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


@pytest.mark.parametrize("path", [f for f in FILES if f != SOURCE / "__init__.py"], ids=str)
def test_imports_point_down_only(path: Path) -> None:
    package = package_of(path)
    # rooms of the ground may know each other, and a test below refuses circles
    above = {
        other
        for other in imports_of(path)
        if other != package and LEVEL[other] >= max(LEVEL[package], 1)
    }
    assert not above, f"{path.relative_to(SOURCE)} ({package}) imports {sorted(above)}"


def imports_the_whole(node: ast.AST) -> bool:
    """Return whether a statement imports batchproof, and with it the rooms above."""
    match node:
        case ast.Import():
            return any(alias.name == "batchproof" for alias in node.names)
        case ast.ImportFrom(module="batchproof"):
            return any(alias.name not in LEVEL for alias in node.names)
    return False


def test_no_room_imports_the_whole_package() -> None:
    # recipes and the example are scripts for users to copy, so they import what a user imports
    scripts = {path for path in FILES if package_of(path) == "recipes"} | {
        SOURCE / "check" / "example.py"
    }
    # only a text with the bare name is worth parsing
    wrong = [
        str(path.relative_to(SOURCE))
        for path in FILES
        if path.parent != SOURCE and path not in scripts
        if re.search(r"\bbatchproof\b(?!\.)", text := path.read_text())
        if any(map(imports_the_whole, ast.walk(ast.parse(text))))
    ]
    assert not wrong, "import the names from the room that holds them"


@pytest.mark.parametrize(
    ("code", "whole"),
    [
        ("import batchproof", True),
        ("import torch, batchproof as bp", True),
        ("from batchproof import Mean", True),
        ("from batchproof import __version__", True),
        ("from batchproof import page, ranks", False),
        ("import batchproof.mean", False),
        ("from batchproof.mean import Mean", False),
    ],
)
def test_an_import_of_the_whole_package_is_seen(code: str, whole: bool) -> None:
    assert any(map(imports_the_whole, ast.walk(ast.parse(code)))) == whole


def test_the_package_itself_imports_rooms_for_type_checkers_alone() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    typed = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    tree.body.remove(typed)
    rooms = {name for name, level in LEVEL.items() if level}
    imports = [
        name.removeprefix("batchproof.").split(".")[0]
        for node in tree.body
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    assert not rooms & set(imports)
    assert set(imports) & set(LEVEL) == {"_extras", "_version"}


def test_every_package_has_a_level() -> None:
    packages = {p.name for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    files = {p.stem for p in SOURCE.glob("*.py")} - {"__init__"}
    assert packages | files == LEVEL.keys()


def test_the_house_is_described_as_it_is() -> None:
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    rooms: dict[str, int] = {}
    floor = ""
    for line in text.split("\n## ")[0].splitlines():
        if cells := re.fullmatch(r"\| (\d?) ?\| (.*) \| .* \|", line):
            floor = cells[1] or floor
            rooms |= dict.fromkeys(re.findall(r"`(\w+)`", cells[2]), int(floor))
    assert rooms == {name: level for name, level in LEVEL.items() if name != "__main__"}
    missing = [
        place
        for place in re.findall(r"`([\w/]+(?:\.py|/))`", text)
        if not place.startswith("__") and not (SOURCE / place).exists()
    ]
    assert not missing


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_files() -> dict[Path, set[Path]]:
    """For each file the files that it imports when it is imported, or when it runs."""
    by_module = {module_of(path): path for path in FILES}
    graph: dict[Path, set[Path]] = {}
    for path in FILES:
        graph[path] = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name for name in inner if name in by_module] or [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            graph[path] |= {by_module[name] for name in names if name in by_module} - {path}
    return graph


GRAPH = imported_files()


def test_no_file_imports_itself_in_a_circle() -> None:
    inner = {path: {t for t in GRAPH[path] if t.name != "__init__.py"} for path in FILES}
    circles = []
    for start in FILES:
        seen: set[Path] = set()
        waiting = list(inner[start])
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                waiting += inner[path]
        if start in seen:
            circles.append(str(start.relative_to(SOURCE)))
    assert not circles


def test_a_small_file_has_more_than_one_importer() -> None:
    importers = {path: sum(path in targets for targets in GRAPH.values()) for path in FILES}
    free = {"rules", "recipes", "cli", "integrations"}
    small = [
        str(path.relative_to(SOURCE))
        for path in FILES
        if path.name not in {"__init__.py", "__main__.py"}
        and path.read_text().count("\n") < 40
        and importers[path] == 1
        and free.isdisjoint(path.relative_to(SOURCE).parts)
    ]
    assert not small


@pytest.mark.parametrize("path", FILES, ids=str)
def test_functions_and_classes_stay_small(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno <= 60, f"{path.name}: {node.name}"
        if isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            assert len(methods) <= 15, f"{path.name}: {node.name} has {len(methods)} methods"


# what says which process this is: calls of torch.distributed, and what launchers set
WHO_AM_I = {"get_rank", "get_world_size", "get_node_local_rank", "is_initialized"}
LAUNCHERS = re.compile("(LOCAL_|GROUP_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|TORCHELASTIC_.*")


def asks_which_process(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Attribute(attr="cuda")):
            return False
        case ast.Attribute(attr=name) | ast.alias(name=name):
            return name in WHO_AM_I
        case (
            ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name)))
            | ast.Call(
                func=ast.Attribute(attr="getenv")
                | ast.Attribute(value=ast.Attribute(attr="environ")),
                args=[ast.Constant(value=str(name)), *_],
            )
        ):
            return LAUNCHERS.fullmatch(name) is not None
    return False


def test_only_ranks_asks_which_process_this_is() -> None:
    # only a text with one of these names is worth parsing
    names = re.compile("|".join((*WHO_AM_I, "environ", "getenv")))
    asking = {
        str(path.relative_to(SOURCE))
        for path in FILES
        if package_of(path) != "ranks" and names.search(text := path.read_text())
        if any(map(asks_which_process, ast.walk(ast.parse(text))))
    }
    assert not asking


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['RANK']",
        "os.environ.get('WORLD_SIZE', '1')",
        "os.getenv('LOCAL_RANK')",
        "from torch.distributed import get_rank",
        "torch.distributed.is_initialized()",
    ],
)
def test_such_a_question_is_seen(code: str) -> None:
    assert any(map(asks_which_process, ast.walk(ast.parse(code))))


def test_nothing_is_named_for_being_a_heap() -> None:
    heaps = {"utils", "common", "helpers", "base", "core"}
    assert not [path for path in FILES if path.stem.strip("_") in heaps]


@pytest.mark.parametrize(
    "code",
    [
        "import batchproof",
        "import batchproof.cli",
        "import batchproof.explain",
        "import batchproof.integrations.pytest",
        "import batchproof.report",
    ],
)
def test_importing_loads_no_torch(code: str) -> None:
    after = f"{code}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", after], check=False, timeout=120).returncode == 0
