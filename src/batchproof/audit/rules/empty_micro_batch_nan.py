"""A micro-batch in which everything is masked divides 0 by 0."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield divisions of the loss of one batch by a mask's sum that nothing keeps from being 0."""
    for event in trace.of("divide"):
        loss, by = event.value, event.other
        masked = isinstance(by, Count) and by.unit == "mask" and not by.guarded and not by.plus
        if (
            not isinstance(loss, Quantity)
            or loss.over
            or loss.base != "sum"
            or not masked
            or _tested(event)
        ):
            continue
        evidence = ("nothing tests that the mask selects anything, nor keeps the divisor from 0",)
        yield Report(
            event,
            "0 / 0 = nan where the mask is empty",
            "0 there, and Σ m loss / Σ m elsewhere",
            evidence,
            sure=False,
        )


def _tested(event: Event) -> bool:
    """Return whether a test on the way asks for the mask or its sum."""
    right = (
        event.node.right
        if isinstance(event.node, ast.BinOp)
        else getattr(event.node, "value", None)
    )
    names = (
        {n.id for n in ast.walk(right) if isinstance(n, ast.Name)} if right is not None else set()
    )
    for condition in event.conditions:
        if names & {n.id for n in ast.walk(condition.test) if isinstance(n, ast.Name)}:
            return True
    return False
