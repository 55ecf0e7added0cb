"""The wheel alone, with none of its extras: each command works, or says which extra it needs."""

import pytest

from command_line import shell

HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numpy", "safetensors", "jaxtyping", "sklearn"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from batchproof.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["demo"], "demo"),
        (["train", "lenet5"], "torch"),
        (["train", "lenet5", "--help"], "torch"),
        (["evaluate", "run"], "torch"),
        (["check", "probe.py:step"], "torch"),
    ],
)
def test_a_command_that_needs_an_extra_says_so_in_one_line(tmp_path, arguments, extra):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(
        '{"info": {"recipe": "lenet5", "settings": {}, "options": {}}}'
    )
    ended = shell("-c", HIDING, *arguments, cwd=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"batchproof: {arguments[0]} needs ")
    assert ended.err.endswith(f'is not installed: pip install "batchproof[{extra}]"\n')
    assert ended.err.count("\n") == 1


def test_what_needs_no_extra_works_without(tmp_path):
    for arguments in (["--help"], ["recipe", "list"], ["explain", "mean"], ["check", "--example"]):
        ended = shell("-c", HIDING, *arguments, cwd=tmp_path)
        assert (ended.status, ended.err) == (0, "")
    assert (tmp_path / "probe.py").is_file()


NAMES = """
import batchproof
for name in batchproof.__all__:
    try:
        getattr(batchproof, name)
    except ModuleNotFoundError as error:
        missing = error.name.partition(".")[0]
        says = f"batchproof.{name} needs {missing}, which is not installed: "
        assert str(error) == says + 'pip install "batchproof[torch]"', error
        print(name)
try:
    from batchproof import Meter
except ImportError as error:
    print(error)
"""


def test_every_name_that_needs_an_extra_says_which(tmp_path):
    ended = shell("-c", HIDING.partition("from batchproof")[0] + NAMES, cwd=tmp_path)
    *names, imported = ended.out.splitlines()
    assert ended.err == ""
    assert {"Mean", "Meter", "Step", "Trainer", "check_step", "exact"} <= set(names)
    assert imported.startswith("batchproof.Meter needs ")


PACKAGES = """
import batchproof
from importlib import import_module
for name in sorted(batchproof._PACKAGES):
    try:
        package = import_module(f"batchproof.{name}")
        for public in getattr(package, "__all__", ()):
            getattr(package, public)
        print(name, "works")
    except ModuleNotFoundError as error:
        print(name, "says", error)
"""


def test_every_public_package_that_needs_an_extra_says_which(tmp_path):
    ended = shell("-c", HIDING.partition("from batchproof")[0] + PACKAGES, cwd=tmp_path)
    assert ended.err == ""
    said = dict(line.split(" ", 1) for line in ended.out.splitlines())
    free = {"audit", "explain", "integrations", "mistakes", "report", "runs"}
    assert {name for name, text in said.items() if text == "works"} == free
    for name in said.keys() - free:
        assert said[name].startswith(f"says batchproof.{name}")
        assert said[name].endswith('which is not installed: pip install "batchproof[torch]"')


FILES = """
import batchproof
from importlib import import_module
batchproof.integrations.ipython
named = [f"integrations.{n}" for n in dir(batchproof.integrations) if not n.startswith("__")]
named += [f"recipes.{name}" for name in batchproof.recipes.names()]
for name in named:
    package, _, file = name.partition(".")
    ways = [
        lambda: getattr(getattr(batchproof, package), file),
        lambda: exec(f"from batchproof.{package} import {file}"),
    ]
    if package == "integrations":
        ways.append(lambda: import_module(f"batchproof.{name}"))
    for way in ways:
        try:
            way()
            print(name, "works")
        except ModuleNotFoundError as error:
            print(name, "says", error)
"""


def test_every_file_for_a_framework_and_every_recipe_says_which_extra_it_needs(tmp_path):
    ended = shell("-c", HIDING.partition("from batchproof")[0] + FILES, cwd=tmp_path)
    assert ended.err == ""
    lines = ended.out.splitlines()
    assert {name for name, text in (line.split(" ", 1) for line in lines) if text == "works"} == {
        "integrations.ipython",
        "integrations.pytest",
    }
    said = [line for line in lines if " says " in line]
    assert len(said) == 3 * 9 + 2 * 6
    for line in said:
        name, _, text = line.partition(" says ")
        assert text == (
            f"batchproof.{name} needs torch, which is not installed: "
            'pip install "batchproof[torch]"'
        )


SCRIPTS = """
import runpy
from importlib import import_module
for name in ("batchproof.check.example", "batchproof.recipes.lenet5", "batchproof.recipes.char_lm"):
    for start in (import_module, lambda name: runpy.run_module(name, run_name="__main__")):
        try:
            start(name)
        except ImportError as error:
            print(error)
"""


def test_scripts_of_the_package_name_the_extra(tmp_path):
    ended = shell("-c", HIDING.partition("from batchproof")[0] + SCRIPTS, cwd=tmp_path)
    assert ended.err == ""
    said = ended.out.splitlines()
    assert len(said) == 6
    for line in said:
        assert 'needs torch, which is not installed: pip install "batchproof[torch]"' in line
