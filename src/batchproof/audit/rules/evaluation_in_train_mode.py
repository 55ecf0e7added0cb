"""The model is evaluated in training mode."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Model
from batchproof.audit._dimensions._questions import compatible, evaluates
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield evaluations without gradient of a model that was put in training mode before."""
    seen = set[str]()
    for event in trace.of("forward"):
        loop = event.batches
        if (
            loop is None
            or loop.key in seen
            or event.grad is not False
            or not evaluates(trace, loop)
        ):
            continue
        modes = [
            e
            for e in trace.of("eval", "train", "mode")
            if e.order < event.order and compatible(e, event)
        ]
        hidden = any(_switches(text) for order, text in trace.opaque if order < event.order)
        plain = isinstance(event.value, Model) and event.value.moody is False
        if not modes or modes[-1].kind != "train" or hidden or plain or _wants_targets(event):
            continue
        if not _same(modes[-1], event):
            continue
        seen.add(loop.key)
        evidence = (
            f"{modes[-1].text}.train() at line {modes[-1].line}",
            "no eval() between it and this evaluation, which records no gradient",
        )
        yield Report(
            event,
            "f(x; dropout on, batch statistics)",
            "f(x; dropout off, running statistics)",
            evidence,
        )


def _wants_targets(event: Event) -> bool:
    """Return whether a model is given targets, as detectors are whose losses need that mode."""
    given = event.node.args if isinstance(event.node, ast.Call) else []
    return len(given) > 1 and "target" in ast.unparse(given[-1])


def _switches(text: str) -> bool:
    return "eval" in text.lower() or "mode" in text.lower()


def _same(mode: Event, event: Event) -> bool:
    """Return whether the model that was put in training mode is the one that is evaluated."""
    first, second = mode.text.rsplit(".", 1)[-1], event.text.rsplit(".", 1)[-1]
    return first == second or getattr(mode.value, "text", "") == getattr(event.value, "text", "?")
