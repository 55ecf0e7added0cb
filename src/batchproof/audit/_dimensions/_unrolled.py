"""Losses that a loop adds up step by step, as over the tokens of a sequence."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._questions import (
    asks_for_number,
    divisor_of,
    is_debug,
    names_in,
)
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace


def ended_early(trace: Trace) -> Iterator[tuple[Event, str, tuple[str, str]]]:
    """Yield sums over steps that are divided by all steps, though their loop may end before.

    Args:
        trace: the events.

    Returns:
        The quotients, the code of their divisors, and why they are wrong.
    """
    for event in trace.of("divide"):
        loop, divisor = _loop_of(trace, event), divisor_of(event.node)
        if loop is None or divisor is None or not loop.micro:
            continue
        if ast.unparse(divisor) == loop.micro and (ends := _ends_by_content(loop)):
            why = f"the loop may end early, line {ends.test.lineno}"
            yield event, loop.micro, (why, f"{loop.micro} counts all steps")


def _loop_of(trace: Trace, event: Event) -> Loop | None:
    """Return the loop, not over batches, that added up what is divided after it."""
    total = event.value
    if not isinstance(total, Quantity) or total.divisor is not None:
        return None
    loop = trace.loops.get(total.over)
    return None if loop is None or loop.loader is not None or loop in event.loops else loop


def _ends_by_content(loop: Loop) -> Condition | None:
    """Return the test of a break that depends on what a step gave, not on its index alone."""
    index = names_in(getattr(loop.node, "target", ast.Pass()))
    for conditions in loop.leaves:
        if any(is_debug(c) or asks_for_number(c) for c in conditions):
            continue
        for condition in conditions:
            if not condition.by and not names_in(condition.test) & index:
                return condition
    return None
