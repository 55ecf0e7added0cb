"""Time and peak memory of linear_cross_entropy against F.linear followed by F.cross_entropy.

Loss and gradients of hidden and weight, 4,096 tokens, width 512, 128,000 classes, float32. Each
measurement is a process of its own, sides in turn, so that a peak belongs to one side; the first
pass of a process warms up and is not counted. Goals: at most 1.2 times the time and a quarter of
the memory. Takes about 5 minutes, and writes results/linear_cross_entropy-DATE.json.

    python benchmarks/linear_cross_entropy.py [--quick] [--repeat 5] [--out FILE]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _measure import heading, keep, parser, peak_mb

FULL = {"tokens": 4096, "width": 512, "classes": 128_000}
QUICK = {"tokens": 512, "width": 64, "classes": 8_000}
GOALS = {"time_ratio": 1.2, "memory_ratio": 0.25}


def plain(hidden, weight, target):
    from torch.nn import functional as F

    return F.cross_entropy(F.linear(hidden, weight), target)


def batchproof(hidden, weight, target):
    from batchproof.mean import linear_cross_entropy

    return linear_cross_entropy(hidden, weight, target).value()


def torch_chunked(hidden, weight, target):
    from torch.nn import LinearCrossEntropyOptions
    from torch.nn import functional as F

    return F.linear_cross_entropy(
        hidden, weight, target, options=LinearCrossEntropyOptions(batch_chunk_size=1024)
    )


SIDES = {side.__name__: side for side in (plain, batchproof, torch_chunked)}


def measure(side: str, tokens: int, width: int, classes: int) -> dict[str, float]:
    """Seconds of one forward and backward pass, and the peak of memory above the imports."""
    import torch

    import batchproof.mean  # noqa: F401

    before = peak_mb()
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = (torch.randn(classes, width) / width**0.5).requires_grad_()
    target = torch.randint(classes, (tokens,))
    seconds = 0.0
    for _ in range(2):
        hidden.grad = weight.grad = None
        start = time.perf_counter()
        loss = SIDES[side](hidden, weight, target)
        loss.backward()
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_mb": peak_mb() - before,
        "loss": loss.item(),
        "gradient_norm": weight.grad.norm().item(),
    }


def run_apart(side: str, size: dict[str, int]) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--size", json.dumps(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    seconds = [run["seconds"] for run in runs]
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "peak_mb_median": statistics.median(run["peak_mb"] for run in runs),
        "loss": runs[0]["loss"],
        "gradient_norm": runs[0]["gradient_norm"],
    }


def compare(size: dict[str, int], repeat: int) -> dict[str, object]:
    import torch

    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for turn in range(repeat):
        for side, of_side in runs.items():
            of_side.append(run_apart(side, size))
            print(f"{turn + 1}/{repeat} {side}: {of_side[-1]}", file=sys.stderr, flush=True)
    sides = {side: summary(of_side) for side, of_side in runs.items()}
    # the two sides of one turn ran next to each other, so a turn's ratio is what load spoils least
    turns = zip(runs["batchproof"], runs["plain"], strict=True)
    return {
        **heading(__doc__.splitlines()[0], threads=torch.get_num_threads()),
        "size": size,
        "sides": sides,
        "time_ratio": statistics.median(
            ours["seconds"] / other["seconds"] for ours, other in turns
        ),
        "memory_ratio": sides["batchproof"]["peak_mb_median"] / sides["plain"]["peak_mb_median"],
        "goals": GOALS,
        "runs": runs,
    }


def main() -> None:
    line = parser(__doc__)
    line.add_argument("--quick", action="store_true", help="small sizes, one turn: a smoke test")
    line.add_argument("--repeat", type=int, default=5, help="turns (default: %(default)s)")
    line.add_argument("--out", type=Path, help="file to write; with --quick none by default")
    line.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    line.add_argument("--size", type=json.loads, help=argparse.SUPPRESS)
    options = line.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, **options.size)))
        return
    result = compare(QUICK if options.quick else FULL, 1 if options.quick else options.repeat)
    if not options.quick or options.out:
        keep("linear_cross_entropy", result, out=options.out)
    for side, figures in result["sides"].items():
        spread = f"{figures['seconds_min']:.2f} to {figures['seconds_max']:.2f}"
        print(
            f"{side:14} {figures['seconds_median']:8.2f} s ({spread}) "
            f"{figures['peak_mb_median']:8.0f} MB"
        )
    print(f"time ratio {result['time_ratio']:.2f} (goal {GOALS['time_ratio']})")
    print(f"memory ratio {result['memory_ratio']:.2f} (goal {GOALS['memory_ratio']})")


if __name__ == "__main__":
    main()
