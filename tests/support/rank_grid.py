"""What a rank of the grid does: every case of one world size, in one process."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import torch

import rank_cases
import rank_precision
from batchproof.step import distributed_group


def run_grid(folder: Path) -> dict:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with group_of(world):
        results = {}
        for case in [*rank_cases.grid(), *rank_cases.ragged(drawn_cuts(folder))]:
            results[str(case)] = rank_cases.ours(case, rank_cases.data_of(case, world), rank)
        if world == rank_precision.RANKS:
            for case in rank_precision.CASES:
                results[case] = rank_precision.ours(case, rank)
    return results


@contextmanager
def group_of(world: int):
    """A process group, also of one process, which wrappers need."""
    if world > 1:
        with distributed_group("cpu"):
            yield
        return
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def drawn_cuts(folder: Path) -> list:
    """The cuts that the test has drawn for this world size, if it has."""
    file = folder / "cuts.json"
    return json.loads(file.read_text()) if file.exists() else []
