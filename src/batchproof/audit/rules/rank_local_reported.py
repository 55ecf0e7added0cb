"""The number of one rank is reported as that of all."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Listing, Quantity
from batchproof.audit._dimensions._names import FunctionNode
from batchproof.audit._dimensions._questions import against_best, evaluates
from batchproof.audit._dimensions._ranks import (
    how_shared,
    in_one_process,
    is_curve,
    is_of_batch,
    is_share,
    is_shared,
    loop_of,
    names_its_rank,
    of_shares,
    on_first_rank,
    reduced,
)
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums over a rank's share of a loader that are reported without being reduced."""
    yield from _scored(trace)
    yield from _curves(trace)
    places = set[tuple[object, ...]]()
    for event in trace.of("report", "compare"):
        value = event.value
        if not isinstance(value, Quantity) or not value.over or value.ranks:
            continue
        loop = trace.loops.get(value.over)
        alone = on_first_rank(event)
        if loop is None or loop.loader is None:
            continue
        inside = loop in event.loops
        place = (value.over, event.function, event.kind, inside, is_curve(event))
        if place in places:
            continue
        if inside and (not alone or event.kind == "compare" or _moves(event)):
            continue
        if not is_shared(loop.loader) and not (alone and is_share(trace, loop, loop.loader)):
            continue
        if (
            reduced(trace, event, loop)
            or names_its_rank(event)
            or in_one_process(event)
            or (event.kind == "compare" and not against_best(event))
        ):
            continue
        places.add(place)
        evidence = (
            how_shared(loop.loader),
            "nothing between the loop and this line reduces it over ranks",
        )
        tool = "accelerator" in event.text or "fabric" in event.text
        sure = evaluates(trace, loop) or alone or tool
        sure = sure and (not inside or is_curve(event))
        yield Report(
            event,
            "mean over this rank's batches",
            "Σ over all ranks / count of all ranks",
            evidence,
            sure,
            node=_division(trace, event),
        )


def _curves(trace: Trace) -> Iterator[Report]:
    """Yield losses of batches of a rank's share that the first rank writes, one of each loop."""
    loops = set[str]()
    for event in trace.of("report"):
        loss, loop = event.value, loop_of(trace, event)
        if loop is None or loop.key in loops or not is_curve(event):
            continue
        if not is_of_batch(trace, loss, loop) or names_its_rank(event) or in_one_process(event):
            continue
        if on_first_rank(event) and of_shares(trace, loop) and not reduced(trace, event, loop):
            loops.add(loop.key)
            evidence = ("the loss is of this rank's batch", "nothing reduces it over ranks")
            yield Report(event, "mean of a batch of rank 0", "mean of those of all", evidence)


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


def _moves(event: Event) -> bool:
    """Return whether a line is that of a progress bar, which is overwritten by the next."""
    return event.text.endswith(
        ("set_postfix", "set_description", "set_postfix_str", "set_description_str")
    )


def _division(trace: Trace, event: Event) -> ast.AST:
    """Return the division inside a report that makes the number, or the report itself."""
    inside = {id(node) for node in ast.walk(event.node)}
    divisions = [e.node for e in trace.of("divide") if id(e.node) in inside]
    many = getattr(event.node, "end_lineno", 0) > event.line
    return divisions[-1] if divisions and many else event.node
