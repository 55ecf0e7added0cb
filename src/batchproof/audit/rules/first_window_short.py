"""The first window ends after fewer micro-batches than the others."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count
from batchproof.audit._dimensions._questions import Window, windows
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield windows whose counter is off by one when the test looks at it."""
    seen = set[int]()
    for window in windows(trace):
        if id(window.test) in seen or _guarded(window):
            continue
        seen.add(id(window.test))
        ahead = _ahead(trace, window)
        if ahead is None or ahead == 0:
            continue
        short = "1 micro-batch" if ahead < 0 else f"{window.every} - {ahead} micro-batches"
        evidence = (f"{window.counter} is {_gap(ahead)} of the micro-batches when it is tested",)
        yield Report(
            window.step,
            f"the first step comes after {short}",
            f"a step after every {window.every} micro-batches",
            evidence,
            node=window.test,
        )


def _ahead(trace: Trace, window: Window) -> int | None:
    """Return the lead of the tested number over the micro-batches seen so far."""
    for event in trace.of("compare"):
        if (
            event.node is window.test
            and window.loop in event.loops
            and isinstance(event.value, Count)
        ):
            count = event.value
            if count.unit == "batches" and count.key == window.loop.key and not count.conditional:
                return count.plus + (window.plus - _written(window))
    return None


def _written(window: Window) -> int:
    """Return the number that the test itself adds to the counter: `i % k == k - 1` adds none."""
    test = window.test
    if isinstance(test, ast.Compare):
        left = test.left if isinstance(test.left, ast.BinOp) else test.comparators[0]
        inner = left.left if isinstance(left, ast.BinOp) else left
        if isinstance(inner, ast.BinOp) and isinstance(inner.right, ast.Constant):
            return int(inner.right.value) if isinstance(inner.right.value, int) else 0
    return 0


def _gap(ahead: int) -> str:
    return "one short" if ahead < 0 else f"{ahead} ahead"


def _guarded(window: Window) -> bool:
    return isinstance(window.condition.test, ast.BoolOp) and isinstance(
        window.condition.test.op, ast.And
    )
