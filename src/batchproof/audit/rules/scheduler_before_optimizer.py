"""The schedule steps before the optimiser, so its first learning rate is skipped."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import NOTHING, Tool
from batchproof.audit._dimensions._questions import compatible, varies
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield steps of a schedule before the first step of the optimiser in the same loop."""
    seen = set[int]()
    for event in trace.of("schedule"):
        loop = event.loop
        known = isinstance(event.value, Tool) and event.value.kind == "scheduler"
        if loop is None or event.other != NOTHING or id(event.node) in seen:
            continue
        steps = [e for e in trace.within(loop, "step") if compatible(e, event)]
        first = min((e.order for e in trace.of("step")), default=None)
        if (
            not steps
            or first is None
            or first < event.order
            or any(not c.by and varies(c.test, loop) for c in event.inside(loop))
        ):
            continue
        seen.add(id(event.node))
        evidence = (
            f"{event.text}.step() is at line {event.line}",
            f"the optimiser steps first at line {steps[0].line}",
        )
        yield Report(
            event,
            "step t uses the learning rate of step t + 1",
            "step t uses the learning rate of step t",
            evidence,
            known and _beside(event, steps[0]),
        )


def _beside(event: Event, step: Event) -> bool:
    return event.loops == step.loops[: len(event.loops)]
