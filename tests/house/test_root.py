"""The top level is a fixed set of files, and no tracked file holds a path of somebody's machine."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import batchproof

ROOT = Path(__file__).resolve().parents[2]
TOP = """
    .ci .github .gitignore .pre-commit-config.yaml .pre-commit-hooks.yaml CHANGELOG.md
    CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md action.yml benchmarks docs examples
    mkdocs.yml pyproject.toml requirements src tests
"""
# a home or temporary folder with a name in it; examples in code write DIR, or a path of their own
MACHINE = re.compile(r"(?<![\w.$/])/(?:home/(?!me/)|root/|tmp/|work/|Users/|private/var/)[A-Za-z]")


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return listing.stdout.splitlines()


def test_nothing_stray_is_tracked_at_the_top() -> None:
    assert {name.split("/")[0] for name in tracked()} <= set(TOP.split())


def test_no_tracked_file_holds_a_path_of_a_machine() -> None:
    paths = []
    for name in tracked():
        path = ROOT / name
        if not path.is_file() or path.resolve() == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if MACHINE.search(line):
                paths.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not paths


def test_the_source_distribution_holds_what_its_tests_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    unread = {".ci", ".github", ".gitignore"}
    assert set(TOP.split()) - unread <= {*included, "pyproject.toml"}


def test_versions_that_are_written_twice_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == batchproof.__version__
    pins = (ROOT / "requirements" / "constraints.txt").read_text()
    (ruff,) = re.findall(r"^ruff==.*$", pins, re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"ruff==[\d.]+", hooks)) == {ruff}
