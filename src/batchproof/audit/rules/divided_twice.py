"""A mean is divided once more by a count that it was already divided by."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._arithmetic import name_of
from batchproof.audit._dimensions._lattice import Count, Quantity, Value
from batchproof.audit._dimensions._loaders import number
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import raised
from batchproof.audit._dimensions._sizes import is_nominal
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._dimensions._windows import accumulation_scale
from batchproof.audit._reports import Report

_ALL = {"batches", "seen", "data set"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where the mean of one batch, or of all, is divided by its count again."""
    for event in trace.of("divide"):
        value, by = event.value, event.other
        yield from _mean_of_all(trace, event)
        yield from _by_size(trace, event)
        yield from _in_each_pass(event)
        if not isinstance(value, Quantity) or value.over or value.base != "mean" or value.masked:
            continue
        every = name_of(by)
        if every and accumulation_scale(value, trace) == every:
            evidence = (f"it was divided by {every} before",)
            yield Report(event, f"loss / {every} / {every}", f"loss / {every}", evidence)
            continue
        is_count = isinstance(by, Count) and by.unit in {"batch", "elements", "mask"}
        if not (is_count or is_nominal(by)) or value.unit or any(s[0] == "*" for s in value.scales):
            continue
        loop = trace.loops.get(value.loop)
        if loop is not None and loop.loader is not None and number(loop.loader.batch_size) == 1:
            continue
        size = "n" if is_count else getattr(by, "text", "B")
        evidence = (f"{value.name or 'the loss'} (line {value.line}) is a mean already",)
        sure = value.sure and " or " not in value.name and _of_input(trace, value, by)
        yield Report(event, f"(Σ_i loss_i / n) / {size}", "Σ_i loss_i / n", evidence, sure)


def _of_input(trace: Trace, loss: Quantity, by: Value) -> bool:
    """Return whether a count is of a batch in sight, or of what the criterion is given."""
    if not isinstance(by, Count) or by.key or not by.text.endswith(".size(0)"):
        return True
    name = by.text.removesuffix(".size(0)")
    calls = [e.node for e in trace.of("criterion") if e.line == loss.line]
    return any(dotted(inner) == name for call in calls for inner in ast.walk(call))


def _in_each_pass(event: Event) -> Iterator[Report]:
    """Yield a sum that the loop which adds to it divides in each of its passes."""
    total, loop = event.value, event.loop
    if not isinstance(total, Quantity) or loop is None or total.over != loop.key:
        return
    by = event.other.text if isinstance(event.other, Count) else ""
    in_place = isinstance(event.node, ast.AugAssign) and event.text == total.text
    if not in_place or event.inside(loop) or not (by or raised(event, loop)):
        return
    what = total.text or "the sum"
    evidence = (f"the next pass of the loop adds to {what} what it divided", "it is divided again")
    yield Report(event, f"({what} / n + loss) / n ...", "Σ_b loss_b / n", evidence)


def _by_size(trace: Trace, event: Event) -> Iterator[Report]:
    """Yield the mean of batch means that is divided by the batch size once more."""
    total, by = event.value, event.other
    if not isinstance(total, Quantity) or total.divisor is None or total.scales or total.metric:
        return
    loop = trace.loops.get(total.over)
    plain = total.base == "mean" and total.divisor.unit == "batches" and total.loop == total.over
    if loop is None or loop.loader is None or not plain or not is_nominal(by):
        return
    if number(loop.loader.batch_size) != 1:
        size = getattr(by, "text", "") or "batch size"
        evidence = (f"{total.name or 'the loss'} (line {total.line}) is a mean already",)
        computes = f"Σ_b mean_b / {total.divisor.text or 'batches'} / {size}"
        yield Report(event, computes, "Σ_b n_b · mean_b / Σ_b n_b", evidence, total.sure)


def _mean_of_all(trace: Trace, event: Event) -> Iterator[Report]:
    """Yield the mean of a loop over batches that is divided by a count of that loop again."""
    total, by = event.value, event.other
    if not (isinstance(total, Quantity) and isinstance(by, Count)):
        return
    first, loop = total.divisor, trace.loops.get(total.over)
    if first is None or loop is None or loop.loader is None or loop in event.loops:
        return
    keys = {loop.key, loop.loader.key, loop.loader.source}
    if first.unit in _ALL and by.unit in _ALL and {first.key, by.key} <= keys:
        once, again = first.text or f"number of {first.unit}", by.text or f"number of {by.unit}"
        evidence = (f"{total.text or 'the sum'} was divided by {once} before",)
        yield Report(event, f"Σ_b loss_b / {once} / {again}", f"Σ_b loss_b / {once}", evidence)
