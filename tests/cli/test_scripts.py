"""Recipes as a shell runs them: copied, interrupted, gone on with."""

import re
import signal
import subprocess
import sys
import time

from command_line import environment, shell

SHORT = ("--max-steps", 30, "--seed", 3)


def test_a_copy_runs_from_another_folder_and_gives_the_same_numbers(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    copied = shell(
        "-m", "batchproof", "recipe", "copy", "tabular_weighted", here / "mine.py", cwd=tmp_path
    )
    assert copied.status == 0
    mine = shell(here / "mine.py", *SHORT, cwd=there)
    assert mine.status == 0, mine.err
    theirs = shell("-m", "batchproof", "train", "tabular_weighted", *SHORT, cwd=there)
    assert numbers(mine.out) == numbers(theirs.out) != []
    assert "run folder: runs/mine\n" in mine.out
    again = shell(
        "-m", "batchproof", "evaluate", "runs/mine", "--script", here / "mine.py", cwd=there
    )
    assert numbers(again.out) == numbers(mine.out)


def numbers(shown: str) -> list[str]:
    return re.findall(r"\d+\.\d+", shown)


def test_an_interrupted_run_is_saved_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "batchproof", "train", "tabular_weighted", "--epochs", "400"]
    run = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "runs" / "tabular_weighted"
    deadline = time.monotonic() + 120
    while not (folder / "best").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130
    said = err.splitlines()[-1]
    assert said.startswith("batchproof: interrupted by SIGINT after step ")
    goes_on = "go on: batchproof train tabular_weighted --out runs/tabular_weighted --resume"
    assert said.endswith(f"saved in {folder.relative_to(tmp_path)}; {goes_on}")
    assert "Traceback" not in err
    step = int(re.search(r"after step (\d+)", said)[1])
    rest = goes_on.removeprefix("go on: batchproof ").split()
    ended = shell("-m", "batchproof", *rest, "--max-steps", step + 5, cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert f"from step {step}" in ended.err
