"""The micro-batches after the last full window are never stepped, leak, or weigh too little."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Trace, tests_of
from batchproof.audit._dimensions._windows import (
    Window,
    ends_inside,
    goes_over_a_pass,
    last_part,
    lead,
    lengths,
    skips_by_index,
    step_after,
    step_test,
    steps_elsewhere,
    windows,
    zeroed_between,
)
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield windows whose last, short one is lost or stepped with the full divisor."""
    places = set[int]()
    for window in windows(trace):
        later, ahead = step_after(trace, window), lead(trace, window)
        if ahead is None and (later is not None or zeroed_between(trace, window)):
            ahead = lead(trace, window, over_passes=True)
            ahead = 0 if ahead is None and zeroed_between(trace, window) else ahead
        if id(window.test) in places or ahead is None or not goes_over_a_pass(window.loop):
            continue
        at_the_end = window.last or (later is not None and later.text == window.step.text)
        if not ends_inside(
            window.loop, window.every, ahead, window.step.module, at_the_end=at_the_end
        ):
            continue
        places.add(id(window.test))
        if later is None and not window.last:
            yield _lost(window, sure=not skips_by_index(window.loop, window.condition.test))
        else:
            yield from _stepped_short(trace, window, later)
    yield from _in_a_function(trace)


def _in_a_function(trace: Trace) -> Iterator[Report]:
    """Yield steps of a function that is called for each batch, with the index of the batch."""
    for step in trace.of("step"):
        test = None if step.loops else step_test(step)
        if test is None or steps_elsewhere(step, test):
            continue
        evidence = (
            f"the optimiser steps only where {ast.unparse(test)}",
            "the index begins anew with each pass, and no other line of the file steps",
        )
        remedy = "one more step after the last micro-batch, divided by what it holds"
        yield Report(step, "the rest of the pass is not stepped", remedy, evidence, node=test)
        return


def _lost(window: Window, *, sure: bool) -> Report:
    loader = window.loop.loader
    name = loader.text if loader is not None else "the loop"
    test = f"{'' if window.condition.branch else 'not '}{ast.unparse(window.test)}"
    evidence = (
        f"the optimiser steps only where {test}",
        f"nothing steps after the last batch of {name or 'the loader'}",
    )
    return Report(
        window.step,
        f"step after every {window.every} micro-batches; the rest of the pass is not stepped",
        "one more step after the last micro-batch, divided by what it holds",
        evidence,
        sure,
        node=window.place,
    )


def _stepped_short(trace: Trace, window: Window, later: Event | None) -> Iterator[Report]:
    for event in trace.within(window.loop, "backward"):
        loss = event.value
        scales = loss.scales if isinstance(loss, Quantity) else ()
        divisors = {last_part(scale[1:]) for scale in scales if scale[0] == "/"}
        if not lengths(trace, window) & divisors or _corrected(window):
            continue
        evidence = (
            f"every loss is divided by {window.every} (line {event.line})",
            "the last window is stepped with fewer micro-batches",
        )
        yield Report(
            later or window.step,
            f"Σ of the r remaining losses / {window.every}",
            "Σ of the r remaining losses / r",
            evidence,
            node=_place(later, window),
        )
        return


def _place(later: Event | None, window: Window) -> ast.AST:
    """Return the test that a short window passes to its step, or that step where it passes none."""
    if later is None:
        return window.place if window.test is window.condition.test else window.condition.test
    tests = [c.test for c in later.conditions[window.loop.outer :] if not c.by]
    return tests[-1] if tests else later.node


def _corrected(window: Window) -> bool:
    """Return whether the divisor changes inside the loop."""
    for node in ast.walk(window.loop.node):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(dotted(target) == window.every for target in targets):
            return True
    return any("accumulate" in dotted(part) for part in tests_of(window.condition.test))
