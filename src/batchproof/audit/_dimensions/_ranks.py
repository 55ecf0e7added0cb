"""Ranks: which events only one of them reaches, and which loaders hold one rank's share."""

import ast
import re

from batchproof.audit._dimensions._lattice import Count, Loader, Quantity, Tensor, Value
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import dotted, prints_for_first_rank
from batchproof.audit._dimensions._questions import trains
from batchproof.audit._dimensions._shares import unused
from batchproof.audit._dimensions._trace import Event, Loop, Trace

_RANK_0 = re.compile(
    r"rank\w*(\(\))? (==|!=|in|<=|>) |is_\w*main_process|is_master|is_main\b|is_global_zero"
)
_FIRST = re.compile(r"(\w+)(?:: bool)? = .*(?:rank\w*(?:\(\))? == 0|is_main_process)")
# losses that Megatron has averaged over ranks already
_AVERAGES = re.compile(r"megatron", re.IGNORECASE)
_DISTRIBUTES = re.compile(
    r"DistributedDataParallel\(|\bDDP\(|DistributedSampler\(|\.prepare\(|deepspeed\.initialize\("
)
_ONE_PROCESS = re.compile(r"local_rank == -1|(world_size|num_processes|n_?gpus?) (==|<=) 1")


def on_first_rank(event: Event) -> bool:
    """Return whether a test on the way to an event, or a name, says that the first rank does it."""
    if prints_for_first_rank(event.text):
        return True
    tests = [c.test for c in event.conditions]
    if any(_RANK_0.search(ast.unparse(test)) for test in tests):
        return True
    names = {dotted(part).rpartition(".")[2] for test in tests for part in ast.walk(test)}
    lines = (_FIRST.search(line) for line in event.module.lines)
    return any(match and match[1] in names for match in lines)


def names_its_rank(event: Event) -> bool:
    """Return whether what is reported says of which rank it is."""
    names = (n for n in ast.walk(event.node) if isinstance(n, ast.Name | ast.Attribute))
    if prints_for_first_rank(event.text):
        return False  # it is given the rank that decides who prints
    return event.kind == "report" and any(dotted(n).lower().endswith("rank") for n in names)


def in_one_process(event: Event) -> bool:
    """Return whether a test says that there is one process, or Megatron makes its ranks as one."""
    if any(_AVERAGES.search(line) for line in event.module.lines):
        return True
    return any(c.branch and _ONE_PROCESS.search(ast.unparse(c.test)) for c in event.conditions)


def is_shared(loader: Loader) -> bool:
    """Return whether a loader in sight holds one rank's share."""
    return loader.per_rank or (loader.sampler is not None and loader.sampler.kind == "ranks")


def is_share(trace: Trace, loop: Loop, loader: Loader) -> bool:
    """Return whether a loader out of sight holds one rank's share, as those of training do."""
    return loader.line == 0 and trains(trace, loop)


def is_of_batch(loss: Value, loop: Loop) -> bool:
    """Return whether a value is a loss of one batch of a loop, of one rank."""
    if not isinstance(loss, Quantity) or loss.over or loss.ranks or loss.metric:
        return False
    return loss.loop == loop.key


def of_shares(trace: Trace, loop: Loop) -> bool:
    """Return whether a loop trains a model that a file distributes, each rank on its share."""
    lines = (line.partition("#")[0] for line in trace.module.lines)
    return trains(trace, loop) and any(map(_DISTRIBUTES.search, lines))


def reduced(trace: Trace, event: Event, loop: Loop) -> bool:
    """Return whether what an event reports of a loop may have been reduced over ranks before it."""
    first = min((e.order for e in trace.events if loop in e.loops), default=0)
    reductions = [
        e for e in trace.of("reduce") if first <= e.order <= event.order and not unused(e, event)
    ]
    return not all(_other(event, value, loop) for e in reductions for value in flat(e.value))


def _other(event: Event, value: Value, loop: Loop) -> bool:
    """Return whether a value that is reduced is no part of what an event reports of a loop."""
    if isinstance(value, Quantity) and isinstance(event.value, Quantity):
        if (value.over or value.loop) and loop.key not in {value.over, value.loop}:
            return True
        return value.metric is not event.value.metric and bool(value.name and event.value.name)
    if isinstance(value, Count) and value.unit == "seen":
        return bool(value.key) and value.key != loop.key
    if not isinstance(value, Tensor):
        return False
    score = isinstance(event.value, Quantity) and event.value.metric
    return not score or value.loop != loop.key  # a score may be of outputs that were gathered


def how_shared(loader: Loader) -> str:
    """Return how a loader came to hold one rank's share."""
    if loader.sampler is not None and loader.sampler.kind == "ranks":
        return f"the DistributedSampler at line {loader.sampler.line} gives each rank a share"
    if not loader.per_rank:
        return f"each rank trains on its own share of {loader.text}, and only the first comes here"
    return f"{loader.text or 'the loader'} was prepared so that each rank sees a share"
