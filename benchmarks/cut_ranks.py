"""What balancing the cut over ranks buys: one step over 64 ragged sequences on two gloo ranks.

    python benchmarks/cut_ranks.py [--data DIR] [--quick] [--out FILE]

The model and the sequences of cut.py, two processes of one thread each. The sides, in turns over
the same windows:

plain DDP   by hand: each rank has four micro-batches of eight, as a sampler deals them
recut       each rank recuts its own four by batchproof.data.recut
balanced    batchproof.data.plan over both ranks: the same 64 sequences, shared out by cost

A step takes as long as its slower rank, so ranks meet before each and the figure is the longer time
of both. Gradients of the first window are compared in float64 and float32 on rank 0. Goal: plain
DDP takes at least 1.5 times as long as balanced.
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

from _measure import heading, keep, summary
from cut import BATCH, WINDOW, batches_of, lengths_of, loss_of, model_of

HERE = Path(__file__).resolve().parent
RANKS = 2


def collated(singles, part):
    """Return the padded micro-batch of some sequences."""
    from torch.nn.utils.rnn import pad_sequence

    fills = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {
        name: pad_sequence([singles[i][name][0] for i in part], True, fill)
        for name, fill in fills.items()
    }


class ByHand:
    """A step in plain DDP: the gradient of the mean over both ranks, as it is usually written."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer

    def __call__(self, window, loss):
        import torch

        self.optimizer.zero_grad()
        weight = torch.tensor(sum(float((b["labels"] != -100).sum()) for b in window))
        torch.distributed.all_reduce(weight)
        for batch in window[:-1]:
            with self.model.no_sync():
                (loss(self.model, batch).total.sum() * RANKS / weight).backward()
        (loss(self.model, window[-1]).total.sum() * RANKS / weight).backward()
        self.optimizer.step()


def stepper(side, dtype, kind, **settings):
    from torch.nn.parallel import DistributedDataParallel

    import batchproof as bp

    model = DistributedDataParallel(model_of(dtype))
    optimizer = kind(model.parameters(), **settings)
    return model, (ByHand if side == "plain DDP" else bp.Step)(model, optimizer)


def windows_of(side, singles, lengths, budget, rank):
    """Yield this rank's windows; cutting and collating are part of the step."""
    from batchproof.data import plan, recut

    for start in range(0, len(singles), WINDOW):
        mine = range(start + rank * WINDOW // RANKS, start + (rank + 1) * WINDOW // RANKS)
        if side == "balanced":
            parts = plan(lengths[start : start + WINDOW], tokens=budget, ranks=RANKS)[rank]
            yield [collated(singles, [start + i for i in part]) for part in parts]
            continue
        window = [collated(singles, mine[i : i + BATCH]) for i in range(0, len(mine), BATCH)]
        yield recut(window, tokens=budget) if side == "recut" else window


def apart(data, dtype):
    """Return how far gradients balanced and by hand are apart over the first window, relative."""
    import torch

    gradients = []
    for side in ("plain DDP", "balanced"):
        model, step = stepper(side, dtype, torch.optim.SGD, lr=0.0)
        optimizer = step.optimizer if side == "plain DDP" else step._update.optimizer  # noqa: SLF001
        optimizer.register_step_pre_hook(
            lambda *_, model=model: gradients.append([p.grad.clone() for p in model.parameters()])
        )
        step(next(iter(windows_of(side, *data))), loss_of)
    pairs = zip(*gradients, strict=True)
    return max(float((a - b).norm() / a.norm()) for a, b in pairs)


def rank_of(source, windows, rounds, data):
    """Return what this rank measured."""
    import torch

    from batchproof.ranks import distributed_group

    torch.set_num_threads(1)
    with distributed_group("cpu") as place:
        lengths = lengths_of(source, windows, data)
        singles = batches_of(lengths, 1)
        budget = max(lengths) * BATCH // 2
        given = (singles, lengths, budget, place.rank)
        steps = {
            side: stepper(side, torch.float32, torch.optim.AdamW, lr=1e-4)[1]
            for side in ("plain DDP", "recut", "balanced")
        }
        seconds = {side: [] for side in steps}
        order = list(steps)
        for turn in range(rounds + 1):
            random.Random(turn).shuffle(order)
            for side in order:
                torch.distributed.barrier()
                began = time.perf_counter()
                for window in windows_of(side, *given):
                    steps[side](window, loss_of)
                taken = torch.tensor((time.perf_counter() - began) / windows)
                torch.distributed.all_reduce(taken, torch.distributed.ReduceOp.MAX)
                if turn:
                    seconds[side].append(taken.item())
        found = {
            "tokens": sum(lengths),
            "budget, positions": budget,
            "positions by rank": {side: positions(side, given) for side in steps},
            "a step, s": {side: summary(values) for side, values in seconds.items()},
            "times balanced": {
                side: round(
                    statistics.median(
                        a / b for a, b in zip(seconds[side], seconds["balanced"], strict=True)
                    ),
                    4,
                )
                for side in ("plain DDP", "recut")
            },
            "gradients apart, float64": apart(given, torch.float64),
            "gradients apart, float32": apart(given, torch.float32),
        }
        if place.rank == 0:
            print(json.dumps(found))


def positions(side, given):
    """Return the positions that each rank runs over, padding included."""
    return [
        sum(batch["input_ids"].numel() for w in windows_of(side, *given[:3], rank) for batch in w)
        for rank in range(RANKS)
    ]


def launched(arguments):
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *torchrun, str(HERE / "cut_ranks.py"), *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, timeout=3600
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds tiny-shakespeare/")
    parser.add_argument("--quick", action="store_true", help="one round: only shows that it runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where to write; results/cut-ranks-DATE.json")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    given = parser.parse_args()
    windows, rounds = (1, 1) if given.quick else (4, given.rounds)
    if given.rank:
        rank_of(given.rank, windows, rounds, given.data)
        return
    results = {}
    for source in ["log-normal", *(["tiny-shakespeare"] if given.data else [])]:
        further = ["--quick"] if given.quick else ["--rounds", str(rounds)]
        further += ["--data", str(given.data)] if given.data else []
        results[source] = launched(["--rank", source, *further])
        print(source, json.dumps(results[source], indent=1))
    if not given.quick or given.out:
        found = heading("one step over 64 ragged sequences on two gloo ranks", threads=1)
        found["goals"] = {
            "plain DDP, times balanced": 1.5,
            "gradients apart": {"float64": 1e-12, "float32": 2e-6},
        }
        print(keep("cut-ranks", {**found, "results": results}, out=given.out))


if __name__ == "__main__":
    main()
