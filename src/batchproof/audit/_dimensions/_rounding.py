"""Numbers of batches that are rounded up, so that the last batch holds what is left.

math.ceil(n / size)    int(np.ceil(n / float(size)))    (n + size - 1) // size    n // size + 1
"""

import ast
from collections.abc import Iterable, Iterator

from batchproof.audit._dimensions._loaders import number
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import FunctionNode, dotted


def count_of_range(node: ast.expr, frame: Frame) -> list[ast.expr]:
    """Return what the number of passes of `range(n)` may be, as code.

    Args:
        node: what a loop goes over.
        frame: the names around it.
    """
    while isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Call):
        if not dotted(node.args[0].func).endswith("range"):
            break
        node = node.args[0]
    match node:
        case ast.Call(args=[ast.Name() | ast.Attribute() as name]):
            local = isinstance(name, ast.Name)
            tree = frame.module.tree
            around = _values(near(frame, node), dotted(name)) if local else []
            return around or _values(ast.walk(tree), dotted(name))
        case ast.Call(args=[number_of]):
            return [number_of]
    return []


def _values(nodes: Iterable[ast.AST], name: str) -> list[ast.expr]:
    """Return what assignments give a name."""
    assigns = (node for node in nodes if isinstance(node, ast.Assign))
    return [value for node in assigns for target, value in _pairs(node) if dotted(target) == name]


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the targets of an assignment with their values, those of a tuple one by one."""
    for target in node.targets:
        match target, node.value:
            case ast.Tuple(names), ast.Tuple(values) if len(names) == len(values):
                yield from zip(names, values, strict=True)
            case _:
                yield target, node.value


def near(frame: Frame, place: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of the function around a place, and those of no function."""
    waiting: list[ast.AST] = list(frame.module.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, FunctionNode):
            first, last = node.lineno, node.end_lineno or node.lineno
            if not first <= getattr(place, "lineno", 0) <= last:
                continue
        yield node
        waiting += ast.iter_child_nodes(node)


def rounded_up(machine: Machine, node: ast.expr, frame: Frame) -> str | None:
    """Return why the last batch of a loop over a number of them may be smaller, "" if it is not.

    None where that is not known.

    Args:
        machine: the interpretation.
        node: what the loop goes over.
        frame: the names around it.
    """
    code = count_of_range(node, frame)
    quotients = [_quotient(part) for part in code]
    if not code or None in quotients:
        return None
    sizes = [[number(machine.evaluate(p, frame)) for p in q] for q in quotients if q is not None]
    if all(_divides(*pair) for pair in sizes):
        return ""
    some = any(_divides(*pair) for pair in sizes)
    why = f"{ast.unparse(code[0])} counts a last batch that holds what is left"
    return None if some else why


def _divides(samples: int | None, size: int | None) -> bool:
    """Return whether batches of a size are full, or one holds all samples."""
    return size == 1 or bool(samples and size and (samples % size == 0 or samples <= size))


def _quotient(node: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """Return the length and the size of which code is the quotient, rounded up, or None."""
    match node:
        case ast.Call(function, [inner]) if dotted(function) in {"int", "math.ceil", "np.ceil"}:
            whole = dotted(function) == "int"
            return _quotient(inner) if whole else _plain(inner)
        case ast.Call(function, [inner]) if dotted(function) in {"ceil", "numpy.ceil"}:
            return _plain(inner)
        case ast.BinOp(
            ast.BinOp(ast.BinOp(length, ast.Add(), size), ast.Sub(), ast.Constant(1)),
            ast.FloorDiv(),
            by,
        ) | ast.BinOp(
            ast.BinOp(length, ast.Add(), ast.BinOp(size, ast.Sub(), ast.Constant(1))),
            ast.FloorDiv(),
            by,
        ) if ast.unparse(size) == ast.unparse(by):
            return length, size
        case ast.BinOp(ast.BinOp(length, ast.FloorDiv(), size), ast.Add(), more) if _is_one(more):
            return _fewer(length), size
        case ast.BinOp(ast.Call(ast.Name("int"), [inner]), ast.Add(), more) if _is_one(more):
            return _plain(inner)
        case ast.UnaryOp(
            ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), length), ast.FloorDiv(), size)
        ):
            return length, size
    return None


def _plain(node: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """Return the length and the size of `length / size`, with any cast taken off."""
    match node:
        case ast.BinOp(length, ast.Div(), size):
            return _without_cast(length), _without_cast(size)
        case ast.BinOp(ast.BinOp(ast.Constant(1.0), ast.Mult(), length), ast.Div(), size):
            return length, size
    return None


def _without_cast(node: ast.expr) -> ast.expr:
    match node:
        case ast.Call(ast.Name("float" | "int"), [inner]):
            return inner
        case ast.BinOp(ast.Constant(1.0), ast.Mult(), inner) | ast.BinOp(
            inner, ast.Mult(), ast.Constant(1.0)
        ):
            return inner
    return node


def _is_one(node: ast.expr) -> bool:
    """Return whether a term is 1, or is 1 where a remainder is left: `(n % size != 0)`."""
    match node:
        case ast.Constant(1):
            return True
        case ast.Compare(ast.BinOp(_, ast.Mod(), _), [ast.Gt() | ast.NotEq()], [ast.Constant(0)]):
            return True
        case ast.Call(ast.Name("int" | "bool"), [inner]):
            return _is_one(inner) or isinstance(inner, ast.BinOp)
    return False


def _fewer(length: ast.expr) -> ast.expr:
    """Return the n of `(n - 1) // size + 1`."""
    match length:
        case ast.BinOp(inner, ast.Sub(), ast.Constant(1)):
            return inner
    return length
