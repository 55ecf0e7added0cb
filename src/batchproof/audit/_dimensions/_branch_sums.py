"""Sums that branches add to: tests that no batch changes, and sums that both branches add to.

A sum is conditional where some batches may not add to it. A test that no batch can change skips
all of them or none, and where both branches of a test add to one sum, each batch does.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace

from batchproof.audit._dimensions._lattice import (
    UNKNOWN,
    Count,
    Criterion,
    Listing,
    Quantity,
    Value,
)
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Condition, Loop

_PURE = {"len", "bool", "isinstance", "hasattr", "getattr", "is_available", "is_initialized"}
_SETTINGS = {"args", "opt", "opts", "cfg", "config", "conf", "hparams", "hp", "flags", "params"}
_KEPT = (Quantity, Count, Listing)


def is_conditional(conditions: Iterable[Condition], loop: Loop) -> bool:
    """Return whether a pass of a loop may miss what happens under conditions inside it."""
    return any(not c.by and not is_steady(c.test, loop) for c in conditions)


def is_pure(function: ast.expr) -> bool:
    """Return whether a function gives the same answer when it is called again."""
    return dotted(function).rpartition(".")[2] in _PURE


def is_steady(test: ast.expr, loop: Loop) -> bool:
    """Return whether a test in the body of a loop has one result for all of its passes.

    Only names that the loop never stores count, and attributes of settings: a call, or an
    attribute of an object, may change from pass to pass.
    """
    nodes = list(ast.walk(loop.node))
    if not any(node is test for node in nodes):
        return False
    stores = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    return all(_holds(node, stores) for node in ast.walk(test))


def _holds(node: ast.AST, stores: set[str]) -> bool:
    match node:
        case ast.Name(name):
            return name not in stores
        case ast.Call(function) if not is_pure(function):
            return False
        case ast.Attribute(whole) | ast.Call(ast.Name("getattr"), [whole, *_]):
            return dotted(whole).rpartition(".")[2].lower() in _SETTINGS
    return True


def merge_branches(
    node: ast.If, loops: Sequence[Loop], conditions: list[Condition], name: str, parts: list[Value]
) -> Value:
    """Return what is known of a sum after both branches of a test.

    Args:
        node: the branches.
        loops: the loops around them that the sum goes over, outermost first.
        conditions: the conditions around them.
        name: the sum.
        parts: the sum as it is joined, and after each of the branches.
    """
    both, *branches = parts
    if both == UNKNOWN and _asks_whether_given(node, name):
        return next((part for part in branches if isinstance(part, Criterion)), both)
    if _replaces_zero(node, name):
        return branches[0]
    if not isinstance(both, _KEPT) or not both.conditional or not loops:
        return both
    loop = next((lp for lp in reversed(loops) if lp.loader is not None), loops[-1])
    around = conditions[loop.outer :]
    if _adds(node.body, name) and _adds(node.orelse, name):
        return replace(both, conditional=is_conditional(around, loops[0]))
    if is_steady(node.test, loops[0]):
        mine = [part.conditional for part in branches if isinstance(part, _KEPT)]
        return replace(both, conditional=any(mine))
    return both


def _asks_whether_given(node: ast.If, name: str) -> bool:
    """Return whether a branch is for an argument that is not given: `if loss_fn is None:`."""
    match node.test:
        case ast.Compare(subject, [ast.Is()], [ast.Constant(None)]):
            return dotted(subject) == name
    return False


def _replaces_zero(node: ast.If, name: str) -> bool:
    """Return whether branches keep a count from being 0, as `if not n: n = 1` does."""
    match node.test:
        case ast.UnaryOp(ast.Not(), count) | ast.Compare(count, [ast.Eq()], [ast.Constant(0)]):
            pass
        case _:
            return False
    match node.body:
        case [ast.Assign([target], ast.Constant(1 | 1.0))]:
            return dotted(target) == dotted(count) == name
    return False


def _adds(body: list[ast.stmt], name: str) -> bool:
    """Return whether every way through statements adds to a name."""
    return any(_adds_once(node, name) for node in body)


def _adds_once(node: ast.stmt, name: str) -> bool:
    match node:
        case ast.AugAssign(target, ast.Add()):
            return dotted(target) == name
        case ast.Expr(ast.Call(ast.Attribute(target, "append"))):
            return dotted(target) == name
        case ast.With(body=body):
            return _adds(body, name)
        case ast.If(body=body, orelse=other):
            return _adds(body, name) and _adds(other, name)
    return False
