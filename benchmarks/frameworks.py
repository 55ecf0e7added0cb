"""One epoch of LeNet-5 on MNIST and its test, end to end, beside the other ways to write it.

    python benchmarks/frameworks.py --data DIR [--quick] [--rounds 3] [--sides NAME ...]

Every side is a process of its own, in turn, batch 64 and then 256. The clock runs from
images in memory (uint8) to the test loss on the host: model, optimiser and loaders made, one
shuffled epoch, 10,000 test images; imports and reading the files are not in it. What each side
does is one file in peers/. Over the same stretch are taken the process's peak of memory, which has
the libraries in it (peak_mb), and how far that is above what it held at the start (added_mb).

Before the clock starts, each process trains on the first 506 images in their order, batch 16, and
tests on 1,000: every side must reach the same test loss to one part in 100,000, so that all train
the same model from the same weights by as many of the same steps. Then it is warmed up by 8 batches
of each size.

Goals: batchproof is faster than every framework, 2.4 (batch 64) and 2.7 (batch 256) times faster
than the loop with transforms for each sample, no slower than slices, and peaks no higher than the
loops by hand. Ratios are taken round by round, and the median is kept.
Takes about 5 minutes a round.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from _measure import forget_peak, heading, held_mb, keep, parser, peak_mb, summary

SIDES = {
    "batchproof": "batchproof:run",
    "batchproof, channels last": "batchproof:run_channels_last",
    "by hand, slices": "by_hand:slices",
    "by hand, slices, channels last": "by_hand:slices_channels_last",
    "by hand, transforms": "by_hand:transforms",
    "by hand, transforms, 2 workers": "by_hand:transforms_two_workers",
    "by hand, TensorDataset": "by_hand:loader",
    "lightning": "lightning:run",
    "transformers": "transformers:run",
    "accelerate": "accelerate:run",
    "ignite": "ignite:run",
    "skorch": "skorch:run",
    "keras on torch": "keras:run",
}
PACKAGES = (
    "torch",
    "batchproof",
    "lightning",
    "transformers",
    "accelerate",
    "pytorch-ignite",
    "skorch",
    "keras",
)
OURS = ("batchproof", "batchproof, channels last")
BATCH_SIZES = ("64", "256")
QUICK_IMAGES = 4096
GOALS = {
    "over_transforms": {"64": 2.4, "256": 2.7},
    "over_frameworks": 1.0,
    "over_slices": 1.0,
    "peak_of_transforms": 1.0,
}
# 31 whole batches and a part of one. After 40 to 50 steps at this learning rate a ReLU or a pooling
# falls the other way by rounding alone, and from there the same training diverges.
ORDERED, ORDERED_TEST = 506, 1000
AGREE = 1e-5
WARM_UP = 8


def measure(side, data, images, threads):
    """Return the figures of one side, run in this process, and what the guard compares."""
    import torch

    torch.set_num_threads(threads)
    from peers.task import read_task

    module, name = SIDES[side].split(":")
    run = getattr(import_module(f"peers.{module}"), name)
    task = read_task(data, batch_size=16)
    if images:
        task = task.first(images, images // 4)
    ordered, accuracy = run(replace(task.first(ORDERED, ORDERED_TEST), shuffle=False))
    sizes = {}
    for size in map(int, BATCH_SIZES):
        run(replace(task.first(WARM_UP * size, size), batch_size=size))
        sizes[str(size)] = timed(run, replace(task, batch_size=size))
    return {
        "ordered_loss": float(ordered),
        "ordered_right": round(float(accuracy) * ORDERED_TEST),
        "batch_size": sizes,
    }


def timed(run, task):
    gc.collect()
    forget_peak()
    before, start = held_mb(), time.perf_counter()
    loss, accuracy = run(task)
    seconds, peak = time.perf_counter() - start, peak_mb()
    return {
        "seconds": round(seconds, 4),
        "peak_mb": round(peak, 1),
        "added_mb": round(peak - before, 1),
        "test_loss": round(float(loss), 5),
        "test_accuracy": round(float(accuracy), 5),
    }


def measured_apart(side, options):
    """Return the figures of one side, run in a process that is gone afterwards."""
    command = [sys.executable, __file__, "--data", str(options.data), "--side", side]
    command += ["--threads", str(options.threads)]
    if options.quick:
        command += ["--images", str(QUICK_IMAGES)]
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(options):
    """Return the runs of every side, round by round."""
    runs = {side: [] for side in options.sides}
    for turn in range(1 if options.quick else options.rounds):
        for side, of_side in runs.items():
            of_side.append(measured_apart(side, options))
            shown = ", ".join(
                f"batch {size}: {run['seconds']:.2f} s, {run['peak_mb']:.0f} MB, "
                f"test loss {run['test_loss']:.4f}"
                for size, run in of_side[-1]["batch_size"].items()
            )
            print(f"{turn + 1} {side:31} {shown}", file=sys.stderr, flush=True)
        expect_agreement(runs)
    return runs


def expect_agreement(runs):
    """Stop where a side has not done the work that the others did."""
    last = {side: of_side[-1] for side, of_side in runs.items()}
    loss = statistics.median(run["ordered_loss"] for run in last.values())
    right = statistics.median(run["ordered_right"] for run in last.values())
    apart = {
        side: (run["ordered_loss"], run["ordered_right"])
        for side, run in last.items()
        if not abs(run["ordered_loss"] / loss - 1) <= AGREE or abs(run["ordered_right"] - right) > 1
    }
    if apart:
        sys.exit(
            f"these test losses and right answers after the same steps are not the others' "
            f"{loss:.7f} and {right:g} of {ORDERED_TEST}: {apart}"
        )


def figures(runs, size):
    """Return medians with ranges, and every side's time over batchproof's, round by round."""
    here = {side: [run["batch_size"][size] for run in of_side] for side, of_side in runs.items()}
    found = {}
    for side, of_side in here.items():
        found[side] = {name: summary([run[name] for run in of_side]) for name in of_side[0]}
        for ours in here.keys() & OURS:
            pairs = zip(of_side, here[ours], strict=True)
            over = summary([run["seconds"] / our["seconds"] for run, our in pairs])
            found[side][f"time over {ours}"] = over
    return found


def table(found):
    """Return the figures as text; the last columns are times over batchproof's in two formats."""
    lines = []
    for size, sides in found.items():
        lines.append(f"batch {size:24}  seconds (range)        peak MB    over ours, channels last")
        for side, figure in sides.items():
            low, high = figure["seconds"]["range"]
            seconds = f"{figure['seconds']['median']:7.2f} ({low:.2f} to {high:.2f})"
            peak = figure["peak_mb"]["median"]
            over = [figure.get(f"time over {ours}", {}).get("median", "") for ours in OURS]
            lines.append(f"{side:31} {seconds:24} {peak:6.0f} {over[0]:9.4} {over[1]:9.4}")
    return "\n".join(lines)


def main():
    line = parser(__doc__)
    line.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    line.add_argument("--quick", action="store_true", help="4,096 images and one round")
    line.add_argument("--rounds", type=int, default=3)
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    line.add_argument("--out", type=Path)
    line.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    line.add_argument("--images", type=int, default=0, help=argparse.SUPPRESS)
    options = line.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.data, options.images, options.threads)))
        return
    runs = compared(options)
    found = heading(__doc__.splitlines()[0], threads=options.threads, packages=PACKAGES)
    found["images"] = QUICK_IMAGES if options.quick else 60_000
    found["rounds"] = 1 if options.quick else options.rounds
    found["goals"] = GOALS
    found["batch_size"] = {size: figures(runs, size) for size in BATCH_SIZES}
    print(table(found["batch_size"]))
    if not options.quick or options.out:
        print(f"written to {keep('frameworks', found, out=options.out)}")


if __name__ == "__main__":
    main()
