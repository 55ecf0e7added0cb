"""How code zeroes gradients other than by `zero_grad()`: p.grad = None, p.grad.zero_()."""

import ast

from batchproof.audit._dimensions._names import dotted

BY_HAND = {"zero_grad_buffer", "optimizer_zero_grad", "zero_", "fill_"}
_SETS = {"zero_", "fill_", "copy_", "mul_", "set_"}


def zeroes(tree: ast.Module, function: str) -> bool:
    """Return whether a function of a file, or what it calls there, zeroes gradients by hand.

    Args:
        tree: the file.
        function: its name, "" for the file's own statements.
    """
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module
    scopes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    near = [node for node in scopes if getattr(node, "name", "") == function]
    inner = [part for node in near for part in ast.walk(node)]
    calls = {dotted(n.func).rpartition(".")[2] for n in inner if isinstance(n, ast.Call)}
    helpers = [node for node in scopes if getattr(node, "name", "") in calls - {""}]
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
