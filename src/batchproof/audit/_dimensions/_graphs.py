"""Whether a model's outputs leave a block of code with their graphs, or as numbers alone.

Outputs are followed through the names of the block. `.item()`, `.detach()`, `.data`, a comparison
or a text ends a graph. What is returned, kept in an attribute or an item, or handed to a function
out of sight leaves with it.
"""

import ast
from collections.abc import Iterable

from batchproof.audit._dimensions._names import REPORTS, FunctionNode, dotted, words_of

_CUTS = {
    "item", "detach", "numpy", "tolist", "argmax", "argmin", "size", "numel", "dim", "eq", "ne",
    "gt", "lt", "ge", "le", "argsort", "sample", "multinomial",
}  # fmt: skip
_DETACHES = {"detach", "repackage"}  # words in the names of functions that cut a graph
_NUMBERS = {"float", "int", "bool", "str", "len", "round", "range", "print", "isinstance"}
_PLAIN = {"data", "shape", "device", "dtype", "ndim"}
_PURE = {"torch", "F", "nn", "np", "numpy", "functional", "math", "sum", "max", "min", "abs", "zip"}
_ADDS = {"append", "extend", "insert"}
_MEASURES = {"loss", "criterion", "accuracy", "acc", "score", "metric", "entropy", "correct"}


def leave(
    body: Iterable[ast.stmt], passes: set[int], pure: set[int], names: Iterable[str] = ()
) -> bool:
    """Return whether outputs of a model leave statements with their graphs.

    Args:
        body: the statements.
        passes: the ids of the calls in them that run the model.
        pure: the ids of the calls that keep nothing, as those of criteria do.
        names: the functions in sight, which keep nothing either.
    """
    return _followed(body, passes, pure, names).leaves


def are_numbers(
    body: Iterable[ast.stmt], passes: set[int], pure: set[int], names: Iterable[str] = ()
) -> bool:
    """Return whether statements take numbers from outputs of a model, which do not leave them.

    The arguments are those of `leave`.
    """
    block = _followed(body, passes, pure, names)
    return block.cuts and not block.leaves


def _followed(
    body: Iterable[ast.stmt], passes: set[int], pure: set[int], names: Iterable[str]
) -> "_Block":
    block = _Block(passes, pure, set(names))
    statements = list(body)
    for _ in range(2):  # what one pass of a loop leaves in a name, the next reads
        block.follow(statements)
    return block


def after(scope: ast.AST, loop: ast.AST) -> list[ast.stmt]:
    """Return a loop of a function or file, and the statements that follow it there."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(scope, field, [])
        for place, node in enumerate(block if isinstance(block, list) else []):
            if node is loop:
                return block[place:]
            rest = [] if isinstance(node, FunctionNode | ast.ClassDef) else after(node, loop)
            if rest:
                return [*rest, *block[place + 1 :]]
    return []


class _Block:
    """The names of a block that hold outputs with their graphs.

    Args:
        passes: the ids of the calls that run the model.
        pure: the ids of the calls that keep nothing.
        names: the functions that keep nothing.
    """

    def __init__(self, passes: set[int], pure: set[int], names: set[str]) -> None:
        self._passes = passes
        self._pure = pure
        self._functions = names
        self._names: set[str] = set()
        self._boxes: set[str] = set()  # lists, dicts and tensors that the block makes
        self._lambdas: dict[str, list[ast.Lambda]] = {}
        self.leaves = False
        self.cuts = False

    def follow(self, body: Iterable[ast.stmt]) -> None:
        """Follow statements in their order."""
        for node in body:
            match node:
                case ast.Assign(targets, value):
                    self._assign(targets, value)
                case ast.AnnAssign(target, _, ast.expr() as value):
                    self._assign([target], value)
                case ast.AugAssign(target, _, value):
                    if self._carries(value):
                        self._assign([target], value)
                case ast.Return(ast.expr() as value):
                    self.leaves |= self._carries(value)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    pass
                case _:
                    self._inside(node)

    def _inside(self, node: ast.stmt) -> None:
        """Follow the expressions of a statement, then its blocks."""
        for field in ("iter", "test", "value", "items", "exc"):
            part = getattr(node, field, None)
            for inner in part if isinstance(part, list) else [part]:
                expression = getattr(inner, "context_expr", inner)
                if isinstance(expression, ast.expr):
                    self._carries(expression)
        if isinstance(node, ast.For) and self._carries(node.iter):
            self._assign([node.target], node.iter)
        for field in ("body", "orelse", "finalbody"):
            self.follow(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            self.follow(handler.body)

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        carries = self._carries(value)
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
                if not isinstance(part, ast.Name):
                    self.leaves |= carries and not self._puts(part)
                elif carries:
                    self._names.add(part.id)
                else:
                    self._names.discard(part.id)
                if isinstance(part, ast.Name) and _makes(value):
                    self._boxes.add(part.id)
                if isinstance(part, ast.Name) and isinstance(value, ast.Lambda):
                    self._lambdas.setdefault(part.id, []).append(value)

    def _puts(self, place: ast.expr) -> bool:
        """Return whether a place is in a box of the block, which has the graph from then on."""
        while isinstance(place, ast.Subscript):
            place = place.value
        inside = isinstance(place, ast.Name) and place.id in self._boxes | self._names
        if isinstance(place, ast.Name) and inside:
            self._names.add(place.id)
        return inside

    def _carries(self, node: ast.expr) -> bool:
        """Return whether an expression has a graph; note what is handed on in it."""
        match node:
            case ast.Name(name):
                return name in self._names
            case ast.Call():
                return self._called(node)
            case ast.Attribute(whole, name):
                carries = self._carries(whole)
                self.cuts |= carries and name == "data"
                return carries and name not in _PLAIN
            case ast.Lambda():
                return False
        inner = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)]
        inner += [part.iter for part in getattr(node, "generators", [])]
        ends = isinstance(node, ast.Compare | ast.JoinedStr | ast.FormattedValue | ast.Constant)
        return self._any(inner) and not ends

    def _any(self, parts: list[ast.expr]) -> bool:
        """Return whether one of several expressions has a graph, after a look at all of them."""
        carry = [self._carries(part) for part in parts]
        return True in carry

    def _called(self, node: ast.Call) -> bool:
        """Return whether the result of a call has a graph."""
        function = node.func
        whole = isinstance(function, ast.Attribute) and self._carries(function.value)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        takes = self._any(arguments)
        name = dotted(function)
        last = function.attr if isinstance(function, ast.Attribute) else name
        if id(node) in self._passes:
            return True
        if last == "backward":
            self.leaves |= whole or takes
        if last in _NUMBERS | _CUTS or _DETACHES & set(words_of(last).split()):
            self.cuts |= whole or takes
            return False
        if takes and not whole:
            return self._given(node, name, last)
        return takes or whole

    def _given(self, node: ast.Call, name: str, last: str) -> bool:
        """Return whether what a function makes of a graph has one; note where it leaves."""
        if last in _ADDS and isinstance(node.func, ast.Attribute):
            self.leaves |= not self._puts(node.func.value)
            return False
        if last in REPORTS and name.partition(".")[0] not in _PURE | {last}:
            self.cuts = True  # a method that shows it, no logarithm
            return False
        if name in self._lambdas:
            results = [self._applied(each, node) for each in self._lambdas[name]]
            return True in results
        self.leaves |= not (id(node) in self._pure or self._is_pure(name, last))
        return True

    def _applied(self, function: ast.Lambda, node: ast.Call) -> bool:
        """Return whether the result of a lambda of the block has a graph."""
        names = [argument.arg for argument in function.args.args]
        outer, pairs = set(self._names), zip(names, node.args, strict=False)
        carry = {name for name, value in pairs if self._carries(value)}
        self._names = (outer - set(names)) | carry
        carries = self._carries(function.body)
        self._names = outer
        return carries

    def _is_pure(self, name: str, last: str) -> bool:
        """Return whether a function keeps nothing of its arguments, by its name."""
        words = set(words_of(last).split())
        return bool({name.partition(".")[0], last} & (_PURE | self._functions)) or bool(
            words & _MEASURES
        )


def _makes(value: ast.expr) -> bool:
    """Return whether code makes a list, a dict or a tensor, or several of them."""
    match value:
        case ast.List() | ast.Dict() | ast.ListComp() | ast.DictComp():
            return True
        case ast.Tuple(parts):
            return bool(parts) and all(map(_makes, parts))
        case ast.Call(function):
            name = dotted(function)
            return name in {"list", "dict"} or name.partition(".")[0] in {"torch", "np", "numpy"}
    return False
