"""The number of one rank is reported as that of all."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Loader, Quantity, Tensor
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import against_best, evaluates
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums over a rank's share of a loader that are reported without being reduced."""
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
            or (event.kind == "compare" and not against_best(event))
        ):
            continue
        places.add(id(event.node))
        evidence = (
            _how(loop.loader),
            "nothing between the loop and this line reduces it over ranks",
        )
        where = "this rank's batches"
        sure = evaluates(trace, loop) or "accelerator" in event.text or "fabric" in event.text
        yield Report(
            event,
            f"mean over {where}",
            "Σ over all ranks / count of all ranks",
            evidence,
            sure,
            node=_division(trace, event),
        )


def _names_its_rank(event: Event) -> bool:
    """Return whether what is reported says of which rank it is."""
    names = (n for n in ast.walk(event.node) if isinstance(n, ast.Name | ast.Attribute))
    return event.kind == "report" and any(dotted(n).lower().endswith("rank") for n in names)


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
    reductions = [
        e
        for e in trace.of("reduce")
        if not all(isinstance(value, Tensor) for value in flat(e.value))
    ]
    return any(first <= e.order <= event.order for e in reductions)
