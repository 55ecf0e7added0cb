"""A training loop under watch beside the loop alone, interleaved in one process.

    python benchmarks/watch.py [--quick]

Goals on the CPU: LeNet-5 at batch 64 in at most 1.05 times the loop's own time, a 4-layer
transformer of width 256 in at most 1.02; memory within 2 %; after `steps` no cost at all. A round
is one short run of each, in turns; what is reported is the median of the rounds' ratios. Takes
about five minutes.
"""

import json
import statistics
import subprocess
import sys
import time

import torch
from _measure import heading, keep, parser, summary
from torch import nn
from torch.nn import functional as F

import batchproof as bp

GOALS = {"lenet": 1.05, "transformer": 1.02, "memory": 1.02, "after_steps": 1.0}


def lenet():
    """Return a step of LeNet-5 on 64 images, written as tutorials write it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    x, y = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))

    def step():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()

    return step


def transformer():
    """Return a step of a language model of 4 layers and width 256 on 8 times 64 tokens."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.1, batch_first=True)
    body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(2048, 256), body, nn.Linear(256, 2048))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(2048, (8, 65))

    def step():
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


MODELS = {"lenet": (lenet, 25), "transformer": (transformer, 4)}


def seconds(step, times):
    """Return the processor time of so many steps, which other processes disturb least."""
    start = time.process_time()
    for _ in range(times):
        step()
    return time.process_time() - start


def ratios(step, times, rounds):
    """Return for each round the time under watch over the loop's own, and that after `steps`."""
    seconds(step, times)
    during, after = [], []
    for number in range(rounds):
        alone = watched = ended = 0.0
        # short turns, so that all three see the same machine
        for turn in range(6):
            order = ["alone", "watched", "ended"]
            shift = (number + turn) % 3
            for which in order[shift:] + order[:shift]:
                if which == "alone":
                    alone += seconds(step, times)
                elif which == "watched":
                    with bp.watch():
                        watched += seconds(step, times)
                else:
                    with bp.watch(steps=1):
                        step()
                        ended += seconds(step, times)
        during.append(watched / alone)
        after.append(ended / alone)
    return during, after


def peak_of(name, *, watched):
    """Return the peak memory of a process of its own, in megabytes."""
    code = f"""
import sys; sys.path.insert(0, {str(sys.path[0])!r})
import watch as bench, _measure, batchproof as bp, batchproof.watch, contextlib
step = bench.{name}()
with bp.watch() if {watched} else contextlib.nullcontext():
    bench.seconds(step, {200 if name == "lenet" else 10})
print(_measure.peak_mb())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def memory(name, rounds):
    """Return the peak memory under watch over that of the loop alone."""
    alone = statistics.median(peak_of(name, watched=False) for _ in range(rounds))
    return statistics.median(peak_of(name, watched=True) for _ in range(rounds)) / alone


def main():
    line = parser(__doc__)
    line.add_argument("--quick", action="store_true", help="few rounds, nothing written")
    line.add_argument("--rounds", type=int, default=20, help="rounds of each model")
    options = line.parse_args()
    torch.set_num_threads(1)
    rounds = 2 if options.quick else options.rounds
    found = heading("watch beside the loop alone", threads=1) | {"goals": GOALS}
    for name, (build, times) in MODELS.items():
        during, after = ratios(build(), times, rounds)
        found[name] = {
            "watched": summary(during),
            "after_steps": summary(after),
            "memory": round(memory(name, 1 if options.quick else 3), 4),
        }
        print(name, json.dumps(found[name]))
    if not options.quick:
        print(keep("watch", found))


if __name__ == "__main__":
    main()
