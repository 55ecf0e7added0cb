"""Best values so far that no pass of a loop raises: starts out of reach, and names of a call.

A loss that must be less than 0, or a score that must be more than infinity, is never the best. An
argument that a function sets is a name of its own, so that its caller's value stays what it was.
"""

import ast
import math

from batchproof.audit._dimensions._lattice import Quantity, Tool, Value
from batchproof.audit._dimensions._names import FunctionNode, dotted
from batchproof.audit._dimensions._trace import Event, Loop, Trace

# criteria that are never less than 0
_AT_LEAST_0 = {
    "CrossEntropyLoss", "cross_entropy", "MSELoss", "mse_loss", "L1Loss", "l1_loss", "SmoothL1Loss",
    "smooth_l1_loss", "HuberLoss", "huber_loss", "BCELoss", "binary_cross_entropy",
    "BCEWithLogitsLoss", "binary_cross_entropy_with_logits",
}  # fmt: skip


def is_out_of_reach(event: Event, name: str) -> bool:
    """Return whether no value can pass the start of a best value, which only its test updates.

    Args:
        event: the comparison.
        name: the best value, one of its two sides.
    """
    node = event.node
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return False
    mine = dotted(node.left) == name
    value, strict = event.other if mine else event.value, isinstance(node.ops[0], ast.Lt | ast.Gt)
    lower = isinstance(node.ops[0], ast.Gt | ast.GtE if mine else ast.Lt | ast.LtE)
    start = _start(event, name)
    if start is None:
        return False
    if not lower:
        return start == math.inf
    return start == -math.inf or (_is_positive(value) and (start < 0 or (strict and start == 0)))


def _is_positive(value: Value) -> bool:
    """Return whether a value is a loss that is never less than 0, or a share of hits."""
    if not isinstance(value, Quantity) or value.base not in {"mean", "sum"}:
        return False
    return value.name in _AT_LEAST_0 or (value.metric and value.sure)


def _start(event: Event, name: str) -> float | None:
    """Return the number that a name is set to before a loop, and is set from only by one test."""
    inner = [f for f in ast.walk(event.module.tree) if isinstance(f, FunctionNode)]
    scopes = [f for f in inner if any(n is event.node for n in ast.walk(f))]
    scope = scopes[-1] if scopes else event.module.tree
    branches = [n for n in ast.walk(scope) if isinstance(n, ast.If) and _holds(n.test, event.node)]
    tests = [n for branch in branches for n in ast.walk(branch.test)]
    if any(isinstance(n, ast.BoolOp) and isinstance(n.op, ast.Or) for n in tests):
        return None  # as in `epoch == 0 or loss < best`
    own = {
        id(part) for branch in branches for statement in branch.body for part in ast.walk(statement)
    }
    others = [n for n in ast.walk(scope) if id(n) not in own and name in _sets(n)]
    if len(others) != 1 or not isinstance(others[0], ast.Assign):
        return None
    return _number(others[0].value)


def _sets(node: ast.AST) -> list[str]:
    """Return the names that a statement sets, or that a function or file declares elsewhere."""
    match node:
        case ast.Assign(targets):
            parts = (part for target in targets for part in ast.walk(target))
            return [dotted(part) for part in parts if isinstance(part, ast.Name | ast.Attribute)]
        case ast.AugAssign(target) | ast.AnnAssign(target) | ast.NamedExpr(target):
            return [dotted(target)]
        case ast.For(target):
            return [dotted(part) for part in ast.walk(target)]
        case ast.Global(names) | ast.Nonlocal(names):
            return names
        case ast.arg(name):
            return [name]
    return []


def _number(node: ast.expr) -> float | None:
    """Return the number that an expression is: 0, -1, float("-inf"), np.inf."""
    match node:
        case ast.Constant(bool()):
            return None
        case ast.Constant(int() | float() as value):
            return float(value)
        case ast.UnaryOp(ast.USub(), operand):
            positive = _number(operand)
            return None if positive is None else -positive
        case ast.Call(ast.Name("float"), [ast.Constant(str(text))]) if "inf" in text.lower():
            return -math.inf if text.strip().startswith("-") else math.inf
        case ast.Attribute(_, "inf"):
            return math.inf
    return None


def stays(event: Event, name: str) -> bool:
    """Return whether a function sets an argument of its own, and a loop passes the old value again.

    Args:
        event: the comparison in the function.
        name: the best value, an argument.
    """
    call = event.calls[-1] if event.calls else None
    bodies = (f for f in ast.walk(event.module.tree) if isinstance(f, FunctionNode))
    inside = [f for f in bodies if any(n is event.node for n in ast.walk(f))]
    if not isinstance(call, ast.Call) or not inside or not event.loops:
        return False
    body = inside[-1]
    nodes = list(ast.walk(body))
    if any(isinstance(n, ast.For | ast.While) and _holds(n, event.node) for n in nodes):
        return False  # it compares with the name that it set in the pass before
    sets = any(isinstance(n, ast.Assign) and name in _sets(n) for n in nodes)
    results = [n for n in nodes if isinstance(n, ast.Return | ast.Yield) and n.value is not None]
    leaves = any(dotted(part) == name for n in results for part in ast.walk(n))
    places = [place for place, a in enumerate(body.args.args) if a.arg == name]
    if not (sets and places) or leaves or body.name != dotted(call.func):
        return False
    values = [k.value for k in call.keywords if k.arg == name] or call.args[places[0] :]
    passed = dotted(values[0]) if values and isinstance(values[0], ast.Name) else ""
    loop = next((each for each in reversed(event.loops) if _holds(each.node, call)), None)
    if not passed or loop is None:
        return False
    return not any(passed in _sets(n) for n in ast.walk(loop.node))


def _holds(node: ast.AST, part: ast.AST) -> bool:
    return any(n is part for n in ast.walk(node))


def key_never_set(tree: ast.Module, name: str) -> bool:
    """Return whether a key is set once in the file, by a dict that is written out."""
    state, _, key = name.removesuffix("']").rpartition("['")
    starts: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.Dict(keys, values):
                starts += [
                    v
                    for k, v in zip(keys, values, strict=True)
                    if isinstance(k, ast.Constant) and k.value == key
                ]
            case ast.Subscript(slice=ast.Constant(other), ctx=ast.Store()) if other == key:
                return False
            case ast.Call(ast.Attribute(inner, "update" | "setdefault")) if dotted(inner) == state:
                return False
    return len(starts) == 1 and is_start(starts[0])


def is_start(value: ast.expr) -> bool:
    """Return whether a value is what a search begins with: infinity, or a whole number."""
    text = ast.unparse(value)
    number = text.lstrip("-").removesuffix(".0")
    return number.isdigit() or any(word in text for word in ("inf", "1e", "maxsize"))


def made_in(loop: Loop, live: str) -> bool:
    """Return whether a loop makes another model in each of its passes."""
    model = live.removesuffix(".state_dict()")
    names = {model, model.partition(".")[0]}
    stores = [n for n in ast.walk(loop.node) if isinstance(n, ast.Name | ast.Attribute)]
    return any(dotted(n) in names for n in stores if isinstance(n.ctx, ast.Store))


def used_later(event: Event) -> bool:
    """Return whether another line reads the name of the weights, or the dict that holds them."""
    text = event.text.partition("[")[0].rpartition(".")[2]
    for node in ast.walk(event.module.tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name == text and node.lineno != event.line:
                return True
    return False


def begins_again(trace: Trace, event: Event, live: str) -> Event | None:
    """Return the step of a loop in which weights that were kept before it are loaded back, or None.

    Args:
        trace: the events.
        event: an assignment that keeps weights by reference, which nothing else sets.
        live: the weights, `model.state_dict()`, or "".
    """
    model = live.removesuffix(".state_dict()")
    if model == live:
        return None
    functions = (f for f in ast.walk(event.module.tree) if isinstance(f, FunctionNode))
    scopes = [f for f in functions if "." not in event.text and _holds(f, event.node)]
    nodes = list(ast.walk(scopes[-1] if scopes else event.module.tree))
    if sum(event.text in _sets(n) for n in nodes) != 1:
        return None
    loads = [
        n
        for n in nodes
        if isinstance(n, ast.Call)
        and dotted(n.func) == f"{model}.load_state_dict"
        and [dotted(argument) for argument in n.args[:1]] == [event.text]
    ]
    for step in trace.of("step"):
        of = step.value.of if isinstance(step.value, Tool) else ""
        for loop in step.loops if of == "" or of.startswith(f"{model}.") else ():
            outside = loop not in event.loops and not made_in(loop, live)
            if outside and any(_holds(loop.node, call) for call in loads):
                return step
    return None
