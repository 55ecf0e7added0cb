"""The loss of the last batch is reported as that of the whole pass."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Loader, Quantity
from batchproof.audit._dimensions._loaders import of_one_batch
from batchproof.audit._dimensions._names import dotted, words_of
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

_OF_ONE = {
    "batch", "batches", "minibatch", "last", "latest", "current", "step", "steps", "iter", "iters",
    "iteration", "iterations", "final",
}  # fmt: skip


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a value of one batch is used after the loop over batches."""
    reports: dict[tuple[str, str], Report] = {}
    for event in trace.of("divide", "average", "report", "return", "compare", "append"):
        value = event.value
        if not isinstance(value, Quantity) or value.over or not value.loop:
            continue
        loop = trace.loops.get(value.loop)
        if loop is None or loop in event.loops or loop.loader is None or leaves_early(loop):
            continue
        if of_one_batch(loop.loader) or not set(loop_path(trace, loop)) <= set(event.loops):
            continue
        for report in _judged(trace, event, value, loop):
            before = reports.get((loop.key, value.text))
            if before is None or (report.sure and not before.sure):
                reports[loop.key, value.text] = report
    yield from reports.values()


def _judged(trace: Trace, event: Event, value: Quantity, loop: Loop) -> Iterator[Report]:
    by_batches = isinstance(event.other, Count) and event.other.unit in {
        "batches",
        "data set",
        "seen",
    }
    hits = value.metric and value.base == "sum" and raised(event, loop)
    if event.kind == "divide" and not (by_batches or hits):
        return
    is_quotient = any(scale.startswith("/") for scale in value.scales)
    if event.kind in {"report", "return", "append"} and is_quotient:
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
    is_set = set_before(trace, value.text, loop)
    sets = sets_in(trace, value, loop)
    sure = is_average or (alone and (value.sure or not value.metric))
    if not trains(trace, loop) and of_the_whole(value.text) and is_set:
        sure, evidence = sure or value.sure, (*evidence, "before the loop it is set as a sum is")
    if not sure and sets and not sets[-1].inside(loop) and _of_an_epoch(event):
        sure, evidence = _of_several(loop), (*evidence, _unless(loop))
    name = value.text or "loss"
    mine = sets[-1] if sets and sets[-1].module is event.module else None
    of_one = {"new", "cur", *_OF_ONE} & set(words_of(value.text).split())
    as_sum = (of_the_whole(value.text) or (is_set and not of_one)) and not any(
        getattr(e.value, "text", "") == value.text for e in trace.within(loop, "accumulate")
    )
    place = mine if mine is not None and as_sum else event
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
    in_sight = loader.line > 0 or loader.index != ""
    return in_sight or bool(names & set(words_of(loader.text).split()))


def _unless(loop: Loop) -> str:
    text = loop.loader.text if loop.loader is not None else ""
    return f"this is the mean only if {text or 'the loader'} holds one batch"
