"""The number of one rank is reported as that of all."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Listing, Loader, Quantity, Tensor, Value
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import FunctionNode, dotted
from batchproof.audit._dimensions._questions import against_best, evaluates
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report

_RANK_0 = re.compile(
    r"rank\w*(\(\))? (==|!=|in) |is_\w*main_process|is_master|is_main\b|is_global_zero"
)
_ONE_PROCESS = re.compile(r"local_rank == -1|(world_size|num_processes|n_?gpus?) (==|<=) 1")


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums over a rank's share of a loader that are reported without being reduced."""
    yield from _scored(trace)
    places = set[int]()
    for event in trace.of("report", "compare"):
        value = event.value
        if (
            not isinstance(value, Quantity)
            or not value.over
            or value.ranks
            or id(event.node) in places
        ):
            continue
        loop = trace.loops.get(value.over)
        if loop is None or loop.loader is None or loop in event.loops or not _shared(loop.loader):
            continue
        if (
            _reduced(trace, event, loop)
            or _names_its_rank(event)
            or _in_one_process(event)
            or (event.kind == "compare" and not against_best(event))
        ):
            continue
        places.add(id(event.node))
        evidence = (
            _how(loop.loader),
            "nothing between the loop and this line reduces it over ranks",
        )
        where = "this rank's batches"
        alone = any(_RANK_0.search(ast.unparse(c.test)) for c in event.conditions)
        tool = "accelerator" in event.text or "fabric" in event.text
        sure = evaluates(trace, loop) or alone or tool
        yield Report(
            event,
            f"mean over {where}",
            "Σ over all ranks / count of all ranks",
            evidence,
            sure,
            node=_division(trace, event),
        )


def _scored(trace: Trace) -> Iterator[Report]:
    """Yield scores that the first rank of Lightning computes of the outputs of its own steps."""
    for event in trace.of("score"):
        loop = trace.loops.get(event.value.over) if isinstance(event.value, Listing) else None
        if loop is None or not isinstance(loop.node, FunctionNode) or loop in event.loops:
            continue
        first = any("is_global_zero" in ast.unparse(c.test) for c in event.conditions)
        if not first or any(True for _ in trace.of("reduce")):
            continue
        evidence = (
            f"{loop.node.name} keeps the outputs of this rank's batches",
            "only the first rank comes here, and nothing gathers those of the others",
        )
        yield Report(event, "f(samples of rank 0)", "f(samples of all ranks)", evidence)
        return


def _names_its_rank(event: Event) -> bool:
    """Return whether what is reported says of which rank it is."""
    names = (n for n in ast.walk(event.node) if isinstance(n, ast.Name | ast.Attribute))
    return event.kind == "report" and any(dotted(n).lower().endswith("rank") for n in names)


def _in_one_process(event: Event) -> bool:
    """Return whether a test says that there is one process where something is reported."""
    return any(c.branch and _ONE_PROCESS.search(ast.unparse(c.test)) for c in event.conditions)


def _division(trace: Trace, event: Event) -> ast.AST:
    """Return the division inside a report that makes the number, or the report itself."""
    inside = {id(node) for node in ast.walk(event.node)}
    divisions = [e.node for e in trace.of("divide") if id(e.node) in inside]
    many = getattr(event.node, "end_lineno", 0) > event.line
    return divisions[-1] if divisions and many else event.node


def _shared(loader: Loader) -> bool:
    return loader.per_rank or (loader.sampler is not None and loader.sampler.kind == "ranks")


def _how(loader: Loader) -> str:
    if loader.sampler is not None and loader.sampler.kind == "ranks":
        return f"the DistributedSampler at line {loader.sampler.line} gives each rank a share"
    return f"{loader.text or 'the loader'} was prepared so that each rank sees a share"


def _reduced(trace: Trace, event: Event, loop: Loop) -> bool:
    first = min((e.order for e in trace.events if loop in e.loops), default=0)
    reductions = [e for e in trace.of("reduce") if first <= e.order <= event.order]
    return not all(_other(event, value) for e in reductions for value in flat(e.value))


def _other(event: Event, value: Value) -> bool:
    """Return whether a value that is reduced is no part of what an event reports."""
    if isinstance(value, Quantity) and isinstance(event.value, Quantity):
        return value.metric is not event.value.metric and bool(value.name and event.value.name)
    return isinstance(value, Tensor)
