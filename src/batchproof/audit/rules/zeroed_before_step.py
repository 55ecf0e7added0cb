"""The gradients are zeroed between the backward pass and the optimiser step."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._questions import compatible, implies
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report

_WRITES = {"copy_", "add_", "set_", "data"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield zeroings of gradients between the backward pass and the step that needs them."""
    places = set[int]()
    for step in trace.of("step"):
        loop = step.loop
        if loop is None:
            continue
        before = [
            e
            for e in trace.events
            if loop in e.loops and e.order < step.order and compatible(e, step)
        ]
        marks = [
            e for e in before if e.kind in {"backward", "zero", "step"} and e.loops == step.loops
        ]
        if not marks or marks[-1].kind != "zero" or id(marks[-1].node) in places:
            continue
        zero, earlier = marks[-1], [e for e in marks if e.kind == "backward"]
        since = [e for e in marks if earlier and e.order > earlier[-1].order and e.kind == "step"]
        if not earlier or since or not _same(zero, step) or not implies(zero, step, loop):
            continue
        if _writes_gradients(loop, zero, step):
            continue
        places.add(id(zero.node))
        evidence = (
            f"the gradients come from line {earlier[-1].line}",
            f"{zero.text}.zero_grad() drops them before the step at line {step.line}",
        )
        yield Report(zero, "step with gradient 0", "step with the gradient of the loss", evidence)


def _writes_gradients(loop: Loop, zero: Event, step: Event) -> bool:
    """Return whether lines between a zeroing and a step write gradients: `p.grad.copy_(g)`."""
    for node in ast.walk(loop.node):
        if not (isinstance(node, ast.Attribute) and zero.line <= node.lineno <= step.line):
            continue
        writes = node.attr == "grad" and isinstance(node.ctx, ast.Store)
        within = isinstance(node.value, ast.Attribute) and node.value.attr == "grad"
        if writes or (within and node.attr in _WRITES):
            return True
    return False


def _same(zero: Event, step: Event) -> bool:
    if zero.text == step.text:
        return True
    return "opt" not in zero.text.lower() and not zero.text.lower().endswith("er")
