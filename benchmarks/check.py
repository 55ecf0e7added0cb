"""How long a check takes: 8 samples, a 4-layer transformer of width 128, standard cuts.

    python benchmarks/check.py           one process, then 2 ranks; writes results/check-DATE.json
    python benchmarks/check.py --quick   width 16, one process, nothing written

Goals on two cores: under 5 s without ranks, under 25 s with 2 ranks. Both a right step and one
that averages micro-batch means (which is then explained, at more runs) are timed.
"""

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from _measure import heading, keep
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from batchproof.check import check_step

WORDS = 64
GOALS = {"one process": 5.0, "2 ranks": 25.0}


class Model(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.place = nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(width, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.head(self.layers(self.embed(tokens) + self.place.weight[:length], mask=mask))


@dataclass(frozen=True)
class Build:
    width: int

    def __call__(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = Model(self.width)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def samples() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(1, WORDS, (n,), generator=draw) for n in (9, 24, 13, 32, 17, 28, 11, 20)]


def collate(batch: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = pad_sequence(batch, batch_first=True)
    labels = pad_sequence(batch, batch_first=True, padding_value=-100)
    return tokens[:, :-1], labels[:, 1:]


def over_ranks(value: float) -> float:
    total = torch.tensor(float(value), dtype=torch.float64)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total.item()


def right(model: nn.Module, optimizer: Any, batches: list[Any]) -> float:
    optimizer.zero_grad()
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    weight = over_ranks(sum((labels != -100).sum().item() for _, labels in batches))
    value = 0.0
    for tokens, labels in batches:
        loss = F.cross_entropy(model(tokens).transpose(1, 2), labels, reduction="sum") / weight
        (loss * world).backward()
        value += loss.item()
    optimizer.step()
    return over_ranks(value)


def means(model: nn.Module, optimizer: Any, batches: list[Any]) -> float:
    optimizer.zero_grad()
    value = 0.0
    for tokens, labels in batches:
        loss = F.cross_entropy(model(tokens).transpose(1, 2), labels) / len(batches)
        loss.backward()
        value += loss.item()
    optimizer.step()
    return value


def measure(run: Any, width: int, ranks: tuple[int, ...], repeats: int) -> dict[str, Any]:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        report = check_step(run, samples(), build=Build(width), collate=collate, ranks=ranks)
        seconds.append(time.perf_counter() - began)
    return {
        "median_s": round(statistics.median(seconds), 3),
        "all_s": [round(value, 3) for value in seconds],
        "runs": report.runs,
        "cuts": len(report.cuts),
        "names": list(report.names),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    width, repeats = (16, 1) if quick else (128, 5)
    settings = {"one process": (1,)} if quick else {"one process": (1,), "2 ranks": (1, 2)}
    results = {}
    for place, ranks in settings.items():
        for run in (right, means):
            name = f"{place}, {run.__name__}"
            results[name] = {**measure(run, width, ranks, repeats), "goal_s": GOALS[place]}
            print(name, results[name])
    if quick:
        return
    content = {
        **heading(__doc__.splitlines()[0], threads=torch.get_num_threads()),
        "load": os.getloadavg()[0],
        "width": width,
        "results": results,
    }
    print(f"written to {keep('check', content)}")


if __name__ == "__main__":
    main()
