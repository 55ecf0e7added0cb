"""The loss of the last batch is reported as that of the whole pass."""

from collections.abc import Iterator
from dataclasses import replace

from batchproof.audit._dimensions._epochs import (
    after_epochs,
    always_given,
    computed_in,
    kept_from_before,
    of_an_epoch,
    of_an_evaluation,
    of_one_by_name,
    of_several,
    returns_last,
    shows_mean,
)
from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._loaders import of_one_batch
from batchproof.audit._dimensions._questions import (
    against_best,
    leaves_early,
    loop_path,
    of_the_whole,
    raised,
    set_before,
    sets_in,
    trains,
)
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report

_COUNTS, _KEPT = {"batches", "data set", "seen"}, {"report", "return", "append", "accumulate"}
_KINDS = "divide", "average", *_KEPT, "compare", "schedule"


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a value of one batch is used after the loop over batches."""
    yield from _kept(trace)
    reports: dict[tuple[str, str], Report] = {}
    returns: dict[str, tuple[str, Event]] = {}
    for event in trace.of(*_KINDS):
        value = event.other if event.kind == "schedule" else event.value
        if not isinstance(value, Quantity) or value.over or not value.loop or shows_mean(event):
            continue
        loop = trace.loops.get(value.loop)
        if loop is None or loop in event.loops or loop.loader is None or leaves_early(loop):
            continue
        around = set(loop_path(trace, loop)) <= set(event.loops)
        if of_one_batch(loop.loader) or not (around or after_epochs(trace, event, loop)):
            continue
        if event.kind == "return":
            returns.setdefault(loop.key, (value.text, event))
        name, leaving = returns.get(loop.key, (value.text, event))
        for report in _judged(trace, event, value, loop):
            leaves = leaving.function != event.function and report.sure  # what a function gave
            key = loop.key, name if leaves else value.text
            before = reports.get(key)
            if before is None or (report.sure and not before.sure):
                reports[key] = _where_it_leaves(report, leaving) if leaves else report
    yield from reports.values()


def _where_it_leaves(report: Report, leaving: Event) -> Report:
    """Return the report of a number that a function gave, at the place where it gives it."""
    where = f"it is reported at line {report.event.line}"
    return replace(report, event=leaving, evidence=(*report.evidence, where))


def _kept(trace: Trace) -> Iterator[Report]:
    """Yield what a loop adds for each batch that no batch of it changes: the last of another."""
    for event in trace.of("accumulate", "append", "update"):
        value, loop = event.value, event.batches
        if isinstance(value, Quantity) and loop and (other := kept_from_before(trace, event, loop)):
            name = value.text or "loss"
            evidence = (
                f"{name} is computed in the loop at line {getattr(other.node, 'lineno', 0)}",
                f"no batch of the loop at line {getattr(loop.node, 'lineno', 0)} changes it",
            )
            yield Report(event, f"{name} of the last batch before", f"{name} of this one", evidence)


def _judged(trace: Trace, event: Event, value: Quantity, loop: Loop) -> Iterator[Report]:
    by_batches = isinstance(event.other, Count) and event.other.unit in _COUNTS
    hits = value.metric and value.base == "sum" and raised(event, loop)
    if event.kind == "divide" and not (by_batches or hits):
        return
    is_quotient = event.kind in _KEPT and any(scale[0] == "/" for scale in value.scales)
    if is_quotient or (event.kind == "compare" and not against_best(event)):
        return
    evidence: tuple[str, ...] = (
        f"{value.text or 'it'} is overwritten by every batch (line {value.line or event.line})",
        "after the loop it holds what the last batch gave",
    )
    is_average = event.kind in {"divide", "average"}
    alone = not trains(trace, loop) and event.kind != "compare"
    alone &= event.function != "" or of_an_evaluation(event, value, loop)
    is_set = set_before(trace, value.text, loop)
    sets = sets_in(trace, value, loop)
    sure = is_average or returns_last(event) or (alone and (value.sure or value.base == "mean"))
    if not trains(trace, loop) and of_the_whole(value.text) and is_set:
        sure, evidence = sure or value.sure, (*evidence, "before the loop it is set as a sum is")
    of_a_pass = of_an_epoch(event) or after_epochs(trace, event, loop)
    origins = sets or computed_in(trace, value, loop)
    always = origins and always_given(origins[-1], loop)
    if not sure and always and of_a_pass:
        sure, evidence = of_several(loop), (*evidence, _unless(loop))
    mine = sets[-1] if sets and sets[-1].module is event.module else None
    as_sum = is_set and (of_the_whole(value.text) or not of_one_by_name(value.text))
    as_sum &= not any(
        getattr(e.value, "text", "") == value.text for e in trace.within(loop, "accumulate")
    )
    place = mine if mine is not None and as_sum else event
    computes = f"{value.text or 'loss'} of the last batch"
    yield Report(place, computes, "mean over all batches", evidence, sure)


def _unless(loop: Loop) -> str:
    text = loop.loader.text if loop.loader is not None else ""
    return f"this is the mean only if {text or 'the loader'} holds one batch"
