"""Evaluations that neither a mode nor a name marks: what they compute is used as numbers alone."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._graphs import after, are_numbers, leave
from batchproof.audit._dimensions._lattice import Instance, Quantity
from batchproof.audit._dimensions._layers import has_no_weights
from batchproof.audit._dimensions._methods import PASSING
from batchproof.audit._dimensions._names import FunctionNode, dotted
from batchproof.audit._dimensions._questions import (
    compatible,
    functions_of,
    role,
    scopes_of,
    trains,
    within,
)
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace

# what a file says that switches autograd, or freezes weights
_SWITCHES = re.compile(
    r"(no|enable|disable|stop|maybe|with|without|use)_?grad|grad_?(enabled|mode|off)"
    r"|(?<!detach\(\))\.requires_grad_? *(= *(?!=|True)|\((?!True|\)))"
    r"|inference_mode|volatile|freeze",
    re.IGNORECASE,
)
# what a function says that asks for gradients of an evaluation
_ASKS = re.compile(r"requires_grad_? *(\(|=(?!=))|\bgrad\(|jacobian", re.IGNORECASE)

# data that are held out, as x_test or val_inputs
_HELD_OUT = re.compile(
    r"((test|val|valid|validation|dev|holdout)_?(x|data|inputs?|images?|features?|seq|tensor)"
    r"|(x|data|inputs?|images?|features?|seq|tensor)_?(test|val|valid|validation|dev|holdout))$",
    re.IGNORECASE,
)

_FREEZES = re.compile(r"requires_grad_?\s*(=\s*|\()False")

_GRADIENTS = {"grad", "jacobian", "hessian"}  # functions of torch that need a graph
_PARTS = 2  # how deep the parts of a model are looked into


def mode_of(trace: Trace, event: Event) -> Event | None:
    """Return what last set a mode before a forward pass, None where nothing did."""
    modes = [
        e
        for e in trace.of("eval", "train", "mode")
        if e.order < event.order and compatible(e, event)
    ]
    return modes[-1] if modes else None


def by_mode(trace: Trace, event: Event) -> str:
    """Return that a model was put in evaluation mode before a forward pass, or ""."""
    mode = mode_of(trace, event)
    return f"eval() at line {mode.line}" if mode is not None and mode.kind == "eval" else ""


def switches_nothing(trace: Trace, event: Event) -> bool:
    """Return whether a file never switches autograd, and sets the mode in a function, or trains.

    Blocks and decorators of other functions than the one that sets the mode do not count, as each
    of those guards itself, unless one leads to that function.
    """
    mode, lines = mode_of(trace, event), [_plain(line) for line in event.module.lines]
    own = mode is not None and mode.kind == "eval" and mode.function == event.function
    whole = own or any(".backward(" in line for line in lines)
    inside = [lines[n.lineno - 1 : n.end_lineno] for n in functions_of(event)] or [lines]
    if not whole or any(_ASKS.search(line) for part in inside for line in part):
        return False
    numbers = {n for n, line in enumerate(lines, 1) if _SWITCHES.search(line)}
    return not numbers or (own and numbers <= _of_others(trace, event))


def _of_others(trace: Trace, event: Event) -> set[int]:
    """Return the lines of blocks and decorators of other functions, which lead to no pass."""
    names = {
        event.function,
        trace.entry,
        *(dotted(n).rpartition(".")[2] for n in _functions(event)),
    }
    places = set[int]()
    for body in (n for n in ast.walk(event.module.tree) if isinstance(n, FunctionNode)):
        if event.function in {"", body.name}:
            continue
        if not names & (_read_in(body) | {body.name}):
            places |= {line for d in body.decorator_list for line in _lines_of(d)}
        for block in (n for n in ast.walk(body) if isinstance(n, ast.With)):
            if not names & _read_in(block):
                places.add(block.lineno)
    return places


def _read_in(node: ast.AST) -> set[str]:
    """Return the names and attributes that code reads, or calls."""
    names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return names | {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _lines_of(node: ast.expr) -> range:
    """Return the lines of an expression."""
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _functions(event: Event) -> Iterator[ast.expr]:
    """Yield what is called on the way to an event."""
    return (call.func for call in event.calls if isinstance(call, ast.Call))


def guards_itself(trace: Trace, event: Event, loop: Loop | None) -> bool:
    """Return whether a function that sets the mode shows that no caller switches autograd off.

    It detaches what it computes in a loop, or switches autograd off for another part of it. Weights
    that a line of the file freezes may have no graph.
    """
    mode = mode_of(trace, event)
    frozen = any(_FREEZES.search(line) for line in event.module.lines)
    if mode is None or mode.kind != "eval" or mode.calls or frozen or loop is None:
        return False
    parts = [n for n in ast.walk(loop.node) if isinstance(n, ast.Call) and not n.args]
    calls = [n.func for n in parts if isinstance(n.func, ast.Attribute)]
    return any(function.attr in {"detach", "no_grad", "inference_mode"} for function in calls)


def is_frozen(event: Event) -> bool:
    """Return whether no weight of a model takes part in autograd.

    freeze() of Lightning, or a line for each weight, switches gradients off before, or the module
    has no weights.
    """
    if has_no_weights(event.value):
        return True
    nodes = (n for scope in scopes_of(event) for n in ast.walk(scope))
    return any(_freezes(n) for n in nodes if getattr(n, "lineno", event.line) < event.line)


def differentiates(event: Event) -> bool:
    """Return whether the class of a model, or of a part of it, takes gradients where it runs.

    Such a model adapts itself to a few samples, or computes forces from an energy. One that
    switches autograd on for itself runs in no_grad(), too.
    """
    names = set(_called_by(event.value, 0))
    return bool(names & _GRADIENTS) and "enable_grad" not in names


def helpers_of(event: Event, parts: list[ast.AST]) -> list[FunctionNode]:
    """Return the functions of a file, and the methods of self, that code calls by their names."""
    calls = {dotted(n.func) for n in parts if isinstance(n, ast.Call)}
    own = {name.removeprefix("self.") for name in calls if name.startswith("self.")}
    methods = (m for kind in event.module.classes.values() for m in kind.body)
    helpers = [f for name in calls if (f := event.module.functions.get(name)) is not None]
    return helpers + [m for m in methods if isinstance(m, FunctionNode) and m.name in own]


def _called_by(value: object, depth: int) -> Iterator[str]:
    """Yield the last names of what the classes of a model call."""
    if not isinstance(value, Instance) or depth > _PARTS:
        return
    for node in ast.walk(value.kind.node):
        if isinstance(node, ast.Call):
            yield dotted(node.func).rpartition(".")[2]
    for part in value.attributes.values():
        yield from _called_by(part, depth + 1)


def near(event: Event, parts: list[ast.AST]) -> list[ast.AST]:
    """Return code without what reads `.grad` outside the loop of a pass, as training does."""
    if event.loop is None:
        return parts
    own = {id(n) for n in ast.walk(event.loop.node)}
    own |= {id(n.func) for n in parts if isinstance(n, ast.Call)}
    return [
        n for n in parts if not (isinstance(n, ast.Attribute) and n.attr == "grad") or id(n) in own
    ]


def _freezes(node: ast.AST) -> bool:
    """Return whether code switches the gradients of weights off."""
    match node:
        case ast.Assign([ast.Attribute(attr="requires_grad")], value):
            return not (isinstance(value, ast.Constant) and value.value is True)
        case ast.Call(ast.Attribute(_, "requires_grad_"), args, keywords):
            values = [*args, *(k.value for k in keywords)]
            return any(not (isinstance(v, ast.Constant) and v.value is True) for v in values)
        case ast.Attribute(attr="freeze"):
            return True
    return False


def _plain(line: str) -> str:
    """Return a line without its comment."""
    return line.partition("#")[0]


def on_its_own(trace: Trace, event: Event) -> str:
    """Return that code evaluates outside loops over batches, for numbers alone, or "".

    It puts the model in evaluation mode itself, and no output leaves with its graph. A loop
    elsewhere trains the model, or the outputs are those of a loop over samples that trains nothing.

    Args:
        trace: the events.
        event: a forward pass outside loops over batches, or in one that sets the mode inside it.
    """
    mode, around = mode_of(trace, event), event.calls
    if mode is None or mode.kind != "eval" or around[: len(mode.calls)] != mode.calls:
        return ""
    trained = _training(trace, event) is not None
    apart = event.loops and (trained or event.loops != mode.loops)
    changes = apart and trace.within(event.loops[-1], "backward", "step")
    samples = apart and not changes and (event.grad is True or switches_nothing(trace, event))
    passes = (e for e in trace.of("backward", "step") if e.calls[: len(around)] == around)
    later = any(e.order > event.order for e in passes)
    over = not later and not trained and _trained_before(trace, event)
    beside = (over or (trained and not later)) and _body_of(event) is not None
    if not (samples or beside) or not _is_quiet(trace, event, mode, takes=not beside):
        return ""
    return f"eval() at line {mode.line}" + (", where the training step is over" if over else "")


def guarded_otherwise(trace: Trace, event: Event) -> bool:
    """Return whether another branch switches autograd off around the same pass."""
    same = (e for e in trace.of("forward") if e.node is event.node and e.grad is False)
    return any(not compatible(e, event) for e in same)


def evaluated(trace: Trace, event: Event) -> Loop | None:
    """Return the loop over batches that a pass is of, None where the mode is set inside it."""
    loop, mode = event.batches, mode_of(trace, event)
    if loop is None or mode is None or mode.kind != "eval" or mode.calls != event.calls:
        return loop
    return None if loop in mode.loops and trains(trace, loop) else loop


def second_pass(trace: Trace, event: Event, loop: Loop) -> str:
    """Return that a loop runs a model that another loop trains, for numbers alone, or "".

    Args:
        trace: the events.
        event: a forward pass in the loop.
        loop: a loop that changes no weight.
    """
    numbers = [
        e
        for e in trace.within(loop, "accumulate", "append")
        if isinstance(e.value, Quantity) and e.value.loop == loop.key and e.value.graph is False
    ]
    other = _training(trace, event)
    if other is None:
        return ""
    passes = {id(within(e, loop)) for e in trace.within(loop, "forward")}
    pure = {id(within(e, loop)) for e in trace.within(loop, "criterion")}
    scope = next((f for f in functions_of(event) if loop.node in ast.walk(f)), event.module.tree)
    rest, names = after(scope, loop.node), _keep_nothing(event)
    if leave(rest, passes, pure, names) or not (numbers or are_numbers(rest, passes, pure, names)):
        return ""
    models = {id(e.node) for e in trace.within(loop, "forward") if within(e, loop) is e.node}
    for call in trace.within(loop, "forward"):
        if id(within(call, loop)) not in models and not _is_quiet(trace, call):
            return ""
    return f"the model is trained at line {other.line}, and only numbers are kept here"


def repeated(trace: Trace, event: Event) -> str:
    """Return that a loop runs a trained model for numbers alone, of no batches of its own, or "".

    Args:
        trace: the events.
        event: a forward pass outside loops over batches.
    """
    loop, why = event.loop, ""
    if loop is not None and not trace.within(loop, "backward", "step"):
        why = second_pass(trace, event, loop)
    return why or held_out(trace, event)


def held_out(trace: Trace, event: Event) -> str:
    """Return that a model that a loop trains runs on held-out data for numbers alone, or "".

    Args:
        trace: the events.
        event: a forward pass, of data whose names alone say that they are held out.
    """
    if not is_held_out(event.node):
        return ""
    inside = any(trains(trace, loop) for loop in event.loops)
    passes = (e for e in trace.of("forward") if e.text == event.text and e.node is not event.node)
    others = [e for e in passes if e.grad is not False and not is_held_out(e.node)]
    trained = [e for e in others if e.loop is not None and trains(trace, e.loop)]
    body = _body_of(event)
    statements = event.module.tree.body if body is None else body.body
    pure = {id(e.node) for e in trace.of("criterion") if e.function == event.function}
    if not trained or not are_numbers(statements, {id(event.node)}, pure, _keep_nothing(event)):
        return ""
    where = "in a loop that trains" if inside else f"after line {trained[0].line} has trained it"
    return f"{ast.unparse(event.node)} is used for numbers alone, {where}"


def is_held_out(node: ast.AST) -> bool:
    """Return whether a call is given nothing but data that their names call held out."""
    arguments = node.args if isinstance(node, ast.Call) else []
    return bool(arguments) and all(_HELD_OUT.search(dotted(_subject(a))) for a in arguments)


def _subject(node: ast.expr) -> ast.expr:
    """Return what is made a tensor, moved or cut: x in torch.tensor(x[:9]).float().to(device)."""
    while True:
        match node:
            case ast.Call(ast.Attribute(whole, name), arguments) if (
                not arguments or name in PASSING
            ):
                node = whole
            case ast.Call(_, [first, *_]) | ast.Subscript(first):
                node = first
            case _:
                return node


def scores_apart(trace: Trace, event: Event) -> str:
    """Return that a function that is called beside training returns numbers alone, or "".

    Args:
        trace: the events.
        event: a forward pass outside loops over batches.
    """
    if not event.calls or not event.loops:
        return ""
    other = _training(trace, event)
    beside = other is not None and other.loops and other.loops[0] is event.loops[0]
    scores = [
        e
        for e in trace.of("return")
        if e.calls == event.calls and isinstance(e.value, Quantity) and e.value.graph is False
    ]
    trained = any(e.calls[: len(event.calls)] == event.calls for e in trace.of("backward", "step"))
    if other is None or not beside or not scores or trained or not _is_quiet(trace, event):
        return ""
    return f"{event.function} returns numbers of a model that is trained at line {other.line}"


def sums_graphs(trace: Trace, event: Event) -> str:
    """Return that an evaluation keeps losses with their graphs, or "".

    Args:
        trace: the events.
        event: a loss that a loop adds to a sum or a list.
    """
    loss, loop = event.value, event.batches
    if not isinstance(loss, Quantity) or loop is None or loss.number or loss.loop != loop.key:
        return ""
    if loss.graph is False or event.grad is False or trace.within(loop, "backward", "step"):
        return ""
    passes = [e for e in trace.within(loop, "forward") if e.calls == event.calls]
    on = any(e.grad is True or switches_nothing(trace, e) for e in passes)
    why = by_mode(trace, passes[0]) if passes else ""
    return why if on else ""


def steps_on_held_out(trace: Trace) -> Iterator[tuple[Event, str]]:
    """Yield the steps of an optimiser in loops over held-out data, of a model that evaluates.

    Another loop trains with the training data.
    """
    for step in trace.of("step"):
        loop = step.batches
        loader = loop.loader if loop is not None else None
        if loop is None or loader is None or role(loader.text) != "held out":
            continue
        why = by_mode(trace, step)
        others = (e.batches for e in trace.of("step") if e.order < step.order)
        texts = [o.loader.text for o in others if o is not None and o.loader is not None]
        if why and trains(trace, loop) and any(role(text) == "training" for text in texts):
            yield step, f"{why}, and {loader.text} is held-out data"


def _is_quiet(
    trace: Trace, event: Event, mode: Event | None = None, *, takes: bool = False
) -> bool:
    """Return whether the function that runs a model lets numbers alone leave, by its code.

    Args:
        trace: the events.
        event: a forward pass.
        mode: where the mode is set of the passes whose outputs are meant, None where all are.
        takes: whether it must take a number of them, as a pass that warms up does not.
    """
    body = _body_of(event)
    if (body is None and event.function) or (body is not None and _asserts(body)):
        return False
    own = [e for e in trace.of("forward") if e.function == event.function]
    own = [e for e in own if mode is None or getattr(mode_of(trace, e), "node", None) is mode.node]
    pure = {id(e.node) for e in trace.of("criterion") if e.function == event.function}
    statements = event.module.tree.body if body is None else body.body
    passes, names = {id(e.node) for e in own}, _keep_nothing(event)
    if takes:
        return are_numbers(statements, passes, pure, names)
    return not leave(statements, passes, pure, names)


def _asserts(body: FunctionNode) -> bool:
    """Return whether a function is a test, which compares a few outputs once."""
    tests = body.name.startswith("test") and any(isinstance(n, ast.Assert) for n in ast.walk(body))
    return tests or any(
        isinstance(n, ast.Attribute) and n.attr.startswith("assert") for n in ast.walk(body)
    )


def _keep_nothing(event: Event) -> set[str]:
    """Return the functions in sight of an event, and those that its file takes from torch."""
    imports = event.module.imports.items()
    of_torch = {name for name, origin in imports if origin.startswith(("torch.", "numpy."))}
    return of_torch | event.module.functions.keys()


def _body_of(event: Event) -> FunctionNode | None:
    """Return the function whose code a forward pass is in, None where it is in none."""
    bodies = (f for f in functions_of(event) if event.node in ast.walk(f))
    return next((f for f in bodies if f is not event.node), None)


def _training(trace: Trace, event: Event) -> Event | None:
    """Return the forward pass of the same model in a loop that trains, None where none is."""
    for other in trace.of("forward"):
        loop = other.batches or other.loop
        mine = other.text == event.text or (
            other.value == event.value and isinstance(event.value, Instance)
        )
        apart = loop not in event.loops or other.calls != event.calls
        if mine and apart and loop is not None and trains(trace, loop):
            return other
    return None


def _trained_before(trace: Trace, event: Event) -> bool:
    """Return whether the code around a pass has trained the same model, in another mode."""
    own = [e for e in trace.events if e.order < event.order and e.calls == event.calls]
    own = [e for e in own if e.function == event.function]
    passes = (e for e in own if e.kind == "forward" and e.text == event.text)
    modes = (mode_of(trace, e) for e in passes)
    trains_it = any(mode is None or mode.kind != "eval" for mode in modes)
    return trains_it and {"backward", "step"} <= {e.kind for e in own}


def by_phase(trace: Trace, event: Event, loop: Loop) -> str:
    """Return why some passes of a loop that trains evaluate, or "".

    The test that puts the model in evaluation mode is the one under which nothing back-propagates,
    and it is asked in a loop over both phases, around which autograd must be on.
    """
    outer = event.loops[0].node
    names = {dotted(n.func).rpartition(".")[2] for n in ast.walk(outer) if isinstance(n, ast.Call)}
    passes = trace.within(loop, "backward")
    if names & {"set_grad_enabled", "no_grad", "inference_mode"} or not passes:
        return ""
    for mode in trace.of("eval"):
        test = mode.conditions[-1] if mode.conditions and mode.order < event.order else None
        phases = mode.loops[-1:]
        if test is None or phases == (loop,) or not set(phases) & set(event.loops):
            continue
        if _asks(event, test, holds=not test.branch):
            continue
        if all(_asks(each, test, holds=not test.branch) for each in passes):
            where = "holds" if test.branch else "does not hold"
            return f"eval() at line {mode.line} where {ast.unparse(test.test)} {where}"
    return ""


def _asks(event: Event, test: Condition, *, holds: bool) -> bool:
    """Return whether a test, in the same words, holds or does not hold where an event happens."""
    text = ast.dump(test.test)
    return any(c.branch is holds and ast.dump(c.test) == text for c in event.conditions)
