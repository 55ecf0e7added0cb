"""A running average is divided by another number of batches than it holds."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Constant, Count, Option, Quantity, Unknown, Value
from batchproof.audit._dimensions._questions import windowed
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a running sum and its divisor count different batches."""
    for event in trace.of("divide"):
        total = event.value
        if not isinstance(total, Quantity) or total.divided is not None:
            continue
        loop = trace.loops.get(total.over)
        if loop is None:
            continue
        if isinstance(event.other, Count):
            yield from _by_counter(event, event.other, total, loop)
        if loop in event.loops:
            yield from _by_window(trace, event, total, loop)
    yield from _last_window(trace)


def _by_counter(event: Event, by: Count, total: Quantity, loop: Loop) -> Iterator[Report]:
    if by.unit != "batches" or by.conditional or loop.loader is None:
        return
    between = loop not in event.loops and bool(event.loops)
    if total.spans and by.key == loop.loader.key and not by.plus and between:
        evidence = (f"{total.text} is never set to 0 between passes over {loop.loader.text}",)
        computes, meant = f"Σ of all passes so far / {by.text}", f"Σ of one pass / {by.text}"
        yield Report(event, computes, meant, evidence)
    elif by.key == loop.key and by.plus == -1 and loop in event.loops:
        evidence = (f"{by.text} begins at 0, so it is one less than the number of batches",)
        yield Report(event, f"Σ_b loss_b / {by.text}", f"Σ_b loss_b / ({by.text} + 1)", evidence)


def _by_window(trace: Trace, event: Event, total: Quantity, loop: Loop) -> Iterator[Report]:
    counted = windowed(event, loop)
    text = _plain(event.other)
    if counted is None or not text:
        return
    every = counted[2]
    resets = [e for e in trace.of("assign") if e.text == total.text and loop in e.loops]
    if text != every and _known(event.other, every):
        evidence = (f"it is reported every {every} batches", f"it is divided by {text}")
        yield Report(
            event, f"Σ of {every} batches / {text}", f"Σ of {every} batches / {every}", evidence
        )
    elif text == every and _also_at_the_end(event):
        evidence = ("it is reported after the last batch, too", f"it is divided by {every}")
        computes, meant = f"Σ of the last r batches / {every}", "Σ of the last r batches / r"
        yield Report(event, computes, meant, evidence)
    elif text == every and not resets:
        evidence = (
            f"{total.text} is never set to 0 inside the loop",
            "so it holds all batches so far",
        )
        yield Report(
            event, f"Σ of all batches so far / {every}", f"Σ of {every} batches / {every}", evidence
        )
    elif text == every and _starts_short(event, loop, counted):
        evidence = ("the first report comes after 1 batch", f"it is divided by {every}")
        yield Report(
            event, f"loss of 1 batch / {every}", f"Σ of {every} batches / {every}", evidence
        )


def _also_at_the_end(event: Event) -> bool:
    tests = [c.test for c in event.conditions if isinstance(c.test, ast.BoolOp)]
    return any(isinstance(test.op, ast.Or) and "len(" in ast.unparse(test) for test in tests)


def _plain(value: Value) -> str:
    if isinstance(value, Constant):
        return str(value.value)
    return value.text if isinstance(value, Option | Unknown) else ""


def _known(by: Value, every: str) -> bool:
    """Return whether both are numbers, so that they differ for sure."""
    try:
        return (
            isinstance(by, Constant)
            and isinstance(by.value, int | float)
            and by.value != float(every)
        )
    except ValueError:
        return False


def _starts_short(event: Event, loop: Loop, counted: tuple[str, int, str]) -> bool:
    alone = all(not isinstance(c.test, ast.BoolOp) for c in event.inside(loop))
    begins = loop.start is not None and loop.start + counted[1] == 0
    return counted[0] == loop.index and begins and alone


def _last_window(trace: Trace) -> Iterator[Report]:
    """Yield averages of a window that are reported as those of the whole loop."""
    for event in trace.of("report"):
        average = event.value
        if not isinstance(average, Quantity) or average.divided is None or not average.over:
            continue
        loop = trace.loops.get(average.over)
        if loop is None or loop in event.loops or loop.loader is None:
            continue
        sets = [e for e in trace.of("assign") if e.text == average.text and e.order < event.order]
        if not sets or loop not in sets[-1].loops or windowed(sets[-1], loop) is None:
            continue
        evidence = (f"{average.text} was last set at line {sets[-1].line}, for one window",)
        yield Report(event, "mean of the last full window", "mean of all batches", evidence)
