"""The best model is chosen by the loss of one batch."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity, Value
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._questions import leaves_early
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_BEST = {"min", "minimum", "lowest", "max", "maximum", "highest"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield tests of the loss of one batch against the best value."""
    places = set[int]()
    for event in trace.of("compare"):
        node = event.node
        if not isinstance(node, ast.Compare) or not isinstance(
            node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE
        ):
            continue
        pairs = ((event.value, node.comparators[0]), (event.other, node.left))
        for value, best in pairs:
            if _is_best(dotted(best)) and id(node) not in places and _of_one(trace, value):
                places.add(id(node))
                yield _report(trace, event, value)


def _is_best(name: str) -> bool:
    """Return whether a name is that of the best value so far."""
    return "best" in name.lower() or bool(_BEST & set(words_of(name).split()))


def _of_one(trace: Trace, value: Value) -> bool:
    if not isinstance(value, Quantity) or value.over or not value.loop:
        return False
    loop = trace.loops.get(value.loop)
    return loop is not None and loop.loader is not None and not leaves_early(loop)


def _report(trace: Trace, event: Event, value: Value) -> Report:
    assert isinstance(value, Quantity)
    loop = trace.loops[value.loop]
    name = value.text or "the loss"
    inside = loop in event.loops
    when = (
        "inside the loop over batches"
        if inside
        else "after the loop, when it holds the last batch's"
    )
    return Report(
        event,
        f"{name} of one batch",
        "mean over all batches",
        (f"{name} is compared {when}",),
        _keeps_a_model(event),
    )


def _keeps_a_model(event: Event) -> bool:
    """Return whether a model is saved or kept where the test holds, not only a counter reset."""
    nodes = list(ast.walk(event.module.tree))
    assigns = (n for n in nodes if isinstance(n, ast.Assign) and n.value is event.node)
    names = {dotted(target) for node in assigns for target in node.targets} - {""}
    branches = [
        node
        for node in nodes
        if isinstance(node, ast.If)
        if event.node in ast.walk(node.test) or dotted(node.test) in names
    ]
    text = " ".join(ast.unparse(inner).lower() for node in branches for inner in node.body)
    return any(word in text for word in ("save", "state_dict", "copy", "model", "checkpoint"))
