"""The first window ends after fewer micro-batches than the others."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._dimensions._windows import Window, lead, windows
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield windows whose counter is off by one when the test looks at it."""
    places = set[int]()
    for window in windows(trace):
        if id(window.test) in places or _guarded(window) or _grows(window):
            continue
        places.add(id(window.test))
        ahead = lead(trace, window, over_passes=True)
        if ahead is None or ahead == 0:
            continue
        short = "1 micro-batch" if ahead < 0 else f"{window.every} - {ahead} micro-batches"
        evidence = (f"{window.counter} is {_gap(ahead)} of the micro-batches when it is tested",)
        yield Report(
            window.step,
            f"the first step comes after {short}",
            f"a step after every {window.every} micro-batches",
            evidence,
            node=window.place,
        )


def _gap(ahead: int) -> str:
    return "one short" if ahead < 0 else f"{ahead} ahead"


def _guarded(window: Window) -> bool:
    return isinstance(window.condition.test, ast.BoolOp) and isinstance(
        window.condition.test.op, ast.And
    )


def _grows(window: Window) -> bool:
    """Return whether a loop sets the length of its windows, as one that warms up from 1 does."""
    assigns = (n for n in ast.walk(window.loop.node) if isinstance(n, ast.Assign))
    return any(window.every in map(dotted, node.targets) for node in assigns)
