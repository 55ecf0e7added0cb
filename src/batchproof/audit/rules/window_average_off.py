"""A running average is divided by another number of batches than it holds."""

from collections.abc import Iterator

from batchproof.audit._dimensions._epochs import of_an_epoch
from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._questions import varies
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._dimensions._windows import (
    REST,
    bare_remainder,
    begins_again,
    counts_on,
    divisor_name,
    gives,
    held_instead,
    of_other_length,
    off_by_one,
    outgrows,
    set_for_a_window,
    window_left,
    window_test,
)
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a running sum and its divisor count different batches."""
    for event in trace.of("divide"):
        total = event.value
        if not isinstance(total, Quantity) or total.divisor is not None:
            continue
        loop = trace.loops.get(total.over)
        if loop is None:
            continue
        yield from _by_counter(trace, event, total, loop)
        if loop in event.loops:
            yield from _by_window(trace, event, total, loop)
    for event in trace.of("report", "return", "append"):
        if why := window_left(trace, event):
            yield Report(event, "Σ of the rest of a window", "Σ of all batches", (why,))
    yield from _last_window(trace)


def _by_counter(trace: Trace, event: Event, total: Quantity, loop: Loop) -> Iterator[Report]:
    by = event.other
    if not isinstance(by, Count) or by.conditional or loop.loader is None:
        return
    never = f"is never set to 0 between passes over {loop.loader.text}"
    of_loader = (by.unit, by.key, by.plus) == ("batches", loop.loader.key, 0)
    so_far = not by.plus and outgrows(trace, event, total, loop)
    if by.unit == "passes" and by.key == loop.key and not total.spans:
        computes = f"Σ of one pass / {by.text} of all passes"
        yield Report(event, computes, "Σ of one pass / its batches", (f"{by.text} {never}",))
    elif total.spans and (so_far or (of_loader and loop not in event.loops and event.loops)):
        computes, formula = f"Σ of all passes so far / {by.text}", f"Σ of one pass / {by.text}"
        yield Report(event, computes, formula, (f"{total.text} {never}",))
    elif by.key == loop.key and by.plus == -1 and loop in event.loops:
        why = f"{by.text} begins at 0, one less than the number of batches"
        yield Report(event, f"Σ_b loss_b / {by.text}", f"Σ_b loss_b / ({by.text} + 1)", (why,))
    elif by.key == loop.key and (by.unit, by.plus) == ("batches", 1) and loop in event.loops:
        why = f"{by.text} is one more than the number of batches so far"
        yield Report(event, f"Σ_b loss_b / {by.text}", "Σ_b loss_b / batches", (why,))


def _by_window(trace: Trace, event: Event, total: Quantity, loop: Loop) -> Iterator[Report]:
    window, text = window_test(event, loop), divisor_name(trace, event, loop)
    if window is not None and (count := off_by_one(trace, event, total, loop)):
        why = f"{total.text} is set to 0 after every {window[2]} batches"
        content = f"Σ of {window[2]} batches"
        yield Report(event, f"{content} / ({count})", f"{content} / {window[2]}", (why,))
    if window is None or not text:
        yield from _but_one(trace, event, total, loop)
        return
    every = window[2]
    if sum(not c.by and varies(c.test, loop) for c in event.inside(loop)) > 1:
        return  # a loop that steps once a window
    clash = held_instead(trace, event, total, loop) if text == every else None
    if counts_on(trace, event.other, loop) and begins_again(trace, event, total, loop):
        clash = f"the last {every} batches", f"{total.text} is set to 0 after each report"
    elif text != every and of_other_length(trace, event, loop, every):
        clash = f"{every} batches", f"it is reported every {every} batches"
    if clash is not None:
        content, why = clash
        formula = f"Σ of {REST} / r" if content == REST else f"Σ of {every} batches / {every}"
        yield Report(event, f"Σ of {content} / {text}", formula, (why, f"it is divided by {text}"))


def _but_one(trace: Trace, event: Event, total: Quantity, loop: Loop) -> Iterator[Report]:
    """Yield a report after every batch but each k-th, as under `if i % k:`, divided by k."""
    every, text = bare_remainder(event, loop), divisor_name(trace, event, loop)
    if every and every == text and begins_again(trace, event, total, loop):
        why = f"the test holds for every batch but each {every}th"
        yield Report(event, f"loss_b / {text}", f"Σ of {every} batches / {every}", (why,))


def _last_window(trace: Trace) -> Iterator[Report]:
    """Yield averages of a window that are reported as those of the whole loop."""
    places = set[int]()
    for event in trace.of("report", "append"):
        start = set_for_a_window(trace, event)
        if start is None:
            continue
        here = event.kind == "report" and start.function == event.function
        if not here and not of_an_epoch(event):
            continue
        place = next((e for e in trace.of("return") if gives(e, start, event)), event)
        if id(place.node) in places:
            continue
        places.add(id(place.node))
        where = () if place is event else (f"it is reported at line {event.line}",)
        evidence = (f"{start.text} was last set at line {start.line}, for one window", *where)
        yield Report(place, "mean of the last full window", "mean of all batches", evidence)
