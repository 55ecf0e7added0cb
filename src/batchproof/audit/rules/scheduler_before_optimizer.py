"""The schedule steps before the optimiser, so its first learning rate is skipped."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._epochs import counts_epochs, is_a_pass
from batchproof.audit._dimensions._lattice import NOTHING, Tool
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._questions import compatible, varies
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace
from batchproof.audit._reports import Report

# Until PyTorch 1.1 a schedule was stepped first, by its own manual. What runs under none since:
_OLD = re.compile(r"\.data\[0\]|async=True")

_TRIES = re.compile(r"lr_?find|find_?lr", re.IGNORECASE)
# what nothing but a schedule of torch is called, where no class of the project is seen
_NAMES = {"scheduler", "lr_scheduler"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield steps of a schedule before the first step of the optimiser in the same loop."""
    places = set[int]()
    for event in trace.of("schedule"):
        certain = isinstance(event.value, Tool) and event.value.kind == "scheduler"
        certain = certain or event.text.rpartition(".")[2] in _NAMES
        first = min((e.order for e in trace.of("step")), default=event.order + 1)
        if event.other != NOTHING or id(event.node) in places or first < event.order:
            continue
        after = _step_after(trace, event)
        if after is None:
            continue
        line, beside = after
        places.add(id(event.node))
        age = _sign_of_age(event)
        evidence = (
            f"{event.text}.step() is at line {event.line}",
            f"the optimiser steps first at line {line}",
            *((f"{age} says that this may be PyTorch before 1.1, where it was right",) * bool(age)),
        )
        yield Report(
            event,
            "step t uses the learning rate of step t + 1",
            "step t uses the learning rate of step t",
            evidence,
            certain and beside and not age and not _tries_rates(event),
        )


def _step_after(trace: Trace, event: Event) -> tuple[int, bool] | None:
    """Return the line of the first step after a schedule's in its loop, and if it always comes.

    A function of one epoch is a pass of a loop out of sight; so is a call out of sight that trains.
    """
    loop = event.loop
    if loop is None:
        own = [e for e in trace.of("step") if e.function == event.function and e.loops]
        own = [e for e in own if compatible(e, event) and not event.conditions]
        return (own[0].line, True) if own and (is_a_pass(event) or _is_one(own[0])) else None
    steps = [e for e in trace.within(loop, "step") if compatible(e, event)]
    if steps:
        varied = any(varies(c.test, loop) for c in _apart(event, steps[0], loop))
        return None if varied else (steps[0].line, _beside(event, steps[0]))
    line = 0 if trace.within(loop, "backward") else _trains_after(event, loop)
    return (line, not event.inside(loop)) if line else None


def _is_one(step: Event) -> bool:
    """Return whether a function is one pass of training, by its name and its only loop."""
    counts = any(not isinstance(lp.node, ast.For) or counts_epochs(lp.node) for lp in step.loops)
    trains = {"train", "training"} & set(words_of(step.function).split())
    return bool(trains) and len(step.loops) == 1 and not counts


def _trains_after(event: Event, loop: Loop) -> int:
    """Return the line where a loop calls a function that trains with an optimiser, or 0."""
    for node in (n for n in ast.walk(loop.node) if isinstance(n, ast.Call)):
        words = set(words_of(dotted(node.func).rpartition(".")[2]).split())
        names = [dotted(n).lower() for n in (*node.args, *(k.value for k in node.keywords))]
        trains = words & {"train", "training"} and any("optim" in name for name in names)
        if trains and node.lineno > event.line:
            return node.lineno
    return 0


def _apart(event: Event, step: Event, loop: Loop) -> list[Condition]:
    """Return the tests inside a loop that a schedule passes, and the optimiser's step does not."""
    tests = {id(c.test) for c in step.inside(loop)}
    return [c for c in event.inside(loop) if not c.by and id(c.test) not in tests]


def _sign_of_age(event: Event) -> str:
    """Return what in a file speaks of a PyTorch before 1.1, "" where nothing does."""
    text = "\n".join(line.partition("#")[0] for line in event.module.lines)
    sign = _OLD.search(text)
    return sign[0].strip(".(") if sign else ""


def _tries_rates(event: Event) -> bool:
    """Return whether a file tries learning rates one by one, where the first is of no account."""
    return any(_TRIES.search(line) for line in event.module.lines)


def _beside(event: Event, step: Event) -> bool:
    return event.loops == step.loops[: len(event.loops)]
