"""Many ranks on one machine: is the step the same, and how does its one collective grow?

    python benchmarks/ranks_simulation.py [--quick] [--out FILE]

2 to 16 gloo processes cut the same samples, ragged and with ranks that have none, and take a few
steps. For each number of ranks: how far parameters are from those of one process, relative; and
how long a step's one packed all-reduce takes. More processes than cores share them, so
the times are those of a crowded machine: look at how they grow, not at what they are.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _measure import heading, keep

STEPS = 5
SAMPLES = 64


def rank():
    import torch
    from torch import nn

    import batchproof as bp
    from batchproof.step import distributed_group

    torch.set_num_threads(1)
    with distributed_group("cpu") as place:
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(STEPS, SAMPLES, 8, generator=generator, dtype=torch.float64)
        y = torch.randn(STEPS, SAMPLES, 2, generator=generator, dtype=torch.float64)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2)).double()
        step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1, 0.9), max_grad_norm=0.5)
        mse = bp.exact(nn.MSELoss())
        seconds = []
        for number in range(STEPS):
            # the samples of one step, dealt out in ragged parts; some ranks get none
            owner = torch.randint(place.world_size, (SAMPLES,), generator=generator)
            mine = (owner % max(1, place.world_size - 1) == place.rank).nonzero()[:, 0]
            window = [(x[number, part], y[number, part]) for part in mine.split(3)]
            step([w for w in window if len(w[0])], lambda m, b: mse(m(b[0]), b[1]))
        packed = torch.zeros(3, dtype=torch.float64)
        for _ in range(50 if place.world_size > 1 else 0):
            began = time.perf_counter()
            torch.distributed.all_reduce(packed)
            seconds.append(time.perf_counter() - began)
        parameters = [p.detach().flatten().tolist() for p in model.parameters()]
        if place.rank == 0:
            milliseconds = 1e3 * statistics.median(seconds) if seconds else None
            print(json.dumps({"parameters": parameters, "ms": milliseconds}))


def launch(world):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--rank"],
            env=os.environ | shared | {"RANK": str(r), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for r in range(world)
    ]
    try:
        out = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return json.loads(out[0].strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 and 3 ranks only")
    parser.add_argument("--out", type=Path, help="where to write; a dated file in results/")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank:
        rank()
        return
    alone = [value for part in launch(1)["parameters"] for value in part]
    largest = max(map(abs, alone))
    found = {}
    for world in (2, 3) if given.quick else (2, 3, 4, 8, 12, 16):
        seen = launch(world)
        flat = [value for part in seen["parameters"] for value in part]
        apart = max(abs(a - b) for a, b in zip(alone, flat, strict=True)) / largest
        found[f"{world} ranks"] = {"apart, relative": apart, "all-reduce, ms": seen["ms"]}
        print(world, found[f"{world} ranks"])
    if given.out or not given.quick:
        about = heading("one step over many gloo ranks", threads=1)
        print(keep("ranks-simulation", {**about, "ranks": found}, out=given.out))


if __name__ == "__main__":
    main()
