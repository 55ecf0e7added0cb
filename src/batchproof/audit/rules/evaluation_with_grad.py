"""The evaluation records a graph that nobody uses."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._evaluations import (
    by_mode,
    by_phase,
    differentiates,
    evaluated,
    guarded_otherwise,
    guards_itself,
    held_out,
    helpers_of,
    is_frozen,
    near,
    on_its_own,
    repeated,
    scores_apart,
    second_pass,
    steps_on_held_out,
    switches_nothing,
)
from batchproof.audit._dimensions._methods import PASSES
from batchproof.audit._dimensions._questions import (
    evaluates,
    functions_of,
    keeps_numbers,
    of_numpy,
    scopes_of,
    within,
)
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report

_NO_WEIGHTS = re.compile(r"(softmax|sigmoid|relu|tanh)$", re.IGNORECASE)
_PLAIN = {"forward", "loss", "get_loss", "compute_loss", "calc_loss", "calculate_loss"}
_NEEDS = {"grad", "requires_grad", "requires_grad_", "enable_grad", "jacobian"}
_NEEDS |= {"no_grad", "inference_mode"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield forward passes of an evaluation that never back-propagates, with autograd on."""
    keys = set[str]()
    models = {id(e.node) for e in trace.of("forward")}
    enabled = any(e.grad is not False for e in trace.of("backward"))
    for event in trace.of("forward"):
        loop = evaluated(trace, event)
        key = loop.key if loop is not None else f"{event.function}({len(event.loops)})"
        if event.grad is False or key in keys or guarded_otherwise(trace, event):
            continue
        inner = loop is None and any(id(call) in models for call in event.calls)
        if inner or _NO_WEIGHTS.search(event.text):
            continue  # a part of a model whose own call is an event
        why = _apart(trace, event) if loop is None else _why(trace, event, loop)
        place = event.node if loop is None else within(event, loop)
        if not why or _needs_grad(event, loop, place) or is_frozen(event) or differentiates(event):
            continue
        keys.add(key)
        hidden = "." in event.text and event.text.rpartition(".")[2] in PASSES - _PLAIN
        on = event.grad is True or enabled or switches_nothing(trace, event)
        on = on or guards_itself(trace, event, loop)
        visible = on and not hidden and not of_numpy(event)
        sure = visible and " after line " not in why  # one pass of a few samples costs little
        inside = "in the function" if loop is None else "in the loop"
        evidence = (
            f"{why}, and no backward pass {'there' if ' where ' in why else inside}",
            ("eval() does not switch autograd off" if "eval()" in why else "autograd is on here")
            if visible
            else f"whether {'the method' if hidden else 'a caller'} does is out of sight",
        )
        yield Report(event, "f(x) and its graph", "f(x)", evidence, sure, node=place)
    for step, why in steps_on_held_out(trace):
        evidence = (why, f"{step.text or 'the optimiser'} changes the model by its losses")
        yield Report(step, "training step on held-out data", "f(x)", evidence)


def _why(trace: Trace, event: Event, loop: Loop) -> str:
    """Return why a loop evaluates: the mode of its model, or its data and numbers; or ""."""
    if any(not conditions for conditions in loop.leaves):
        return ""  # it looks at one batch
    if not evaluates(trace, loop):
        return by_phase(trace, event, loop) or held_out(trace, event)
    if any(getattr(e.value, "over", "") == loop.key for e in trace.of("backward")):
        return ""  # its sum is back-propagated
    guarded = (e for e in trace.within(loop, "forward", "criterion") if e.grad is False)
    if any(e.calls == event.calls or e.text != event.text for e in guarded):
        return ""  # this one is of inputs that a guarded model is given, or of its outputs
    return (
        by_mode(trace, event)
        or keeps_numbers(trace, event, loop)
        or second_pass(trace, event, loop)
    )


def _apart(trace: Trace, event: Event) -> str:
    """Return why a forward pass outside loops over batches is one of an evaluation, or ""."""
    return scores_apart(trace, event) or on_its_own(trace, event) or repeated(trace, event)


def _needs_grad(event: Event, loop: Loop | None, place: ast.AST) -> bool:
    """Return whether an evaluation asks for gradients, or is PyTorch 0.3's that turns them off."""
    parts = [] if loop is None else list(ast.walk(loop.node))
    if loop is None or place is not event.node:
        scopes = scopes_of(event) if loop is None else functions_of(event)
        parts += [n for scope in scopes for n in ast.walk(scope)]
    parts += [n for node in helpers_of(event, parts) for n in ast.walk(node)]
    if loop is None:
        parts = near(event, parts)
    blocks = [n for n in parts if isinstance(n, ast.With)]  # what is inside them has no graph
    contexts = [n.context_expr for block in blocks for n in block.items]
    contexts_of = {id(n.func) for n in contexts if isinstance(n, ast.Call)}
    return any(
        (isinstance(n, ast.Attribute) and n.attr in _NEEDS and id(n) not in contexts_of)
        or (isinstance(n, ast.Name) and n.id in _NEEDS and id(n) not in contexts_of)
        or (isinstance(n, ast.keyword) and n.arg in {"volatile", "evaluation"})
        for n in parts
    )
