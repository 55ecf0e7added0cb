"""A loss is kept with its graph, so memory grows with every batch."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity, Tensor
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums and lists of losses that carry their graphs from batch to batch."""
    for event in trace.of("accumulate", "append"):
        loss, loop = event.value, event.loop
        if not isinstance(loss, Quantity | Tensor) or loss.graph is False or event.grad is False:
            continue
        if loop is None or _drops(trace, event):
            continue
        passes = _passes(trace, loop)
        beside = [e for e in passes if e.loops == event.loops]
        if isinstance(loss, Tensor):
            shares = _feeds(trace, event, loss, beside)
        else:
            shares = not loss.number and any(_shares(e, event, loss) for e in beside)
        if not shares or _back_propagated(trace, event, loss):
            continue
        term, what = _term(event), "output" if isinstance(loss, Tensor) else "loss"
        evidence = (
            f"{term or f'the {what}'} carries its graph (line {passes[0].line} back-propagates it)",
            f"{event.text} keeps it until the loop ends",
        )
        remedy = f"{event.text} += {term or 'loss'}.item()" if event.kind == "accumulate" else ""
        yield Report(event, "tensor with its graph", "the number", evidence, remedy=remedy)


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


def _shares(backward: Event, event: Event, loss: Quantity) -> bool:
    """Return whether what is kept is what is back-propagated, or a term of it."""
    value = backward.value
    if isinstance(value, Quantity) and value.line == loss.line and loss.line and loss.graph is True:
        return True
    if backward.function != event.function:
        return False  # a name means another thing in another function
    passed = _terms(backward.node)
    for node in ast.walk(event.loops[-1].node):
        match node:
            case ast.Assign(value=ast.BinOp()) if passed & {dotted(t) for t in node.targets}:
                passed |= _terms(node.value)
    term = _added(event)
    return term is not None and bool(passed & _terms(term))


def _terms(node: ast.AST) -> set[str]:
    """Return the names that an expression adds, scales or back-propagates."""
    match node:
        case ast.Name() | ast.Attribute():
            return {dotted(node)} - {""}
        case ast.BinOp():
            return _terms(node.left) | _terms(node.right)
        case ast.Return(ast.expr() as value):
            return _terms(value)
        case ast.Call(func=ast.Attribute(value=subject, attr="backward")):
            return _terms(subject).union(*map(_terms, node.args))
        case ast.Call(func=ast.Attribute(attr="scale")):
            return set[str]().union(*map(_terms, node.args))
    return set()


def _added(event: Event) -> ast.expr | None:
    """Return the expression that is added to the sum or the list."""
    node = event.node
    if isinstance(node, ast.Call):
        return node.args[0] if node.args else None
    value = getattr(node, "value", None)
    if isinstance(value, ast.BinOp) and isinstance(node, ast.Assign):
        return value.right if dotted(value.left) == event.text else value.left
    return value if isinstance(value, ast.expr) else None


def _term(event: Event) -> str:
    term = _added(event)
    return "" if term is None else dotted(term)


def _drops(trace: Trace, event: Event) -> bool:
    """Return whether the sum or list is emptied, or is cut from its graph, inside the loop."""
    around = event.loops if event.loop is None or event.loop.loader else event.loops[:-1]
    inside = {event.loops} | ({around} if event.batches in around else set())
    return any(e.text == event.text and e.loops in inside for e in trace.of("assign"))


def _back_propagated(trace: Trace, event: Event, loss: Quantity | Tensor) -> bool:
    loop = event.loop
    for other in trace.of("backward"):
        if other.text == event.text or _within_call(other, event.text):
            return True
        if isinstance(other.value, Quantity) and loop is not None and other.value.over == loop.key:
            return True
    return isinstance(loss, Quantity) and bool(loss.over)


def _within_call(event: Event, name: str) -> bool:
    return any(
        isinstance(n, ast.Name | ast.Attribute) and dotted(n) == name for n in ast.walk(event.node)
    )
