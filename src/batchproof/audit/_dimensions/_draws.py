"""Batches that a loop draws one by one: `x, y = next(batches)`.

for _ in range(n):              n batches, or fewer than a pass holds
while True:                     until the iterator ends, which a handler turns into a break
except StopIteration:           the iterator begins again, so that passes follow each other

Or it takes them by their number: `x, y = batches[i]`.
"""

import ast
from collections.abc import Iterator
from dataclasses import replace

from batchproof.audit._dimensions._cuts import is_full
from batchproof.audit._dimensions._lattice import Count, Loader, Value
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import FunctionNode, dotted, words_of

_BATCHES = {"batch", "batches", "loader", "dataloader", "gen", "generator"}
_STEPS = {"step", "backward"}


def drawn(machine: Machine, node: ast.For | ast.While, frame: Frame) -> Loader | None:
    """Return the loader of which a loop draws one batch in each pass, None where it draws none.

    Micro-batches, which are back-propagated inside and stepped outside, are drawn by no such loop.

    Args:
        machine: the interpretation.
        node: a loop over numbers, or under a test.
        frame: the names around it.
    """
    names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)} & _STEPS
    if machine.batch_loop or names == {"backward"}:
        return None
    for call in _draws(node.body):
        name = dotted(call.args[0]) if call.args else ""
        value: Value | None = frame.read(name) if name else None
        if isinstance(value, Loader):
            if _goes_over_full_ones(machine, node, frame):
                value = replace(value, drop_last=True)
            if _begins_again(node, name):
                return replace(value, key=f"{value.key} of {name}", endless=True)
            return value
    return None


def _goes_over_full_ones(machine: Machine, node: ast.For | ast.While, frame: Frame) -> bool:
    """Return whether a loop is over a number of batches that was rounded down."""
    match node:
        case ast.For(iter=ast.Call(args=[number_of])):
            count = machine.evaluate(number_of, frame)
            full = isinstance(count, Count) and count.unit == "full"
            return full or is_full(node.iter, frame)
    return False


def by_index(node: ast.For) -> Loader | None:
    """Return what a loop over range(len(batches)) takes each batch from, as batches[i]."""
    match node:
        case ast.For(ast.Name(index), ast.Call(_, [ast.Call(ast.Name("len"), [whole])])):
            text = dotted(whole)
        case _:
            return None
    speaks = _BATCHES & set(words_of(f"{index} {text.rpartition('.')[2]}").split())
    return Loader(text, text) if speaks and text and indexes(node, text) else None


def indexes(node: ast.For | ast.AsyncFor, text: str) -> bool:
    """Return whether a loop takes items of something by its number, as no loader lets it."""
    index = dotted(node.target)
    return bool(index) and any(
        dotted(part.value) == text and dotted(part.slice) == index
        for part in ast.walk(node)
        if isinstance(part, ast.Subscript)
    )


def _draws(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Yield the calls of next() in the statements of a loop, those of inner loops left out."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, ast.For | ast.While | FunctionNode):
            continue
        match part:
            case ast.Call(ast.Name("next")):
                yield part
        waiting += ast.iter_child_nodes(part)


def _begins_again(node: ast.For | ast.While, name: str) -> bool:
    """Return whether a loop makes the iterator anew where it ends."""
    assigns = (n for n in ast.walk(node) if isinstance(n, ast.Assign))
    return any(name in {dotted(target) for target in n.targets} for n in assigns)
