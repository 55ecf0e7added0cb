"""A loss is kept with its graph, so memory grows with every batch."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._evaluations import sums_graphs
from batchproof.audit._dimensions._lattice import Quantity, Several, Tensor, Unknown, Value
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._terms import is_term, takes_items, term_of
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._dimensions._windows import window_test
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums and lists of losses that carry their graphs from batch to batch."""
    for event in trace.of("accumulate", "append", "keep"):
        loss, loop = _with_graph(event.value) or _back_propagated_here(trace, event), event.loop
        if loss is None or loss.graph is False or event.grad is False:
            continue
        if loop is None or _drops(trace, event):
            continue
        why = sums_graphs(trace, event)
        if why and not _back_propagated(trace, event, loss):
            yield _evaluated(event, why)
            continue
        passes = _passes(trace, loop)
        beside = [e for e in passes if e.loops == event.loops]
        number = isinstance(loss, Quantity) and loss.number
        shares = not number and any(is_term(e, event, loss) for e in beside)
        of_outputs = isinstance(loss, Quantity) and loss.graph is True and not loss.metric
        shares |= of_outputs and bool(beside)
        if isinstance(loss, Tensor):
            shares = _feeds(trace, event, loss, beside) or (shares and loss.output)
        if not shares or _back_propagated(trace, event, loss):
            continue
        term, what = term_of(event), "output" if isinstance(loss, Tensor) else "loss"
        evidence = (
            f"{term or f'the {what}'} carries its graph (line {passes[0].line} back-propagates it)",
            f"{event.text} keeps it until the loop ends",
        )
        remedy = f"{event.text} += {term or 'loss'}.item()" if event.kind == "accumulate" else ""
        yield Report(event, "tensor with its graph", "the number", evidence, remedy=remedy)


def _with_graph(value: Value) -> Quantity | Tensor | None:
    """Return a value that may carry a graph: itself, or a loss in a dict or tuple."""
    if isinstance(value, Quantity | Tensor):
        return value
    losses = [v for v in flat(value) if isinstance(v, Quantity) and v.graph is not False]
    return losses[0] if losses and isinstance(value, Several) else None


def _back_propagated_here(trace: Trace, event: Event) -> Quantity | None:
    """Return a loss for a value out of sight whose name the same pass of a loop back-propagates."""
    name = term_of(event)
    if not name or not isinstance(event.value, Unknown):
        return None
    for other in trace.of("backward"):
        if (other.text, other.loops, other.conditions) == (name, event.loops, event.conditions):
            first, last = sorted((other.order, event.order))
            if not any(e.text == name and first < e.order < last for e in trace.of("assign")):
                return Quantity("unknown", graph=True, text=name)
    return None


def _evaluated(event: Event, why: str) -> Report:
    """Return the report of an evaluation that keeps the graph of each of its losses."""
    term = term_of(event)
    evidence = (
        f"{why}, autograd is on, and {term or 'the loss'} carries the graph of its batch",
        f"{event.text} keeps it, with all activations, until the evaluation ends",
    )
    remedy = f"{event.text} += {term or 'loss'}.item()" if event.kind == "accumulate" else ""
    return Report(event, "tensor with its graph", "the number", evidence, remedy=remedy)


def _passes(trace: Trace, loop: Loop) -> list[Event]:
    """Return the backward passes of a loop; Lightning's is over what training_step returns."""
    managed = getattr(loop.node, "name", "") == "training_step"
    return trace.within(loop, "return" if managed else "backward")


def _feeds(trace: Trace, event: Event, output: Tensor, passes: list[Event]) -> bool:
    """Return whether what is kept is the input of a criterion whose loss is back-propagated."""
    inputs = [e for e in trace.of("criterion") if e.loops == event.loops]
    lines = {e.line for e in inputs if getattr(e.other, "text", "") == output.text}
    losses = [e.value for e in passes if isinstance(e.value, Quantity)]
    return output.output and bool(output.text) and any(loss.line in lines for loss in losses)


def _drops(trace: Trace, event: Event) -> bool:
    """Return whether a sum or list is emptied, or cut from its graph, inside the loop.

    A sum that is emptied once in so many batches keeps the graphs of all of them until then.
    """
    around = event.loops if event.loop is None or event.loop.loader else event.loops[:-1]
    inside = {event.loops} | ({around} if event.batches in around else set())
    sets = (e for e in trace.of("assign") if e.text == event.text and e.loops in inside)
    rarely = event.kind == "accumulate" and event.loop is not None
    return any(not rarely or window_test(e, event.batches or e.loops[-1]) is None for e in sets)


def _back_propagated(trace: Trace, event: Event, loss: Quantity | Tensor) -> bool:
    loop = event.loop
    for other in trace.of("backward"):
        if other.text == event.text or _within_call(other, event.text):
            return True
        if isinstance(other.value, Quantity) and loop is not None and other.value.over == loop.key:
            return True
    return takes_items(trace, event) or (isinstance(loss, Quantity) and bool(loss.over))


def _within_call(event: Event, name: str) -> bool:
    return any(
        isinstance(n, ast.Name | ast.Attribute) and dotted(n) == name for n in ast.walk(event.node)
    )
