"""Trains a small run in forked processes that are killed, and compares with one never killed.

Run as a script, for a process that has never computed anything can be forked safely:

    python killed_run.py at-random FOLDER          SIGKILL after random times, until it is done
    python killed_run.py at-writes FOLDER STRIDE   SIGKILL before every STRIDE-th operation on files
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import batchproof as bp
from batchproof.train import NoProgress, RunFolder

WATCHED = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate"}


class Noisy(Dataset):
    """Samples that draw from the generators of Python and numpy as they are read."""

    def __init__(self, samples: int) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(samples, 4, generator=generator)
        self.y = (self.x.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = 0.1 * random.random() + 0.1 * float(np.random.rand())
        return self.x[index] + noise, self.y[index]


class Slow(NoProgress):
    """Gives a kill time to come."""

    def tick(self, position, read) -> None:
        time.sleep(0.004)


def train(run_dir: Path, *, epochs: int, samples: int, slow: bool) -> None:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    trainer = bp.Trainer(
        model,
        bp.supervised(nn.CrossEntropyLoss(), metrics={"accuracy": bp.accuracy}),
        optimizer,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40),
        scheduler_per="step",
        accumulate=2,
        ema=0.9,
        run_dir=run_dir,
        log_every=3,
        checkpoint_every_steps=2,
        patience=50,
        seed=11,
        device="cpu",
        progress=Slow() if slow else False,
    )
    loader = DataLoader(Noisy(samples), batch_size=4, shuffle=True)
    val = DataLoader(Noisy(10), batch_size=4)
    trainer.fit(loader, val, max_epochs=epochs, resume=True)


def start(run_dir: Path, *, kill_at: int | None = None, **options) -> int:
    """Fork a process that trains; it kills itself before its operation number kill_at."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        if kill_at is not None:
            sys.addaudithook(killer(run_dir, kill_at))
        train(run_dir, **options)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def killer(run_dir: Path, kill_at: int):
    left = [kill_at]

    def hook(event: str, arguments: tuple) -> None:
        if event not in WATCHED or not str(arguments[0]).startswith(str(run_dir.parent)):
            return
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def same(run: Path, reference: Path) -> None:
    for name in ("metrics.jsonl", "metrics.csv"):
        assert (run / name).read_bytes() == (reference / name).read_bytes(), (run, name)
    for which in ("best", "last"):
        ours, theirs = RunFolder(run).weights(which), RunFolder(reference).weights(which)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), (run, which)


def at_random(folder: Path) -> int:
    options = {"epochs": 6, "samples": 46, "slow": True}
    reference, run = folder / "reference", folder / "run"
    began = time.monotonic()
    assert status_of(start(reference, **options)) == 0
    whole = time.monotonic() - began
    draw, kills = random.Random(1), 0
    while kills < 5:
        child = start(run, **options)
        time.sleep(draw.uniform(0.05, 0.4 * whole))
        os.kill(child, signal.SIGKILL)
        if status_of(child) == 0:
            break
        kills += 1
    assert status_of(start(run, **options)) == 0
    same(run, reference)
    return kills


def at_writes(folder: Path, stride: int) -> int:
    options = {"epochs": 2, "samples": 18, "slow": False}
    reference = folder / "reference"
    assert status_of(start(reference, **options)) == 0
    kills = 0
    while True:
        kill_at = 1 + kills * stride
        run = folder / f"at-{kill_at}" / "run"
        run.parent.mkdir()
        if status_of(start(run, kill_at=kill_at, **options)) == 0:
            return kills
        kills += 1
        assert status_of(start(run, **options)) == 0, f"killed at {kill_at}: it does not go on"
        same(run, reference)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[2]).resolve()
    print(at_random(place) if sys.argv[1] == "at-random" else at_writes(place, int(sys.argv[3])))
