"""Sums that begin inside their loop, in the first pass: what follows goes on with them.

if key not in totals:          if total is None:          if i == 0:
    totals[key] = 0                total = loss               total = loss
totals[key] += loss            else:                      else:
                                   total += loss              total += loss

The loop is followed once, as one of its later passes: what adds to the sum is no branch there.
"""

import ast

from batchproof.audit._dimensions._lattice import NOTHING, Constant, Count
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Condition

_EMPTY = {"list", "dict", "zeros", "zeros_like", "defaultdict", "OrderedDict", "Counter", "tensor"}


def begin_sums(machine: Machine, node: ast.If, frame: Frame) -> bool:
    """Return whether a test holds in the first pass alone, where sums begin, and go on with them.

    Args:
        machine: the interpretation.
        node: the test and its branches.
        frame: the names around it.
    """
    question = _asked(node.test) if machine.loops else None
    if question is None:
        return False
    subject, holds = question
    first, others = (node.body, node.orelse) if holds else (node.orelse, node.body)
    name, depth = dotted(subject), _depth(machine, subject, frame)
    by_number = isinstance(frame.read(name or " "), Count)
    starts = [
        each
        for each in first
        if isinstance(each, ast.Assign)
        and (by_number or _is_of(each.targets[0], name))
        and (_adds(others, dotted(each.targets[0])) if others else _is_empty(each.value))
    ]
    if not name or not starts or depth >= len(machine.loops) or (by_number and not others):
        return False
    for start in starts:
        _begin(machine, start, frame, depth, goes_on=bool(others))
    rest = [each for each in first if each not in starts]
    with machine.under(Condition(node.test, branch=holds)):
        machine.execute(rest, frame)
    machine.execute(others, frame)
    return True


def _depth(machine: Machine, subject: ast.expr, frame: Frame) -> int:
    """Return how many loops are around what a test of the first pass asks for."""
    index = frame.read(dotted(subject) or " ")
    keys = [loop.key for loop in machine.loops]
    if isinstance(index, Count):
        plain = index.unit == "batches" and index.plus == -1 and index.key in keys
        return keys.index(index.key) if plain else len(keys)
    return frame.depth(dotted(subject))


def _begin(machine: Machine, start: ast.Assign, frame: Frame, depth: int, *, goes_on: bool) -> None:
    """Give a sum the value with which it begins."""
    path = frame.path(start.targets[0])
    if not goes_on:
        frame.write(path, machine.evaluate(start.value, frame))
    elif frame.read(path) in (None, NOTHING):
        frame.write(path, Constant(0))
    frame.begin(path, depth)


def _is_of(target: ast.expr, name: str) -> bool:
    """Return whether a target is a name that is asked for, or an item of a dict that is."""
    return dotted(target) == name or dotted(target).startswith(f"{name}[")


def _is_empty(value: ast.expr) -> bool:
    """Return whether a sum, a list or a dict of them begins with a value."""
    match value:
        case ast.Constant(0 | 0.0) | ast.List([]):
            return True
        case ast.Dict(_, values):
            return all(map(_is_empty, values))
        case ast.Call(function):
            last = dotted(function).rpartition(".")[2]
            return last in _EMPTY or "meter" in last.lower()
    return False


def _asked(test: ast.expr) -> tuple[ast.expr, bool] | None:
    """Return what a test of the first pass asks for, and whether it holds there."""
    match test:
        case ast.Compare(_, [ast.NotIn() | ast.In() as operator], [whole]):
            return _container(whole), isinstance(operator, ast.NotIn)
        case ast.Compare(subject, [ast.Is() | ast.IsNot() as operator], [ast.Constant(None)]):
            return subject, isinstance(operator, ast.Is)
        case ast.Compare(subject, [ast.Eq()], [ast.Constant(0)]):
            return subject, True
        case ast.Compare(subject, [ast.NotEq() | ast.Gt()], [ast.Constant(0)]):
            return subject, False
        case ast.UnaryOp(ast.Not(), subject):
            return subject, True
        case ast.Name() | ast.Attribute():
            return test, False
    return None


def _container(whole: ast.expr) -> ast.expr:
    """Return the dict whose keys a test asks for, `totals` of `totals.keys()`."""
    match whole:
        case ast.Call(ast.Attribute(inner, "keys"), []):
            return inner
    return whole


def _adds(body: list[ast.stmt], name: str) -> bool:
    """Return whether statements add to a name."""
    for node in body:
        match node:
            case ast.AugAssign(target, ast.Add()) if dotted(target) == name:
                return True
            case ast.Assign([target], ast.BinOp(old, ast.Add())) if dotted(target) == name:
                return dotted(old) == name
            case ast.Expr(ast.Call(ast.Attribute(target, "append"))) if dotted(target) == name:
                return True
    return False
