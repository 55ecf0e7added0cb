"""Meter.add beside torchmetrics' MeanMetric.update with weight, interleaved in one process.

    python benchmarks/meter.py [--quick]

Goals on the CPU: a scalar pair in at most 5 microseconds and at least 10 times faster; 256 pairs,
one a sample, at least 3 times faster. Folding is in the time: a round adds thousands of times.
Takes about a minute.
"""

import statistics
import time

import torch
import torchmetrics
from _measure import heading, keep, parser

import batchproof as bp

SAMPLES = 256


def timed(add, times):
    """Return microseconds a call."""
    start = time.perf_counter()
    for _ in range(times):
        add()
    return (time.perf_counter() - start) / times * 1e6


def interleaved(ours, theirs, *, rounds, times):
    """Return microseconds a call of each, round by round, so that both see the same machine."""
    for add in (ours, theirs):
        timed(add, times // 4)
    rows = [(timed(ours, times), timed(theirs, times)) for _ in range(rounds)]
    return [a for a, _ in rows], [b for _, b in rows]


def scalar_pairs():
    losses = torch.rand(())
    weight = torch.tensor(float(SAMPLES))
    mean = bp.Mean(losses * weight, weight)
    meter, metric = bp.Meter(), torchmetrics.MeanMetric()
    return (lambda: meter.add(mean)), (lambda: metric.update(losses, weight))


def pairs_of_samples():
    losses, weight = torch.rand(SAMPLES), torch.ones(SAMPLES)
    mean = bp.Mean(losses, weight)
    meter, metric = bp.Meter(), torchmetrics.MeanMetric()
    return (lambda: meter.add(mean)), (lambda: metric.update(losses, weight))


def summary(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median_us": round(middle, 3), "quartiles_us": [round(low, 3), round(high, 3)]}


def main():
    line = parser(__doc__)
    line.add_argument("--quick", action="store_true", help="few rounds, nothing written")
    quick = line.parse_args().quick
    torch.set_num_threads(1)
    rounds, times = (3, 600) if quick else (15, 6000)
    cases = {"scalar pair": (scalar_pairs, 10.0), f"{SAMPLES} pairs": (pairs_of_samples, 3.0)}
    results = {}
    for name, (make, goal) in cases.items():
        ours, theirs = interleaved(*make(), rounds=rounds, times=times)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        results[name] = {
            "batchproof Meter.add": summary(ours),
            "torchmetrics MeanMetric.update": summary(theirs),
            "times_faster": round(ratio, 2),
            "goal_times_faster": goal,
        }
        medians = statistics.median(ours), statistics.median(theirs)
        print(f"{name:12} {medians[0]:7.2f} us, torchmetrics {medians[1]:7.2f} us: ", end="")
        print(f"{ratio:.1f} times faster (goal {goal:.0f})")
    if quick:
        return
    report = {
        **heading(__doc__.splitlines()[0], threads=1, packages=("torch", "torchmetrics")),
        "rounds": rounds,
        "calls_a_round": times,
        "results": results,
    }
    print(f"written to {keep('meter', report)}")


if __name__ == "__main__":
    main()
