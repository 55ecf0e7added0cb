"""The loss is reported after it was scaled for the backward pass."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._arithmetic import name_of
from batchproof.audit._dimensions._epochs import is_engine_step, is_history, last_of
from batchproof.audit._dimensions._lattice import Constant, Count, Quantity
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import divisor_of, says_no_number
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._dimensions._windows import (
    accumulation_scale,
    last_part,
    lengths_of_windows,
    micro_loops,
    plain_length,
)
from batchproof.audit._reports import Report

_WHOLE = {"batches", "data set", "seen"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a loss is reported that was divided by the accumulation steps."""
    for event in trace.of("report", "update", "divide", "average", "append", "return"):
        value = event.value
        if not isinstance(value, Quantity) or says_no_number(event) or _says_scaled(event):
            continue
        scale = accumulation_scale(value, trace)
        if not scale or not _shows(trace, event, value, scale):
            continue
        evidence = (f"{value.text or 'the loss'} was divided by {scale} before",)
        computes, formula = f"loss / {scale}", "loss"
        place = _of_report(trace, value, scale)
        remedy = f"loss.item() * {scale}" if place is None else "loss.item()"
        yield Report(event, computes, formula, evidence, remedy=remedy, node=place)


def _shows(trace: Trace, event: Event, value: Quantity, scale: str) -> bool:
    """Return whether an event shows a scaled loss where the loss is meant, not a part of a sum."""
    match event.kind:
        case "divide" | "average":
            return _averages(trace, event, value, scale)
        case "append":
            return value.number and not value.over and is_history(event)
        case "return":
            after = any(last_of(loop, value, event) for loop, _ in micro_loops(trace))
            return value.number and not value.over and (after or is_engine_step(event))
    return not value.over


def _averages(trace: Trace, event: Event, value: Quantity, scale: str) -> bool:
    """Return whether a sum of scaled losses is divided by how many they are."""
    loop = trace.loops.get(value.over)
    adds = [e for e in trace.of("accumulate") if e.text == value.text]
    if loop is None:
        return False
    if loop.loader is None:
        parts = {last_part(text) for text in (loop.micro, scale, name_of(event.other))}
        return len(parts) == 1 and loop not in event.loops
    if any(e.loop is not None and e.loop.micro == scale for e in adds):
        return False
    if adds and (_counts_each(trace, event, adds[-1]) or _counts_window(trace, event, adds[-1])):
        return True
    whole = isinstance(event.other, Count) and event.other.unit in _WHOLE
    whole = whole or (_names_batches(event, scale) and loop not in event.loops)
    return whole and not value.conditional


def _names_batches(event: Event, scale: str) -> bool:
    """Return whether a divisor is called after batches, and no window is in what it is made of."""
    divisor = divisor_of(event.node)
    name = dotted(divisor) if isinstance(divisor, ast.expr) else ""
    assigns = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.Assign))
    made_of = [ast.unparse(n.value) for n in assigns if name in map(dotted, n.targets)]
    windows = {"accum", last_part(scale)}
    return "batches" in name and not any(w in code for w in windows for code in made_of)


def _says_scaled(event: Event) -> bool:
    """Return whether the line that reports a loss calls it scaled."""
    values = (n.value for n in ast.walk(event.node) if isinstance(n, ast.Constant))
    says_so = any(isinstance(value, str) and "scaled" in value for value in values)
    return event.kind == "report" and says_so


def _of_report(trace: Trace, loss: Quantity, scale: str) -> ast.AST | None:
    """Return where a loss is divided that no pass back-propagates so, None where one does."""
    loop = trace.loops.get(loss.over or loss.loop)
    if loop is None:
        return None
    for event in trace.within(loop, "backward"):
        if not isinstance(event.value, Quantity) or f"/{scale}" in event.value.scales:
            return None
    divides = (e for e in trace.of("divide") if loop in e.loops and name_of(e.other) == scale)
    lines = (e.node for e in divides if getattr(e.value, "line", 0) == loss.line)
    return next(lines, None)


def _counts_window(trace: Trace, event: Event, adds: Event) -> bool:
    """Return whether a sum over each batch is divided by the length of the window that it ends."""
    divisor, loop = getattr(event.node, "right", None), adds.loop
    if loop is None or loop not in event.loops or adds.inside(loop) or divisor is None:
        return False
    return plain_length(divisor) in lengths_of_windows(trace, event, loop)


def _counts_each(trace: Trace, event: Event, adds: Event) -> bool:
    """Return whether the divisor is a counter that is raised wherever a loss is added to a sum."""
    divisor = divisor_of(event.node)
    name = dotted(divisor) if isinstance(divisor, ast.expr) else ""
    counts = [e for e in trace.of("accumulate") if e.text == name and e.value == Constant(1)]
    return any((e.loops, e.conditions) == (adds.loops, adds.conditions) for e in counts)
