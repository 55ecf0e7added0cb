"""Padding that a loss counts: masked inputs of a mean, and padded ids that are the labels."""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._names import assigns_in, dotted, words_of
from batchproof.audit._dimensions._questions import scopes_of
from batchproof.audit._dimensions._trace import Event

_WORDS = re.compile(r"pad|valid|bound|attention|length|token|non zero|nonzero|ignore")
_NOT_DATA = re.compile(r"\bpad|valid|\bbound|\blength")
# what leaves some elements out of a tensor before its mean
_SELECTS = re.compile(r"mask|ignore|pad|valid|\[.*(==|!=|>|<)|\.(ne|eq|gt|ge)\(")
_OF_SEQUENCES = re.compile(r"pad|attention|length|token|seq|mel")
# weights that are 0 where a target is not in sight, as a joint of a body
_WEIGHTS_OF_TARGETS = re.compile(r"(target|joints?|key ?points?) ?(weights?|vis|valid)|visib")


def of_padding(event: Event, mask: str) -> bool:
    """Return whether a mask speaks of padding, or what it is assigned in its function does.

    Args:
        event: where the mask is used.
        mask: its name or its code.
    """
    made_of = (ast.unparse(node.value) for node in _assigned_to(mask, event))
    return any(map(names_padding, (mask, *made_of)))


def names_padding(text: str) -> bool:
    """Return whether a name or an expression has a word of padding."""
    return bool(_WORDS.search(words_of(text)))


def without_mask(event: Event) -> bool:
    """Return whether the mean is taken where a test says that there is no mask."""
    for condition in event.conditions:
        text = ast.unparse(condition.test)
        absent = text.endswith(" is None") and condition.branch
        present = text.endswith(" is not None") and not condition.branch
        if (absent or present) and names_padding(text):
            return True
    return False


def counts_elsewhere(event: Event, mask: str) -> bool:
    """Return whether a sibling, of the same name and with that mask, divides by the mask's sum.

    Args:
        event: where losses under a mask are averaged over all elements.
        mask: its name.
    """
    name = event.function.rpartition(".")[2]
    functions = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.FunctionDef))
    siblings = [
        function
        for function in functions
        if function.name == name and mask in {argument.arg for argument in function.args.args}
    ]
    return any(_is_over(node, mask) for sibling in siblings for node in ast.walk(sibling))


def _is_over(node: ast.AST, mask: str) -> bool:
    """Return whether an expression is the sum of a loss over the sum of a mask."""
    match node:
        case ast.BinOp(loss, ast.Div(), ast.Call(ast.Attribute(ast.Name(name), "sum"))):
            return name == mask and "loss" in ast.unparse(loss).lower()
    return False


def averages(event: Event, loss: Quantity) -> bool:
    """Return whether losses by element are averaged: by mean(), or as their sum over numel()."""
    if event.kind == "mean":
        return loss.base == "elements"
    return loss.base == "sum" and not loss.over and _divides_by_all(event)


def smoothed_apart(event: Event) -> Iterator[ast.Call]:
    """Yield means over all targets that are added to a criterion which ignores some of them.

    Both are of the same scores, as in a loss whose labels are smoothed.

    Args:
        event: a call of a criterion.
    """
    match event.node:
        case ast.Call(_, [ast.Name(scores), *_], keywords) if any(
            k.arg == "ignore_index" for k in keywords
        ):
            pass
        case _:
            return
    for scope in scopes_of(event):
        for total in (n for n in ast.walk(scope) if isinstance(n, ast.BinOp)):
            parts = list(ast.walk(total))
            if isinstance(total.op, ast.Add) and any(n is event.node for n in parts):
                names = {n.id for n in parts if isinstance(n, ast.Name)} - {scores}
                values = [node.value for name in names for node in assigns_in(scope).get(name, ())]
                yield from _means_over_all([total, *values], scores, scope)
                return


def _means_over_all(nodes: list[ast.expr], scores: str, scope: ast.AST) -> Iterator[ast.Call]:
    """Yield the means in some expressions that are of all of what is made of scores."""
    for node in (part for whole in nodes for part in ast.walk(whole)):
        match node:
            case ast.Call(ast.Attribute(subject, "mean"), []):
                code = "\n".join(_made_of(subject, scope, 3))
                if re.search(rf"\b{scores}\b", code) and not _SELECTS.search(code):
                    yield node


def _made_of(node: ast.expr, scope: ast.AST, depth: int) -> Iterator[str]:
    """Yield the code of an expression, and of what the names in it are assigned in a function."""
    yield ast.unparse(node)
    for name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if depth else ():
        for assign in assigns_in(scope).get(name, ()):
            yield from _made_of(assign.value, scope, depth - 1)


def _divides_by_all(event: Event) -> bool:
    """Return whether a sum is divided by the number of elements of a tensor."""
    if isinstance(event.other, Count):
        return event.other.unit == "elements"
    match getattr(event.node, "right", None):
        case ast.Call(ast.Attribute(_, "numel" | "nelement")):
            return True
    return False


def mask_of_inputs(event: Event) -> str:
    """Return the mask that both inputs of a criterion are multiplied or filled with, or "".

    Args:
        event: a call of a criterion.
    """
    node = event.node
    if not isinstance(node, ast.Call) or len(node.args) < 2:
        return ""
    masks = [_mask_of(argument, event) for argument in node.args[:2]]
    return masks[0] if masks[0] == masks[1] else ""


def of_targets(mask: str) -> bool:
    """Return whether a mask of inputs speaks of sequences, or of targets that are in sight.

    Weights may be meant to count in the mean, those of targets that are 0 or 1 included.
    """
    words = words_of(mask)
    weights = "weight" in words or not _WEIGHTS_OF_TARGETS.search(words)
    return bool(_OF_SEQUENCES.search(words)) or not weights


def _mask_of(node: ast.expr, event: Event) -> str:
    """Return the mask of a product, a filled tensor, or a name that holds one, or ""."""
    match node:
        case ast.BinOp(left, ast.Mult(), right) | ast.Call(
            ast.Attribute(left, "mul" | "multiply"), [right]
        ):
            return next((mask for part in (right, left) if (mask := _named(part, event))), "")
        case ast.Call(ast.Attribute(_, "masked_fill"), [mask, ast.Constant(0)]):
            return ast.unparse(mask) if _is_mask(mask) else ""
        case ast.Name(name):
            return next((t for t in _held(name, event) if t), "")
    return ""


def _named(node: ast.expr, event: Event) -> str:
    """Return the code of a mask, or of what a name is assigned where that is one, or ""."""
    values = [node]
    if isinstance(node, ast.Name):
        values += [assign.value for assign in _assigned_to(node.id, event)]
    return next((ast.unparse(value) for value in values if _is_mask(value)), "")


def _held(name: str, event: Event) -> Iterator[str]:
    """Yield the masks of what a name is assigned before a call, in its function."""
    for node in _assigned_to(name, event):
        match node:
            case ast.Assign(value=ast.BinOp() | ast.Call() as value) if node.lineno < event.line:
                yield _mask_of(value, event)
            case ast.AugAssign(_, ast.Mult(), value):
                yield ast.unparse(value) if _is_mask(value) else ""


def _assigned_to(name: str, event: Event) -> Iterator[ast.Assign | ast.AugAssign]:
    """Yield the assignments to a name in the function of an event."""
    for scope in scopes_of(event):
        yield from assigns_in(scope).get(name, ())


@lru_cache(maxsize=4)
def masked_differences(tree: ast.Module) -> list[tuple[ast.Call, str, int]]:
    """Return the means over differences that are 0 under a mask of what is padded or not valid.

    Args:
        tree: a file.

    Returns:
        The calls of mean, the code of their masks and the lines of the products.
    """
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [mean for function in functions for mean in _differences_in(function)]


def _differences_in(function: ast.AST) -> Iterator[tuple[ast.Call, str, int]]:
    products = {
        name: (mask, node.lineno)
        for name, nodes in assigns_in(function).items()
        for node in nodes[:1]
        if (mask := _mask_of_difference(node.value))
    }
    calls = (n for n in ast.walk(function) if isinstance(n, ast.Call))
    means = [(call, what) for call in calls if (what := _averaged(call)) is not None]
    if not means or any(_divides_by_mask(node) for node in ast.walk(function)):
        return
    for mean, what in means:
        node = _distance(what)
        if isinstance(node, ast.Name) and node.id in products:
            yield mean, *products[node.id]
        elif mask := _mask_of_difference(node):
            yield mean, mask, node.lineno


def _averaged(node: ast.Call) -> ast.expr | None:
    """Return what a call takes the mean of all elements of, or None."""
    match node:
        case ast.Call(ast.Attribute(ast.Name("torch"), "mean"), [value], []):
            return value
        case ast.Call(ast.Attribute(value, "mean"), [], []):
            return value
    return None


def _distance(node: ast.expr) -> ast.expr:
    """Return what is squared, or whose absolute value is taken, and any other expression itself."""
    match node:
        case (
            ast.Call(ast.Attribute(ast.Name("torch"), "abs" | "square" | "pow"), [value, *_])
            | ast.Call(ast.Attribute(value, "abs" | "square" | "pow"), _)
            | ast.BinOp(value, ast.Pow(), ast.Constant(2))
        ):
            return value
    return node


def _mask_of_difference(node: ast.expr) -> str:
    """Return the mask of a product `(a - b) * valid`, or `(a - b) ** 2 * valid`, or ""."""
    match node:
        case ast.BinOp(left, ast.Mult(), right):
            for difference, mask in ((left, right), (right, left)):
                code = ast.unparse(mask)
                inner = _distance(difference)
                is_difference = isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub)
                if is_difference and _NOT_DATA.search(words_of(code)):
                    return code
    return ""


def _divides_by_mask(node: ast.AST) -> bool:
    """Return whether an expression divides by, or picks by, a mask of padding."""
    match node:
        case ast.BinOp(_, ast.Div(), by) | ast.AugAssign(_, ast.Div(), by):
            return names_padding(ast.unparse(by)) or "mask" in ast.unparse(by)
    return False


def _is_mask(node: ast.expr) -> bool:
    """Return whether an expression is a mask by its name, or the weights of targets in sight."""
    match node:
        case ast.Subscript(value) | ast.Call(ast.Attribute(value)):
            return _is_mask(value)
    name = dotted(node)
    return "mask" in name.lower() or bool(_WEIGHTS_OF_TARGETS.search(words_of(name)))


def is_shown(event: Event) -> bool:
    """Return whether the mean is only taken to be shown: loss.mean().item()."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "item" and node.value is event.node
        for node in ast.walk(event.module.tree)
    )
