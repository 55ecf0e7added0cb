"""Ranks: which events only one of them reaches, and which loaders hold one rank's share."""

import ast
import re

from batchproof.audit._dimensions._lattice import Loader
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import trains
from batchproof.audit._dimensions._trace import Event, Loop, Trace

_RANK_0 = re.compile(
    r"rank\w*(\(\))? (==|!=|in) |is_\w*main_process|is_master|is_main\b|is_global_zero"
)
_ONE_PROCESS = re.compile(r"local_rank == -1|(world_size|num_processes|n_?gpus?) (==|<=) 1")


def on_first_rank(event: Event) -> bool:
    """Return whether a test on the way to an event asks for the rank."""
    return any(_RANK_0.search(ast.unparse(c.test)) for c in event.conditions)


def names_its_rank(event: Event) -> bool:
    """Return whether what is reported says of which rank it is."""
    names = (n for n in ast.walk(event.node) if isinstance(n, ast.Name | ast.Attribute))
    return event.kind == "report" and any(dotted(n).lower().endswith("rank") for n in names)


def in_one_process(event: Event) -> bool:
    """Return whether a test says that there is one process where something is reported."""
    return any(c.branch and _ONE_PROCESS.search(ast.unparse(c.test)) for c in event.conditions)


def is_shared(loader: Loader) -> bool:
    """Return whether a loader in sight holds one rank's share."""
    return loader.per_rank or (loader.sampler is not None and loader.sampler.kind == "ranks")


def is_share(trace: Trace, loop: Loop, loader: Loader) -> bool:
    """Return whether a loader out of sight holds one rank's share, as those of training do."""
    return loader.line == 0 and trains(trace, loop) and not any(trace.of("reduce"))


def how_shared(loader: Loader) -> str:
    """Return how a loader came to hold one rank's share."""
    if loader.sampler is not None and loader.sampler.kind == "ranks":
        return f"the DistributedSampler at line {loader.sampler.line} gives each rank a share"
    if not loader.per_rank:
        return f"each rank trains on its own share of {loader.text}, and only the first comes here"
    return f"{loader.text or 'the loader'} was prepared so that each rank sees a share"
