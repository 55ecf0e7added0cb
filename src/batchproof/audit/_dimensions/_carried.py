"""Means that are carried along: after each batch, the name holds the mean of all batches so far.

m = (m * i + x) / (i + 1)        m += (x - m) / n        m = m * (1 - 1 / n) + x / n

Whatever way it is written, the new value is ((n - 1) * m + x) / n for each n, m and x; that is
what is asked here, with numbers in place of the names.
"""

import ast
from dataclasses import dataclass
from fractions import Fraction

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import dotted

_CASTS = {"float", "int", "torch.tensor", "np.float32", "np.float64"}
_TRIALS = ((2, 3, 5), (5, -7, 11), (9, 4, -13))


@dataclass(slots=True)
class _Leaves:
    """The parts of a formula that are no arithmetic: m, a counter of batches, and x."""

    name: str
    counts: dict[str, Count]
    term: Quantity | None = None
    code: str = ""


def carried(
    machine: Machine, value: ast.expr, name: str, frame: Frame
) -> tuple[Quantity, Count] | None:
    """Return x, and the counter, of a mean that is carried along, None of any other formula.

    Args:
        machine: the interpretation.
        value: the new value of a name, written with its old one.
        name: the name.
        frame: the names around it.
    """
    divides = any(isinstance(n, ast.Div) for n in ast.walk(value))
    if not divides or not any(dotted(n) == name for n in ast.walk(value)):
        return None
    events, leaves = len(machine.trace.events), _Leaves(name, {})
    whole = _gather(machine, value, frame, leaves)
    keys = {count.key for count in leaves.counts.values()}
    if whole and leaves.term is not None and len(keys) == 1 and _is_mean(value, leaves):
        return leaves.term, next(iter(leaves.counts.values()))
    del machine.trace.events[events:]
    return None


def _gather(machine: Machine, node: ast.expr, frame: Frame, leaves: _Leaves) -> bool:
    """Return whether a formula is made of m, one x, numbers and counters of batches alone."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right):
            first = _gather(machine, left, frame, leaves)
            return first and _gather(machine, right, frame, leaves)
        case ast.UnaryOp(ast.USub(), inner):
            return _gather(machine, inner, frame, leaves)
        case ast.Call(function, [inner]) if dotted(function) in _CASTS:
            return _gather(machine, inner, frame, leaves)
        case ast.Constant(int() | float()):
            return True
    code = ast.unparse(node)
    if dotted(node) == leaves.name or code in {leaves.code, *leaves.counts}:
        return True
    value = machine.evaluate(node, frame)
    if isinstance(value, Quantity) and not leaves.code and not value.over:
        leaves.term, leaves.code = value, code
        return True
    loops = {loop.key for loop in machine.loops}
    if isinstance(value, Count) and value.unit == "batches" and value.key in loops:
        leaves.counts[code] = value
        return True
    return False


def _is_mean(value: ast.expr, leaves: _Leaves) -> bool:
    """Return whether a formula is the mean of n - 1 batches with mean m and of one more, x."""
    return all(
        _number(value, leaves, n, m, x) == Fraction((n - 1) * m + x, n) for n, m, x in _TRIALS
    )


def _number(node: ast.expr, leaves: _Leaves, n: int, m: int, x: int) -> Fraction | None:
    """Return the value of a formula after n batches, None where it is not defined."""
    match node:
        case ast.BinOp(left, operator, right):
            first, second = (_number(part, leaves, n, m, x) for part in (left, right))
            return _operate(operator, first, second)
        case ast.UnaryOp(_, inner):
            positive = _number(inner, leaves, n, m, x)
            return None if positive is None else -positive
        case ast.Constant(int() | float() as number):
            return Fraction(number)
    code = ast.unparse(node)
    if code in leaves.counts:
        return Fraction(n + leaves.counts[code].plus)
    if code == leaves.code:
        return Fraction(x)
    if isinstance(node, ast.Call) and dotted(node) != leaves.name:
        return _number(node.args[0], leaves, n, m, x)
    return Fraction(m)


def _operate(
    operator: ast.operator, first: Fraction | None, second: Fraction | None
) -> Fraction | None:
    if first is None or second is None or (isinstance(operator, ast.Div) and not second):
        return None
    if isinstance(operator, ast.Add):
        return first + second
    if isinstance(operator, ast.Sub):
        return first - second
    return first * second if isinstance(operator, ast.Mult) else first / second
