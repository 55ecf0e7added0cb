"""How code zeroes gradients other than by `zero_grad()`: p.grad = None, p.grad.zero_()."""

import ast

from batchproof.audit._dimensions._names import FunctionNode, dotted
from batchproof.audit._dimensions._questions import scopes_of
from batchproof.audit._dimensions._trace import Event

BY_HAND = {"zero_grad_buffer", "optimizer_zero_grad", "zero_", "fill_"}
_SETS = {"zero_", "fill_", "copy_", "mul_", "set_"}


def zeroes(step: Event) -> bool:
    """Return whether the function of a step, or what it calls in its file, zeroes by hand."""
    inner = [part for node in scopes_of(step) for part in ast.walk(node)]
    bare = {id(n.value) for n in inner if isinstance(n, ast.Expr)}  # optimizer.zero_grad, uncalled
    inner = [n for n in inner if not (isinstance(n, ast.Attribute) and id(n) in bare)]
    calls = {dotted(n.func).rpartition(".")[2] for n in inner if isinstance(n, ast.Call)}
    functions = (n for n in ast.walk(step.module.tree) if isinstance(n, FunctionNode))
    helpers = [function for function in functions if function.name in calls]
    return any(map(touches, inner)) or any(
        empties(part) for node in helpers for part in ast.walk(node)
    )


def empties(node: ast.AST) -> bool:
    """Return whether code gives a gradient other content; to read one does not."""
    match node:
        case ast.AugAssign(ast.Attribute(attr="grad"), _, value):
            return isinstance(value, ast.Constant) and value.value == 0
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            parts = (part for target in targets for part in ast.walk(target))
            return any(isinstance(n, ast.Attribute) and n.attr == "grad" for n in parts)
        case ast.Call(ast.Attribute(whole, name)) if name in _SETS:
            return "grad" in ast.unparse(whole)
        case ast.Call(ast.Name("setattr"), [_, ast.Constant("grad"), *_]):
            return True
    return False


def touches(node: ast.AST) -> bool:
    """Return whether code zeroes something that may be a gradient, so no weight or bias."""
    if isinstance(node, ast.Attribute):
        if node.attr in {"zero_", "fill_"}:
            whole = dotted(node.value).removesuffix(".data")
            return whole.rpartition(".")[2] not in {"bias", "weight"}
        return node.attr in BY_HAND or _speaks(node.attr)
    return empties(node) or (isinstance(node, ast.Name) and _speaks(node.id))


def _speaks(name: str) -> bool:
    """Return whether a name speaks of zeroing gradients."""
    return "grad" in name and any(word in name for word in ("zero", "reset", "clear"))
