"""The gradient is clipped before all micro-batches of the window have entered it."""

from collections.abc import Iterator

from batchproof.audit._dimensions._questions import compatible
from batchproof.audit._dimensions._trace import Event, Trace, modulus, tests_of
from batchproof.audit._dimensions._windows import micro_loops, windows
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield clips that happen with every micro-batch, where the step does not."""
    places = set[int]()
    for window in windows(trace):
        for clip in trace.within(window.loop, "clip"):
            if (
                clip.loop is not window.loop
                or not compatible(clip, window.step)
                or id(clip.node) in places
            ):
                continue
            at_end = any(c.test is window.condition.test for c in clip.conditions)
            if not at_end and clip.order < window.step.order and not _counts(clip, window.every):
                places.add(id(clip.node))
                yield _report(clip, window.every)
    for loop, _passes in micro_loops(trace):
        for clip in trace.within(loop, "clip"):
            if clip.loop is loop and not clip.inside(loop):
                yield _report(clip, loop.micro)
    yield from _in_functions(trace)


def _in_functions(trace: Trace) -> Iterator[Report]:
    """Yield clips of a function that is called for each micro-batch, and does not always step."""
    for step in trace.of("step"):
        windows = [m for c in step.conditions if (m := modulus(c.test, branch=c.branch))]
        every = next((parts[2] for parts in windows if "accum" in parts[2].lower()), "")
        if step.loops or not every:
            continue
        own = [e for e in trace.events if e.function == step.function and not e.loops]
        for clip in (e for e in own if e.kind == "clip" and e.order < step.order):
            passes = [e for e in own if e.kind == "backward" and e.order < clip.order]
            if passes and compatible(clip, step) and not _counts(clip, every):
                yield _report(clip, every)


def _counts(clip: Event, every: str) -> bool:
    windows = [modulus(p, branch=c.branch) for c in clip.conditions for p in tests_of(c.test)]
    return any(modulo is not None and modulo[2] == every for modulo in windows)


def _report(clip: Event, every: str) -> Report:
    evidence = (f"a window holds {every} micro-batches, and this line runs after each of them",)
    return Report(clip, "clip(… clip(clip(g_1) + g_2) … + g_k)", "clip(g_1 + … + g_k)", evidence)
