"""What a free choice of the cut buys: one step over 64 ragged sequences, cut in four ways.

    python benchmarks/cut.py [--data DIR] [--device cuda] [--quick] [--out FILE]

A 4-layer transformer of width 256 (trained by AdamW, one thread) on sequences of log-normal length,
exp(4.3 + 0.9 z) clipped to 8 and 512, and on the lines of tiny-shakespeare. The sides, in turns
over the same windows:

in order    eight micro-batches of eight, as a loader gives them
recut       batchproof.windows(..., tokens=N, cost=C): the same samples, cut by plan and trimmed
by length   micro-batches of eight out of all windows sorted by length, as group_by_length makes
            them: other windows, and so other gradients
no padding  as many tokens in sequences of one length: the limit

N is the largest micro-batch in order, so that neither side needs more memory; C is fitted to a few
micro-batches within N that are timed before (Cost.fitted). Gradients of the first window in order
and recut are compared in float64 and float32; the activation is smooth, for at the kink of a ReLU
rounding alone may switch a gradient. Planning and trimming are timed alone. Peak memory is that of
a fresh process each; on a device, that of its allocator.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _measure import heading, keep, peak_mb, summary

HERE = Path(__file__).resolve().parent
WINDOW, BATCH, WIDTH, VOCABULARY, LONGEST = 64, 8, 256, 1000, 512


def lengths_of(source, windows, data):
    """Return the lengths of the sequences of some windows."""
    import torch

    if source == "log-normal":
        draw = torch.Generator().manual_seed(1)
        drawn = (torch.randn(windows * WINDOW, generator=draw) * 0.9 + 4.3).exp()
        return drawn.clamp(8, LONGEST).long().tolist()
    text = (data / "tiny-shakespeare" / "input.txt").read_text(encoding="utf-8")
    lines = [min(LONGEST, len(line)) for line in text.splitlines() if len(line) > 1]
    return random.Random(1).sample(lines, windows * WINDOW)


def batches_of(lengths, size=BATCH):
    """Return padded micro-batches of some sequences, in their order."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    draw = torch.Generator().manual_seed(2)
    sequences = [torch.randint(1, VOCABULARY, (n,), generator=draw) for n in lengths]
    batches = []
    for start in range(0, len(sequences), size):
        ids = pad_sequence(sequences[start : start + size], batch_first=True)
        mask = (ids > 0).long()
        batches.append(
            {"input_ids": ids, "attention_mask": mask, "labels": ids * mask - 100 * (1 - mask)}
        )
    return batches


def model_of(dtype):
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, WIDTH)
            self.place = nn.Embedding(LONGEST, WIDTH)
            layer = nn.TransformerEncoderLayer(
                WIDTH, 4, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.out = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, ids, mask):
            inputs = self.embed(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
            return self.out(self.layers(inputs, src_key_padding_mask=mask == 0))

    torch.manual_seed(0)
    return Model().to(dtype)


def loss_of(model, batch):
    from torch.nn import functional as F

    import batchproof as bp

    logits = model(batch["input_ids"], batch["attention_mask"])
    losses = F.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
    return bp.reduce(losses, mask=batch["labels"] != -100)


def sides_of(source, windows, data):
    """Return the windows of each side, and the budget."""
    import batchproof as bp

    lengths = lengths_of(source, windows, data)
    in_order = list(bp.windows(batches_of(lengths), WINDOW // BATCH))
    budget = max(batch["input_ids"].numel() for window in in_order for batch in window)
    sorted_by_length = batches_of(sorted(lengths, reverse=True))
    random.Random(3).shuffle(sorted_by_length)
    even = batches_of([-(-sum(lengths) // len(lengths))] * len(lengths))
    sides = {
        "in order": in_order,
        "recut": None,
        "by length": list(bp.windows(sorted_by_length, WINDOW // BATCH)),
        "no padding": list(bp.windows(even, WINDOW // BATCH)),
    }
    return sides, budget, lengths


def stepper(device):
    import torch

    import batchproof as bp

    model = model_of(torch.float32).to(device)
    return bp.Step(model, torch.optim.AdamW(model.parameters(), 1e-4))


def on(device, window):
    """Return a window's micro-batches on a device."""
    return [{name: column.to(device) for name, column in batch.items()} for batch in window]


def waited(device):
    """Return the time once the device is done."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def cost_of(budget, lengths, device):
    """Return the cost fitted to micro-batches within the budget, of few rows and many."""
    import torch

    from batchproof.data import Cost

    model = model_of(torch.float32).to(device)
    timed = []
    for longest in sorted({8, max(lengths) // 4, min(budget, max(lengths))}):
        for rows in sorted({1, max(1, budget // longest)}):
            ids = torch.randint(1, VOCABULARY, (rows, longest))
            batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
            seconds = []
            for _ in range(4):
                began = waited(device)
                loss_of(model, *on(device, [batch])).total.sum().backward()
                seconds.append(waited(device) - began)
            # the first pass allocates
            timed.append((rows, longest, min(seconds[1:])))
    return Cost.fitted(timed)


def apart(window, budget, dtype):
    """Return how far the gradients of a window in order and recut are apart, relative."""
    import torch

    import batchproof as bp
    from batchproof.data import recut

    gradients = []
    for batches in (window, recut(window, tokens=budget)):
        model = model_of(dtype)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        optimizer.register_step_pre_hook(
            lambda *_, model=model: gradients.append([p.grad.clone() for p in model.parameters()])
        )
        bp.Step(model, optimizer)(batches, loss_of)
    pairs = zip(*gradients, strict=True)
    return max(float((a - b).norm() / a.norm()) for a, b in pairs)


def measured(source, *, windows, rounds, data, device):
    import torch

    from batchproof.data import recut

    sides, budget, lengths = sides_of(source, windows, data)
    cost = cost_of(budget, lengths, device)
    steps = {side: stepper(device) for side in sides}
    seconds = {side: [] for side in sides}
    trimming, order = [], list(sides)
    for turn in range(rounds + 1):
        random.Random(turn).shuffle(order)
        for side in order:
            taken = 0.0
            for window in sides["in order"] if side == "recut" else sides[side]:
                began = waited(device)
                if side == "recut":
                    window = recut(window, tokens=budget, cost=cost)  # noqa: PLW2901
                    if turn:
                        trimming.append(time.perf_counter() - began)
                steps[side](on(device, window), loss_of)
                taken += waited(device) - began
            if turn:
                seconds[side].append(taken / windows)
    ratio = {
        side: summary([a / b for a, b in zip(seconds[side], seconds["recut"], strict=True)])
        for side in sides
        if side != "recut"
    }
    cut = [recut(window, tokens=budget, cost=cost) for window in sides["in order"]]
    first = sides["in order"][0]
    return {
        "tokens": sum(lengths),
        "positions in order": positions(sides["in order"]),
        "positions recut": positions(cut),
        "budget, positions": budget,
        "micro-batches recut": sum(map(len, cut)),
        "cost, s": {"position": cost.position, "pair": cost.pair, "micro-batch": cost.batch},
        "a step, s": {side: summary(values) for side, values in seconds.items()},
        "times recut": ratio,
        "planning and trimming, share of a step": round(
            statistics.median(trimming) / statistics.median(seconds["recut"]), 5
        ),
        "gradients apart, float64": apart(first, budget, torch.float64),
        "gradients apart, float32": apart(first, budget, torch.float32),
    }


def positions(windows):
    return sum(batch["input_ids"].numel() for window in windows for batch in window)


def peak(source, side, data, device):
    """Peak memory of a fresh process that takes two such steps."""
    case = json.dumps([source, side, str(data) if data else None, device])
    command = [sys.executable, str(HERE / "cut.py"), "--peak", case]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return round(float(done.stdout), 1)


def in_a_fresh_process(case):
    import torch

    from batchproof.data import recut

    source, side, data, device = json.loads(case)
    sides, budget, lengths = sides_of(source, 2, Path(data) if data else None)
    cost = cost_of(budget, lengths, device) if side == "recut" else None
    step = stepper(device)
    for window in sides["in order"] if side == "recut" else sides[side]:
        cut = recut(window, tokens=budget, cost=cost) if side == "recut" else window
        step(on(device, cut), loss_of)
    print(peak_mb() if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds tiny-shakespeare/")
    parser.add_argument("--quick", action="store_true", help="one round: only shows that it runs")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda where there is one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where to write; results/cut-DATE.json")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    if given.peak:
        in_a_fresh_process(given.peak)
        return
    windows, rounds = (1, 1) if given.quick else (4, given.rounds)
    sources = ["log-normal", *(["tiny-shakespeare"] if given.data else [])]
    results = {}
    for source in sources:
        row = measured(source, windows=windows, rounds=rounds, data=given.data, device=given.device)
        if not given.quick:
            sides = ("in order", "recut", "by length")
            row["peak memory, MB"] = {
                side: peak(source, side, given.data, given.device) for side in sides
            }
        results[source] = row
        print(source, json.dumps(row, indent=1))
    found = heading("one step over 64 ragged sequences, cut in four ways", threads=given.threads)
    found["device"] = given.device
    found["goals"] = {
        "in order, times recut": 2.2,
        "by length, times recut": 1.0,
        "recut, times no padding": 1.15,
        "planning and trimming, share of a step": 0.01,
        "gradients apart": {"float64": 1e-12, "float32": 2e-6},
    }
    found["results"] = results
    if not given.quick or given.out:
        print(keep("cut", found, out=given.out))


if __name__ == "__main__":
    main()
