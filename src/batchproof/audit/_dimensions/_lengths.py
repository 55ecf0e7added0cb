"""Lengths of targets that are at hand where a mean is taken over all of their padded positions."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Constant, Quantity
from batchproof.audit._dimensions._names import FunctionNode, words_of
from batchproof.audit._dimensions._questions import names_in, scopes_of
from batchproof.audit._dimensions._trace import Event

_LENGTHS = re.compile(r"(?:(.+?)_?)?(?:lens|lengths)$", re.IGNORECASE)
_ONE_LENGTH = re.compile(r"(?:(.+?)_?)?(?:len|length)$", re.IGNORECASE)
_SELECTS = re.compile(r"mask|pack|select|unpad|\bpad_id|ignore|trim|crop", re.IGNORECASE)
# the end of a sequence is what such a target says, in its padding too
_OF_THE_END = re.compile(r"gate|stop|\beos\b|\bdone\b|\bend\b")
# targets of speech that only sequences of several lengths have, and the frames beside them
_OF_SEQUENCES = re.compile(r"\b(gate|stop\w*|durations?)\b.*\b(targets?|tgt)\b")
_FRAMES = re.compile(r"\b(mels?|spec\w*|frames)\b")
_DISTANCES = {"MSELoss", "L1Loss", "SmoothL1Loss", "mse_loss", "l1_loss", "smooth_l1_loss"}
_ELEMENTS = _DISTANCES | {
    "CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss", "HuberLoss", "cross_entropy",
    "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "huber_loss",
}  # fmt: skip
_TARGET = {"target", "targets", "tgt", "trg", "label", "labels", "y"}
_RESHAPES = {
    "to",
    "cuda",
    "float",
    "long",
    "view",
    "reshape",
    "contiguous",
    "transpose",
    "permute",
    "flatten",
    "squeeze",
    "detach",
}


def unused_lengths(event: Event) -> str:
    """Return the name of the lengths of a criterion's targets that only a model reads, or "".

    Targets that come with their lengths are padded to the longest, so that a mean over all of
    their positions counts the padding, unless something picks the others.

    Args:
        event: a call of a criterion.
    """
    loss, node = event.value, event.node
    if not (isinstance(loss, Quantity) and loss.base == "mean" and loss.sure):
        return ""
    if loss.ignores or loss.classes or not isinstance(node, ast.Call) or len(node.args) != 2:
        return ""
    scope = _innermost(event)
    target = _root(node.args[1])
    if not target or scope is None or _OF_THE_END.search(words_of(target)) or _of_one(event):
        return ""
    flat = all(_is_flat(argument) for argument in node.args)
    for name, stem in _lengths_in(scope):
        if _are_of(stem, target, flat=flat) and _only_passed_on(name, target, scope):
            return name
    return ""


def padded_targets(event: Event) -> str:
    """Return how the targets of a criterion were padded when their batch was made, or "".

    Args:
        event: a call of a criterion.
    """
    loss = event.value
    if not (isinstance(loss, Quantity) and loss.base == "mean" and loss.padded):
        return ""
    ignores = loss.ignores or loss.classes or loss.unit == "mask"
    if ignores or event.text not in _ELEMENTS or _of_one(event):
        return ""
    node = event.node
    target = _root(node.args[1]) if isinstance(node, ast.Call) and len(node.args) > 1 else ""
    if _OF_THE_END.search(words_of(target)) or _is_set_in_place(event, target):
        return ""
    return loss.padded


def _is_set_in_place(event: Event, target: str) -> bool:
    """Return whether code sets positions of targets, as `targets[targets == 0] = -100` does."""
    nodes = (n for scope in scopes_of(event) for n in ast.walk(scope))
    return any(
        (isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) and _root(n.value) == target)
        or (isinstance(n, ast.Attribute) and n.attr.startswith(("masked_fill", "index_fill")))
        for n in nodes
    )


def padded_frames(event: Event) -> str:
    """Return the target that shows that the frames which a criterion compares are padded, or "".

    Frames whose ends or durations are predicted too are of sequences of several lengths.

    Args:
        event: a call of a criterion.
    """
    loss, node = event.value, event.node
    if not (isinstance(loss, Quantity) and loss.base == "mean" and loss.sure):
        return ""
    if event.text not in _DISTANCES or not isinstance(node, ast.Call) or len(node.args) != 2:
        return ""
    scope, target = _innermost(event), _root(node.args[1])
    if scope is None or not _FRAMES.search(words_of(target)) or _of_one(event):
        return ""
    names = {n.id for n in ast.walk(scope) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(scope) if isinstance(n, ast.Attribute)}
    names |= set(map(_part_of_batch, ast.walk(scope)))
    names |= {k.arg or "" for k in ast.walk(scope) if isinstance(k, ast.keyword | ast.arg)}
    if any(map(_SELECTS.search, names)) or any(map(_LENGTHS.match, names)):
        return ""
    return min((name for name in names if _OF_SEQUENCES.search(words_of(name))), default="")


def _of_one(event: Event) -> bool:
    """Return whether the batches of a loop hold one sample each, of which none is padded."""
    loader = event.batches.loader if event.batches else None
    return loader is not None and loader.batch_size == Constant(1)


def _innermost(event: Event) -> FunctionNode | None:
    """Return the function around an event, of those that have its name."""
    for scope in scopes_of(event):
        if isinstance(scope, FunctionNode) and any(n is event.node for n in ast.walk(scope)):
            return scope
    return None


def _root(node: ast.expr) -> str:
    """Return the name of a tensor that is reshaped, moved, or cut by constants."""
    match node:
        case ast.Name(name):
            return name
        case ast.Call(ast.Attribute(value, name)) if name in _RESHAPES:
            return _root(value)
        case ast.Subscript(ast.Name(), ast.Constant(str(key))):
            return key
        case ast.Attribute(ast.Name(batch), name) if "batch" in batch:
            return name
        case ast.Subscript(value) if not any(isinstance(n, ast.Name) for n in ast.walk(node.slice)):
            return _root(value)
    return ""


def _is_flat(node: ast.expr) -> bool:
    """Return whether an expression views a tensor with all of its positions in one dimension."""
    match node:
        case ast.Call(ast.Attribute(_, "view" | "reshape"), [first, *_]):
            return ast.unparse(first) == "-1"
    return False


def _lengths_in(scope: FunctionNode) -> Iterator[tuple[str, str]]:
    """Yield the lengths that a function is given, alone or with a batch, and what they are of."""
    names = [argument.arg for argument in (*scope.args.args, *scope.args.kwonlyargs)]
    matches = [(name, _LENGTHS.match(name)) for name in names]
    for node in ast.walk(scope):
        match node:
            case ast.For(ast.AST() as target) | ast.Assign([ast.Tuple() as target], ast.Name()):
                inside = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
                matches += [(n, _LENGTHS.match(n) or _ONE_LENGTH.match(n)) for n in inside]
    matches += [(n, _LENGTHS.match(n)) for n in map(_part_of_batch, ast.walk(scope)) if n]
    yield from ((name, match[1] or "") for name, match in matches if match)


def _part_of_batch(node: ast.AST) -> str:
    """Return the key or the attribute by which a part of a batch is read, or ""."""
    match node:
        case ast.Subscript(ast.Name(), ast.Constant(str(key))):
            return key
        case ast.Attribute(ast.Name(batch), name) if "batch" in batch:
            return name
    return ""


def _are_of(stem: str, target: str, *, flat: bool) -> bool:
    """Return whether lengths are of a target: by a word of its name, or as the only ones.

    Args:
        stem: what the name of the lengths says they are of, or "".
        target: the name of the target.
        flat: whether its positions are flattened, so that it has several of each sample.
    """
    own, others = set(words_of(target).split()), set(words_of(stem).split())
    if not stem:
        return flat
    return bool(own & others) or bool(own & _TARGET and others & _TARGET)


def _only_passed_on(name: str, target: str, scope: FunctionNode) -> bool:
    """Return whether a function gives lengths to calls alone, and picks no position by them."""
    places = set[int]()
    for node in ast.walk(scope):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.keyword(arg=word) if isinstance(
                word, str
            ) and _SELECTS.search(word):
                return False
            case ast.Call(args=arguments, keywords=keywords):
                values = [*arguments, *(k.value for k in keywords)]
                places |= {id(_moved(value)) for value in values}
            case ast.Assign(targets, value) if any(_reads(n, name) for n in ast.walk(value)):
                names = {n for t in targets for n in names_in(t)}
                renamed = _reads(_moved(value), name) and names != {name}
                if renamed or (target in names and name != target):
                    return False
                places |= {id(_moved(value))} if names == {name} else set()
        if _SELECTS.search(_part_of_batch(node)):
            return False
    return all(id(node) in places for node in ast.walk(scope) if _reads(node, name))


def _reads(node: ast.AST, name: str) -> bool:
    """Return whether an expression reads a name, or a part of a batch of that name."""
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Load)
    return _part_of_batch(node) == name


def _moved(node: ast.expr) -> ast.expr:
    """Return what a call moves to a device."""
    match node:
        case ast.Call(ast.Attribute(value, "to" | "cuda" | "cpu" | "long")):
            return value
    return node
