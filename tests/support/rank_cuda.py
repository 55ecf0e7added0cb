"""What a rank does on a CUDA device of its own, with NCCL."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

import batchproof as bp
import rank_cases
import step_models as models

CASES = [
    rank_cases.Case(wrapper, spread, 3, clip=True, terms=terms)
    for wrapper in ("bare", "ddp", "fsdp")
    for spread in ("uneven", "empty")
    for terms in (1, 2)
]


def run_cases(folder: Path) -> dict:
    def act(rank: int, world: int) -> dict:
        results = {}
        for case in CASES:
            data = rank_cases.data_of(case, world)
            results[str(case)] = rank_cases.ours(case, data, rank, device="cuda")
        return results

    return in_group(act)


def step_without_waiting(folder: Path) -> dict:
    def act(rank: int, world: int) -> dict:
        model = rank_cases.wrapped(models.model_of(torch.float32).cuda(), "ddp")
        optimizer = torch.optim.AdamW(model.parameters(), 0.1, fused=True)
        step = bp.Step(model, optimizer, max_grad_norm=1.0)
        parts = [[0], [1, 2], [3, 4, 5]][rank:]
        window = models.cut(on_cuda(models.samples_of(0, torch.float32)), parts)
        step(window, models.squares)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            step(window, models.squares)
        torch.cuda.set_sync_debug_mode("default")
        step.check()
        return {"steps": step.steps}

    return in_group(act)


def on_cuda(batch: dict) -> dict:
    return {key: value.cuda() for key, value in batch.items()}


def in_group(act: Callable[[int, int], dict]) -> dict:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.cuda.set_device(rank)
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl", rank=rank, world_size=world)
    try:
        return act(rank, world)
    finally:
        torch.distributed.destroy_process_group()
