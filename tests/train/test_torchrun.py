"""Recipes under torchrun: one process's numbers, one writer, restarts after a rank died."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ranks, pytest.mark.slow]

TRAIN = ["-m", "batchproof", "train", "lenet5"]


def launch(
    ranks: int, *arguments: str, restarts: int = 0, script: list[str] = TRAIN
) -> subprocess.Popen:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.Popen(
        [sys.executable, *torchrun, f"--max-restarts={restarts}", *script, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen, seconds: float = 120) -> tuple[str, str]:
    try:
        return process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def pid_of_rank(parent: int, rank: int) -> int | None:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            above = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(above) == parent and f"RANK={rank}".encode() in environment:
            return int(entry.name)
    return None


def test_two_ranks_print_once_and_write_what_one_process_with_their_batch_does(tmp_path):
    two = launch(2, "--epochs", "2", "--batch-size", "32", "--out", str(tmp_path / "two"))
    out, err = ended(two)
    assert two.returncode == 0, err
    assert out.count("run folder:") == 1
    assert err.count("epoch 1/2") == 1
    one = [sys.executable, *TRAIN, "--epochs", "2", "--batch-size", "64"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    folder = str(tmp_path / "one")
    subprocess.run(
        [*one, "--out", folder], check=True, capture_output=True, env=environment, timeout=120
    )
    ours, theirs = records(tmp_path / "two"), records(tmp_path / "one")
    assert [(r["name"], r["step"]) for r in ours] == [(r["name"], r["step"]) for r in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["total"] == pytest.approx(other["total"], rel=1e-4)
        assert mine["weight"] == other["weight"]


@pytest.mark.skipif(sys.platform != "linux", reason="finds ranks under /proc")
def test_a_rank_killed_within_an_epoch_leaves_the_log_of_a_run_never_disturbed(tmp_path):
    arguments = ["--epochs", "3", "--batch-size", "8"]
    whole = launch(2, *arguments, "--out", str(tmp_path / "whole"))
    ended(whole, 200)
    disturbed = launch(2, *arguments, "--out", str(tmp_path / "disturbed"), restarts=1)
    log = tmp_path / "disturbed" / "metrics.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.02)
    victim = pid_of_rank(disturbed.pid, 1)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    _, err = ended(disturbed, 200)
    assert disturbed.returncode == 0, err
    assert "resuming" in err
    assert log.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_sharded_run_is_started_again_by_torchrun_and_every_rank_leaves_in_peace(tmp_path):
    script = [str(Path(__file__).parent.parent / "support" / "restarted_run.py")]
    whole = launch(2, str(tmp_path / "whole"), script=script)
    out, err = ended(whole)
    assert whole.returncode == 0, err
    killed = launch(2, str(tmp_path / "killed"), "kill", restarts=1, script=script)
    again, errors = ended(killed)
    assert killed.returncode == 0, errors
    assert "rank 1 is gone" in errors
    assert again == out
    # threads of a backend that outlive the interpreter would end a rank so
    assert "terminate called" not in err + errors
    logs = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_what_all_ranks_refuse_is_said_once(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").touch()
    refused = launch(2, "--out", str(tmp_path / "run"))
    _, err = ended(refused)
    assert refused.returncode != 0
    assert err.count("exists already and is never overwritten") == 1


def test_an_interrupt_at_the_terminal_saves_the_run_and_says_once_how_to_resume(tmp_path):
    run = tmp_path / "run"
    training = launch(2, "--epochs", "50", "--batch-size", "8", "--out", str(run))
    until = time.monotonic() + 60
    log = run / "metrics.jsonl"
    while time.monotonic() < until and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.02)
    os.killpg(training.pid, signal.SIGINT)
    _, err = ended(training)
    assert err.count("interrupted by SIGINT after step") == 1
    assert f"--out {run} --resume" in err
    assert json.loads((run / "last" / "digests.json").read_text())
