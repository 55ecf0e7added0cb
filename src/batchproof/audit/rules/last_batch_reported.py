"""The loss of the last batch is reported as that of the whole pass."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Loader, Quantity
from batchproof.audit._dimensions._loaders import of_one_batch
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._questions import against_best, leaves_early, raised, trains
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report

_OF_ONE = {
    "batch", "batches", "minibatch", "last", "latest", "current", "step", "steps", "iter", "iters",
    "iteration", "iterations", "final",
}  # fmt: skip


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a value of one batch is used after the loop over batches."""
    for event in trace.of("divide", "average", "report", "return", "compare", "append"):
        value = event.value
        if not isinstance(value, Quantity) or value.over or not value.loop:
            continue
        loop = trace.loops.get(value.loop)
        if loop is None or loop in event.loops or loop.loader is None or leaves_early(loop):
            continue
        if of_one_batch(loop.loader) or not set(loop_path(trace, loop)) <= set(event.loops):
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
    hits = value.metric and value.base == "sum" and raised(event, loop)
    if event.kind == "divide" and not (by_batches or hits):
        return
    if event.kind in {"report", "return", "append"} and value.scales:
        return
    if event.kind == "compare" and not against_best(event):
        return
    line = value.line or event.line
    evidence: tuple[str, ...] = (
        f"{value.text or 'it'} is overwritten by every batch (line {line})",
        "after the loop it holds what the last batch gave",
    )
    is_average = event.kind in {"divide", "average"}
    alone = not trains(trace, loop) and event.kind != "compare" and event.function != ""
    sets = [e for e in trace.of("assign") if e.text == value.text and loop in e.loops]
    sure = is_average or (alone and (value.sure or not value.metric))
    if not sure and sets and not sets[-1].inside(loop) and _of_an_epoch(event):
        sure, evidence = _of_several(loop), (*evidence, _unless(loop))
    name = value.text or "loss"
    mine = sets[-1] if sets and sets[-1].module is event.module else None
    place = mine if mine is not None and (not is_average or _of_the_whole(value.text)) else event
    yield Report(place, f"{name} of the last batch", "mean over all batches", evidence, sure)


def _of_an_epoch(event: Event) -> bool:
    """Return whether what is printed, logged or appended is said to be of an epoch."""
    text, bar = ast.unparse(event.node), event.text.rpartition(".")[2].startswith("set_")
    if (
        event.kind not in {"report", "append"}
        or bar
        or _OF_ONE & set(re.findall("[a-z]+", words_of(text)))
    ):
        return False
    epochs = [lp.node for lp in event.loops if isinstance(lp.node, ast.For) and _counts(lp.node)]
    if event.kind == "append":
        return bool(epochs) and epochs[-1] is event.loops[-1].node
    counters = {dotted(n) for node in epochs for n in ast.walk(node.target)} - {""}
    names = {dotted(n) for n in ast.walk(event.node) if isinstance(n, ast.Name)}
    return "epoch" in text.lower() or bool(counters & names)


def _counts(node: ast.For) -> bool:
    """Return whether a loop counts epochs, as its names say."""
    return "epoch" in f"{ast.unparse(node.target)} {ast.unparse(node.iter)}".lower()


def _of_several(loop: Loop) -> bool:
    """Return whether a loop goes over several batches, as far as its loader shows."""
    loader = loop.loader
    assert isinstance(loader, Loader)
    names = {"loader", "dataloader", "dl", "batches", "iter", "iterator"}
    return loader.line > 0 or bool(names & set(words_of(loader.text).split()))


def _unless(loop: Loop) -> str:
    text = loop.loader.text if loop.loader is not None else ""
    return f"this is the mean only if {text or 'the loader'} holds one batch"


def _of_the_whole(name: str) -> bool:
    """Return whether a name speaks of a whole pass, so that the loop was meant to add to it."""
    words = set(words_of(name).split())
    return bool(
        words & {"total", "epoch", "running", "avg", "validation", "val", "valid", "test", "sum"}
    )
