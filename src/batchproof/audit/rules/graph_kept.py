"""A loss is kept with its graph, so memory grows with every batch."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums and lists of losses that carry their graphs from batch to batch."""
    for event in trace.of("accumulate", "append"):
        loss = event.value
        if (
            not isinstance(loss, Quantity)
            or loss.graph is False
            or loss.number
            or event.grad is False
        ):
            continue
        loop = event.loop
        if loop is None or _drops(trace, event):
            continue
        passes = trace.within(loop, "backward")
        term = _term(event.node)
        certain = any(e.text == term or _is_same(e, loss) for e in passes)
        if not passes or not certain or not any(e.loops == event.loops for e in passes):
            continue
        if _back_propagated(trace, event, loss):
            continue
        evidence = (
            f"{term or 'the loss'} carries its graph (line {passes[0].line} back-propagates it)",
            f"{event.text} keeps it until the loop ends",
        )
        remedy = f"{event.text} += {term or 'loss'}.item()" if event.kind == "accumulate" else ""
        yield Report(event, "tensor with its graph", "the number", evidence, remedy=remedy)


def _is_same(event: Event, loss: Quantity) -> bool:
    value = event.value
    same = isinstance(value, Quantity) and value.line == loss.line and bool(loss.line)
    return same and loss.graph is True


def _term(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return dotted(node.args[0]) if node.args else ""
    return dotted(getattr(node, "value", node))


def _drops(trace: Trace, event: Event) -> bool:
    """Return whether the sum or list begins anew, or is cut from its graph, inside the loop."""
    loop = event.loop
    return any(
        e.text == event.text and loop in e.loops and e.loops == event.loops
        for e in trace.of("assign")
    )


def _back_propagated(trace: Trace, event: Event, loss: Quantity) -> bool:
    loop = event.loop
    for other in trace.of("backward"):
        if other.text == event.text or _within_call(other, event.text):
            return True
        if isinstance(other.value, Quantity) and loop is not None and other.value.over == loop.key:
            return True
    return bool(loss.over)


def _within_call(event: Event, name: str) -> bool:
    return any(
        isinstance(n, ast.Name | ast.Attribute) and dotted(n) == name for n in ast.walk(event.node)
    )
