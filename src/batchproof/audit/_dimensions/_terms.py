"""The terms of a sum: what an event adds to it, and the names that are scaled and added."""

import ast

from batchproof.audit._dimensions._lattice import Quantity, Tensor
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Trace


def is_term(backward: Event, event: Event, loss: Quantity | Tensor) -> bool:
    """Return whether what is kept is what is back-propagated, or a term of it."""
    line = loss.line if isinstance(loss, Quantity) and loss.graph is True else 0
    if line and isinstance(backward.value, Quantity) and backward.value.line == line:
        return True
    if backward.function != event.function:
        return False  # a name means another thing in another function
    passed = terms_of(backward.node)
    for node in ast.walk(event.loops[-1].node):
        match node:
            case ast.Assign(targets, ast.BinOp() | ast.Dict()) if passed & set(
                map(dotted, targets)
            ):
                passed |= terms_of(node.value)
    term = added(event)
    return term is not None and bool(passed & terms_of(term))


def terms_of(node: ast.AST) -> set[str]:
    """Return the names that an expression adds, scales, holds or back-propagates."""
    match node:
        case ast.Name() | ast.Attribute():
            return {dotted(node)} - {""}
        case ast.BinOp():
            return terms_of(node.left) | terms_of(node.right)
        case ast.Return(ast.expr() as value):
            return terms_of(value)
        case ast.Dict(values=parts) | ast.Tuple(parts):
            plain = [part for part in parts if isinstance(part, ast.Name | ast.Attribute)]
            return {dotted(part) for part in plain} - {""}
        case ast.Call(func=ast.Attribute(value=subject, attr="backward")):
            return terms_of(subject).union(*map(terms_of, node.args))
        case ast.Call(func=ast.Attribute(attr="scale")):
            return set[str]().union(*map(terms_of, node.args))
    return set()


def added(event: Event) -> ast.expr | None:
    """Return the expression that is added to the sum or the list."""
    node = event.node
    if isinstance(node, ast.Call):
        return node.args[0] if node.args else None
    value = getattr(node, "value", None)
    if isinstance(value, ast.BinOp) and isinstance(node, ast.Assign):
        return value.right if dotted(value.left) == event.text else value.left
    return value if isinstance(value, ast.expr) else None


def term_of(event: Event) -> str:
    """Return the name of what is added, "" where it has none."""
    term = added(event)
    return "" if term is None else dotted(term)


def takes_items(trace: Trace, event: Event) -> bool:
    """Return whether a backward pass follows where items of a list are taken, after its loop."""
    for other in trace.of("assign"):
        match other.node:
            case ast.Assign(value=ast.Subscript(whole)) if dotted(whole) == event.text:
                if event.loop not in other.loops and other.order > event.order:
                    return any(e.order > other.order for e in trace.of("backward"))
    return False
