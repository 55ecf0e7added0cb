"""Statements: branches, loops over batches, contexts without gradient, returns."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from batchproof.audit._dimensions._assignments import assign, assign_with, begin_counters, store
from batchproof.audit._dimensions._beginnings import begin_sums
from batchproof.audit._dimensions._branch_sums import merge_branches
from batchproof.audit._dimensions._branches import merge, restore, state_of, take_class, take_side
from batchproof.audit._dimensions._calls import is_model
from batchproof.audit._dimensions._collates import names_after
from batchproof.audit._dimensions._cuts import by_cursor, by_number, by_pieces, by_steps
from batchproof.audit._dimensions._draws import by_index, drawn, indexes
from batchproof.audit._dimensions._expressions import items_of, parts_of
from batchproof.audit._dimensions._functions import (
    follow,
    is_no_grad,
    method,
    resolve,
    test_of_call,
    testing,
)
from batchproof.audit._dimensions._lattice import (
    UNKNOWN,
    Class,
    Constant,
    Count,
    Function,
    Instance,
    Listing,
    Loader,
    Option,
    Quantity,
    Reference,
    Scope,
    Several,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._loaders import as_loader, number, yields_batches
from batchproof.audit._dimensions._machine import DEEPEST, Frame, Machine
from batchproof.audit._dimensions._names import FunctionNode, dotted, words_of
from batchproof.audit._dimensions._questions import is_cut
from batchproof.audit._dimensions._trace import Condition, Loop

_HELD_OUT = {"valid", "val", "validation", "dev", "test"}
_DRAWN = {
    "batch",
    "batches",
    "minibatches",
    "iterate",
    "iter",
    "iterator",
    "itr",
    "data",
    "loader",
    "generator",
}
_WRAPPERS = {
    "sorted",
    "tqdm",
    "track",
    "progress_bar",
    "log_every",
    "prefetch",
    "cycle",
    "notebook_tqdm",
    "iter",
    "islice",
    "list",
}


def execute(machine: Machine, body: list[ast.stmt], frame: Frame) -> str:
    """Follow statements.

    Args:
        machine: the interpretation.
        body: the statements of one block.
        frame: the names around it.

    Returns:
        How the block ends: return, raise, break or continue; "" where it runs through.
    """
    outside = len(machine.conditions)
    machine.depth += 1
    try:
        if machine.depth > DEEPEST:
            return ""
        for node in body:
            machine.spend()
            rule = _RULES.get(type(node))
            end = rule(machine, node, frame) if rule else _parts(machine, node, frame)
            if end:
                return end
        return ""
    finally:
        machine.depth -= 1
        del machine.conditions[outside:]


def _parts(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            machine.evaluate(child, frame)
    return ""


def _expression(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.Expr)
    machine.statement = node.value
    machine.evaluate(node.value, frame)
    return ""


def _assign(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    assign(machine, node, frame)
    return ""


def _assign_with(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.AugAssign)
    assign_with(machine, node, frame)
    return ""


def _if(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.If)
    if begin_sums(machine, node, frame):
        return ""
    test = _truth(machine, node.test, frame)
    if test is not None:
        return machine.execute(node.body if test else node.orelse, frame)
    before, (asks, holds) = state_of(frame), _asked(machine, node.test, frame)
    scope = machine.running[-1] if machine.running else frame.module.tree
    take_side(frame, asks, scope, branch=holds)
    take_class(frame, node.test)
    with machine.under(Condition(asks, branch=holds)):
        first = machine.execute(node.body, frame)
    after = state_of(frame)
    restore(frame, before)
    take_side(frame, asks, scope, branch=not holds)
    with machine.under(Condition(asks, branch=not holds)):
        second = machine.execute(node.orelse, frame)
    if first and second:
        return first if first == second else "return"
    if first:
        machine.conditions.append(Condition(asks, branch=not holds, by=first))
    elif second:
        restore(frame, after)
        machine.conditions.append(Condition(asks, branch=holds, by=second))
    else:
        merge(frame, after, node, partial(_settle, machine, node, frame))
    return ""


def _asked(machine: Machine, test: ast.expr, frame: Frame) -> tuple[ast.expr, bool]:
    """Return the test that a name holds or a function returns, and whether it holds.

    Any other test is its own, and holds in the branch of its statement.
    """
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    subject = test.operand if isinstance(test, ast.UnaryOp) else test
    inner = frame.tests.get(dotted(subject))
    if isinstance(subject, ast.Call) and dotted(subject.func).rpartition(".")[2] in testing(
        frame.module.tree
    ):
        inner = test_of_call(_called(machine, subject.func, frame), subject, frame.module)
    return (test, True) if inner is None else (inner, not negated)


def _called(machine: Machine, function: ast.expr, frame: Frame) -> Value:
    """Return what a call calls: a method of an object in sight, or the value of a name."""
    if isinstance(function, ast.Attribute):
        owner = machine.evaluate(function.value, frame)
        if isinstance(owner, Instance):
            return method(machine, owner.kind, function.attr, owner) or UNKNOWN
    return machine.evaluate(function, frame)


def _settle(machine: Machine, node: ast.If, frame: Frame, name: str, parts: list[Value]) -> Value:
    loops = machine.loops[frame.depth(name) :]
    return merge_branches(node, loops, machine.conditions, name, parts)


def _truth(machine: Machine, test: ast.expr, frame: Frame) -> bool | None:
    """Return the truth of a test that the code decides, and None of any other."""
    if isinstance(test, ast.Compare) and dotted(test.left) == "__name__":
        return True
    value = machine.evaluate(test, frame)
    name = dotted(test.operand if isinstance(test, ast.UnaryOp) else test)
    if name in frame.module.variables and frame.names.get(name) in (
        None,
        frame.module.variables[name],
    ):
        return None  # a switch of the file, which its reader may turn
    if {"master", "main"} & set(words_of(name).split()):
        return None  # what one process is, whatever it begins with
    return bool(value.value) if isinstance(value, Constant) else None


@dataclass(frozen=True, slots=True)
class _Source:
    """The iterable of a loop."""

    value: Value
    with_index: bool = False
    start: int | None = 0
    text: str = ""
    draws: bool = False
    steps: ast.Call | None = None


def _source(machine: Machine, node: ast.expr, frame: Frame) -> _Source:
    """Return the iterable of a loop, inside enumerate, tqdm, zip and range."""
    if isinstance(node, ast.Call) and node.args:
        name = dotted(node.func).rsplit(".", 1)[-1]
        if name == "enumerate":
            inner = _source(machine, node.args[0], frame)
            starts = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "start")]
            start = machine.evaluate(starts[0], frame) if starts else Constant(0)
            first = (
                start.value
                if isinstance(start, Constant) and isinstance(start.value, int)
                else None
            )
            text = "" if inner.text.startswith("range:") else inner.text
            return replace(inner, with_index=True, start=first, text=text)
        if name in _WRAPPERS:
            for keyword in node.keywords:
                machine.evaluate(keyword.value, frame)
            return _source(machine, node.args[0], frame)
        if name in {"zip", "zip_longest"}:
            counter = _counter_beside(machine, node, frame)
            values = [
                by_pieces(machine, argument, frame) or machine.evaluate(argument, frame)
                for argument in node.args
            ]
            loaders = [as_loader(v) for v in values]
            batches = next((v for v in loaders if isinstance(v, Loader)), UNKNOWN)
            return replace(counter, value=batches)
        if name.endswith("range"):
            return _range(machine, node, frame)
    value = by_pieces(machine, node, frame) or _iterated(machine, node, frame)
    if value == Constant("range"):
        return _Source(UNKNOWN, with_index=True, text="range:")
    if isinstance(value, Loader) and value.with_index:
        return _Source(replace(value, with_index=False), with_index=True, text=dotted(node))
    if isinstance(node, ast.Call) and isinstance(value, Unknown) and yields_batches(node):
        text = ast.unparse(node)
        return _Source(Loader(text, text))
    return _Source(value, text=dotted(node))


def _iterated(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    """Return what a loop goes over: an object yields what its class does, or its name says."""
    value = machine.evaluate(node, frame)
    if not isinstance(value, Instance):
        return value
    inner = method(machine, value.kind, "__iter__", value)
    yields = UNKNOWN if inner is None else follow(machine, inner, node, [], {})
    if isinstance(yields, Loader):
        return replace(yields, text=dotted(node))
    return yields if isinstance(yields, Listing) else Unknown(dotted(node))


def _counter_beside(machine: Machine, node: ast.Call, frame: Frame) -> _Source:
    """Return how zip(range(n), batches) and zip(count(), batches) number the batches."""
    match node.args:
        case [ast.Call(function, arguments), _] if len(arguments) < 3:
            pass
        case _:
            return _Source(UNKNOWN)
    name = dotted(function).rpartition(".")[2]
    if name not in {"range", "count"} or (name == "count" and len(arguments) > 1):
        return _Source(UNKNOWN)
    begins = len(arguments) == (2 if name == "range" else 1)
    first = number(machine.evaluate(arguments[0], frame)) if begins else 0
    return _Source(UNKNOWN, with_index=True, start=first)


def _range(machine: Machine, node: ast.Call, frame: Frame) -> _Source:
    values = [machine.evaluate(argument, frame) for argument in node.args]
    last = values[-1] if len(values) < 3 else values[1]
    start = values[0] if len(values) > 1 else Constant(0)
    first = start.value if isinstance(start, Constant) and isinstance(start.value, int) else None
    text = ast.unparse(node.args[-1]) if len(values) == 1 else ""
    if isinstance(last, Count) and last.unit == "batches" and not last.plus and len(values) == 1:
        source = machine.evaluate(subject, frame) if (subject := _measured(node.args[0])) else None
        text_of = last.text.removeprefix("len(").removesuffix(")")
        return _Source(
            source if isinstance(source, Loader) else Loader(last.key, text_of),
            with_index=True,
            start=first,
            text=text,
            draws=True,
        )
    steps = node if len(values) == 3 and abs(number(values[2]) or 2) > 1 else None
    return _Source(UNKNOWN, with_index=True, start=first, text=f"range:{text}", steps=steps)


def _measured(node: ast.expr) -> ast.expr | None:
    """Return what the length of is asked for, in `len(loader)`."""
    match node:
        case ast.Call(ast.Name("len"), [subject]):
            return subject
    return None


def _for(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.For | ast.AsyncFor)
    source = _source(machine, node.iter, frame)
    if source.draws and isinstance(source.value, Loader) and indexes(node, source.value.text):
        source = replace(source, value=UNKNOWN, text=f"range:{source.text}", draws=False)
    if isinstance(node, ast.For) and source.steps is not None:
        slices = by_steps(machine, node, source.steps, frame)
        if slices is not None:
            source = replace(
                source, value=slices, with_index=isinstance(node.target, ast.Tuple), text=""
            )
    elif isinstance(node, ast.For) and source.text.startswith("range:"):
        source = replace(source, value=by_number(machine, node, frame) or source.value)
        if source.value == UNKNOWN and (loader := drawn(machine, node, frame)):
            source = replace(source, value=loader, draws=True)
        elif source.value == UNKNOWN and (loader := by_index(node)):
            source = replace(source, value=loader)
    value = source.value if _takes_loaders(node.target) else as_loader(source.value)
    items = items_of(value) if isinstance(value, Several) and not source.with_index else ()
    for item in items:
        _with_item(machine, node, frame, item)
    if not items:
        _once(machine, node, frame, source, value)
    return ""


def _with_item(machine: Machine, node: ast.For | ast.AsyncFor, frame: Frame, item: Value) -> None:
    """Follow the pass of a loop over a tuple or dict in sight in which it takes an item."""
    with machine.in_loop(Loop(machine.loop_key(node), node, single=True)):
        for name, part in parts_of(node.target, item).items():
            frame.write(name, part)
            frame.begin(name, len(machine.loops))
        machine.execute(node.body, frame)


def _once(
    machine: Machine, node: ast.For | ast.AsyncFor, frame: Frame, source: _Source, value: Value
) -> None:
    loader = value if isinstance(value, Loader) else None
    opaque = isinstance(value, Unknown) and not source.text.startswith("range:")
    name = value.text or source.text if isinstance(value, Unknown) else ""
    name = name or (_name_of_call(node.iter) if opaque else "")
    epochs = "epoch" in ast.unparse(node.target)
    if opaque and name and not epochs and _takes_batches(machine, node, name, source):
        loader = value = Loader(name, name)
    if isinstance(value, Listing) and isinstance(value.item, Quantity | Several):
        batches = machine.trace.loops.get(value.over)
        loader = batches.loader if batches is not None and not value.conditional else None
    micro = source.text.removeprefix("range:") if source.text.startswith("range:") else ""
    loop = Loop(
        machine.loop_key(node), node, loader, start=source.start, draws=source.draws, micro=micro
    )
    loop.leaves += [(Condition(n, branch=True),) for n in _cuts(node, source, loader)]
    with machine.in_loop(loop):
        target = node.target
        if source.steps is not None and isinstance(target, ast.Name):
            _set(frame, target, Count("offset", loop.key, text=target.id), machine)
        elif (source.with_index and source.text.startswith("range:")) or source.draws:
            loop.index = dotted(target)
            _set(
                frame,
                target,
                Count("batches", loop.key, (source.start or 0) - 1, loop.index),
                machine,
            )
        elif source.with_index and isinstance(target, ast.Tuple) and len(target.elts) == 2:
            loop.index = dotted(target.elts[0])
            if source.start is not None:
                _set(
                    frame,
                    target.elts[0],
                    Count("batches", loop.key, source.start - 1, loop.index),
                    machine,
                )
            else:
                _set(frame, target.elts[0], Unknown(loop.index), machine)
            _bind_batch(machine, target.elts[1], value, loop, frame)
        else:
            _bind_batch(machine, target, value, loop, frame)
        begin_counters(machine, node.body, loop, frame)
        _pass(machine, node.body, frame)
    if node.orelse:
        machine.execute(node.orelse, frame)


def _pass(machine: Machine, body: list[ast.stmt], frame: Frame) -> str:
    """Follow one pass of a loop; autograd is on in one that always back-propagates."""
    grad = machine.grad
    if grad is None and _always_trains(body):
        machine.grad = True
    try:
        return machine.execute(body, frame)
    finally:
        machine.grad = grad


def _always_trains(body: list[ast.stmt]) -> bool:
    """Return whether a block back-propagates under no condition."""
    for node in body:
        match node:
            case ast.Expr(ast.Call(ast.Attribute(attr="backward" | "manual_backward"))):
                return True
            case ast.With(body=inner) if _always_trains(inner):
                return True
    return False


def _cuts(node: ast.For | ast.AsyncFor, source: _Source, loader: Loader | None) -> list[ast.expr]:
    """Return the calls that may end a loop before its loader does: islice, or range as it draws."""
    number_of = source.draws and source.text.startswith("range:")
    if number_of and loader is not None and not loader.endless:
        return [node.iter]
    return [n for n in ast.walk(node.iter) if isinstance(n, ast.Call) and is_cut(n)]


def _takes_batches(
    machine: Machine, node: ast.For | ast.AsyncFor, name: str, source: _Source
) -> bool:
    """Return whether a loop over what is out of sight trains, or evaluates, by its statements."""
    if _takes_loaders(node.target):
        return False
    if _trains(node.body) or _evaluates(name, node.body):
        return True
    return machine.grad is False and _scores_pairs(node, indexed=source.with_index)


def _takes_loaders(target: ast.expr) -> bool:
    """Return whether what a loop goes over are loaders, as those of clients, by its own names."""
    names = [words_of(n.id).split()[-1:] for n in ast.walk(target) if isinstance(n, ast.Name)]
    return ["loader"] in names or ["dataloader"] in names


def _name_of_call(node: ast.expr) -> str:
    """Return the code of a method that a loop goes over, as `data.batches_of(epoch)`, or ""."""
    around = {"enumerate", *_WRAPPERS}
    while isinstance(node, ast.Call) and node.args:
        if dotted(node.func).rpartition(".")[2] not in around:
            break
        node = node.args[0]
    match node:
        case ast.Call(ast.Attribute(ast.Name() | ast.Attribute(), name)) if name not in {
            "count", "cycle", "repeat", "items", "values", "keys", "range", "trange", "arange",
        }:  # fmt: skip
            words = set(words_of(name).split())
            return ast.unparse(node) if words & _DRAWN else ""
    return ""


def _evaluates(name: str, body: list[ast.stmt]) -> bool:
    """Return whether a loop goes over what is called `valid`, `dev` or `test`, and takes a loss."""
    if name.rpartition(".")[2].lower() not in _HELD_OUT:
        return False
    nodes = [n for statement in body for n in ast.walk(statement) if isinstance(n, ast.Call)]
    words = [words_of(dotted(n.func)).split() for n in nodes]
    return any({"criterion", "crit", "loss", "entropy"} & set(names) for names in words)


def _scores_pairs(node: ast.For | ast.AsyncFor, *, indexed: bool) -> bool:
    """Return whether a loop takes pairs apart and gives one part to a model, not made a batch."""
    pair = node.target
    if indexed:
        pair = pair.elts[-1] if isinstance(pair, ast.Tuple) else pair
    names = {dotted(part) for part in getattr(pair, "elts", [])} - {""}
    text = "\n".join(ast.unparse(statement) for statement in node.body)
    calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
    feeds = any(is_model(dotted(n.func)) and names & set(map(dotted, n.args)) for n in calls)
    return len(names) > 1 and feeds and "unsqueeze(" not in text and "[None" not in text


def _trains(body: list[ast.stmt]) -> bool:
    """Return whether the statements of a loop, those of inner loops left out, back-propagate."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.For | ast.While | FunctionNode):
            continue
        if isinstance(node, ast.Attribute) and node.attr == "backward":
            return True
        waiting += ast.iter_child_nodes(node)
    return False


def _set(frame: Frame, target: ast.expr, value: Value, machine: Machine) -> None:
    name = dotted(target)
    if name:
        frame.names[name] = value
        frame.depths[name] = len(machine.loops)


def _bind_batch(machine: Machine, target: ast.expr, value: Value, loop: Loop, frame: Frame) -> None:
    if isinstance(value, Listing) and value.over:
        value = replace(value, item=_of_loop(value.item, loop.key))
    if isinstance(value, Listing) and isinstance(value.item, Several):
        for name, part in parts_of(target, value.item).items():
            frame.names[name] = Unknown(name) if part == UNKNOWN else part
            frame.depths[name] = len(machine.loops)
        return
    pads = names_after(target, value.pads) if isinstance(value, Loader) else {}
    for name in [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]:
        item: Value = Unknown(name)
        if isinstance(value, Loader) and value.index:
            item = Unknown(name)
        elif isinstance(value, Loader):
            item = Tensor(loop.key, text=name, pads=pads.get(name, ()))
        elif isinstance(value, Listing) and isinstance(target, ast.Name):
            item = value.item
        elif isinstance(value, Tensor | Constant | Option | Count):
            item = value
        if item == UNKNOWN:
            item = Unknown(name)
        frame.names[name] = item
        frame.depths[name] = len(machine.loops)


def _of_loop(item: Value, key: str) -> Value:
    """Return an item of a list of losses as the loss of a pass of the loop over that list."""
    if isinstance(item, Several):
        return replace(item, items=tuple(_of_loop(part, key) for part in item.items))
    if isinstance(item, Quantity) and item.loop and not item.over:
        return replace(item, loop=key)
    return item


def _while(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.While)
    loader = by_cursor(machine, node, frame) or drawn(machine, node, frame)
    loop = Loop(machine.loop_key(node), node, loader, draws=loader is not None)
    with machine.in_loop(loop):
        begin_counters(machine, node.body, loop, frame)
        machine.evaluate(node.test, frame)
        end = _pass(machine, node.body, frame)
    return "return" if end == "return" and isinstance(node.test, ast.Constant) else ""


def _with(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.With | ast.AsyncWith)
    grad = machine.grad
    for item in node.items:
        value = machine.evaluate(item.context_expr, frame)
        context = item.context_expr
        name = resolve(
            dotted(context.func if isinstance(context, ast.Call) else context), frame.module
        )
        if isinstance(value, Reference):  # of a name that holds a context
            name = value.name
        if is_no_grad(name):
            machine.grad = False
        elif name == "torch.enable_grad":
            machine.grad = True
        elif value == UNKNOWN and _evaluates_in(name):
            machine.grad = False
            machine.emit("mode", context, frame)
        elif isinstance(context, ast.Call) and name.endswith(".accumulate"):
            machine.emit("managed", context, frame)
        if item.optional_vars is not None:
            store(machine, node, item.optional_vars, value, frame)
    try:
        return machine.execute(node.body, frame)
    finally:
        machine.grad = grad


def _evaluates_in(name: str) -> bool:
    """Return whether a context out of sight is for evaluations, so that it may switch anything."""
    words = set(words_of(name.rpartition(".")[2]).split())
    return bool(words & {"eval", "evaluate", "evaluating", "evaluation", "inference"})


def _try(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.Try | ast.TryStar)
    end = machine.execute(node.body, frame)
    before = state_of(frame)
    for handler in node.handlers:
        with machine.under(Condition(handler.type or ast.Constant(value=True), branch=True)):
            machine.execute(handler.body, frame)
        restore(frame, before)
    end = end or machine.execute(node.orelse, frame)
    last = machine.execute(node.finalbody, frame)
    return last or ("" if node.handlers else end)


def _return(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.Return)
    value = machine.evaluate(node.value, frame) if node.value is not None else Constant(None)
    parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    for inner, part in zip(
        flat(value), parts if len(parts) == len(flat(value)) else parts * 9, strict=False
    ):
        if isinstance(inner, Quantity):
            machine.emit(
                "return", part or node, frame, inner, text=dotted(part) if part is not None else ""
            )
    frame.results.append(value)
    return "return"


def _break(machine: Machine, _node: ast.stmt, _frame: Frame) -> str:
    if machine.loops:
        loop = machine.loops[-1]
        loop.leaves.append(tuple(machine.conditions[loop.outer :]))
    return "break"


def _continue(machine: Machine, _node: ast.stmt, _frame: Frame) -> str:
    if machine.loops:
        loop = machine.loops[-1]
        loop.skips.append((len(machine.trace.events), tuple(machine.conditions[loop.outer :])))
    return "continue"


def _raise(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    _parts(machine, node, frame)
    return "raise"


def _function(_machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, FunctionNode)
    own = frame.names is frame.module.variables
    around = None if own else Scope(frame.names, frame.depths)
    frame.names[node.name] = Function(node, frame.module, around=around)
    return ""


def _class(_machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.ClassDef)
    frame.names[node.name] = Class(node, frame.module)
    return ""


def _delete(_machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.Delete)
    for target in node.targets:
        frame.names.pop(dotted(target), None)
    return ""


def _match(machine: Machine, node: ast.stmt, frame: Frame) -> str:
    assert isinstance(node, ast.Match)
    machine.evaluate(node.subject, frame)
    before, branches = state_of(frame), []
    for case in node.cases:
        with machine.under(Condition(node.subject, branch=True)):
            machine.execute(case.body, frame)
        branches.append(state_of(frame))
        restore(frame, before)
    for branch in branches:
        merge(frame, branch)
    return ""


def _declare(_machine: Machine, node: ast.stmt, frame: Frame) -> str:
    module = frame.module
    scope = Scope(module.variables, module.depths) if isinstance(node, ast.Global) else frame.around
    if scope is not None and scope.names is not frame.names:
        for name in getattr(node, "names", []):
            frame.declare(name, scope)
    return ""


def _nothing(_machine: Machine, _node: ast.stmt, _frame: Frame) -> str:
    return ""


_RULES: dict[type, Callable[[Machine, ast.stmt, Frame], str]] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AnnAssign: _assign,
    ast.AugAssign: _assign_with,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.TryStar: _try,
    ast.Return: _return,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Raise: _raise,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.Delete: _delete,
    ast.Match: _match,
    ast.Import: _nothing,
    ast.ImportFrom: _nothing,
    ast.Global: _declare,
    ast.Nonlocal: _declare,
    ast.Pass: _nothing,
}
