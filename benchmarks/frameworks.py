"""One epoch of LeNet-5 on MNIST and its test, end to end, beside the other ways to write it.

    python benchmarks/frameworks.py --data DIR [--quick] [--rounds 3] [--sides NAME ...]

Every side is a process of its own, in turn, batch 64 and then 256. The clock runs from
images in memory (uint8) to the test loss on the host: model, optimiser and loaders made, one
shuffled epoch, 10,000 test images; imports and reading the files are not in it. What each side
does is one file in peers/. Over the same stretch are taken the process's peak of memory, which has
the libraries in it (peak_mb), and how far that is above what it held at the start (added_mb).

Before the clock starts, each process trains on the first 2,048 images in their order, batch 16:
that warms it up, and every side must reach the same test loss to 1 %, so that all do the same work.

Goals: batchproof is faster than every framework, 2.4 (batch 64) and 2.7 (batch 256) times faster
than the loop with transforms for each sample, no slower than slices, and peaks no higher than the
loop with transforms. Ratios are taken round by round, and the median is kept.
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

from _measure import forget_peak, heading, held_mb, keep, peak_mb, summary

SIDES = {
    "batchproof": "batchproof:run",
    "batchproof, channels last": "batchproof:run_channels_last",
    "by hand, slices": "by_hand:slices",
    "by hand, slices, channels last": "by_hand:slices_channels_last",
    "by hand, transforms": "by_hand:transforms",
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
AGREE = 0.01


def measure(side, data, images, threads):
    """Return the figures of one side, run in this process, and its loss on the ordered images."""
    import torch

    torch.set_num_threads(threads)
    from peers.task import read_task

    module, name = SIDES[side].split(":")
    run = getattr(import_module(f"peers.{module}"), name)
    task = read_task(data, batch_size=16)
    if images:
        task = task.first(images, images // 4)
    ordered, _ = run(replace(task.first(2048, 1024), shuffle=False))
    sizes = {size: timed(run, replace(task, batch_size=int(size))) for size in BATCH_SIZES}
    return {"ordered_loss": float(ordered), "batch_size": sizes}


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
    losses = {side: of_side[-1]["ordered_loss"] for side, of_side in runs.items()}
    middle = statistics.median(losses.values())
    apart = {side: loss for side, loss in losses.items() if abs(loss / middle - 1) > AGREE}
    if apart:
        sys.exit(f"these test losses are not the others' {middle:.5f} to {AGREE:.0%}: {apart}")


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    parser.add_argument("--quick", action="store_true", help="4,096 images and one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
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
