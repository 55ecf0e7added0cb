"""Whether a model differs between training and evaluation, and in which mode it begins.

A module begins in training mode. Where the code shows its construction and its layers, and nothing
switches it before a pass that records no gradient, dropout is on in that pass, and batch
normalisation takes the statistics of the batch and changes its own.
"""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from batchproof.audit._dimensions._lattice import Constant, Instance, Model
from batchproof.audit._dimensions._layers import has_layers, is_plain
from batchproof.audit._dimensions._names import FunctionNode, dotted, words_of
from batchproof.audit._dimensions._questions import (
    asked_for,
    compatible,
    functions_of,
    trains,
    within,
)
from batchproof.audit._dimensions._trace import Event, Loop, Trace

_SWITCH = re.compile(r"\.(eval|train)\(")
_RATES = re.compile(r"dropout|drop_rate|drop_prob|p_drop|drop_p")
_SETS = re.compile(r"train|mode|restore|resume", re.IGNORECASE)
_ON_PURPOSE = re.compile(r"bn|stat|calib|swa|running|monte|mc_|uncertain|train", re.IGNORECASE)
# what a function is for that runs batches in training mode for statistics, or for samples of it
_FOR_STATISTICS = {
    "bn", "batchnorm", "norm", "stats", "statistics", "calibrate", "calibration", "recalibrate",
    "swa", "running", "monte", "mc", "uncertainty",
}  # fmt: skip


def has_modes(event: Event) -> bool:
    """Return whether a model has dropout or batch normalisation, as far as that is in sight."""
    value = event.value
    if isinstance(value, Model):
        return value.moody is True
    if isinstance(value, Instance):
        return has_layers(value.kind)
    return _takes_a_rate(event)


def train_in_evaluation(trace: Trace) -> Iterator[tuple[Event, Event]]:
    """Yield training passes that later passes of a loop run in the mode of an evaluation.

    The evaluation at the end of each pass sets its mode, and nothing in the loop sets another. With
    each training pass comes the event that sets the mode.
    """
    for mode in trace.of("eval"):
        for loop in mode.loops:
            if loop.single or trace.within(loop, "train", "mode") or asked_for(mode):
                continue
            before = [e for e in trace.within(loop, "forward") if e.order < mode.order]
            passes = [e for e in before if _is_trained(trace, e, loop) and _is_of(mode, e)]
            if passes and compatible(passes[0], mode) and _goes_on(trace, mode, passes[0], loop):
                yield passes[0], mode
                return


def _is_trained(trace: Trace, event: Event, loop: Loop) -> bool:
    """Return whether a forward pass is one of a loop that trains, all of it inside another."""
    inner = event.batches or event.loops[-1]
    inside = inner is loop or loop in event.loops[: event.loops.index(inner)]
    return event.grad is not False and inside and trains(trace, inner)


def _is_of(mode: Event, event: Event) -> bool:
    """Return whether a mode is set of the model of a forward pass, which a name alone may show."""
    own, other = mode.value, event.value
    if isinstance(own, Model | Instance) or isinstance(other, Model | Instance):
        return own == other and not is_plain(other)
    return getattr(own, "text", "") == getattr(other, "text", "?") != ""


def _goes_on(trace: Trace, mode: Event, event: Event, loop: Loop) -> bool:
    """Return whether a loop goes on after a mode is set, and leaves it as it is."""
    earlier = [e for e in trace.of("eval", "train", "mode") if e.order < event.order]
    own = [e for e in earlier if _is_of(e, event)]
    if own and own[-1].kind != "train" and event.calls[: len(own[-1].calls)] == own[-1].calls:
        return False  # it trains in that mode from the beginning
    if any(
        _sets_mode(node, event)
        for part in (loop.node, *functions_of(mode))
        for node in ast.walk(part)
    ):
        return False
    place = within(mode, loop)
    branches = [n for n in ast.walk(loop.node) if isinstance(n, ast.If) and place in ast.walk(n)]
    ends = (n for branch in branches for part in branch.body for n in ast.walk(part))
    return not any(isinstance(n, ast.Return | ast.Break | ast.Raise) for n in ends)


def _sets_mode(node: ast.AST, event: Event) -> bool:
    """Return whether code out of sight may set the mode of the model of a pass, by its name."""
    match node:
        case ast.Assign([ast.Attribute(attr="training"), *_]):
            return True
        case ast.Call(function, arguments):
            name = dotted(function).rpartition(".")[2]
            if not _SETS.search(name) or name in event.module.functions:
                return False
            own = dotted(function).rpartition(".")[0].rpartition(".")[2]
            return event.text in {own, *(dotted(argument) for argument in arguments)}
    return False


def _trains_alone(event: Event) -> bool:
    """Return whether a pass is of an object whose file trains, and sets no mode anywhere."""
    lines = event.module.lines
    trains = any(".backward(" in line for line in lines)
    own = isinstance(event.node, ast.Call) and dotted(event.node.func).startswith("self.")
    return own and trains and not is_switched(event)


def left_alone(modes: list[Event], event: Event) -> str:
    """Return why a model is in training mode where another, trained beside it, is evaluated."""
    trains = [e for e in modes if e.kind == "train" and e.text == event.text]
    later = [e for e in modes if trains and e.order > trains[-1].order]
    evals = [e for e in later if e.kind == "eval"]
    if not evals or event.text in {e.text for e in later} or event.batches in trains[-1].loops:
        return ""
    beside = {e.text for e in modes if e.kind == "train" and e.function == trains[-1].function}
    alone = all(e.text in beside and not _holds(e, event.text) for e in evals)
    plain = all(e.kind == "eval" or e.text in beside for e in later)
    if not (alone and plain):
        return ""
    return f"{event.text}.train() at line {trains[-1].line}, {evals[-1].text}.eval() alone after it"


def _holds(mode: Event, part: str) -> bool:
    """Return whether a model may hold another: built from it, or it is a part."""
    whole, inner = mode.text, part.rpartition(".")[2]
    if part.startswith(f"{whole}.") or whole.startswith(f"{part}.") or whole in {"self", ""}:
        return True
    return any(
        dotted(target) == whole
        and inner in {dotted(n).rpartition(".")[2] for n in ast.walk(node.value)}
        for node in ast.walk(mode.module.tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
    )


def for_statistics(mode: Event, event: Event) -> bool:
    """Return whether training mode is set for the statistics of batches, by a function's name."""
    names = {name for each in (mode, event) for name in words_of(each.function).split()}
    return bool(names & _FOR_STATISTICS)


def is_switched(event: Event, trace: Trace | None = None) -> bool:
    """Return whether a line of the file sets the mode of some model.

    Args:
        event: a forward pass.
        trace: the events, if lines that are reached only after the pass, or never, do not count.
    """
    lines = {n for n, line in enumerate(event.module.lines, 1) if _SWITCH.search(line)}
    own = trace is not None and _is_made_here(trace, event)
    if trace is None or not (trace.whole or own):
        return bool(lines)
    modes = [e for e in trace.of("eval", "train", "mode") if e.module is event.module]
    early = {e.line for e in modes if e.order < event.order or set(e.loops) & set(event.loops)}
    later = {e.line for e in modes} - early
    return bool(early if own else lines - later - _idle_lines(event.module.tree))


@lru_cache(maxsize=4)
def _idle_lines(tree: ast.Module) -> frozenset[int]:
    """Return the lines of functions that a file names nowhere else."""
    bodies = [n for n in ast.walk(tree) if isinstance(n, FunctionNode)]
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    idle = (body for body in bodies if body.name not in names)
    return frozenset(n for body in idle for n in range(body.lineno, (body.end_lineno or 0) + 1))


def _is_made_here(trace: Trace, event: Event) -> bool:
    """Return whether the function that a trace begins with makes the model of a pass itself.

    It hands the model to nothing out of sight, so no other function can have switched it.
    """
    if not isinstance(event.value, Model | Instance) or trace.module is not event.module:
        return False
    own = (f for f in ast.walk(trace.module.tree) if isinstance(f, FunctionNode))
    bodies = [f for f in own if f.name == trace.entry]
    assigns = (n for f in bodies[:1] for n in ast.walk(f) if isinstance(n, ast.Assign))
    makes = any(
        dotted(target) == event.value.text and isinstance(node.value, ast.Call)
        for node in assigns
        for target in node.targets
    )
    return makes and len(bodies) == 1 and not _is_handed_on(trace, event)


def _is_handed_on(trace: Trace, event: Event) -> bool:
    """Return whether a model was handed to something out of sight before a pass."""
    names = {event.text, getattr(event.value, "text", "")} - {""}
    handed = [text for order, text in trace.opaque if order <= event.order]
    return bool(names & {text.partition(".")[0] for text in handed})


def begins_in_training(trace: Trace, event: Event) -> str:
    """Return that a model is evaluated in the mode in which it was made, or "".

    Args:
        trace: the events.
        event: a forward pass before which nothing sets a mode.
    """
    in_sight = isinstance(event.value, Model | Instance)
    whole = trace.whole or _trains_alone(event) or _is_made_here(trace, event)
    if not (in_sight and whole and has_modes(event)) or _ON_PURPOSE.search(event.function):
        return ""
    if event.function == "forward":  # a part of the model whose pass this is
        return ""
    if _is_handed_on(trace, event):
        return ""
    return "a model begins in training mode, and nothing switches it before this line"


def _takes_a_rate(event: Event) -> bool:
    """Return whether a model is built, out of sight, with a rate of dropout that is not 0."""
    for node in ast.walk(event.module.tree):
        match node:
            case ast.Assign([target], ast.Call() as call) if dotted(target) == event.text:
                keywords = [n for n in ast.walk(call) if isinstance(n, ast.keyword)]
                rates = [k.value for k in keywords if k.arg and _RATES.search(k.arg)]
                if any(not (isinstance(r, ast.Constant) and not r.value) for r in rates):
                    return True
    return False


def is_positive(value: object) -> bool:
    """Return whether a rate of dropout is known not to be 0."""
    return isinstance(value, Constant) and isinstance(value.value, float) and value.value > 0
