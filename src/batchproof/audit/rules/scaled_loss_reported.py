"""The loss is reported after it was scaled for the backward pass."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._questions import accumulation_scale
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report

_WHOLE = {"batches", "data set", "seen"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a loss is reported that was divided by the accumulation steps."""
    for event in trace.of("report", "update", "divide"):
        value = event.value
        if not isinstance(value, Quantity):
            continue
        scale = accumulation_scale(value, trace)
        if not scale:
            continue
        if event.kind == "divide":
            loop = trace.loops.get(value.over)
            whole = isinstance(event.other, Count) and event.other.unit in _WHOLE
            if loop is None or loop.loader is None or value.conditional or not whole:
                continue
            adds = [e.loop for e in trace.of("accumulate") if e.text == value.text]
            if any(inner is not None and inner.micro == scale for inner in adds):
                continue
        elif value.over:
            continue
        evidence = (f"{value.text or 'the loss'} was divided by {scale} before",)
        computes, formula = f"loss / {scale}", "loss"
        remedy = f"loss.item() * {scale}"
        yield Report(event, computes, formula, evidence, remedy=remedy)
