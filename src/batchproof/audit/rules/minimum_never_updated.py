"""The best value is compared with and never updated."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_BEST = ("best", "min_", "lowest", "_min", "minimum")


def find(trace: Trace) -> Iterator[Report]:
    """Yield tests against a best value in a loop in which nothing sets that value."""
    seen = set[int]()
    for event in trace.of("compare"):
        node = event.node
        if event.loop is None or not isinstance(node, ast.Compare) or id(node) in seen:
            continue
        if not isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            continue
        for side in (node.left, node.comparators[0]):
            name = dotted(side)
            if (
                any(word in name.lower() for word in _BEST)
                and _never_set(event, name)
                and _keeps(trace, event)
            ):
                seen.add(id(node))
                evidence = (f"{name} is set before the loop and nowhere else",)
                yield Report(
                    event,
                    f"value against the first {name}",
                    f"value against the {name} so far",
                    evidence,
                )


def _never_set(event: Event, name: str) -> bool:
    """Return whether a name is set once in its file, outside the loop, to a start value."""
    places: list[ast.AST] = []
    for node in ast.walk(event.module.tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [
                t
                for target in node.targets
                for t in (target.elts if isinstance(target, ast.Tuple) else [target])
            ]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.For):
            targets = [node.target]
        if any(dotted(t) == name for t in targets):
            places.append(node)
        if isinstance(node, ast.arg) and node.arg == name:
            return False
    inside = {id(n) for loop in event.loops for n in ast.walk(loop.node)}
    return len(places) == 1 and id(places[0]) not in inside and _is_start(places[0])


def _is_start(node: ast.AST) -> bool:
    value = getattr(node, "value", None)
    text = ast.unparse(value) if isinstance(value, ast.expr) else ""
    return (
        any(word in text for word in ("inf", "1e", "999", "maxsize"))
        or text.strip("-").isdigit()
        or text == "0.0"
    )


def _keeps(trace: Trace, event: Event) -> bool:
    """Return whether something is kept or saved where the test holds."""
    for other in trace.of("save", "assign"):
        if any(event.node in ast.walk(c.test) and c.branch for c in other.conditions):
            return True
    return False
