"""Ranks: which events only one of them reaches, and which loaders hold one rank's share."""

import ast
import re
from functools import lru_cache

from batchproof.audit._dimensions._lattice import Count, Loader, Quantity, Tensor, Value
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import Module, dotted, prints_for_first_rank
from batchproof.audit._dimensions._questions import functions_of, trains
from batchproof.audit._dimensions._shares import unused
from batchproof.audit._dimensions._trace import Event, Loop, Trace

_RANK_0 = re.compile(
    r"rank\w*(\(\))? (==|!=|in|not in|<=|>) |is_\w*main_proc|is_master|is_main\b|is_global_zero"
    r"|is_\w*rank_?(0|zero)\b|is_(root|chief|primary)\b|\b(main|master)_process\b"
    r"|\brank_?(0|zero)\b|not [\w.]*rank\b"
)
# the first device, in a file that gives each process one of them
_DEVICE_0 = re.compile(
    r"(?<!n_)(?<!num_)(gpu|device|proc|process|replica|worker)(_?(id|idx|index))?"
    r" ([=!]= 0|in [\[(])"
)
_FIRST = re.compile(r"(\w+)(?:: bool)? = .*(?:rank\w*(?:\(\))? == 0|is_main_process)")
# decorators of functions that the first rank alone runs
_ONLY = re.compile(
    r"(rank_?(0|zero)|master|main(_process)?)_only|(only_)?on_(main|master)(_process)?"
)
# losses that Megatron has averaged over ranks already
_AVERAGES = re.compile(r"megatron", re.IGNORECASE)
_DISTRIBUTES = re.compile(
    r"DistributedDataParallel\(|\bDDP\(|DistributedSampler\(|\.prepare\(|deepspeed\.initialize\("
)
_WRITES_ONCE = re.compile(r"(accelerator|fabric)\.log(_dict)?$")  # on the main process alone
_CURVE = re.compile(
    r"add_scalars?$|log_(metrics?|scalars?|value|dict)$|scalar_summary$|write_(scalars?|event)$|logkv$"
    r"|(wandb|swanlab|comet\w*|run|tracker|accelerator|fabric)\.log$"
)
_ONE_PROCESS = re.compile(r"local_rank == -1|(world_size|num_processes|n_?gpus?) (==|<=) 1")


def on_first_rank(event: Event) -> bool:
    """Return whether a test on the way to an event, or a name, says that the first rank does it."""
    if prints_for_first_rank(event.text) or _WRITES_ONCE.search(event.text):
        return True
    tests = [c.test for c in event.conditions]
    texts = [ast.unparse(test) for test in tests]
    if any(map(_RANK_0.search, texts)):
        return True
    if any(map(_DEVICE_0.search, texts)) and distributes(event.module):
        return True
    names = {dotted(part).rpartition(".")[2] for test in tests for part in ast.walk(test)} - {""}
    lines = (_FIRST.search(line) for line in event.module.lines)
    if any(match and match[1] in names for match in lines):
        return True
    decorators = (d for body in functions_of(event) for d in body.decorator_list)
    if any(_ONLY.search(ast.unparse(d)) for d in decorators):
        return True
    return any(name in names for name in _set_on_first_rank(event.module))


@lru_cache(maxsize=4)
def _set_on_first_rank(module: Module) -> set[str]:
    """Return the names, as of a writer, that are set on the first rank and are None elsewhere."""
    inside, first, others = set[int](), set[str](), set[str]()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If) and _RANK_0.search(ast.unparse(node.test)):
            inside |= {id(n) for n in node.body}
    for node in ast.walk(module.tree):
        match node:
            case ast.Assign([ast.Name(name)], ast.Call()):
                (first if id(node) in inside else others).add(name)
    return first - others


def loop_of(trace: Trace, event: Event) -> Loop | None:
    """Return the loop over batches around an event, or one that trains on what it draws itself."""
    if event.batches is not None:
        return event.batches
    return next((loop for loop in reversed(event.loops) if trains(trace, loop)), None)


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


def is_of_batch(trace: Trace, loss: Value, loop: Loop) -> bool:
    """Return whether a value is a loss of one batch of a loop, of one rank."""
    if not isinstance(loss, Quantity) or loss.over or loss.ranks or loss.metric:
        return False
    if loop.loader is not None or loss.loop:
        return loss.loop == loop.key
    trained = (event.value for event in trace.within(loop, "backward"))
    return any(isinstance(value, Quantity) and value.line == loss.line for value in trained)


def is_curve(event: Event) -> bool:
    """Return whether a report goes to what keeps the numbers that it is given, step by step."""
    return bool(_CURVE.search(event.text))


def of_shares(trace: Trace, loop: Loop) -> bool:
    """Return whether a loop trains a model that a file distributes, each rank on its share."""
    return trains(trace, loop) and distributes(trace.module)


def distributes(module: Module) -> bool:
    """Return whether a file gives its model, or its data, to several processes."""
    lines = (line.partition("#")[0] for line in module.lines)
    return any(map(_DISTRIBUTES.search, lines))


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
