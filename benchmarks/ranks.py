"""What a step over ranks costs beside plain DDP, and what evaluating on two ranks gains.

    python benchmarks/ranks.py [--quick] [--out FILE]

Two gloo processes of one thread each. In each of them a step by hand (forward, backward under DDP,
optimiser) and one by batchproof.Step are taken in turns, so that whatever else the machine does
falls on both; the median of the ratios of neighbours is the figure. A third side shows how much of
it is the one collective without which no rank can know the window's weight: the step by hand, with
an all_reduce of three numbers on its way during the backward pass. Evaluation is timed over the
same samples on one rank and on two. Goals: at most 1.03 times plain DDP; at least 1.7 times faster.
Takes about 3 minutes.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _measure import heading, keep, parser

HERE = Path(__file__).resolve().parent


def lenet5():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def transformer():
    from torch import nn

    layer = nn.TransformerEncoderLayer(256, 4, 512, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(256, 10)
    )


def case_of(name: str):
    import torch

    torch.manual_seed(0)
    if name == "lenet5":
        return lenet5(), torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    return transformer(), torch.randn(8, 32, 256), torch.randint(10, (8, 32))


def step_ratios(name: str, rounds: int) -> dict:
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    import batchproof as bp

    model, x, y = case_of(name)
    classes_at_one = (lambda out: out) if out_is_flat(y) else (lambda out: out.transpose(1, 2))
    hand, ours, third = (
        DistributedDataParallel(m) for m in (model, case_of(name)[0], case_of(name)[0])
    )
    criterion = nn.CrossEntropyLoss()
    exact = bp.exact(criterion)
    optimizers = [
        torch.optim.SGD(m.parameters(), 1e-3, 0.9, fused=True) for m in (hand, ours, third)
    ]
    step = bp.Step(ours, optimizers[1])

    def by_hand() -> None:
        optimizers[0].zero_grad()
        criterion(classes_at_one(hand(x)), y).backward()
        optimizers[0].step()

    def by_step() -> None:
        step([(x, y)], lambda m, batch: exact(classes_at_one(m(batch[0])), batch[1]))

    numbers = torch.ones(3, dtype=torch.float64)

    def with_collective() -> None:
        optimizers[2].zero_grad()
        value = criterion(classes_at_one(third(x)), y)
        work = torch.distributed.all_reduce(numbers, async_op=True)
        value.backward()
        work.wait()
        optimizers[2].step()

    acts = (by_hand, by_step, with_collective)
    for act in 5 * acts:
        act()
    # every rank in the same order
    order, shuffled = [0, 1, 2], random.Random(0)
    seconds: list[list[float]] = []
    for _ in range(rounds):
        taken = [0.0, 0.0, 0.0]
        shuffled.shuffle(order)
        for side in order:
            torch.distributed.barrier()
            began = time.perf_counter()
            acts[side]()
            taken[side] = time.perf_counter() - began
        seconds.append(taken)
    hand_ms, step_ms, _ = (1e3 * statistics.median(column) for column in zip(*seconds, strict=True))
    ratios = sorted(row[1] / row[0] for row in seconds)
    return {
        "by hand, ms": hand_ms,
        "Step, ms": step_ms,
        "ratio of medians": step_ms / hand_ms,
        "median ratio": statistics.median(ratios),
        "of it the collective": statistics.median(row[2] / row[0] for row in seconds),
        "quartiles of the ratio": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
        "rounds": rounds,
    }


def out_is_flat(target) -> bool:
    return target.ndim == 1


def evaluation(samples: int, repeats: int) -> float:
    """Seconds of an evaluation, the fastest of some."""
    import torch
    from torch import nn

    import batchproof as bp
    from batchproof.data import Batches
    from batchproof.train import evaluate

    torch.manual_seed(0)
    x, y = torch.randn(samples, 1, 28, 28), torch.randint(10, (samples,))
    loader = Batches(x, y, batch_size=256)
    model, loss = lenet5(), bp.supervised(nn.CrossEntropyLoss())
    evaluate(model, loader, loss)
    taken = []
    for _ in range(repeats):
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        began = time.perf_counter()
        evaluate(model, loader, loss)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def rank(quick: bool) -> None:
    import torch

    from batchproof.step import distributed_group

    torch.set_num_threads(1)
    with distributed_group("cpu") as place:
        found: dict = {}
        if place.world_size > 1:
            found["step under DDP"] = {
                "lenet5": step_ratios("lenet5", 10 if quick else 400),
                "transformer": step_ratios("transformer", 5 if quick else 100),
            }
        found["evaluation, s"] = evaluation(2_000 if quick else 20_000, 2 if quick else 7)
        if place.rank == 0:
            print(json.dumps(found))


def launch(world: int, quick: bool) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    arguments = [str(HERE / "ranks.py"), "--rank", *(["--quick"] if quick else [])]
    command = [sys.executable, *arguments]
    if world > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        command = [sys.executable, *torchrun, *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, timeout=900
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    line = parser(__doc__)
    line.add_argument("--quick", action="store_true", help="few rounds: only shows that it runs")
    line.add_argument("--out", type=Path, help="where to write; a dated file beside this one")
    line.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    given = line.parse_args()
    if given.rank:
        rank(given.quick)
        return
    two, one = launch(2, given.quick), launch(1, given.quick)
    found = two | {
        "evaluation, s": {"one rank": one["evaluation, s"], "two ranks": two["evaluation, s"]},
        "evaluation, times faster": one["evaluation, s"] / two["evaluation, s"],
    }
    print(json.dumps(found, indent=1))
    if given.out or not given.quick:
        about = heading("a step and an evaluation over two gloo ranks", threads=1)
        print(keep("ranks", {**about, "quick": given.quick, **found}, out=given.out))


if __name__ == "__main__":
    main()
