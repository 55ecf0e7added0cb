"""The best value is compared with and never updated."""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._bests import is_out_of_reach, is_start, key_never_set, stays
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_BEST = ("best", "min_", "lowest", "_min", "minimum")


def find(trace: Trace) -> Iterator[Report]:
    """Yield tests against a best value in a loop in which nothing sets that value."""
    places = set[int]()
    for event in trace.of("compare"):
        node = event.node
        if event.loop is None or not isinstance(node, ast.Compare) or id(node) in places:
            continue
        if not isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            continue
        for side in (node.left, node.comparators[0]):
            name = dotted(side)
            why = _why(event, name) if any(word in name.lower() for word in _BEST) else ""
            if why and _keeps(trace, event):
                places.add(id(node))
                computes = f"value against the first {name}"
                yield Report(event, computes, f"value against the {name} so far", (why,))


def _why(event: Event, name: str) -> str:
    """Return why a best value stays what it was, or ""."""
    if _never_set(event, name):
        return f"{name} is set before the loop and nowhere else"
    if is_out_of_reach(event, name):
        return f"no value passes the start of {name}"
    if stays(event, name):
        return (
            f"{event.function} sets a name of its own, and its caller passes the first value again"
        )
    return ""


def _never_set(event: Event, name: str) -> bool:
    """Return whether a name is set once in its scope, outside the loop, to a start value."""
    if name.endswith("']"):
        return key_never_set(event.module.tree, name)
    places: list[ast.AST] = []
    for node in ast.walk(_scope(event, name)):
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


def _scope(event: Event, name: str) -> ast.AST:
    """Return the function that sets a name of its own; the whole file for an attribute."""
    inner = [
        node
        for node in ast.walk(event.module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and event.node in ast.walk(node)
    ]
    stores = [n for node in inner for n in ast.walk(node) if isinstance(n, ast.Name)]
    own = any(n.id == name and isinstance(n.ctx, ast.Store) for n in stores)
    return inner[-1] if inner and own and "." not in name else event.module.tree


def _is_start(node: ast.AST) -> bool:
    """Return whether a name is set to what a search begins with: infinity, or a whole number."""
    value = getattr(node, "value", None)
    return isinstance(value, ast.expr) and is_start(value)


def _keeps(trace: Trace, event: Event) -> bool:
    """Return whether something is kept or saved where the test holds."""
    for other in trace.of("save", "assign"):
        if any(event.node in ast.walk(c.test) and c.branch for c in other.conditions):
            return True
    tree = ast.walk(event.module.tree)
    branches = [n for n in tree if isinstance(n, ast.If) and event.node in ast.walk(n.test)]
    calls = (n for node in branches for part in node.body for n in ast.walk(part))
    return any(isinstance(n, ast.Call) and _saves(n) for n in calls)


def _saves(call: ast.Call) -> bool:
    """Return whether a call saves, by its name: model.save_pretrained(folder)."""
    return ast.unparse(call.func).rpartition(".")[2].lstrip("_").startswith("save")
