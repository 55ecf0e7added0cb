"""Rewrites that remove a mistake and change nothing else."""

import ast

from batchproof.audit._dimensions._lattice import Several
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._finding import Edit, Fix
from batchproof.audit._masked_means import divided_by_mask
from batchproof.audit._project import Source
from batchproof.audit._reports import Report
from batchproof.audit._weighted_sums import weighted


def repair(name: str, report: Report, trace: Trace, source: Source) -> Fix | None:
    """Return the fix of a mistake, None where that takes a person.

    Args:
        name: the mistake's.
        report: that of the rule.
        trace: what happens around it.
        source: the file.
    """
    node, remedy = report.node or report.event.node, report.remedy
    match name:
        case "graph-kept":
            holds = isinstance(report.event.value, Several)  # a dict has no detach()
            return None if holds else _detached(node, source)
        case "best-by-reference":
            return _copied(node, source)
        case "clipped-before-unscale":
            return _unscaled(node, remedy, source)
        case "mean-of-batch-means" | "wrong-divisor":
            return weighted(report.event, trace, source)
        case "padding-counted":
            return divided_by_mask(report, source)
    return None


def _detached(node: ast.AST, source: Source) -> Fix | None:
    """Detach what a sum or a list keeps: the number is the same, as a tensor without a graph."""
    match node:
        case ast.AugAssign(value=value):
            pass
        case ast.Call(args=[value]):
            pass
        case ast.Assign(targets=[target], value=ast.BinOp(left=left, right=right)):
            value = right if ast.dump(left) == ast.dump(target).replace("Store", "Load") else left
        case _:
            return None
    return Fix("Detach what is kept.", _around(value, ".detach()", source), safe=True)


def _around(value: ast.expr, method: str, source: Source) -> tuple[Edit, ...]:
    line, column, end_line, end_column = source.span(value)
    after = Edit(end_line, end_column, end_line, end_column, method)
    if isinstance(value, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
        return (after,)
    before = Edit(line, column, line, column, "(")
    return before, Edit(end_line, end_column, end_line, end_column, f"){method}")


def _copied(node: ast.AST, source: Source) -> Fix | None:
    """Keep a deep copy of the weights; `copy` is imported where it is not."""
    match node:
        case ast.Assign(targets=[_], value=ast.Dict(values=parts)):
            states = [part for part in parts if ast.unparse(part).endswith(".state_dict()")]
            if len(states) != 1:
                return None
            state = states[0]
        case ast.Assign(targets=[ast.Name() | ast.Attribute() | ast.Subscript()], value=state):
            pass
        case _:
            return None
    if not _is_copied_whole(state):
        return None
    names, first = _imported(source.tree)
    if ("copy" in names and names["copy"] != "copy") or first is None:
        return None
    line, column, end_line, end_column = source.span(state)
    edits = [
        Edit(line, column, line, column, "copy.deepcopy("),
        Edit(end_line, end_column, end_line, end_column, ")"),
    ]
    if "copy" not in names:
        edits.insert(0, Edit(first, 1, first, 1, "import copy\n"))
    return Fix("Keep a deep copy.", tuple(edits), safe=True)


def _is_copied_whole(state: ast.expr) -> bool:
    """Return whether a deep copy of what is kept holds the weights and nothing else."""
    match state:
        case ast.DictComp(generators=[ast.comprehension(iter=items)]):
            return ast.unparse(items).endswith(".state_dict().items()")
        case ast.Call(func=ast.Attribute(value=inner, attr="copy"), args=[]):
            return _is_copied_whole(inner)  # a shallow copy holds the same tensors
        case ast.Call(func=ast.Attribute(attr=name)):
            return name == "state_dict"
    return isinstance(state, ast.Name | ast.Attribute)


def _imported(tree: ast.Module) -> tuple[dict[str, str], int | None]:
    """Return the origin of each imported name of a file, and the line of its first plain import."""
    names, first = dict[str, str](), None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names |= {alias.asname or alias.name: f"{origin}{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "copy":
            names["copy"] = "a name of its own"
    for node in tree.body:
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if first is None and isinstance(node, ast.Import | ast.ImportFrom) and not future:
            first = node.lineno
    return names, first


def _unscaled(node: ast.AST, remedy: str, source: Source) -> Fix | None:
    """Unscale the gradients before the clip, where nothing in the file unscales them."""
    scaler, _, optimizer = remedy.removesuffix(")").partition(".unscale_(")
    steps = f"{scaler}.step({optimizer})" in source.text
    if not optimizer or not steps or "unscale_" in source.text:
        return None
    for statement in ast.walk(source.tree):
        if isinstance(statement, ast.Expr | ast.Assign) and node in ast.walk(statement):
            line, column, _, _ = source.span(statement)
            indent = source.lines[line - 1][: column - 1]
            if indent.strip():
                return None
            edit = Edit(line, column, line, column, f"{remedy}\n{indent}")
            return Fix("Unscale the gradients before the clip.", (edit,), safe=True)
    return None
