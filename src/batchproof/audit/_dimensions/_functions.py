"""Calls of functions and methods that are in sight: followed with the values they are given."""

import ast
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

from batchproof.audit._dimensions._arithmetic import join
from batchproof.audit._dimensions._cuts import by_count
from batchproof.audit._dimensions._lattice import (
    UNKNOWN,
    Class,
    Constant,
    Count,
    Criterion,
    Dataset,
    Function,
    Instance,
    Listing,
    Loader,
    Meter,
    Model,
    Option,
    Quantity,
    Several,
    Tensor,
    Tool,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._machine import CALLS, Frame, Machine
from batchproof.audit._dimensions._names import (
    USUAL,
    FunctionNode,
    Module,
    dotted,
    methods_of,
    tells,
)

_THINGS = Meter | Criterion | Loader | Dataset | Model | Tool  # what no loop changes
NO_GRAD = {"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"}


def follow(
    machine: Machine,
    function: Function,
    node: ast.AST,
    args: list[Value],
    keywords: Mapping[str, Value],
) -> Value:
    """Return the value of a call of a function in sight, and record its events.

    Args:
        machine: the interpretation.
        function: what is called.
        node: the call.
        args: the values of its positional arguments.
        keywords: the values of its keywords.
    """
    if args and isinstance(args[0], Instance) and _takes_self(function):
        function, args = replace(function, owner=args[0]), args[1:]  # Base.run(self)
    body, module = function.node, function.module
    if body in machine.running or len(machine.calls) >= CALLS or not isinstance(module, Module):
        return UNKNOWN
    holds = _holds_losses(function.owner) or any(_is_of_batch(value) for value in args)
    if not (isinstance(body, ast.Lambda) or holds or tells(module, body) or _yields(body)):
        machine.entered_bodies.add(body)
        return UNKNOWN
    names = bind(machine, function, args, keywords)
    names |= {name: value for name, value in keywords.items() if "." in name}
    frame = Frame(module, getattr(body, "name", ""), names, owner=function.owner)
    frame.depths = dict.fromkeys(names, len(machine.loops))
    frame.around = function.around
    if isinstance(body, ast.Lambda):
        return machine.evaluate(body.body, frame)
    machine.entered_bodies.add(body)
    if _yields(body):
        return _batches(machine, body, frame, node)
    caller = machine.frames[-1] if machine.frames else Frame(module)
    caller.give_back()
    _run(machine, body, frame, node)
    frame.give_back()
    caller.take()
    results = frame.results
    value = results[0] if results else UNKNOWN
    for other in results[1:]:
        value = join(value, other)
    return value


@lru_cache(maxsize=4)
def testing(tree: ast.Module) -> frozenset[str]:
    """Return the names of the functions of a file that return a test of a remainder."""
    names = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
    ends = ((n.name, n.body[-1]) for n in names if len(n.body) < 3)
    return frozenset(
        name
        for name, last in ends
        if isinstance(last, ast.Return) and any(isinstance(n, ast.Mod) for n in ast.walk(last))
    )


def test_of_call(function: Value, node: ast.Call, module: Module) -> ast.expr | None:
    """Return the test of a remainder that is all that a function of a file returns, or None.

    Args:
        function: what is called.
        node: the call, whose arguments stand in for the parameters.
        module: the file.
    """
    if not isinstance(function, Function) or function.module is not module:
        return None
    match function.node:
        case ast.FunctionDef(_, parameters, [*others, ast.Return(ast.expr() as test)]):
            plain = all(isinstance(n, ast.Expr) for n in others)
        case _:
            return None
    if not plain or not any(isinstance(n, ast.Mod) for n in ast.walk(test)):
        return None
    names = [a.arg for a in parameters.args if a.arg != "self"]
    values = dict(zip(names, node.args, strict=False))
    values |= {k.arg: k.value for k in node.keywords if k.arg}
    same = all(dotted(value) == name for name, value in values.items())
    return test if same else _Replace(values).visit(deepcopy(test))


class _Replace(ast.NodeTransformer):
    """Put expressions in the place of names."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return what stands in for a name."""
        return self.values.get(node.id, node)


def _is_of_batch(value: Value) -> bool:
    """Return whether an argument is of a batch, or is where a slice of one begins."""
    offset = isinstance(value, Count) and value.unit == "offset"
    return isinstance(value, Quantity | Tensor) or offset


def _takes_self(function: Function) -> bool:
    """Return whether a function is a method that is called on its class, with the object first."""
    parameters = function.node.args.args
    return function.owner is None and bool(parameters) and parameters[0].arg == "self"


def _holds_losses(owner: Instance | None) -> bool:
    """Return whether an attribute of an object is a loss, as the sum in a meter is."""
    values = owner.attributes.values() if owner is not None else ()
    return any(isinstance(value, Quantity) for value in values)


def _run(machine: Machine, body: FunctionNode, frame: Frame, node: ast.AST) -> None:
    """Execute the statements of a function that is called at a node."""
    grad = machine.grad
    if isinstance(frame.module, Module) and no_grad_decorator(body, frame.module):
        machine.grad = False
    machine.running.append(body)
    machine.calls.append(node)
    machine.frames.append(frame)
    try:
        machine.execute(body.body, frame)
    finally:
        machine.frames.pop()
        machine.running.pop()
        machine.calls.pop()
        machine.grad = grad


def _yields(body: FunctionNode) -> bool:
    """Return whether a function is a generator."""
    waiting: list[ast.stmt] = list(body.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, FunctionNode | ast.ClassDef):
            continue
        value = node.value if isinstance(node, ast.Expr | ast.Assign) else None
        if isinstance(value, ast.Yield | ast.YieldFrom):
            return True
        for name in ("body", "orelse", "finalbody"):
            waiting += getattr(node, name, [])
    return False


def _batches(machine: Machine, body: FunctionNode, frame: Frame, node: ast.AST) -> Value:
    """Return the batches of a generator that yields one for each batch of a loop of its own.

    One that yields the loss of each batch gives a list of losses.
    """
    events, before = len(machine.trace.events), set(machine.trace.loops)
    loops, machine.loops = machine.loops, []
    try:
        _run(machine, body, frame, node)
    finally:
        machine.loops = loops
        del machine.trace.events[events:]
    for key, loop in list(machine.trace.loops.items()):
        inside = any(isinstance(n, ast.Yield) for n in ast.walk(loop.node))
        if key not in before and loop.loader is not None and inside and not loop.leaves:
            loss = frame.results[0] if len(frame.results) == 1 else UNKNOWN
            if isinstance(loss, Quantity) and loss.loop == key:
                return Listing(loss, key)
            return replace(loop.loader, text=body.name, index="")
    return by_count(machine, body, frame) or UNKNOWN


def no_grad_decorator(body: FunctionNode, module: Module) -> bool:
    """Return whether a decorator of a function switches autograd off."""
    for decorator in body.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if is_no_grad(resolve(dotted(call), module)):
            return True
    return False


def is_no_grad(name: str) -> bool:
    """Return whether a context or decorator switches autograd off, one by that name included."""
    return name in NO_GRAD or name.rsplit(".", 1)[-1].endswith(("no_grad", "inference_mode"))


def resolve(text: str, module: Module) -> str:
    """Return a dotted name with its first part replaced by what the import says."""
    head, _, rest = text.partition(".")
    origin = module.imports.get(head) or USUAL.get(head, head)
    return f"{origin}.{rest}" if rest else origin


def bind(
    machine: Machine, function: Function, args: list[Value], keywords: Mapping[str, Value]
) -> dict[str, Value]:
    """Return the parameters of a function with the values they are given."""
    names = dict(function.around.names) if function.around is not None else {}
    parameters = function.node.args
    plain = [*parameters.posonlyargs, *parameters.args]
    decorators = getattr(function.node, "decorator_list", [])
    static = any(dotted(d) == "staticmethod" for d in decorators)
    of_class = any(dotted(d) == "classmethod" for d in decorators)
    if (function.owner is not None or of_class) and plain and not static:
        names[plain.pop(0).arg] = function.owner or UNKNOWN
    module = function.module
    scope = Frame(module) if isinstance(module, Module) else None
    defaults: dict[str, ast.expr | None] = dict(
        zip([p.arg for p in plain][::-1], parameters.defaults[::-1], strict=False)
    )
    defaults |= {
        p.arg: d for p, d in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True)
    }
    for place, parameter in enumerate([*plain, *parameters.kwonlyargs]):
        name = parameter.arg
        value: Value = Unknown(name)
        if place < len(args) and place < len(plain):
            value = args[place]
        elif name in keywords:
            value = keywords[name]
        elif defaults.get(name) is not None and scope is not None:
            value = machine.evaluate(defaults[name], scope)
        names[name] = Unknown(name) if value == UNKNOWN else value
    for rest in (parameters.vararg, parameters.kwarg):
        if rest is not None:
            names[rest.arg] = Unknown(rest.arg)
    return names


def handed_on(function: Function, node: ast.Call, frame: Frame) -> dict[str, Value]:
    """Return what a call hands on in attributes of its arguments, by the names inside the function.

    `run(model, args)` after `args.losses = AverageMeter()` hands on args.losses.

    Args:
        function: what is called.
        node: the call.
        frame: the names around it.
    """
    plain = [*function.node.args.posonlyargs, *function.node.args.args]
    names = [parameter.arg for parameter in plain[function.owner is not None :]]
    pairs = [(name, dotted(value)) for name, value in zip(names, node.args, strict=False)]
    pairs += [(keyword.arg or "", dotted(keyword.value)) for keyword in node.keywords]
    return {
        f"{name}{part.removeprefix(text)}": frame.names[part]
        for name, text in pairs
        for part in frame.parts
        if text
        and name
        and part.startswith(f"{text}.")
        and isinstance(frame.names.get(part), _THINGS)
    }


def enter(machine: Machine, function: Function) -> Frame:
    """Return the names with which a function begins whose callers are out of sight."""
    names = bind(machine, function, [], {})
    for parameter in (*function.node.args.args, *function.node.args.kwonlyargs):
        if names.get(parameter.arg) is not function.owner:
            names[parameter.arg] = Unknown(parameter.arg)
    module = function.module
    if not isinstance(module, Module):
        raise TypeError("a function has no file")
    return Frame(module, getattr(function.node, "name", ""), names, owner=function.owner)


def create(
    machine: Machine,
    kind: Class,
    node: ast.AST,
    args: list[Value],
    keywords: Mapping[str, Value],
    text: str,
) -> Instance:
    """Return an object of a class in sight, after its __init__ has run."""
    instance = Instance(kind, text, {}, born=len(machine.loops))
    start = method(machine, kind, "__init__", instance)
    if start is not None:
        instance.attributes.update(_stored(machine, start, args, keywords))
        follow(machine, start, node, args, keywords)
    else:
        fields = [n.target for n in kind.node.body if isinstance(n, ast.AnnAssign)]
        names = [field.id for field in fields if isinstance(field, ast.Name)]
        instance.attributes.update(zip(names, args, strict=False))
        instance.attributes.update({k: v for k, v in keywords.items() if k in names})
    return instance


def _stored(
    machine: Machine, start: Function, args: list[Value], keywords: Mapping[str, Value]
) -> dict[str, Value]:
    """Return the settings that an __init__ keeps as it is given them: `self.mean = mean`."""
    names = bind(machine, start, args, keywords)
    settings: dict[str, Value] = {}
    for statement in getattr(start.node, "body", ()):
        match statement:
            case ast.Assign([ast.Attribute(ast.Name("self"), name)], ast.Name(parameter)):
                value = names.get(parameter, UNKNOWN)
                if isinstance(value, Constant | Option):
                    settings[name] = value
    return settings


def method(machine: Machine, kind: Class, name: str, owner: Instance | None) -> Function | None:
    """Return the method of a class, its own or inherited from a class in sight."""
    visits: set[ast.ClassDef] = set()
    waiting = [kind]
    while waiting:
        current = waiting.pop(0)
        if current.node in visits or not isinstance(current.module, Module):
            continue
        visits.add(current.node)
        body = methods_of(current.node).get(name)
        if body is not None:
            return Function(body, current.module, owner)
        waiting += bases(machine, current)
    return None


def bases(machine: Machine, kind: Class) -> list[Class]:
    """Return the classes in sight that a class inherits from."""
    module = kind.module
    classes: list[Class] = []
    if not isinstance(module, Module):
        return classes
    for base in kind.node.bases:
        value = machine.evaluate(base, Frame(module))
        if isinstance(value, Class):
            classes.append(value)
    return classes


def is_module(machine: Machine, kind: Class) -> bool:
    """Return whether a class is a module of torch, as far as its bases show."""
    names = _bases_outside(machine, kind)
    return any(n.startswith("torch.nn.") or n.endswith("LightningModule") for n in names)


def is_schedule(machine: Machine, kind: Class) -> bool:
    """Return whether a class is a schedule of torch that steps as those of torch do."""
    names = _bases_outside(machine, kind)
    ours = any(name.startswith("torch.optim.lr_scheduler.") for name in names)
    return ours and "step" not in methods_of(kind.node)


def is_optimizer(machine: Machine, kind: Class) -> bool:
    """Return whether a class is an optimiser of torch, whatever its own step does."""
    names = _bases_outside(machine, kind)
    return any(name.startswith("torch.optim.") and "lr_scheduler" not in name for name in names)


def _bases_outside(machine: Machine, kind: Class) -> Iterator[str]:
    """Yield the names of the classes that a class and its bases in sight come from."""
    waiting, visits = [kind], set[ast.ClassDef]()
    while waiting:
        current = waiting.pop()
        if current.node in visits or not isinstance(current.module, Module):
            continue
        visits.add(current.node)
        for base in current.node.bases:
            yield resolve(dotted(base), current.module)
        waiting += bases(machine, current)


def forward(
    machine: Machine,
    instance: Instance,
    node: ast.AST,
    args: list[Value],
    keywords: Mapping[str, Value],
) -> Value:
    """Return the result of calling an object: through forward if it is a module of torch."""
    name = "forward" if is_module(machine, instance.kind) else "__call__"
    inner = method(machine, instance.kind, name, instance)
    if inner is None:
        return Tensor(machine.batch_loop, "", _graph(machine), output=True)
    module, key = instance.kind.module, inner.node
    loop = machine.batch_loop
    if isinstance(module, Module) and name == "forward" and key in module.forms:
        value = module.forms[key]
    else:
        value = follow(machine, inner, node, args, keywords)
        in_sight = len(machine.calls) < CALLS and not isinstance(value, Quantity | Several)
        if isinstance(module, Module) and in_sight:
            module.forms[key] = value
        if isinstance(value, Tensor) and value.loop in {each.key for each in machine.loops}:
            loop = value.loop
    if name == "__call__":
        return value
    if isinstance(value, Tensor):
        return Tensor(loop, value.form, _graph(machine), output=True, text=value.text)
    plain = Tensor(loop, "", _graph(machine), output=True)
    if isinstance(value, Several):  # outputs that are out of sight are outputs all the same
        items = tuple(plain if isinstance(item, Unknown) else item for item in value.items)
        return replace(value, items=items)
    return plain if value == UNKNOWN else value


def _graph(machine: Machine) -> bool | None:
    return machine.grad
