"""Ranks that run out of memory, against the same ranks with the smaller cut from the start."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

import batchproof as bp
import rank_cases
import rank_wrappers
import step_models as models
from batchproof.step import distributed_group
from memory_cases import Drawing, Room, last_attempt, samples

# the rows of each micro-batch, by window and rank
WINDOWS = [[[9, 8], [7]], [[3], [12, 4]], [[], [9]], [[10], []], [[16], [16, 16]]]
# the rows that fit, by rank
ROOM = {"on rank 0": [4, None], "on rank 1": [None, 5], "on both": [7, 4]}
CASES = [
    (wrapper, place, where, terms)
    for wrapper in ("bare", "ddp")
    for place, where, terms in [
        ("on rank 0", "forward", "one"),
        ("on rank 1", "backward", "one"),
        ("on both", "forward", "counted"),
        ("on both", "backward", "forward"),
        ("on rank 1", "forward", "lbfgs"),
    ]
]


def trained(wrapper: str, terms: str, windows: list, room: Room, **settings) -> tuple:
    """Train on this rank; return the step, all that was moved, and the cut of each window."""
    torch.manual_seed(7)
    np.random.seed(7)
    model = Drawing()
    named = rank_cases.wrapped(model, wrapper)
    kind = torch.optim.LBFGS if terms == "lbfgs" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=0.1)
    several = terms in ("counted", "forward")
    room.mean = models.two_terms if several else models.squares
    counts = {"counted": models.counted, "forward": "forward"}
    step = bp.Step(named, optimizer, count=counts.get(terms), max_grad_norm=0.5, **settings)
    cuts = []
    for window in windows:
        room.attempt = []
        step(window, room)
        cuts.append(last_attempt(room.attempt, window))
    state = [*model.state_dict().values(), torch.rand(3), torch.tensor(np.random.random(3))]
    return step, state, cuts


def compared(wrapper: str, place: str, where: str, terms: str, rank: int) -> dict:
    windows = [
        [samples(rows, 100 * w + 10 * rank + m) for m, rows in enumerate(ranks[rank])]
        for w, ranks in enumerate(WINDOWS)
    ]
    room = Room(ROOM[place][rank], where)
    step, ours, cuts = trained(wrapper, terms, windows, room, out_of_memory="split")
    _, theirs, _ = trained(wrapper, terms, cuts, Room(None))
    return {
        "splits": len(step.memory.splits),
        "ours": ours,
        "theirs": theirs,
        "parameters": rank_cases._flat(step.model.parameters()),
    }


def unused(rank: int) -> dict:
    """A model of two branches, each used by one rank only, by none, or by all."""
    model = rank_wrappers.built(rank_wrappers.Branches)
    model = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    step = bp.Step(model, optimizer, max_grad_norm=0.5, out_of_memory="split")
    without = []
    for ranks in rank_wrappers.branch_windows():
        step(ranks[rank], rank_wrappers.branch_loss)
        without.append([name for name, p in model.module.named_parameters() if p.grad is None])
    return {"parameters": rank_cases._flat(model.parameters()), "without": without}


def refused(build) -> str:
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    try:
        bp.Step(model, optimizer, out_of_memory="split")
    except bp.SettingError as error:
        return str(error)
    return ""


def all_of(folder: Path) -> dict:
    rank = int(os.environ["RANK"])
    with distributed_group("cpu"):
        return {
            **{" ".join(case): compared(*case, rank) for case in CASES},
            "unused": unused(rank),
            "fsdp": refused(lambda: rank_cases.wrapped(models.model_of(), "fsdp")),
            "sync": refused(lambda: nn.SyncBatchNorm.convert_sync_batchnorm(Drawing())),
        }


def one_sample_too_large(folder: Path, wrapper: str) -> None:
    """On rank 1 not even one sample fits."""
    rank = int(os.environ["RANK"])
    torch.manual_seed(0)
    try:
        with distributed_group("cpu"):
            model = rank_cases.wrapped(models.model_of(), wrapper)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            step = bp.Step(model, optimizer, out_of_memory="split")
            step([samples(4, rank)], Room(None))
            step([samples(4, rank)], Room(0 if rank == 1 else None))
    except Exception as error:
        (folder / f"{rank}.error").write_text(f"{type(error).__name__}: {error}")
