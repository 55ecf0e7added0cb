"""What Step costs beside a step by hand: forward, backward and optimiser, in turns.

    python benchmarks/step.py [--quick] [--out FILE]

LeNet-5 at batch 64 and a 4-layer transformer of width 256, one micro-batch a step and four, with
fused optimisers and others. By hand, micro-batches are divided by their number, as is usual (and
right here, where all are of one size). The median of the ratios of neighbours is the figure. Peak
memory is that of a fresh process each.

A third side shows how much of it is what Step does and the step by hand leaves out: its kernels,
written out by hand for this one loss. Losses one by one, targets that count, sums, and the norm of
the gradient, without which a NaN would reach the parameters.
"""

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _measure import heading, keep, peak_mb
from ranks import case_of

HERE = Path(__file__).resolve().parent


def steps_of(name, accumulate, *, fused):
    """Return a step by hand, one by Step, and the kernels of Step by hand, over the same data."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    import batchproof as bp

    criterion = nn.CrossEntropyLoss()
    exact = bp.exact(criterion)
    models = []
    for _ in range(3):
        model, x, y = case_of(name)
        models.append(model)
    window = list(zip(x.chunk(accumulate), y.chunk(accumulate), strict=True))
    optimizers = [torch.optim.AdamW(m.parameters(), 1e-4, fused=fused) for m in models]
    step = bp.Step(models[1], optimizers[1])

    def classes_at_one(out):
        return out if y.ndim == 1 else out.transpose(1, 2)

    def by_hand():
        optimizers[0].zero_grad()
        total = 0.0
        for inputs, target in window:
            loss = criterion(classes_at_one(models[0](inputs)), target) / accumulate
            loss.backward()
            total += loss.item()
        optimizers[0].step()

    def by_step():
        step(window, lambda m, batch: exact(classes_at_one(m(batch[0])), batch[1])).loss.item()

    def kernels():
        optimizers[2].zero_grad()
        total = weight = 0.0
        for inputs, target in window:
            losses = F.cross_entropy(classes_at_one(models[2](inputs)), target, reduction="none")
            weight += target.ne(-100).to(torch.float64).sum().item()
            summed = losses.sum()
            summed.backward(summed.new_full((), 1 / y.numel()))
            total += summed.item()
        grads = [p.grad for p in models[2].parameters()]
        norms = torch._foreach_norm(grads, 2)  # noqa: SLF001
        if math.isfinite(total / weight) and math.isfinite(math.hypot(*[n.item() for n in norms])):
            optimizers[2].step()

    return by_hand, by_step, kernels


def ratio(name, accumulate, *, fused, rounds):
    acts = steps_of(name, accumulate, fused=fused)
    for act in 5 * acts:
        act()
    order, shuffled = list(range(len(acts))), random.Random(0)
    seconds = []
    for _ in range(rounds):
        taken = [0.0] * len(acts)
        shuffled.shuffle(order)
        for side in order:
            began = time.perf_counter()
            acts[side]()
            taken[side] = time.perf_counter() - began
        seconds.append(taken)
    ratios = sorted(ours / theirs for theirs, ours, _ in seconds)
    return {
        "by hand, ms": round(1e3 * statistics.median(row[0] for row in seconds), 4),
        "Step, ms": round(1e3 * statistics.median(row[1] for row in seconds), 4),
        "median ratio": round(statistics.median(ratios), 4),
        "quartiles of the ratio": [round(ratios[len(ratios) * q // 4], 4) for q in (1, 3)],
        "of it the same kernels by hand": round(
            statistics.median(row[2] / row[0] for row in seconds), 4
        ),
    }


def peak(name, accumulate, *, fused, ours):
    """Peak memory of a fresh process that takes a few such steps."""
    case = json.dumps([name, accumulate, fused, ours])
    command = [sys.executable, str(HERE / "step.py"), "--peak", case]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout)


def in_a_fresh_process(case):
    name, accumulate, fused, ours = json.loads(case)
    act = steps_of(name, accumulate, fused=fused)[ours]
    for _ in range(5):
        act()
    print(peak_mb())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: only shows that it runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write; results/step-DATE.json")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    if given.peak:
        in_a_fresh_process(given.peak)
        return
    cases = {}
    for name in ("lenet5", "transformer"):
        many = {"lenet5": 400, "transformer": 60}[name]
        for accumulate in (1, 4):
            for fused in (True, False):
                words = f"{name}, accumulate {accumulate}, {'fused' if fused else 'not fused'}"
                rounds = 4 if given.quick else many
                found = ratio(name, accumulate, fused=fused, rounds=rounds)
                if fused and not (given.quick and accumulate == 1):
                    found["peak MB by hand, Step"] = [
                        round(peak(name, accumulate, fused=fused, ours=ours), 1)
                        for ours in (False, True)
                    ]
                cases[words] = found
                print(words, found)
    if given.out or not given.quick:
        about = heading("Step beside a step by hand", threads=given.threads)
        print(keep("step", {**about, "quick": given.quick, "cases": cases}, out=given.out))


if __name__ == "__main__":
    main()
