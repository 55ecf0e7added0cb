"""What checkpointing every epoch costs: LeNet-5 on MNIST, with and without a run folder.

    python benchmarks/checkpoint.py --data DIR [--quick] [--rounds 5] [--out FILE]

The same training in turn in one process; the cost is the seconds that the run folder's own clock
gives to checkpoints, beside the epoch's. Goal: at most 2 % of the epoch.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from _measure import heading, keep, summary
from torch import nn

import batchproof as bp
from batchproof.data import Batches, load_mnist, normalise
from batchproof.recipes.lenet5 import lenet5
from batchproof.train import RunFolder

EPOCHS = 2


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    parser.add_argument("--quick", action="store_true", help="4,096 images and one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train = load_mnist(options.data).train
    count, rounds = (4096, 1) if options.quick else (len(train.labels), options.rounds)
    images, labels = train.images[:count], train.labels[:count]
    found = {
        **heading(__doc__.splitlines()[0], threads=options.threads),
        "images": count,
        "rounds": rounds,
        "goals": {"share_of_epoch": 0.02},
        "batch_size": {str(b): measured(images, labels, b, rounds) for b in (64, 256)},
    }
    print(json.dumps(found, indent=1))
    if not options.quick or options.out:
        keep("checkpoint", found, out=options.out)


if __name__ == "__main__":
    main()
