"""The means of ranks are averaged as if each rank held as much."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._loaders import equal_batches
from batchproof.audit._dimensions._questions import is_world
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_MEANT = "Σ_r sum_r / Σ_r count_r"


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where means of ranks are added and divided by the number of ranks."""
    for event in trace.of("divide"):
        value = event.value
        if isinstance(value, Quantity) and value.ranks == "sum" and is_world(event.other):
            yield from _judged(trace, event, value, "Σ_r mean_r / world size")
    for event in trace.of("reduce"):
        if isinstance(event.value, Quantity) and event.text == "average":
            yield from _judged(trace, event, event.value, "average over ranks of mean_r")


def _judged(trace: Trace, event: Event, value: Quantity, computes: str) -> Iterator[Report]:
    loop = trace.loops.get(value.over)
    if value.base != "mean" or loop is None or loop.loader is None or value.divisor is None:
        return
    equal, why = equal_batches(loop.loader)
    if equal:
        return
    sampler = loop.loader.sampler
    tokens = (
        value.name == "outputs.loss" or bool(value.ignores) or value.unit in {"mask", "elements"}
    )
    if sampler is not None and sampler.kind == "ranks" and not tokens:
        return
    reason = (
        "each term is a mean over tokens, of which ranks hold different numbers" if tokens else why
    )
    evidence = ("each rank divides by its own count first", reason)
    here = any(e.value == loop.loader and e.module is event.module for e in trace.of("loader"))
    unequal = equal is False and (
        here or loop.loader.per_rank
    )  # elsewhere: of equal parts, perhaps
    yield Report(event, computes, _MEANT, evidence, tokens or unequal)
