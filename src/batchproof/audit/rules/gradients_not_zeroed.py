"""Gradients of earlier steps are still in the sum when the optimiser steps."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Tool, Unknown, Value
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import compatible, of_numpy
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._dimensions._zeroing import BY_HAND, empties, touches, zeroes
from batchproof.audit._reports import Report

_OPTIMISER = re.compile(r"^(?!.*(ema|sched|\[)).*opt", re.IGNORECASE)


def find(trace: Trace) -> Iterator[Report]:
    """Yield loops that back-propagate and step, and in which nothing zeroes the gradients."""
    places = set[int]()
    for step in trace.of("step"):
        loop = step.loop
        if loop is None or id(step.node) in places or step.text == "":
            continue
        passes = [
            e
            for e in trace.within(loop, "backward")
            if e.order < step.order and compatible(e, step)
        ]
        if not passes or any(trace.of("managed")) or _handed_on(trace, step) or _closure(step):
            continue
        zeros = list(trace.of("zero"))
        leaves = any(asks(step, loop, zeros) for asks in (_once, _another, _one_of_two))
        if zeroes(step) if not zeros else not leaves:
            continue
        places.add(id(step.node))
        evidence = (
            f"{passes[-1].text or 'loss'}.backward() (line {passes[-1].line}) adds to gradients",
            f"{step.text}.step() follows at line {step.line}, and nothing in sight zeroes them",
        )
        yield Report(
            passes[-1],
            "Σ of the gradients of all steps so far",
            "gradient of this step",
            evidence,
            sure=not of_numpy(step),
        )


def _once(step: Event, loop: Loop, zeros: list[Event]) -> bool:
    """Return whether gradients are zeroed outside a loop that takes steps, and never inside it."""
    first = any(not conditions for conditions in loop.leaves)
    inside = any(loop in e.loops for e in zeros)
    if not isinstance(loop.node, ast.For) or first or inside or _is_new(step, loop):
        return False
    if loop.loader is not None and loop.loader.index:
        return False
    own = any(e.text == step.text or not isinstance(e.value, Tool) for e in zeros)
    return own and not any(touches(inner) for inner in ast.walk(loop.node))


def _is_new(step: Event, loop: Loop) -> bool:
    """Return whether each pass of a loop has an optimiser of its own."""
    stores = (n for n in ast.walk(loop.node) if isinstance(getattr(n, "ctx", None), ast.Store))
    return step.text.partition(".")[0] in {dotted(n).partition(".")[0] for n in stores}


def _another(step: Event, loop: Loop, zeros: list[Event]) -> bool:
    """Return whether only other optimisers, of other modules, zero gradients in a loop."""
    inside, mine = [e.value for e in zeros if loop in e.loops], _module_of(step.value)
    nodes = list(ast.walk(loop.node))
    if any(empties(n) or (isinstance(n, ast.Attribute) and n.attr in BY_HAND) for n in nodes):
        return False
    others = [_module_of(value) for value in inside]
    return bool(mine and others and all(others)) and not any(
        other.startswith(mine) or mine.startswith(other) for other in others
    )


def _one_of_two(step: Event, loop: Loop, zeros: list[Event]) -> bool:
    """Return whether only another optimiser zeroes gradients, of two that a loop steps by name."""
    names, nodes = {e.text for e in zeros}, list(ast.walk(loop.node))
    steps = {dotted(n.value) for n in nodes if isinstance(n, ast.Attribute) and n.attr == "step"}
    steps |= {dotted(a) for n in nodes if isinstance(n, ast.Call) for a in n.args}
    plain = all(isinstance(e.value, Tool | Unknown) and loop in e.loops for e in (step, *zeros))
    if not plain or not all(_OPTIMISER.search(name) for name in (step.text, *names)):
        return False
    apart = step.text not in names and names <= steps and not _is_new(step, loop)
    return apart and not any(empties(n) for n in nodes) and all(not _is_new(e, loop) for e in zeros)


def _module_of(value: Value) -> str:
    """Return the module whose parameters an optimiser holds, `G.` of G.parameters(), or ""."""
    of = value.of if isinstance(value, Tool) and value.kind == "optimizer" else ""
    name = of.removesuffix("parameters()")
    return name if name != of and name.replace(".", "").isidentifier() else ""


def _handed_on(trace: Trace, step: Event) -> bool:
    """Return whether the optimiser was handed to something out of sight."""
    bare = step.text.rsplit(".", 1)[-1]
    if "engine" in step.text:
        return True
    hidden = [text for order, text in trace.opaque if order <= step.order + 50]
    return any(
        "zero" in text or "reset" in text or text.rsplit(".", 1)[-1] == bare for text in hidden
    )


def _closure(step: Event) -> bool:
    return (
        isinstance(step.node, ast.Call)
        and bool(step.node.args)
        and "scaler" not in ast.unparse(step.node.func)
    )
