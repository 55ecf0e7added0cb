"""One term of the objective is scaled differently from the others."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity, Value
from batchproof.audit._dimensions._loaders import of_one_sample
from batchproof.audit._dimensions._questions import compatible
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._dimensions._windows import accumulation_scale, micro_loops, windows
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where one term is divided by the accumulation steps and another is not."""
    for event in trace.of("add"):
        first, second = event.value, event.other
        if isinstance(first, Quantity) and isinstance(second, Quantity):
            scales = accumulation_scale(first, trace), accumulation_scale(second, trace)
            live = first.graph is not False and second.graph is not False
            if any(scales) and scales[0] != scales[1] and live and not first.over:
                scale = scales[0] or scales[1]
                evidence = (f"one term was divided by {scale}, the other was not",)
                yield Report(event, f"a / {scale} + b", f"(a + b) / {scale}", evidence)
    yield from _apart(trace)
    yield from _mean_and_sum(trace)


def _apart(trace: Trace) -> Iterator[Report]:
    loops = {w.loop for w in windows(trace)} | {loop for loop, _ in micro_loops(trace)}
    for loop in loops:
        passes = [e for e in trace.within(loop, "backward") if isinstance(e.value, Quantity)]
        quotients = [
            e
            for e in passes
            if isinstance(e.value, Quantity) and accumulation_scale(e.value, trace)
        ]
        for event in passes:
            value = event.value
            bare = isinstance(value, Quantity) and not value.scales and value.graph is not False
            beside = [e for e in quotients if compatible(e, event) and e.loops == event.loops]
            if bare and beside and isinstance(beside[0].value, Quantity):
                scale = accumulation_scale(beside[0].value, trace)
                line = beside[0].line
                evidence = (f"the loss at line {line} is divided by {scale}, this one is not",)
                computes, formula = f"Σ_m (a_m / {scale} + b_m)", f"Σ_m (a_m + b_m) / {scale}"
                yield Report(event, computes, formula, evidence)


def _mean_and_sum(trace: Trace) -> Iterator[Report]:
    """Yield the places where a mean over a batch and a sum over the same batch are added."""
    for event in trace.of("add"):
        terms = {_base(value): value for value in (event.value, event.other)}
        mean, total = terms.get("mean"), terms.get("sum")
        if not isinstance(mean, Quantity) or not isinstance(total, Quantity):
            continue
        loop = trace.loops.get(mean.loop)
        if loop is None or loop.loader is None or total.loop != mean.loop:
            continue
        if of_one_sample(loop.loader) or not trace.within(loop, "backward"):
            continue
        first, second = (
            mean.text or mean.name or "one term",
            total.text or total.name or "the other",
        )
        evidence = (
            f"{first} (line {mean.line}) is a mean over one batch",
            f"{second} (line {total.line}) is a sum over it, which grows with the batch",
        )
        sure = mean.sure and total.sure
        yield Report(event, "mean_b + sum_b", "mean_b + sum_b / n_b", evidence, sure)


def _base(value: Value) -> str:
    """Return whether a term is the mean or the sum of a batch, with its graph; "" if neither."""
    if not isinstance(value, Quantity) or value.over or value.metric or value.graph is not True:
        return ""
    plain = not (value.scales or value.divisor is not None or value.masked or value.conditional)
    return value.base if plain else ""
