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
        sure = ignores_padding(loss) or loss.unit == "mask" or line > 0
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


def _managed(trace: Trace, event: Event) -> str:
    """Return what accelerate divides a loss by, inside its `accumulate`, or ""."""
    inside = any(e.loops == event.loops for e in trace.of("managed"))
    by_it = isinstance(event.node, ast.Call) and "accelerator" in dotted(event.node.func)
    steps = "gradient_accumulation_steps"
    return steps if inside and by_it and any(steps in n for n in event.module.lines) else ""


def _marked(event: Event) -> int:
    """Return the line at which a file marks targets that do not count, 0 where none does."""
    lines = enumerate(event.module.lines, 1)
    return next((number for number, text in lines if _MARKS.search(text)), 0)
