"""The loss of the last batch is reported as that of the whole pass."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._loaders import of_all_samples
from batchproof.audit._dimensions._names import words_of
from batchproof.audit._dimensions._questions import against_best, trains
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a value of one batch is used after the loop over batches."""
    for event in trace.of("divide", "average", "report", "return", "compare", "append"):
        value = event.value
        if not isinstance(value, Quantity) or value.over or not value.loop:
            continue
        loop = trace.loops.get(value.loop)
        if loop is None or loop in event.loops or loop.loader is None or loop.leaves:
            continue
        if of_all_samples(loop.loader) or not set(loop_path(trace, loop)) <= set(event.loops):
            continue
        yield from _judged(trace, event, value, loop)


def loop_path(trace: Trace, loop: Loop) -> list[Loop]:
    """Return the loops around a loop."""
    inside = next((e for e in trace.events if loop in e.loops), None)
    return [] if inside is None else list(inside.loops[: inside.loops.index(loop)])


def _judged(trace: Trace, event: Event, value: Quantity, loop: Loop) -> Iterator[Report]:
    by_batches = isinstance(event.other, Count) and event.other.unit in {
        "batches",
        "data set",
        "seen",
    }
    if event.kind == "divide" and not by_batches:
        return
    if event.kind in {"report", "return", "append"} and value.scales:
        return
    if event.kind == "compare" and not against_best(event):
        return
    line = value.line or event.line
    evidence = (
        f"{value.text or 'it'} is overwritten by every batch (line {line})",
        "after the loop it holds what the last batch gave",
    )
    is_average = event.kind in {"divide", "average"}
    alone = not trains(trace, loop) and event.kind != "compare" and _alone(event, loop)
    sure = is_average or (alone and (value.sure or not value.metric))
    name = value.text or "loss"
    sets = [e for e in trace.of("assign") if e.text == value.text and loop in e.loops]
    mine = sets[-1] if sets and sets[-1].module is event.module else None
    place = mine if mine is not None and (not is_average or _of_the_whole(value.text)) else event
    yield Report(place, f"{name} of the last batch", "mean over all batches", evidence, sure)


def _of_the_whole(name: str) -> bool:
    """Return whether a name speaks of a whole pass, so that the loop was meant to add to it."""
    words = set(words_of(name).split())
    return bool(
        words & {"total", "epoch", "running", "avg", "validation", "val", "valid", "test", "sum"}
    )


def _alone(event: Event, loop: Loop) -> bool:
    return event.function != "" and bool(loop.loader)
