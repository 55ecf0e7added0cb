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
        if not earlier or since or not _same(trace, zero, step) or not implies(zero, step, loop):
            continue
        if _writes_gradients(loop, zero, step):
            continue
        places.add(id(zero.node))
        evidence = (
            f"the gradients come from line {earlier[-1].line}",
            f"{zero.text}.zero_grad() drops them before the step at line {step.line}",
        )
        yield Report(zero, "step with gradient 0", "step with the gradient of the loss", evidence)
    yield from _in_a_window(trace, places)


def _in_a_window(trace: Trace, places: set[int]) -> Iterator[Report]:
    """Yield zeroings in a window that drop the gradients of its earlier batches.

    The step comes under a test on the window. The zeroing comes under the same test, before the
    backward pass, or in each batch.
    """
    for zero in trace.of("zero"):
        if zero.loop is None or id(zero.node) in places:
            continue
        beside = [e for e in trace.within(zero.loop, "zero", "backward", "step") if e is not zero]
        passes = [e for e in beside if e.kind == "backward" and e.order > zero.order]
        steps = [e for e in beside if e.kind == "step" and _same(trace, zero, e)]
        if len(passes) != 1 or len(steps) != 1 or any(e.kind == "zero" for e in beside):
            continue
        tests = _ends(steps[0], passes[0])
        if not tests or steps[0].order < passes[0].order or passes[0].loops != zero.loops:
            continue
        if _ends(zero, passes[0]) != tests and not _in_each_batch(zero, passes[0]):
            continue
        places.add(id(zero.node))
        evidence = (
            f"line {passes[0].line} adds to gradients in each batch",
            f"{zero.text}.zero_grad() drops those of all batches of the window but its last",
        )
        right = "step with the gradients of the window"
        yield Report(zero, "step with the gradient of one batch", right, evidence)


def _in_each_batch(zero: Event, backward: Event) -> bool:
    """Return whether gradients are zeroed wherever a backward pass adds to them."""
    tests = {(id(c.test), c.branch) for c in backward.conditions}
    return all((id(c.test), c.branch) in tests for c in zero.conditions if not c.by)


def _ends(event: Event, backward: Event) -> list[str]:
    """Return the tests of an event that a backward pass does not have, where one ends a window."""
    common = {id(c.test) for c in backward.conditions}
    tests = [c for c in event.conditions if id(c.test) not in common]
    window = any(isinstance(n, ast.Mod) for c in tests for n in ast.walk(c.test))
    return [f"{c.branch} {ast.dump(c.test)}" for c in tests] if window else []


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


def _same(trace: Trace, zero: Event, step: Event) -> bool:
    """Return whether what is zeroed is what steps: an optimiser, or all of its model.

    Where a loop zeroes several modules in turn, each is a part that one step leaves as it is.
    """
    if zero.text == step.text:
        return True
    texts = {e.text for e in trace.of("zero") if e.loops == zero.loops and not _is_tool(e.text)}
    return not _is_tool(zero.text) and len(texts) == 1


def _is_tool(text: str) -> bool:
    return "opt" in text.lower() or text.lower().endswith("er")
