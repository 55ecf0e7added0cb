"""What a function that makes batches pads: the parts of a batch, by place or key, and how."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from batchproof.audit._dimensions._lattice import Class, Function, Instance, Pads, Value
from batchproof.audit._dimensions._names import FunctionNode, Module, dotted, methods_of, words_of

# a value that a criterion leaves out by itself, or a name that says that something does
_LEFT_OUT = re.compile(r"-100|ignor|label_pad|(?<!\w)-1\b", re.IGNORECASE)
_PAD_CALLS = {"torch.nn.functional.pad", "F.pad", "nn.functional.pad", "np.pad", "numpy.pad"}
_FILLS = {"zeros", "ones", "full", "empty", "new_zeros", "new_full", "zeros_like", "fill_"}
_WRAPS = {
    "stack", "tensor", "as_tensor", "from_numpy", "array", "asarray", "LongTensor", "FloatTensor",
    "Tensor", "cat", "concatenate", "vstack", "Variable", "list", "tuple", "hstack",
}  # fmt: skip
_MOVES = {
    "to", "cuda", "long", "float", "int", "double", "t", "contiguous", "view", "reshape", "clone",
    "transpose", "permute", "squeeze", "unsqueeze", "detach", "type", "astype", "copy", "fill_",
}  # fmt: skip
_NO_ARGUMENTS = ast.arguments([], [], None, [], [], None, [])
_DEPTH = 14

Body = FunctionNode | ast.Lambda


def pads_of(maker: Value) -> Pads:
    """Return the parts of a batch that a collate function pads, as far as it is in sight.

    Args:
        maker: the function, or an object that is called.
    """
    match maker:
        case Function(node=body, module=Module() as module, owner=owner):
            kind = owner.kind.node if owner is not None else None
            return _parts(body, module, kind)
        case Instance(kind=Class(node=kind, module=Module() as module)):
            call = methods_of(kind).get("__call__")
            return _parts(call, module, kind) if call is not None else ()
    return ()


def pads_of_call(node: ast.Call, module: Module) -> Pads:
    """Return how a call pads the tensors that it is given to the longest."""
    how = _how_call(node, _Scope(ast.Lambda(_NO_ARGUMENTS, node), module, None))
    return ((None, how),) if how else ()


def pads_of_items(kind: Class) -> Pads:
    """Return the parts of a sample that a data set in sight pads."""
    item = methods_of(kind.node).get("__getitem__")
    if item is None or not isinstance(kind.module, Module):
        return ()
    return _parts(item, kind.module, kind.node)


def at(pads: Pads, place: object) -> Pads:
    """Return how a part of a batch is padded, by its place or key."""
    return tuple((None, how) for part, how in pads if part == place and part is not None)


def after(pads: Pads, place: ast.expr) -> Pads:
    """Return how a tensor is padded of which a subscript picks positions: not by a mask.

    Args:
        pads: how the tensor, or parts of it, are padded.
        place: the subscript.
    """
    match place:
        case ast.Constant(str() | int() as key) if any(part is not None for part, _ in pads):
            return at(pads, key)
        case ast.Slice(first, last) if all(map(_is_number, (first, last))):
            return pads
        case ast.Tuple(parts) if all(after(pads, part) or _is_number(part) for part in parts):
            return pads
        case ast.Constant(value) if value is ...:
            return pads
    return ()


def _is_number(node: ast.expr | None) -> bool:
    return node is None or isinstance(node, ast.Constant | ast.UnaryOp)


def names_after(target: ast.expr, pads: Pads) -> dict[str, Pads]:
    """Return how the names are padded to which a loop over batches assigns the parts of one."""
    if not pads or isinstance(target, ast.Name):
        return {target.id: pads} if isinstance(target, ast.Name) and pads else {}
    if not isinstance(target, ast.Tuple | ast.List):
        return {}
    parts = ((part, at(pads, place)) for place, part in enumerate(target.elts))
    return {part.id: how for part, how in parts if isinstance(part, ast.Name) and how}


@dataclass(frozen=True)
class _Scope:
    """A function, with what its names may mean.

    Attributes:
        body: the function.
        module: its file.
        kind: the class whose method it is.
        depth: how many expressions lead to it.
        visits: the names that were looked up on the way, each of which is looked up once.
    """

    body: Body
    module: Module
    kind: ast.ClassDef | None
    depth: int = 0
    visits: set[tuple[int, str]] = field(default_factory=set, compare=False)

    def anew(self) -> "_Scope":
        """Return the same scope for another question."""
        return _Scope(self.body, self.module, self.kind, self.depth)

    def function(self, name: str) -> "_Scope | None":
        """Return a function that is called in it, where that is in sight."""
        body: Body | None = None
        if name.startswith("self.") and self.kind is not None:
            body = methods_of(self.kind).get(name.removeprefix("self."))
        elif "." not in name:
            inner = (n for n in ast.walk(self.body) if isinstance(n, FunctionNode))
            body = next((n for n in inner if n.name == name and n is not self.body), None)
            body = body or self.module.functions.get(name)
        if body is None or body is self.body or self.depth >= _DEPTH:
            return None
        return _Scope(body, self.module, self.kind, self.depth + 1, self.visits)


@lru_cache(maxsize=64)
def _parts(body: Body, module: Module, kind: ast.ClassDef | None) -> Pads:
    """Return what the results of a function hold that is padded, by place or key."""
    scope = _Scope(body, module, kind)
    results = [parts for node in _results(body) if (parts := _of_result(node, scope)) is not None]
    first = results[0] if results else {}
    shared = ((key, how) for key, how in first.items() if all(r.get(key) for r in results))
    return tuple((key, how) for key, how in shared if how)


def _results(body: Body) -> list[ast.expr]:
    """Return the expressions that a function returns, those of functions in it left out."""
    if isinstance(body, ast.Lambda):
        return [body.body]
    results, waiting = list[ast.expr](), list[ast.AST](body.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            results.append(node.value)
        elif not isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return results


def _of_result(node: ast.expr, scope: _Scope) -> dict[object, str] | None:
    """Return how the parts of a result are padded, None where it is no batch."""
    match node:
        case ast.Tuple(parts) | ast.List(parts):
            return {place: _how(part, scope.anew()) for place, part in enumerate(parts)}
        case ast.Dict(keys, values):
            pairs = zip(keys, values, strict=True)
            return {k.value: _how(v, scope.anew()) for k, v in pairs if isinstance(k, ast.Constant)}
        case ast.Call(ast.Name("dict"), [], keywords):
            return {k.arg: _how(k.value, scope.anew()) for k in keywords}
        case ast.Call(_, [ast.Dict() as inner, *_]):
            return _of_result(inner, scope)
        case ast.Call():
            inside = scope.function(dotted(node.func))
            pads = dict(_parts(inside.body, inside.module, inside.kind)) if inside else {}
            return pads or {None: _how(node, scope.anew())}
        case ast.Name(name):
            return _of_name(name, scope) or {None: _how_name(name, scope.anew())}
        case ast.Constant(None):
            return None
    return {}


def _of_name(name: str, scope: _Scope) -> dict[object, str]:
    """Return how the parts of a batch are padded that a function puts together under a name."""
    parts: dict[object, str] = {}
    for node in ast.walk(scope.body):
        match node:
            case ast.Assign([ast.Name(id=target)], ast.Tuple() | ast.Dict() as value) if (
                target == name
            ):
                parts |= _of_result(value, scope) or {}
            case ast.Assign([ast.Subscript(ast.Name(id=target), ast.Constant(key))], value) if (
                target == name
            ):
                parts[key] = _how(value, scope.anew())
    return parts


def _how(node: ast.expr, scope: _Scope) -> str:
    """Return how an expression is padded, or ""."""
    if scope.depth > _DEPTH:
        return ""
    scope = _Scope(scope.body, scope.module, scope.kind, scope.depth + 1, scope.visits)
    match node:
        case ast.Name(name):
            return _how_name(name, scope)
        case ast.Call():
            return _how_call(node, scope)
        case ast.ListComp(elt) | ast.GeneratorExp(elt):
            return _how(elt, scope)
        case ast.BinOp(left, ast.Add(), right):
            return _fills_up(left, scope) or _fills_up(right, scope)
        case ast.Subscript(value, ast.Slice() | ast.Tuple()):
            return _how(value, scope)
    return ""


def _fills_up(node: ast.expr, scope: _Scope) -> str:
    """Return how `[0] * (longest - length)`, or a name of it, fills a list up, or ""."""
    match node:
        case ast.BinOp(ast.List() as items, ast.Mult(), count) | ast.BinOp(
            count, ast.Mult(), ast.List() as items
        ) if _is_rest(count, scope) and _counts(items, scope):
            return _at(node, "a list that is filled up")
        case ast.BinOp(left, ast.Add(), right):
            return _fills_up(left, scope) or _fills_up(right, scope)
        case ast.Call(func, _) if dotted(func).rpartition(".")[2] in _FILLS:
            rest = any(_is_rest(n, scope) for n in ast.walk(node) if isinstance(n, ast.expr))
            return _at(node, "a tensor that is filled up") if rest and _counts(node, scope) else ""
        case ast.Name(name):
            values = [v for v in _values(name, scope) if not isinstance(v, ast.Name)]
            values = [v for v in values if not _is_sum(v)]
            return next((h for value in values if (h := _fills_up(value, scope))), "")
    return ""


def _is_sum(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)


def _is_rest(node: ast.expr, scope: _Scope) -> bool:
    """Return whether an expression is what is left up to a length: `longest - len(x)`."""
    match node:
        case ast.BinOp(_, ast.Sub(), right):
            return not isinstance(right, ast.Constant)
        case ast.Name(name):
            values = _values(name, scope)
            return any(isinstance(v, ast.BinOp) and _is_rest(v, scope) for v in values)
        case ast.Call(ast.Name("max"), args):
            return any(_is_rest(argument, scope) for argument in args)
    return False


def _how_name(name: str, scope: _Scope) -> str:
    """Return how what a name is assigned, appended or filled with is padded, or ""."""
    if (id(scope.body), name) in scope.visits:
        return ""
    scope.visits.add((id(scope.body), name))
    for value in _values(name, scope):
        if how := _how(value, scope):
            return how
    for call, names in _several(scope.body):
        if name in names:
            inside = scope.function(dotted(call.func))
            parts = dict(_parts(inside.body, inside.module, inside.kind)) if inside else {}
            if how := parts.get(names.index(name), ""):
                return how
    return _filled(name, scope)


def _values(name: str, scope: _Scope) -> list[ast.expr]:
    """Return what a name is assigned, or what is appended to it, the last first."""
    values = list[ast.expr]()
    for node in ast.walk(scope.body):
        match node:
            case ast.Assign([ast.Name(id=target)], value) if target == name:
                values.append(value)
            case ast.AugAssign(ast.Name(id=target), ast.Add(), value) if target == name:
                values.append(ast.BinOp(ast.Name(target), ast.Add(), value, lineno=node.lineno))
            case ast.Assign([ast.Tuple(targets)], ast.Tuple(parts)):
                pairs = zip(targets, parts, strict=False)
                values += [v for t, v in pairs if isinstance(t, ast.Name) and t.id == name]
            case ast.Call(ast.Attribute(ast.Name(id=target), "append"), [value]) if target == name:
                values.append(value)
            case ast.Call(ast.Attribute(ast.Name(id=target), "extend"), [value]) if target == name:
                values.append(ast.BinOp(ast.Name(target), ast.Add(), value, lineno=node.lineno))
    return values[::-1]


def _several(body: Body) -> Iterator[tuple[ast.Call, list[str]]]:
    """Yield the calls whose results a function takes apart, with the names that they get."""
    for node in ast.walk(body):
        match node:
            case ast.Assign([ast.Tuple(targets)], ast.Call() as call):
                yield call, [getattr(target, "id", "") for target in targets]


def _how_call(node: ast.Call, scope: _Scope) -> str:
    """Return how the result of a call is padded, or ""."""
    name = dotted(node.func)
    last = name.rpartition(".")[2] or getattr(node.func, "attr", "")
    if last == "pad_sequence":
        return _at(node, last) if _counts(node, scope) else ""
    if name in _PAD_CALLS or _is_pad(node.func):
        rests = any(_is_rest(n, scope) for a in node.args for n in _expressions(a))
        return _at(node, "pad") if rests and _counts(node, scope) else ""
    if (inside := scope.function(name)) is not None:
        wholes = (_how(result, inside) for result in _results(inside.body))
        return next((how for how in wholes if how), "")
    if words_of(last).split()[:1] == ["pad"] and "mask" not in last and node.args:
        return _at(node, last) if _counts(node, scope) else ""
    if last in _MOVES and isinstance(node.func, ast.Attribute):
        return _how(node.func.value, scope)
    if last in _WRAPS and node.args:
        return _how_wrapped(node.args[0], scope)
    return ""


def _how_wrapped(node: ast.expr, scope: _Scope) -> str:
    """Return how what is made one tensor is padded: a list of parts, or the parts themselves."""
    if isinstance(node, ast.List | ast.Tuple):
        ways = (_how(part, scope) or _fills_up(part, scope) for part in node.elts)
        return next((how for how in ways if how), "")
    return _how(node, scope)


def _is_pad(func: ast.expr) -> bool:
    """Return whether what is called is a layer that pads: nn.ConstantPad1d((0, rest), 0)(x)."""
    return isinstance(func, ast.Call) and "Pad1d" in dotted(func.func)


def _filled(name: str, scope: _Scope) -> str:
    """Return how a tensor is padded whose rows are written up to their lengths, or ""."""
    blanks = [v for v in _values(name, scope) if _is_blank(v)]
    if not blanks or not all(_counts(value, scope) for value in blanks):
        return ""
    for node in ast.walk(scope.body):
        match node:
            case ast.Assign([ast.Subscript(value, place)], source) if not isinstance(
                source, ast.Constant
            ):
                root = value.value if isinstance(value, ast.Subscript) else value
                if isinstance(root, ast.Name) and root.id == name and _is_partial(place):
                    return _at(node, "rows that are written up to their lengths")
    return ""


def _is_blank(node: ast.expr) -> bool:
    """Return whether an expression makes a tensor of one value."""
    calls = (n for n in ast.walk(node) if isinstance(n, ast.Call))
    return any(dotted(n.func).rpartition(".")[2] in _FILLS for n in calls) or (
        isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "fill_"
    )


def _is_partial(place: ast.expr) -> bool:
    """Return whether a subscript cuts at a length that differs from row to row."""
    cuts = [n for n in ast.walk(place) if isinstance(n, ast.Slice)]
    ends = [end for cut in cuts for end in (cut.lower, cut.upper) if end is not None]
    return any(not isinstance(end, ast.Constant | ast.UnaryOp) for end in ends)


def _counts(node: ast.expr, scope: _Scope) -> bool:
    """Return whether the value that fills up is not one that a criterion leaves out."""
    texts = [ast.unparse(node)]
    for name in {dotted(n) for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute)}:
        option = scope.module.settings.get(name)
        texts += [str(option.default)] if option is not None else []
    return not any(_LEFT_OUT.search(text) for text in texts)


def _expressions(node: ast.expr) -> Iterable[ast.expr]:
    return (n for n in ast.walk(node) if isinstance(n, ast.expr))


def _at(node: ast.AST, how: str) -> str:
    return f"{how} (line {getattr(node, 'lineno', 0)})"
