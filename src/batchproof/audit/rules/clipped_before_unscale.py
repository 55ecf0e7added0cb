"""The gradient is clipped while it still carries the loss scale."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Constant, Tool
from batchproof.audit._dimensions._questions import compatible
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield clips of scaled gradients with no unscale_() before them."""
    for clip in trace.of("clip"):
        if any(word in clip.text.lower() for word in ("accelerator", "fabric", "engine")):
            continue
        scale = _last(trace, clip, "scale")
        if scale is None or (isinstance(scale.other, Tool) and not scale.other.sure):
            continue
        unscales = [
            e
            for e in trace.of("unscale")
            if scale.order < e.order < clip.order and compatible(e, clip)
        ]
        steps = [
            e
            for e in trace.of("step")
            if e.order > clip.order and isinstance(e.other, Constant) and compatible(e, clip)
        ]
        if unscales or not steps:
            continue
        optimizer = steps[0].text or "optimizer"
        scaler = scale.text or "scaler"
        evidence = (
            f"the loss is scaled at line {scale.line}",
            f"{scaler}.unscale_ is not called between the backward pass and the clip",
        )
        yield Report(
            clip, "clip(S · grad)", "clip(grad)", evidence, remedy=f"{scaler}.unscale_({optimizer})"
        )


def _last(trace: Trace, clip: Event, kind: str) -> Event | None:
    """Return the last scaled backward pass that can lead to a clip, in its function or its loop."""
    before = [e for e in trace.of(kind) if e.order < clip.order and compatible(e, clip)]
    if not before:
        return None
    last, loop = before[-1], clip.batches
    beside = last.function == clip.function or (loop is not None and last.batches is loop)
    return last if beside else None
