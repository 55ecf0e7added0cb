"""Weighted losses are divided by the weights of their own micro-batch, not of the window."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._dimensions._windows import accumulation_scale, micro_loops, windows
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield backward passes of a class-weighted mean inside an accumulation window."""
    loops = {w.loop for w in windows(trace)} | {loop for loop, _ in micro_loops(trace)}
    for event in trace.of("backward"):
        loss = event.value
        if not isinstance(loss, Quantity) or not loss.classes or loss.base != "mean":
            continue
        scale = accumulation_scale(loss, trace)
        if not scale and not loops & set(event.loops):
            continue
        evidence = (
            f"{loss.name} (line {loss.line}) divides by the class weights of its own micro-batch",
            "micro-batches hold different classes, so their weights differ",
        )
        computes = f"Σ_m (Σ_i w_i loss_i / Σ_i∈m w_i) / {scale or 'k'}"
        yield Report(event, computes, "Σ_m Σ_i w_i loss_i / Σ_m Σ_i w_i", evidence, loss.sure)
