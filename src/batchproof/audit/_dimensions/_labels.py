"""Ids that a tokenizer pads and that are the labels of a language model, padding included."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._names import FunctionNode, assigns_in, dotted

_PADS = re.compile(
    r"padding *= *(True|['\"](max_length|longest))|\.pad\(|WithPadding\(|pad_sequence\("
    r"|pad_to_max_length *= *True"
)
# what leaves padded labels out, here or in a collator
_LEAVES_OUT = re.compile(
    r"-100|ignore_index|IGNORE|CollatorFor|label_pad|pad_id\b|(==|!=|eq\(|ne\(|where|fill).*pad_token_id"
    r"|pad_token_id.*(==|!=)"
)
_COPIES = {
    "copy", "clone", "deepcopy", "list", "to", "cuda", "squeeze", "flatten", "detach", "long",
    "contiguous", "tensor", "as_tensor", "LongTensor",
}  # fmt: skip
_OPTIONS = {"truncation", "max_length", "return_tensors", "text_target"}


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
    places = set[int]()
    functions = [n for n in ast.walk(tree) if isinstance(n, FunctionNode)]
    for scope in (*functions[::-1], tree):  # inner functions first
        for node in ast.walk(scope):
            if id(node) not in places and _has_padded_labels(node, scope):
                yield node, pads[0]
            places.add(id(node))


def _has_padded_labels(node: ast.AST, scope: ast.AST) -> bool:
    """Return whether a statement or a call makes ids the labels, as they are."""
    match node:
        case ast.Assign([ast.Subscript(batch, ast.Constant("labels"))], value):
            return _are_ids(value, scope, dotted(batch))
        case ast.Call(args=arguments, keywords=keywords):
            options = {k.arg: k.value for k in keywords if k.arg}
            first = arguments[0] if arguments else None
            return _are_same(options.get("labels"), options.get("input_ids", first), scope)
        case ast.Dict(keys, values):
            pairs = zip(keys, values, strict=True)
            parts = {k.value: v for k, v in pairs if isinstance(k, ast.Constant)}
            return _are_same(parts.get("labels"), parts.get("input_ids"), scope)
    return False


def _are_same(labels: ast.expr | None, inputs: ast.expr | None, scope: ast.AST) -> bool:
    """Return whether labels are the ids that a model is given, or those of padded targets."""
    if labels is None or inputs is None or "mask" in ast.unparse(inputs):
        return False
    origin, ids = _origin(labels, scope), _origin(inputs, scope)
    names_ids = "id" in ast.unparse(inputs) or "id" in ast.unparse(ids)
    same = ast.dump(origin) == ast.dump(ids) and not isinstance(origin, ast.Constant)
    return (same and (names_ids or "input" in ast.unparse(inputs))) or _are_ids(labels, scope)


def _are_ids(node: ast.expr, scope: ast.AST, batch: str = "") -> bool:
    """Return whether an expression is `encoding["input_ids"]`, of a call that pads or a batch."""
    node = _origin(node, scope)
    match node:
        case ast.Subscript(encoding, ast.Constant("input_ids")) | ast.Attribute(
            encoding, "input_ids"
        ):
            pass
        case _:
            return False
    maker = _origin(encoding, scope)
    options = {k.arg: k.value for k in maker.keywords} if isinstance(maker, ast.Call) else {}
    values = [value for name, value in options.items() if name and name.startswith("pad")]
    pads = any(not isinstance(v, ast.Constant) or v.value not in (False, None) for v in values)
    return pads or (bool(batch) and dotted(encoding) == batch and not options.keys() & _OPTIONS)


def _origin(node: ast.expr, scope: ast.AST, depth: int = 4) -> ast.expr:
    """Return what an expression copies, or what the only assignment to its name does."""
    match _copied(node):
        case ast.Name(name) if depth:
            values = [n.value for n in assigns_in(scope).get(name, ())]
            if len(values) == 1 and not _is_changed(name, scope):
                return _origin(values[0], scope, depth - 1)
    return _copied(node)


def _is_changed(name: str, scope: ast.AST) -> bool:
    """Return whether a function writes to some items of a tensor."""
    return any(
        isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) and dotted(n.value) == name
        for n in ast.walk(scope)
    )


def _copied(node: ast.expr) -> ast.expr:
    """Return what a call copies or moves, and any other expression itself."""
    match node:
        case ast.Call(ast.Attribute(value, name)) if name in _COPIES and not (
            isinstance(value, ast.Name) and value.id in {"torch", "copy", "t"}
        ):
            return _copied(value)
        case ast.Call(_, [value, *_]) if dotted(node.func).rpartition(".")[2] in _COPIES:
            return _copied(value)
    return node
