"""The means of batches are averaged as if each batch weighed the same."""

import ast
from collections.abc import Iterator
from dataclasses import replace

from batchproof.audit._dimensions._lattice import NOTHING, Constant, Count, Quantity
from batchproof.audit._dimensions._loaders import equal_batches, of_one_sample
from batchproof.audit._dimensions._questions import (
    evaluates,
    is_of_batch,
    may_break,
    meter_call,
    reads_no_batch,
    takes_one_size,
    weighted_beside,
    weights_of,
)
from batchproof.audit._dimensions._sizes import is_nominal, weighs_by_size
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._dimensions._windows import window_test
from batchproof.audit._reports import Report

_LABEL = "255"  # ignored by habit, whether or not the data have it
_MEANT = "Σ_b n_b · mean_b / Σ_b n_b"


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where the means of batches are averaged without their sizes."""
    for event in trace.of("divide", "average"):
        yield from _divided(trace, event)
    for event in trace.of("update"):
        yield from _updated(trace, event)


def _divided(trace: Trace, event: Event) -> Iterator[Report]:
    total, by = event.value, event.other
    if not (isinstance(total, Quantity) and isinstance(by, Count)) or total.divisor is not None:
        return
    loop = trace.loops.get(total.over)
    if loop is None or loop.loader is None or total.loop != loop.key:
        return
    if total.base == "sum" and total.unit == "sample" and by.unit in {"seen", "data set"}:
        yield from _weighed_by_size(event, total)
    if weighs_by_size(total, by, loop.loader):
        yield from _judged(trace, event, loop, "Σ_b B · mean_b / number of samples")
    if total.base != "mean":
        return
    whole = by.unit == "batches" and by.key in {loop.key, loop.loader.key} and not by.plus
    if not whole or total.conditional or by.conditional:
        return
    if loop in event.loops and window_test(event, loop) is not None:
        return  # a report of full batches
    computes = f"Σ_b mean_b / {by.text or 'number of batches'}"
    yield from _judged(trace, event, loop, computes, meter_call(trace, total, loop))


def _weighed_by_size(event: Event, total: Quantity) -> Iterator[Report]:
    """Yield means over class weights, or over tokens, that are weighted by numbers of samples."""
    what = weights_of(total)
    if what:
        evidence = (f"{_what(total)} is a mean over {what}", "it is weighted by numbers of samples")
        formula = "Σ_b w_b · mean_b / Σ_b w_b, w_b its own divisor"
        sure = total.sure and total.ignores != _LABEL
        yield Report(event, "Σ_b n_b · mean_b / Σ_b n_b", formula, evidence, sure)


def _equal(trace: Trace, total: Quantity, loop: Loop) -> tuple[bool | None, str]:
    """Return whether the batches of a loop weigh the same in what they contribute, and why."""
    assert loop.loader is not None
    alone = loop.loader if total.ranks else replace(loop.loader, per_rank=False)
    equal, why = equal_batches(alone)  # as one process goes through it
    line = 0 if equal is not None or loop.loader.line else weighted_beside(trace, loop)
    if line:
        return False, f"another value of the loop is weighted by the sizes of batches, line {line}"
    what = weights_of(total)
    if not what or equal is False:
        return equal, why
    why = f"each mean is over its own {what}, and batches of one size hold different ones"
    return (None if total.classes or total.ignores == _LABEL else False), why


def _judged(
    trace: Trace, event: Event, loop: Loop, computes: str, place: ast.AST | None = None
) -> Iterator[Report]:
    total = event.value
    assert isinstance(total, Quantity)
    equal, why = _equal(trace, total, loop)
    if equal or takes_one_size(loop) or reads_no_batch(loop):
        return
    sure = equal is False and is_of_batch(total) and not may_break(loop)
    evidence = (f"{_what(total)} is a mean over one batch", why)
    yield Report(event, computes, _MEANT, evidence, sure, node=place)


def _what(total: Quantity) -> str:
    return (total.name or "the loss") + (f" (line {total.line})" if total.line else "")


def _updated(trace: Trace, event: Event) -> Iterator[Report]:
    value, weight, loop = event.value, event.other, event.batches
    if not isinstance(value, Quantity) or value.over or loop is None or loop.loader is None:
        return
    if value.base != "mean":
        return
    if isinstance(weight, Count) and weight.unit == "batch" and not of_one_sample(loop.loader):
        yield from _weighed_by_size(event, value)
    equal, why = _equal(trace, value, loop)
    if equal or reads_no_batch(loop):
        return
    if weight == NOTHING or weight == Constant(1):
        computes = "Σ_b mean_b / number of batches"
        none = "the meter is given no batch size"
        evidence: tuple[str, ...] = (f"{_what(value)} is a mean over one batch", why, none)
        yield Report(event, computes, _MEANT, evidence, equal is False and is_of_batch(value))
    elif is_nominal(weight):
        evidence = ("the batch size of the loader is not that of its last batch", why)
        certain = isinstance(weight, Count) and evaluates(trace, loop)
        sure = (equal is False and value.sure) or (equal is None and certain)
        yield Report(event, "Σ_b B · mean_b / (B · batches)", _MEANT, evidence, sure)
