"""Rewrites of means over padding: the sum of the masked losses is divided by the mask's.

computed   Σ_i m_i loss_i / N        rewritten   Σ_i m_i loss_i / Σ_i m_i

The mask of a comparison with the targets has the shape of the losses. Any other is expanded to that
shape before it is summed, so that a mask that was broadcast is not counted too small. The divisor
is at least 1: where a mask keeps nothing, the mean stays 0.
"""

import ast
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._finding import Edit, Fix
from batchproof.audit._project import Source
from batchproof.audit._reports import Report

_CASTS = {"float", "double", "half", "long", "int", "to", "type_as", "bool"}
_COMPARED = {"ne", "eq"}


def divided_by_mask(report: Report, source: Source) -> Fix | None:
    """Return the fix that divides by the mask, None where the code has another form.

    Args:
        report: a mean of losses that are 0 under a mask.
        source: the file.
    """
    node, losses = report.event.node, report.event.value
    match node:
        case ast.Call(func=ast.Attribute(value=product, attr="mean"), args=[], keywords=[]):
            pass
        case _:
            return None
    scope = source.scope(node)
    parts = _factors(_value(product, scope) or product, scope)
    if parts is None or not isinstance(losses, Quantity):
        return None
    elements, mask, weight = parts
    call = _call(elements, scope)
    if call is None or call.lineno != losses.line or _changes(mask, scope):
        return None
    name = next((n.id for n in (product, elements) if isinstance(n, ast.Name)), "")
    if _same_shape(elements, mask, scope):
        count, safe = f"{weight}.sum().clamp(min=1)", losses.sure
    elif name:
        count = f"{weight}.expand_as({name}).sum().clamp(min=1)"
        safe = report.sure and isinstance(mask, ast.Name)
    else:
        count, safe = f"{weight}.sum().clamp(min=1)", False
    return Fix("Divide by the sum of the mask.", _edits(node, count, source), safe)


def _factors(product: ast.expr, scope: ast.AST) -> tuple[ast.expr, ast.expr, str] | None:
    """Return the losses, the mask, and the code of what is 1 where a loss counts."""
    match product:
        case ast.BinOp(left=first, op=ast.Mult(), right=second):
            for losses, mask in ((first, second), (second, first)):
                if _call(losses, scope) is not None and _call(mask, scope) is None:
                    return losses, mask, _primary(mask)
        case ast.Call(
            func=ast.Attribute(value=losses, attr="masked_fill"),
            args=[hidden, ast.Constant(value=0)],
            keywords=[],
        ) if _call(losses, scope) is not None:
            if isinstance(hidden, ast.UnaryOp) and isinstance(hidden.op, ast.Invert):
                return losses, hidden.operand, _primary(hidden.operand)
            return losses, hidden, f"(~{_primary(hidden)})"
    return None


def _primary(node: ast.expr) -> str:
    """Return the code of an expression, in parentheses where a method's name could not follow."""
    text = ast.unparse(node)
    plain = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
    return text if plain else f"({text})"


def _call(losses: ast.expr, scope: ast.AST) -> ast.Call | None:
    """Return the call of a criterion that gives losses, None where they come from elsewhere."""
    value = _value(losses, scope)
    if not isinstance(value, ast.Call) or len(value.args) < 2:
        return None
    return value if isinstance(value.args[1], ast.Name | ast.Call | ast.Attribute) else None


def _value(node: ast.expr, scope: ast.AST) -> ast.expr | None:
    """Return the value of a name that is assigned once, and any other expression itself."""
    if not isinstance(node, ast.Name):
        return node
    stores = list(_stores(node.id, scope))
    assigns = [n for n in ast.walk(scope) if isinstance(n, ast.Assign)]
    values = [a.value for a in assigns if any(target in stores for target in a.targets)]
    return values[0] if len(stores) == len(values) == 1 else None


def _changes(mask: ast.expr, scope: ast.AST) -> bool:
    """Return whether a mask may have changed before the mean is taken."""
    names = [n.id for n in ast.walk(mask) if isinstance(n, ast.Name)]
    return any(len(list(_stores(name, scope))) > 1 for name in names)


def _stores(name: str, scope: ast.AST) -> Iterator[ast.Name]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            yield node


def _same_shape(losses: ast.expr, mask: ast.expr, scope: ast.AST) -> bool:
    """Return whether a mask says which of the very targets of the losses are one value."""
    call, value = _call(losses, scope), _value(mask, scope)
    target = call.args[1] if call else None
    if not isinstance(target, ast.Name) or len(list(_stores(target.id, scope))) > 1:
        return False
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        if value.func.attr not in _CASTS:
            break
        value = value.func.value
    match value:
        case ast.Call(func=ast.Attribute(value=subject, attr=name), args=[mark], keywords=[]):
            compares = name in _COMPARED
        case ast.Compare(left=subject, ops=[ast.Eq() | ast.NotEq()], comparators=[mark]):
            compares = True
        case _:
            return False
    return compares and _is_number(mark) and dotted(subject) == target.id


def _is_number(node: ast.expr) -> bool:
    """Return whether a targets' mark is a number, or by its name one value."""
    return isinstance(node, ast.Constant | ast.UnaryOp) or bool(dotted(node))


def _edits(node: ast.Call, count: str, source: Source) -> tuple[Edit, ...]:
    """Return the edits from `product.mean()` to `product.sum() / count`."""
    assert isinstance(node.func, ast.Attribute)
    start_line, start, end_line, end = source.span(node)
    _, _, name_line, name_end = source.span(node.func)
    edits = [Edit(name_line, name_end - len("mean"), name_line, name_end, "sum")]
    if _may_be_quotient(node, source.tree):
        return (*edits, Edit(end_line, end, end_line, end, f" / {count}"))
    before = Edit(start_line, start, start_line, start, "(")
    return (before, *edits, Edit(end_line, end, end_line, end, f" / {count})"))


def _may_be_quotient(node: ast.expr, tree: ast.Module) -> bool:
    """Return whether a quotient may take the place of a node without parentheses."""
    for parent in ast.walk(tree):
        if node in ast.iter_child_nodes(parent):
            is_argument = isinstance(parent, ast.Call) and parent.func is not node
            is_term = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add | ast.Sub)
            return is_argument or is_term or isinstance(parent, ast.stmt | ast.keyword)
    return False
