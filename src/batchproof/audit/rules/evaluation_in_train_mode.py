"""The model is evaluated in training mode."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._evaluations import held_out, is_held_out
from batchproof.audit._dimensions._lattice import Instance, Model, Value
from batchproof.audit._dimensions._layers import is_plain
from batchproof.audit._dimensions._modes import (
    begins_in_training,
    for_statistics,
    has_modes,
    is_switched,
    left_alone,
    train_in_evaluation,
)
from batchproof.audit._dimensions._names import FunctionNode
from batchproof.audit._dimensions._questions import (
    asked_for,
    compatible,
    evaluates,
    keeps_numbers,
    trains,
)
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield evaluations without gradient of a model that was left in training mode."""
    keys = set[str]()
    for event in trace.of("forward"):
        loop = event.batches
        if loop is None or loop.key in keys or isinstance(loop.node, FunctionNode):
            continue  # before a step of Lightning its Trainer sets the mode
        records = event.grad is not False
        scores = keeps_numbers(trace, event, loop) if records else "it records no gradient"
        if is_plain(event.value) or not evaluates(trace, loop) or _wants_targets(event):
            continue
        why = _left_training(trace, event) if scores else ""
        if why:
            keys.add(loop.key)
            yield _report(event, why, scores)
    yield from _of_all_samples(trace)
    for event, mode in train_in_evaluation(trace):
        yield Report(
            event,
            "training f(x; dropout off, running statistics)",
            "training f(x; dropout on, batch statistics)",
            (f"eval() at line {mode.line} ends a pass of a loop, and no train() begins the next",),
        )


def _of_all_samples(trace: Trace) -> Iterator[Report]:
    """Yield passes of held-out data as a whole, whose numbers alone are used."""
    texts = set[str]()
    for event in (e for e in trace.of("forward") if is_held_out(e.node)):
        if event.batches is not None and not trains(trace, event.batches):
            continue
        scores = "it records no gradient" if event.grad is False else held_out(trace, event)
        why = "" if is_plain(event.value) or not scores else _left_training(trace, event)
        if why and event.text not in texts:
            texts.add(event.text)
            yield _report(event, why, scores)


def _report(event: Event, why: str, scores: str) -> Report:
    return Report(
        event,
        "f(x; dropout on, batch statistics)",
        "f(x; dropout off, running statistics)",
        (why, f"{event.text or 'the model'} is not switched by an eval(): {scores}"),
    )


def _left_training(trace: Trace, event: Event) -> str:
    """Return why the model of an evaluation is in training mode, "" where that is not known."""
    before = [e for e in trace.events if e.order < event.order and compatible(e, event)]
    modes = [e for e in before if e.kind in {"eval", "train", "mode"}]
    last = modes[-1].order if modes else -1
    if any(_switches(text) for order, text in trace.opaque if last < order < event.order):
        return ""
    apart = left_alone(modes, event)
    if apart:
        return apart
    if modes:
        inside = event.batches in modes[-1].loops  # put in that mode for its losses, on purpose
        on_purpose = inside or asked_for(modes[-1]) or for_statistics(modes[-1], event)
        trains = modes[-1].kind == "train" and _same(modes[-1], event) and not on_purpose
        return f"{modes[-1].text}.train() at line {modes[-1].line}" if trains else ""
    passes = [e for e in before if e.kind == "forward" and e.grad is not False]
    trained = [e for e in passes if e.text == event.text or _is_one(e.value, event.value)]
    if not (trained and any(e.kind == "step" for e in before)):
        return begins_in_training(trace, event)
    if is_switched(event, trace) or not has_modes(event):
        return ""
    return f"a model begins in training mode, and is trained at line {trained[0].line}"


def _is_one(first: Value, second: Value) -> bool:
    """Return whether two models are one, which a function knows by another name."""
    return isinstance(first, Model | Instance) and first == second


def _wants_targets(event: Event) -> bool:
    """Return whether a model is given targets, as detectors are whose losses need that mode."""
    arguments = event.node.args if isinstance(event.node, ast.Call) else []
    return len(arguments) > 1 and "target" in ast.unparse(arguments[-1])


def _switches(text: str) -> bool:
    """Return whether what is handed out of sight, or its function, may be what sets a mode."""
    low = text.lower()
    return "eval" in low or "mode" in low.rpartition(".")[2]


def _same(mode: Event, event: Event) -> bool:
    """Return whether the model that was put in training mode is the one that is evaluated."""
    first, second = mode.text.rsplit(".", 1)[-1], event.text.rsplit(".", 1)[-1]
    return first == second or getattr(mode.value, "text", "") == getattr(event.value, "text", "?")
