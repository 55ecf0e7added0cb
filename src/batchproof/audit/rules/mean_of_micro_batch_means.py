"""The means of micro-batches are averaged as if each micro-batch weighed the same."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import ignores_padding
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._dimensions._windows import accumulation_scale
from batchproof.audit._reports import Report

# what marks targets of a Hugging Face model that do not count in its loss
_MARKS = re.compile(
    r"(?=.*(?:label|target))(?!.*ignore_index).*(?<![\w.])-100\b|DataCollatorFor(?:Seq2Seq|TokenClassification)\("
)


def find(trace: Trace) -> Iterator[Report]:
    """Yield backward passes of a mean over tokens, divided by the number of micro-batches."""
    yield from _of_pieces(trace)
    for event in trace.of("backward"):
        loss = event.value
        if not isinstance(loss, Quantity) or loss.base != "mean" or loss.over:
            continue
        scale = accumulation_scale(loss, trace) or _managed(trace, event)
        if not scale or not (
            loss.ignores or loss.unit in {"mask", "elements"} or loss.name == "outputs.loss"
        ):
            continue
        line = _marked(event) if loss.name == "outputs.loss" else 0
        sure = _leaves_out(event, loss) or loss.unit == "mask" or line > 0
        why = "it is a mean over tokens"
        if loss.ignores or line:
            why = f"targets equal to {loss.ignores or -100} are ignored"
            why += f" (line {line})" if line else ""
        evidence = (
            f"{loss.name or 'the loss'} (line {loss.line}): {why}",
            "micro-batches hold different numbers of targets",
            f"each is divided by {scale}",
        )
        yield Report(
            event, f"Σ_m (Σ_i loss_i / n_m) / {scale}", "Σ_m Σ_i loss_i / Σ_m n_m", evidence, sure
        )


def _of_pieces(trace: Trace) -> Iterator[Report]:
    """Yield backward passes of the mean of a slice of a batch, divided by how many there are."""
    for event in trace.of("backward"):
        loss, loop = event.value, event.batches
        if not isinstance(loss, Quantity) or loop is None or loss.loop != loop.key or loss.over:
            continue
        around = [each for each in event.loops[: event.loops.index(loop)] if each.loader]
        cut = loop.loader is not None and loop.loader.index != "" and not loop.loader.drop_last
        if not cut or not around or loss.base != "mean" or trace.within(loop, "step"):
            continue
        if loss.sure and any(scale[0] == "/" for scale in loss.scales):
            size = f"[{loop.loader.index} : {loop.loader.index} + size]" if loop.loader else ""
            evidence = (
                f"{loss.name or 'the loss'} (line {loss.line}) is a mean over the slice {size}",
                "the last slice of a batch may be smaller, and is divided by the same number",
            )
            computes = "Σ_m (Σ_i loss_i / n_m) / slices"
            yield Report(event, computes, "Σ_m Σ_i loss_i / Σ_m n_m", evidence)


def _managed(trace: Trace, event: Event) -> str:
    """Return what accelerate divides a loss by, inside its `accumulate`, or ""."""
    inside = any(e.loops == event.loops for e in trace.of("managed"))
    by_it = isinstance(event.node, ast.Call) and "accelerator" in dotted(event.node.func)
    steps = "gradient_accumulation_steps"
    return steps if inside and by_it and any(steps in n for n in event.module.lines) else ""


def _leaves_out(event: Event, loss: Quantity) -> bool:
    """Return whether some targets are ignored: padding, a class, or ones that the file marks.

    `ignore_index=-1` alone is often copied along with a model whose targets all count.
    """
    if not loss.ignores.startswith("-"):
        return ignores_padding(loss) or "ignore" in loss.ignores.lower()
    value = re.escape(loss.ignores)
    marks = re.compile(rf"(label|target|lm_)\w*(\[[^\]]*\])? = {value}\b|fill_\({value}\)")
    return any(marks.search(line) for line in event.module.lines)


def _marked(event: Event) -> int:
    """Return the line at which a file marks targets that do not count, 0 where none does."""
    lines = enumerate(event.module.lines, 1)
    return next((number for number, text in lines if _MARKS.search(text)), 0)
