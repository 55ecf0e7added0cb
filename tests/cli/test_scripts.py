"""Recipes as a shell runs them: copied, interrupted, resumed."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
    told = shell(here / "mine.py", "--help", cwd=there).out
    assert f"python {here / 'mine.py'}" in told
    assert "batchproof train" not in told
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


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_numbers_that_cannot_be_printed_do_not_lose_the_run(tmp_path):
    with FULL.open("w") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "batchproof", "train", "tabular_weighted", "--max-steps", "2"],
            cwd=tmp_path,
            env=environment(),
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    said = done.stderr.splitlines()
    how = "the standard output: no space left on device; the run is whole"
    assert done.returncode == 1
    assert said[-1] == (
        f"batchproof: {how}, see it again: batchproof evaluate runs/tabular_weighted."
    )
    assert not [line for line in said if "Traceback" in line or "Exception" in line]
    assert (tmp_path / "runs" / "tabular_weighted" / "best").is_dir()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("redirected", ["> /dev/full", "2> /dev/full", ">&-", "2>&-", "| true"])
def test_streams_that_cannot_be_written_end_no_command_with_a_traceback(tmp_path, redirected):
    command = f"set -o pipefail; {sys.executable} -m batchproof explain mean {redirected}"
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lost = redirected in ("> /dev/full", "| true")
    assert done.returncode == (1 if lost else 0)
    lines = ["batchproof: the standard output: no space left on device; check where it goes."]
    assert done.stderr.splitlines() == (lines if redirected == "> /dev/full" else [])
    assert bool(done.stdout) == redirected.startswith("2>")


def test_an_interrupted_run_is_saved_and_says_how_to_resume(tmp_path):
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
    try:
        while not (folder / "best").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 130
    said = err.splitlines()[-1]
    assert said.startswith("batchproof: interrupted by SIGINT after step ")
    goes_on = "resume: batchproof train tabular_weighted --out runs/tabular_weighted --resume"
    assert said.endswith(f"saved in {folder.relative_to(tmp_path)}; {goes_on}")
    assert "Traceback" not in err
    step = int(re.search(r"after step (\d+)", said)[1])
    rest = goes_on.removeprefix("resume: batchproof ").split()
    ended = shell("-m", "batchproof", *rest, "--max-steps", step + 5, cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert f"from step {step}" in ended.err
