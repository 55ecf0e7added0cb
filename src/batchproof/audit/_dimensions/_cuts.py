"""Batches that a loop cuts out of tensors by hand: x[i : i + size], x.split(size).

for i in range(0, n, size):     by steps; the last slice may be shorter, or left out (n - size + 1)
for i in range(n // size):      by number; every slice is full, or one may be left out
while start < n:                by a cursor, which the loop moves by the size
for batch in x.split(size):     by pieces
"""

import ast

from batchproof.audit._dimensions._arithmetic import name_of
from batchproof.audit._dimensions._lattice import (
    UNKNOWN,
    Count,
    Dataset,
    Loader,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._loaders import as_loader, number
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import FunctionNode, dotted, words_of
from batchproof.audit._dimensions._rounding import count_of_range, near, rounded_up
from batchproof.audit._dimensions._sizes import is_nominal


def by_steps(machine: Machine, node: ast.For, steps: ast.Call, frame: Frame) -> Loader | None:
    """Return the batches of a loop over `range(0, n, size)` that slices [i : i + size].

    Args:
        machine: the interpretation.
        node: the loop.
        steps: the range.
        frame: the names around it.
    """
    first, last, size = steps.args
    target = node.target.elts[-1] if isinstance(node.target, ast.Tuple) else node.target
    width, cut = ast.unparse(size), False
    for part in ast.walk(node):
        match part:
            case ast.Subscript(whole, ast.Slice(lower, ast.expr() as upper)) | ast.Subscript(
                whole, ast.Tuple([ast.Slice(lower, ast.expr() as upper), *_])
            ):
                batches = isinstance(as_loader(Unknown(dotted(whole))), Loader)
                cut |= _is(lower, dotted(target)) and width in ast.unparse(upper) and not batches
            case ast.Call(function, [_, *others]) if "batch" in words_of(dotted(function)).split():
                cut |= any(_is(other, dotted(target)) for other in others)
    if not cut:
        return None
    index, begin = dotted(target), number(machine.evaluate(first, frame))
    return _loader(machine, node, frame, index, begin, last, size)


def by_cursor(machine: Machine, node: ast.While, frame: Frame) -> Loader | None:
    """Return the batches of a loop `while start < n` that slices [start : end] and moves on.

    Args:
        machine: the interpretation.
        node: the loop.
        frame: the names around it.
    """
    match node.test:
        case ast.Compare(ast.Name(start), [ast.Lt()], [last]):
            pass
        case _:
            return None
    sizes: dict[str, ast.expr] = {}
    for part in ast.walk(node):
        match part:
            case ast.Assign(
                [ast.Name(end)], ast.BinOp(ast.Name(name), ast.Add(), size)
            ) | ast.Assign(
                [ast.Name(end)],
                ast.Call(ast.Name("min"), [ast.BinOp(ast.Name(name), ast.Add(), size), _]),
            ):
                sizes |= {end: size} if name == start else {}
            case ast.AugAssign(ast.Name(name), ast.Add(), size) if name == start:
                sizes[start] = size
    for part in ast.walk(node):
        match part:
            case ast.Slice(ast.Name(name), ast.expr() as upper) if name == start:
                step = sizes.get(dotted(upper)) or sizes.get(start)
                if step is not None:
                    begin = number(machine.evaluate(ast.Name(start, ast.Load()), frame))
                    return _loader(machine, node, frame, start, begin, last, step)
    return None


def by_pieces(machine: Machine, node: ast.expr, frame: Frame) -> Loader | None:
    """Return the batches that x.split(size), x.chunk(n) or their like cut a tensor into.

    Args:
        machine: the interpretation.
        node: what a loop goes over.
        frame: the names around it.
    """
    match node:
        case ast.Call(ast.Attribute(ast.Name("torch" | "np" | "numpy"), name), [whole, size]):
            pass
        case ast.Call(ast.Attribute(whole, name), [size]):
            pass
        case _:
            return None
    if name not in {"split", "chunk", "array_split"} or node.keywords:
        return None
    each, tensor = machine.evaluate(size, frame), machine.evaluate(whole, frame)
    plain = isinstance(tensor, Unknown | Tensor) and not getattr(tensor, "loop", "")
    if not plain or (number(each) is None and not is_nominal(each)):
        return None
    rows, step = getattr(tensor, "rows", None), number(each)
    even = rows % step == 0 if rows and step else None if step is None else False
    why = f"{ast.unparse(node)} ends with what is left" if even is False else ""
    data = Dataset(f"len({dotted(whole)})", rows)
    width = each if name == "split" else UNKNOWN
    key, line = machine.loop_key(node), node.lineno
    return Loader(key, ast.unparse(node), line, width, drop_last=even, dataset=data, ragged=why)


def by_count(machine: Machine, body: FunctionNode, frame: Frame) -> Loader | None:
    """Return the batches that a generator collects item by item, yielding each that is full.

    Args:
        machine: the interpretation.
        body: the generator.
        frame: the names in it.
    """
    block = body.body if isinstance(body.body, list) else []
    for place, node in enumerate(block):
        if isinstance(node, ast.For) and (full := _full(node)):
            batch, size = full
            rest = any(
                _yields(part, batch) for after in block[place + 1 :] for part in ast.walk(after)
            )
            why = f"the last batch of {body.name} holds what is left" if rest else ""
            width, key = machine.evaluate(size, frame), machine.loop_key(node)
            return Loader(key, body.name, node.lineno, width, drop_last=not rest, ragged=why)
    return None


def _full(loop: ast.For) -> tuple[str, ast.expr] | None:
    """Return the list that a loop yields where its length is a number, and that number."""
    for test in (n for n in ast.walk(loop) if isinstance(n, ast.If)):
        match test.test:
            case ast.Compare(
                ast.Call(ast.Name("len"), [ast.Name(batch)]), [ast.Eq() | ast.GtE()], [size]
            ) if any(_yields(part, batch) for part in ast.walk(test)):
                return batch, size
    return None


def _yields(node: ast.AST, name: str) -> bool:
    """Return whether a node yields a value that is made of a name."""
    names = ast.walk(node) if isinstance(node, ast.Yield) else ()
    return any(isinstance(n, ast.Name) and n.id == name for n in names)


def _loader(
    machine: Machine,
    node: ast.For | ast.While,
    frame: Frame,
    index: str,
    begin: int | None,
    last: ast.expr,
    size: ast.expr,
) -> Loader:
    """Return slices of a size from a beginning to the end of something, as the batches they are."""
    key = machine.loop_key(node)
    if (whole := _cut_to_full(last, size)) is not None:
        text, width = _text(machine.evaluate(whole, frame), whole), machine.evaluate(size, frame)
        return Loader(
            key, index, node.lineno, width, drop_last=True, dataset=Dataset(text), index=index
        )
    if _is_trimmed(frame, last, size):
        return Loader(key, index, index=index)
    length, step = machine.evaluate(last, frame), machine.evaluate(size, frame)
    end, each = number(length), number(step)
    samples = None if begin is None or end is None else end - begin
    even = each == 1 or bool(samples and each and (samples % each == 0 or samples <= each))
    why = "" if even else f"the slices end with what is left of {ast.unparse(last)}"
    data = Dataset(_text(length, last), samples)
    return Loader(
        key, index, node.lineno, step, drop_last=False, dataset=data, ragged=why, index=index
    )


def _text(length: Value, node: ast.expr) -> str:
    """Return the key of a data set of which the length is known by its code."""
    if isinstance(length, Count):
        return f"{length.key or length.text}{' - 1' if length.plus == -1 else ''}"
    return name_of(length) or ast.unparse(node)


def length_of_cuts(value: Value, node: ast.expr, loader: Loader) -> Count | None:
    """Return a divisor as the number of samples that a loop cuts its batches from, or None.

    Args:
        value: the divisor.
        node: its code.
        loader: what the loop cuts.
    """
    if not loader.index or not isinstance(loader.dataset, Dataset):
        return None
    text = _text(value, node) if isinstance(value, Count) else name_of(value)
    code = ast.unparse(node)
    if loader.source in {text, code} - {""}:
        return Count("data set", loader.source, text=code)
    whole = loader.source.removesuffix(" - 1")
    lengths = {text, f"len({text})", _length(code)}
    fewer = whole != loader.source and _length(whole) in lengths
    return Count("data set", loader.source, plus=1, text=code) if fewer else None


def _length(code: str) -> str:
    """Return the code of a length as `len(x)`, which x.size(0) and x.shape[0] are too."""
    for end in (".size(0)", ".shape[0]"):
        if code.endswith(end):
            return f"len({code.removesuffix(end)})"
    return code


def by_number(machine: Machine, node: ast.For, frame: Frame) -> Loader | None:
    """Return the batches of a loop over `range(n)` that slices [i * size : ...].

    Args:
        machine: the interpretation.
        node: the loop.
        frame: the names around it.
    """
    if not isinstance(node.target, ast.Name):
        return None
    inside, index = list(ast.walk(node)), node.target.id
    starts = {
        dotted(n.targets[0]) for n in inside if isinstance(n, ast.Assign) and _times(n.value, index)
    }
    for part in inside:
        match part:
            case ast.Subscript(whole, ast.Slice(ast.expr() as lower)) | ast.Subscript(
                whole, ast.Tuple([ast.Slice(ast.expr() as lower), *_])
            ):
                if _times(lower, index) or dotted(lower) in starts - {""}:
                    name = index if _times(lower, index) else dotted(lower)
                    key, data = machine.loop_key(node), Dataset(f"len({dotted(whole)})")
                    why = rounded_up(machine, node.iter, frame)
                    if is_full(node.iter, frame) or why == "":
                        line = node.lineno
                        return Loader(key, index, line, drop_last=True, dataset=data, index=name)
                    line, why = node.lineno if why else 0, why or ""
                    return Loader(key, index, line, dataset=data, ragged=why, index=name)
    return None


def is_full(node: ast.expr, frame: Frame) -> bool:
    """Return whether a range is over a number of batches that was rounded down."""
    code = count_of_range(node, frame)
    return bool(code) and all(_rounds_down(part) for part in code)


def _rounds_down(node: ast.expr) -> bool:
    match node:
        case ast.BinOp(samples, ast.FloorDiv(), _):
            return not any(isinstance(n, ast.BinOp | ast.UnaryOp) for n in ast.walk(samples))
        case ast.Call(ast.Name("int"), [ast.BinOp(_, ast.Div(), _)]):
            return True
    return False


def _times(node: ast.expr | None, name: str) -> bool:
    """Return whether an expression is `name * size` or `size * name`, or its remainder."""
    match node:
        case ast.BinOp(product, ast.Mod(), _):
            return _times(product, name)
        case ast.BinOp(first, ast.Mult(), second):
            return name in {dotted(first), dotted(second)}
    return False


def _is(node: ast.expr | None, name: str) -> bool:
    return node is not None and dotted(node) == name


def _cut_to_full(last: ast.expr, size: ast.expr) -> ast.expr | None:
    """Return the n of `n - size`, `n - size + 1`, `n - n % size`, `n // size * size`, or None.

    Args:
        last: where a loop ends that moves by a size.
        size: the size.
    """
    width = ast.unparse(size)
    match last:
        case ast.BinOp(inner, ast.Add(), ast.Constant(1)):
            return _cut_to_full(inner, size) if _takes_away(inner, width) else None
        case ast.BinOp(whole, ast.Sub(), less) if _takes_away(last, width):
            return (
                whole if not isinstance(less, ast.BinOp) or _is_rest(less, whole, width) else None
            )
        case ast.BinOp(ast.BinOp(whole, ast.FloorDiv(), by), ast.Mult(), times):
            alike = ast.unparse(by) == ast.unparse(times) == width
            return whole if alike and not isinstance(whole, ast.BinOp | ast.UnaryOp) else None
    return None


def _takes_away(node: ast.expr, width: str) -> bool:
    """Return whether code is a difference whose second term is a size, or is made of it."""
    match node:
        case ast.BinOp(_, ast.Sub(), less):
            return any(ast.unparse(n) == width for n in ast.walk(less) if isinstance(n, ast.expr))
    return False


def _is_rest(node: ast.BinOp, whole: ast.expr, width: str) -> bool:
    """Return whether code is `whole % width`."""
    return isinstance(node.op, ast.Mod) and (ast.unparse(node.left), ast.unparse(node.right)) == (
        ast.unparse(whole), width,
    )  # fmt: skip


def _is_trimmed(frame: Frame, length: ast.expr, size: ast.expr) -> bool:
    """Return whether what a length is of was cut to a product, as to whole batches."""
    width = ast.unparse(size)
    if any(_cuts(node, width) for node in ast.walk(length)):
        return True
    names = {n.id for n in ast.walk(length) if isinstance(n, ast.Name)}
    for node in near(frame, length):
        if isinstance(node, ast.Assign) and names & {dotted(t) for t in node.targets}:
            inner = list(ast.walk(node.value))
            if any(_cuts(n, width) for n in inner):
                return True
    return False


def _cuts(node: ast.AST, width: str) -> bool:
    """Return whether code rounds a length, or takes a size from it."""
    rounds = isinstance(node, ast.Mult | ast.FloorDiv | ast.Mod)
    return rounds or (isinstance(node, ast.expr) and _takes_away(node, width))
