"""Padding that a loss counts: masked inputs of a mean, and padded ids that are the labels."""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from batchproof.audit._dimensions._lattice import Count
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._questions import scopes_of
from batchproof.audit._dimensions._trace import Event

_PADS = re.compile(
    r"padding *= *(True|['\"](max_length|longest))|\.pad\(|WithPadding\(|pad_sequence\("
)
# what leaves padded labels out, here or in a collator
_LEAVES_OUT = re.compile(r"-100|ignore_index|IGNORE|CollatorFor|pad_token_id|label_pad|pad_id\b")
_WORDS = re.compile(r"pad|valid|bound|attention|length|token|non zero|nonzero|ignore")
_COPIES = {"copy", "clone", "deepcopy", "list"}


def copied_labels(tree: ast.Module, lines: list[str]) -> Iterator[tuple[ast.AST, int]]:
    """Yield the places of a file where padded ids are the labels, with the line that pads.

    Args:
        tree: the file.
        lines: its lines.
    """
    codes = enumerate((line.partition("#")[0] for line in lines), 1)
    pads = [number for number, code in codes if _PADS.search(code)]
    if not pads or any(_LEAVES_OUT.search(line) for line in lines):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Subscript(slice=ast.Constant("labels"))], value):
                ids = _copied(value)
                if isinstance(ids, ast.Subscript) and _is_ids(ids):
                    yield node, pads[0]
            case ast.Call(keywords=keywords):
                options = {k.arg: ast.unparse(k.value) for k in keywords if k.arg}
                name = options.get("input_ids", "")
                if name and options.get("labels") == name and "mask" not in name:
                    yield node, pads[0]


def _is_ids(node: ast.Subscript) -> bool:
    return isinstance(node.slice, ast.Constant) and node.slice.value == "input_ids"


def _copied(node: ast.expr) -> ast.expr:
    """Return what a call copies, and any other expression itself."""
    match node:
        case ast.Call(ast.Attribute(value, name), []) if name in _COPIES:
            return value
        case ast.Call(_, [value], []) if dotted(node.func).rpartition(".")[2] in _COPIES:
            return value
    return node


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


def divides_by_all(event: Event) -> bool:
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


def _mask_of(node: ast.expr, event: Event) -> str:
    """Return the mask of a product, a filled tensor, or a name that holds one, or ""."""
    match node:
        case ast.BinOp(left, ast.Mult(), right):
            return next((t for t in map(dotted, (right, left)) if _is_mask(t)), "")
        case ast.Call(ast.Attribute(_, "masked_fill"), [mask, ast.Constant(0)]):
            return dotted(mask) if _is_mask(dotted(mask)) else ""
        case ast.Name(name):
            return next((t for t in _held(name, event) if t), "")
    return ""


def _held(name: str, event: Event) -> Iterator[str]:
    """Yield the masks of what a name is assigned before a call, in its function."""
    for node in _assigned_to(name, event):
        match node:
            case ast.Assign(value=ast.BinOp() | ast.Call() as value) if node.lineno < event.line:
                yield _mask_of(value, event)
            case ast.AugAssign(_, ast.Mult(), value):
                yield dotted(value) if _is_mask(dotted(value)) else ""


def _assigned_to(name: str, event: Event) -> Iterator[ast.Assign | ast.AugAssign]:
    """Yield the assignments to a name in the function of an event."""
    for scope in scopes_of(event):
        yield from _assigns_in(scope).get(name, ())


@lru_cache(maxsize=64)
def _assigns_in(scope: ast.AST) -> dict[str, list[ast.Assign | ast.AugAssign]]:
    """Return the assignments in a function, or a file, by the name assigned."""
    assigns: dict[str, list[ast.Assign | ast.AugAssign]] = {}
    for node in ast.walk(scope):
        match node:
            case ast.Assign([ast.Name(name)]) | ast.AugAssign(ast.Name(name)):
                assigns.setdefault(name, []).append(node)
    return assigns


def _is_mask(text: str) -> bool:
    return "mask" in text.lower()
