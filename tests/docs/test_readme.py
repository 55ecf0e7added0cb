"""The commands of the README exist, and do what it says."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from command_line import CommandLine

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINE = re.compile(r"^ {4}(\S.*?)(?:\s{2,}#.*)?$", re.MULTILINE)
COMMANDS = LINE.findall(re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))
# training whole is for the tests of recipes; here one batch of everything
MORE = {"train": ["--dry-run"]}
# the probe that --example writes makes a mistake
FOUND = "check probe"


def test_the_two_commands_come_first_and_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [command.split()[-1] for command in COMMANDS if command.startswith("make ")]
    assert targets == ["demo", "test"] == [command.split()[-1] for command in COMMANDS[:2]]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_extras_to_install_are_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name for command in COMMANDS for name in re.findall(r"\.\[(.*?)\]", command)}
    assert {"torch", "demo"} <= extras <= set(project["optional-dependencies"])


def test_every_command_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CommandLine(capsys)
    ran = []
    for command in COMMANDS:
        program, *words = command.split()
        if program != "batchproof":
            assert program in ("make", "pip"), command
            continue
        # without --data DIR, the data that need no files
        words = [word for word in words if word not in ("--data", "DIR")]
        if words[0] in ("watch", "audit"):
            (tmp_path / "train.py").write_text("print('trained')\n")
            (tmp_path / "src").mkdir(exist_ok=True)
            (tmp_path / "src" / "train.py").write_text("print('trained')\n")
        ended = run(*words, *MORE.get(words[0], []))
        assert ended.status == " ".join(words).startswith(FOUND), ended.err
        ran.append(words[0])
    assert {"train", "recipe", "check", "watch", "audit"} <= set(ran)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)(.*?)\)", README))))
def test_every_page_that_it_points_to_is_there(link):
    assert (ROOT / link).is_file()


def test_what_goes_wrong_takes_twelve_lines_and_two_numbers():
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert len(block.splitlines()) == 12
    assert len(re.findall(r"# \d\.\d+", block)) == 2
    first_screen = README.splitlines()[:60]
    assert "    make demo" in "\n".join(first_screen)
    assert "# 3. " in "\n".join(first_screen)


def test_the_excerpt_of_watch_is_what_the_command_prints(tmp_path: Path) -> None:
    script = ROOT / "tests" / "watch" / "scripts" / "grad_mean_of_means_ragged_tokens.py"
    (tmp_path / "train.py").write_bytes(script.read_bytes())
    command = [sys.executable, "-m", "batchproof", "watch", "train.py"]
    environment = {**os.environ, "COLUMNS": "80"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    excerpt = re.search(r"watch train\.py\n\n```text\n(.*?)\n```", README, re.DOTALL)
    assert excerpt is not None
    assert [line.rstrip() for line in result.stdout.strip().splitlines()] == excerpt[1].split("\n")
