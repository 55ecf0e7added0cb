"""Trains with a worker that outlives the training process, which kills itself.

python killed_with_worker.py RUN WORKER    writes the worker's pid to the file WORKER
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

import batchproof as bp
from batchproof.train import Callback


class Slow(Dataset):
    """Reads its last sample of the second epoch for a long time, in a worker."""

    def __init__(self, note: Path) -> None:
        self.note, self.epoch = note, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if self.epoch == 1 and index == 7 and torch.utils.data.get_worker_info():
            self.note.write_text(str(os.getpid()))
            time.sleep(60)
        return torch.full((4,), float(index)), index % 3


class Kill(Callback):
    def on_step(self, position, result) -> None:
        if position.step == 3:
            while not self.note.exists() or not self.note.read_text():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    def __init__(self, note: Path) -> None:
        self.note = note


def train(run: Path, note: Path, workers: int, callbacks: list[Callback]) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    bp.Trainer(
        model,
        bp.supervised(torch.nn.CrossEntropyLoss()),
        torch.optim.SGD(model.parameters(), lr=0.1),
        run_dir=run,
        progress=False,
        device="cpu",
        callbacks=callbacks,
    ).fit(DataLoader(Slow(note), 4, num_workers=workers), max_epochs=3, resume=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), Path(sys.argv[2]), 1, [Kill(Path(sys.argv[2]))])
