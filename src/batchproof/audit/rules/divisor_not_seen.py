"""A sum is divided by the size of something of which only a part was seen."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Dataset, Quantity
from batchproof.audit._dimensions._loaders import length_of, number
from batchproof.audit._dimensions._questions import (
    asks_for_none,
    asks_for_number,
    asks_for_the_end,
    counts_too,
    is_cut,
    is_debug,
    skips_by_size,
    varies,
)
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._dimensions._unrolled import ended_early
from batchproof.audit._dimensions._windows import adds_a_window, shown_so_far
from batchproof.audit._reports import Report

_MEANT = "Σ over what was seen / count of what was seen"


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where the divisor counts what the sum does not hold."""
    for event, count, over in shown_so_far(trace):
        if _of_all(count, over):
            evidence = ("the sum holds the batches so far", f"{count.text} counts all batches")
            yield Report(event, f"Σ so far / {count.text}", _MEANT, evidence)
    for event, steps, why in ended_early(trace):
        yield Report(event, f"Σ until the break / {steps}", _MEANT, why)
    for event in trace.of("divide"):
        total, by = event.value, event.other
        if not (isinstance(total, Quantity) and isinstance(by, Count)) or total.divisor is not None:
            continue
        loop = trace.loops.get(total.over)
        if loop is None or loop.loader is None or (loop in event.loops and loop.leaves):
            continue
        yield from _sampled(event, total, by, loop)
        yield from _dropped(event, total, by, loop)
        yield from _left_early(event, by, loop)
        yield from _skipped(trace, event, total, by, loop)


def _sampled(event: Event, total: Quantity, by: Count, loop: Loop) -> Iterator[Report]:
    loader = loop.loader
    if loader is None or by.unit != "data set":
        return
    sampler = loader.sampler if loader.sampler is not None and by.key == loader.source else None
    what = f"the sampler at line {sampler.line}" if sampler and sampler.kind == "part" else ""
    if isinstance(loader.dataset, Dataset) and loader.dataset.whole == by.key:
        what = loader.text or "the loader"
    if what and total.base in {"sum", "mean"}:
        evidence = (f"{what} draws a part of the data set", f"{by.text} counts all of it")
        yield Report(event, f"Σ over a part / {by.text}", _MEANT, evidence)


def _of_all(by: Count, loop: Loop) -> bool:
    loader, counts = loop.loader, (by.unit, by.key)
    return loader is not None and (
        counts == ("data set", loader.source) or (counts == ("batches", loader.key) and not by.plus)
    )


def _dropped(event: Event, total: Quantity, by: Count, loop: Loop) -> Iterator[Report]:
    loader = loop.loader
    if loader is None or not loader.drop_last or by.unit != "data set" or not _of_all(by, loop):
        return
    size, samples = number(loader.batch_size), length_of(loader.dataset)
    if total.base == "sum" and not (size and samples and samples % size == 0):
        how = "only full slices are taken" if loader.index else "drop_last=True"
        evidence = (f"{how} at line {loader.line}", f"{by.text} counts what is dropped")
        yield Report(event, f"Σ over full batches / {by.text}", _MEANT, evidence, total.sure)


def _left_early(event: Event, by: Count, loop: Loop) -> Iterator[Report]:
    if not _of_all(by, loop):
        return
    for conditions in loop.leaves:
        tests = [c for c in conditions if not c.by]
        if (
            not tests
            or any(is_debug(c) for c in tests)
            or not any(is_cut(c.test) or varies(c.test, loop) for c in tests)
        ):
            continue
        if any(asks_for_the_end(c.test, loop) for c in tests) or any(
            asks_for_number(c) or counts_too(c, event) for c in tests
        ):
            continue
        ends = f"the loop may end early, line {tests[-1].test.lineno}"
        evidence = (ends, f"{by.text} counts all batches")
        yield Report(event, f"Σ until the break / {by.text}", _MEANT, evidence)
        return


def _skipped(
    trace: Trace, event: Event, total: Quantity, by: Count, loop: Loop
) -> Iterator[Report]:
    counts_all = _of_all(by, loop) or (by.unit == "batches" and by.key == loop.key and not by.plus)
    if not counts_all or by.conditional or (loop in event.loops and skips_by_size(loop)):
        return
    adds = [e for e in trace.of("accumulate") if e.text == total.text and loop in e.loops]
    if not adds or len(adds) > 1:
        return
    for condition in adds[0].inside(loop):
        if (
            condition.by not in {"", "continue"}
            or not varies(condition.test, loop)
            or is_debug(condition)
        ):
            continue
        if adds_a_window(adds[0], condition) or counts_too(condition, event):
            return
        where = f"at line {condition.test.lineno}"
        evidence = (f"batches that fail the test {where} are not added", "they are counted")
        sure = condition.by == "continue" or not asks_for_none(condition)
        yield Report(event, "Σ over some batches / all batches", _MEANT, evidence, sure)
        return
