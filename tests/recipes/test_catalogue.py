import ast
import errno
import re
from pathlib import Path

import pytest

from batchproof import SettingError
from batchproof.recipes import copy, names, source, summary
from batchproof.recipes._catalogue import load_script

RECIPES = [
    "char_lm",
    "grpo_toy",
    "lenet5",
    "sequence_regression",
    "softmax_regression",
    "tabular_weighted",
]


def test_every_loop_that_people_are_taught_is_a_recipe():
    assert names() == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_script_of_at_most_150_lines(name):
    assert len(source(name).read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", RECIPES)
def test_its_docstring_holds_the_command_and_a_number_to_expect(name):
    docstring = ast.get_docstring(ast.parse(source(name).read_text()))
    files = "" if name == "grpo_toy" else " --data DIR"
    assert f"    batchproof train {name}{files} " in docstring
    assert re.search(r"Expect .*\d", docstring, re.DOTALL)


@pytest.mark.parametrize("name", RECIPES)
def test_its_first_line_fits_in_a_list(name):
    assert 10 < len(summary(name)) <= 72


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(SettingError, match=r"no recipe 'lenet'; the recipes are char_lm, grpo_toy"):
        source("lenet")


def test_a_copy_is_the_recipe_to_the_byte(tmp_path):
    copy("lenet5", tmp_path / "mine.py")
    assert (tmp_path / "mine.py").read_bytes() == source("lenet5").read_bytes()


def test_a_copy_never_overwrites(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("my work")
    with pytest.raises(SettingError, match=r"mine\.py exists already; give the copy another name"):
        copy("lenet5", mine)
    assert mine.read_text() == "my work"


def test_a_copy_that_the_disk_refuses_leaves_nothing(tmp_path, monkeypatch):
    mine = tmp_path / "mine.py"
    opened = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opening(path, mode="r", **more):
        file = opened(path, mode, **more)
        return Full(file) if mode == "xb" else file

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(OSError, match="No space left"):
        copy("lenet5", mine)
    assert not mine.exists()


def test_a_script_without_main_is_refused(tmp_path):
    script = tmp_path / "empty.py"
    script.write_text("")
    with pytest.raises(SettingError, match=r"empty\.py has no function main"):
        load_script(script)
    with pytest.raises(SettingError, match=r"gone\.py is not a Python file"):
        load_script(tmp_path / "gone.py")
