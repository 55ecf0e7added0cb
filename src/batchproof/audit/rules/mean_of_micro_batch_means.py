"""The means of micro-batches are averaged as if each micro-batch weighed the same."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._questions import accumulation_scale, ignores_padding
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield backward passes of a mean over tokens, divided by the number of micro-batches."""
    for event in trace.of("backward"):
        loss = event.value
        if not isinstance(loss, Quantity) or loss.base != "mean" or loss.over:
            continue
        scale = accumulation_scale(loss, trace)
        if not scale or not (
            loss.ignores or loss.unit in {"mask", "elements"} or loss.name == "outputs.loss"
        ):
            continue
        sure = ignores_padding(loss) or loss.unit == "mask"
        why = (
            f"targets equal to {loss.ignores} are ignored"
            if loss.ignores
            else "it is a mean over tokens"
        )
        evidence = (
            f"{loss.name or 'the loss'} (line {loss.line}): {why}",
            "micro-batches hold different numbers of targets",
            f"each is divided by {scale}",
        )
        yield Report(
            event, f"Σ_m (Σ_i loss_i / n_m) / {scale}", "Σ_m Σ_i loss_i / Σ_m n_m", evidence, sure
        )
