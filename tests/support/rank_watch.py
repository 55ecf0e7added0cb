"""Trainings over gloo ranks that are watched; rank 0 writes what it found."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import batchproof as bp

groups = []


def join() -> None:
    """Join the process group, and keep it until this process ends.

    A DistributedDataParallel model that holds the last reference to a gloo group waits for its
    threads and keeps the interpreter, which a thread may need to let go of a tensor: a deadlock.
    A reference of Python lets the interpreter go first.
    """
    distributed.init_process_group("gloo")
    groups.append(distributed.group.WORLD)


def trained(folder: str, kind: str) -> None:
    join()
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    with bp.watch(numbers=False) as seen:
        model = nn.parallel.DistributedDataParallel(nn.Linear(3, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            size = 2 + 3 * rank + step if kind != "equal" else 4
            count = torch.tensor(float(size))
            distributed.all_reduce(count)
            scale = {"exact": world, "forgotten": 1.0}.get(kind)
            for _ in range(2):
                x, y = torch.randn(size, 3), torch.randint(4, (size,))
                if scale is None:
                    loss = F.cross_entropy(model(x), y) / 2
                else:
                    loss = F.cross_entropy(model(x), y, reduction="sum") * scale / (2 * count)
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        distributed.destroy_process_group()
    if rank == 0:
        report = seen.report()
        sums = [sum(p.mass for p in s.contributions) for s in report.steps]
        found = {"names": report.names, "sums": sums, "right": report.right}
        found["parts"] = [len(s.contributions) for s in report.steps]
        found["missed"] = report.not_followed
        Path(folder, "found.json").write_text(json.dumps(found))


def evaluated(folder: str, kind: str) -> None:
    """Evaluate 23 samples on two ranks, 13 and 10, and print what is meant to be their loss."""
    join()
    rank = distributed.get_rank()
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    model.train(kind == "mode" and rank == 1)
    with bp.watch() as seen, torch.no_grad():
        for epoch in range(3):
            size = 13 if rank == 0 else 10
            x, y = torch.randn(size, 3), torch.randint(4, (size,))
            total = torch.zeros(2, dtype=torch.float64)
            for a, b in DataLoader(TensorDataset(x, y), 5):
                loss = F.cross_entropy(model(a), b)
                total += torch.tensor([loss.item() * len(a), len(a)])
            if kind == "means":
                mean = total[:1] / total[1:] / 2
                distributed.all_reduce(mean)
            else:
                if kind != "local":
                    distributed.all_reduce(total)
                mean = total[:1] / total[1:]
            if rank == 0:
                print(f"epoch {epoch} val loss {mean.item():.5f}")
        distributed.destroy_process_group()
    if rank == 0:
        report = seen.report()
        (number,) = report.numbers
        found = {"names": report.names, "is": number["is"], "grade": number["grade"]}
        Path(folder, "found.json").write_text(json.dumps(found))


def sharded(folder: str, kind: str) -> None:
    """Train with fully_shard, which reduces gradients with every second backward pass only."""
    join()
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    with bp.watch(numbers=False) as seen:
        model: Any = fully_shard(nn.Linear(3, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sizes = (3, 5) if rank == 0 else (5, 3)
        for _ in range(3):
            for last, size in enumerate(sizes):
                model.set_requires_gradient_sync(bool(last))
                x, y = torch.randn(size, 3), torch.randint(4, (size,))
                scale = 0.5 if kind == "means" else world * size / 16
                (F.cross_entropy(model(x), y) * scale).backward()
            optimizer.step()
            optimizer.zero_grad()
        distributed.destroy_process_group()
    if rank == 0:
        report = seen.report()
        sums = [sum(p.mass for p in s.contributions) for s in report.steps]
        found = {"names": report.names, "sums": sums, "missed": report.not_followed}
        found["parts"] = [len(s.contributions) for s in report.steps]
        Path(folder, "found.json").write_text(json.dumps(found))
