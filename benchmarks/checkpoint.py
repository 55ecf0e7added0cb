"""What checkpointing every epoch costs: LeNet-5 on MNIST, with and without a run folder.

    python benchmarks/checkpoint.py --data DIR [--quick] [--rounds 5] [--out FILE]

The same training in turn in one process; the cost is the seconds that the run folder's own clock
gives to checkpoints, beside the epoch's. Goal: at most 2 % of the epoch. Takes about 3 minutes.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from _measure import summary
from _mnist import measure_on_mnist
from torch import nn

import batchproof as bp
from batchproof.data import Batches, normalise
from batchproof.recipes.lenet5 import lenet5
from batchproof.train import RunFolder

EPOCHS = 2
GOALS = {"share_of_epoch": 0.02}


def fitted(images, labels, batch_size, run_dir):
    torch.manual_seed(0)
    model = lenet5()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, fused=True)
    data = {"batch_size": batch_size, "transform": normalise(0.1307, 0.3081)}
    train = Batches(images[1000:], labels[1000:], shuffle=True, **data)
    val = Batches(images[:1000], labels[:1000], **data)
    loss = bp.supervised(nn.CrossEntropyLoss())
    trainer = bp.Trainer(model, loss, optimizer, device="cpu", progress=False, run_dir=run_dir)
    start = time.perf_counter()
    trainer.fit(train, val, max_epochs=EPOCHS)
    return time.perf_counter() - start


def measured(images, labels, batch_size, rounds):
    rows = []
    for _ in range(rounds):
        without = fitted(images, labels, batch_size, None)
        with tempfile.TemporaryDirectory() as folder:
            kept = fitted(images, labels, batch_size, Path(folder) / "run")
            epochs = RunFolder(Path(folder) / "run").timing()
        share = [epoch["checkpoint_seconds"] / epoch["seconds"] for epoch in epochs]
        milliseconds = [1000 * epoch["checkpoint_seconds"] for epoch in epochs]
        rows.append((kept / without, statistics.mean(share), statistics.mean(milliseconds)))
    names = ("time_with_over_without", "share_of_epoch", "milliseconds_an_epoch")
    return {
        name: summary(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


if __name__ == "__main__":
    measure_on_mnist("checkpoint", __doc__, measured, GOALS)
