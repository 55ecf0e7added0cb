"""The interpretation of a file: its statements, then functions that nothing in sight calls."""

import ast
import re
from functools import partial
from pathlib import Path

from batchproof.audit._dimensions._attributes import assignments_of
from batchproof.audit._dimensions._expressions import evaluate
from batchproof.audit._dimensions._functions import (
    bases,
    create,
    enter,
    follow,
    is_module,
    method,
    no_grad_decorator,
)
from batchproof.audit._dimensions._lattice import (
    Class,
    Constant,
    Function,
    Instance,
    Listing,
    Loader,
    Tensor,
    Value,
)
from batchproof.audit._dimensions._machine import EFFORT, ExhaustedError, Frame, Machine
from batchproof.audit._dimensions._names import (
    FunctionNode,
    Module,
    dotted,
    methods_of,
    read_module,
    tells,
)
from batchproof.audit._dimensions._statements import execute
from batchproof.audit._dimensions._trace import Loop, Trace
from batchproof.audit._project import Project


def interpret(
    path: Path, tree: ast.Module, project: Project | None = None, text: str = ""
) -> list[Trace]:
    """Return the trace of each entry into a file.

    Args:
        path: the file.
        tree: its syntax tree.
        project: what follows imports into files of the same project.
        text: its text.
    """
    module = read_module(path, tree, text)
    run = _Run(module, project)
    run.start(
        "",
        lambda machine: execute(
            machine, tree.body, Frame(module, "", module.variables, module.depths)
        ),
    )
    callees = _callees(text)
    bodies = _entries(module)
    for later in (False, True):
        for kind, body in bodies:
            if (
                body not in run.entered_bodies
                and (body.name in callees) is later
                and tells(module, body)
            ):
                run.enter(kind, body)
    return run.traces


def _callees(text: str) -> set[str]:
    """Return the names that are called or named anywhere in a file, to be chosen or handed over."""
    return set(re.findall(r"(?<!def )\b([A-Za-z_]\w*)\b", text))


def _entries(module: Module) -> list[tuple[ast.ClassDef | None, FunctionNode]]:
    entries: list[tuple[ast.ClassDef | None, FunctionNode]] = []
    kinds = dict.fromkeys(module.classes.values())
    bodies = dict.fromkeys(module.functions.values())
    for node in module.tree.body:  # those of one name in another cell, or further down
        if isinstance(node, ast.ClassDef):
            kinds.setdefault(node)
        elif isinstance(node, FunctionNode):
            bodies.setdefault(node)
    for kind in kinds:
        entries += [(kind, body) for body in methods_of(kind).values()]
    return entries + [(None, body) for body in bodies]


def _run_steps(machine: Machine, owner: Instance, frame: Frame) -> None:
    """Run the steps of Lightning's loop that comes before validation_epoch_end and its like.

    Args:
        machine: the interpretation.
        owner: the module whose method is entered.
        frame: the method's names, of which its parameter becomes the list of what steps return.
    """
    ending = re.fullmatch(r"(on_)?(validation|test|train|training)(_epoch)?_end", frame.name)
    phase = ending[2].removesuffix("ing") if ending else ""
    step = method(machine, owner.kind, f"{'training' if phase == 'train' else phase}_step", owner)
    if step is None or not is_module(machine, owner.kind):
        return
    loader = _loader_of(machine, owner, phase)
    loop, grad = Loop(machine.loop_key(step.node), step.node, loader), machine.grad
    with machine.in_loop(loop):
        machine.grad = None if phase == "train" else False
        result = follow(machine, step, step.node, [Tensor(loop.key, text="batch")], {})
        machine.grad = grad
    names = [name for name, value in frame.names.items() if value is not owner]
    if names and not (ending and ending[1]):
        frame.names[names[0]] = Listing(result, loop.key)


def _loader_of(machine: Machine, owner: Instance, phase: str) -> Loader:
    """Return the loader of a module of Lightning for a phase: train, validation, test.

    It is the one that its Trainer is given, that its own method builds, or that of the only data
    module of its file.
    """
    module, events = owner.kind.module, len(machine.trace.events)
    name = f"{phase.removesuffix('idation')}_dataloader"
    loader = module.handed.get((owner.kind.node, phase)) if isinstance(module, Module) else None
    if loader is None:
        loader = _built(machine, owner, name)
    if loader is None and isinstance(module, Module):
        kinds = [kind for kind in module.classes.values() if _holds_data(kind)]
        if len(kinds) == 1:
            data = create(machine, Class(kinds[0], module), kinds[0], [], {}, "self")
            setup = method(machine, data.kind, "setup", data)
            if setup is not None:
                follow(machine, setup, kinds[0], [], {})
            loader = _built(machine, data, name)
    del machine.trace.events[events:]
    return loader if isinstance(loader, Loader) else Loader(phase, f"the {phase} loader")


def _built(machine: Machine, owner: Instance, name: str) -> Value | None:
    """Return what a method of an object returns, None where it has no such method."""
    build = method(machine, owner.kind, name, owner)
    return None if build is None else follow(machine, build, build.node, [], {})


def _holds_data(kind: ast.ClassDef) -> bool:
    """Return whether a class is a data module of Lightning."""
    return any(dotted(base).endswith("DataModule") for base in kind.bases)


def _run_step(
    machine: Machine, owner: Instance, phase: str, body: FunctionNode, frame: Frame
) -> None:
    """Run a step of Lightning over the loader that the module names for it."""
    loop = Loop(machine.loop_key(body), body, _loader_of(machine, owner, phase))
    machine.grad = None if phase == "train" else False
    with machine.in_loop(loop):
        for parameter in body.args.args[1:2]:
            frame.names[parameter.arg] = Tensor(loop.key, text=parameter.arg)
        machine.execute(body.body, frame)


def _averages(body: FunctionNode) -> bool:
    """Return whether a training step logs averages over an epoch, and steps no optimiser itself."""
    keywords = [n for n in ast.walk(body) if isinstance(n, ast.keyword) and n.arg == "on_epoch"]
    calls = [dotted(n.func) for n in ast.walk(body) if isinstance(n, ast.Call)]
    return bool(keywords) and not any(name.endswith(("backward", ".step")) for name in calls)


def _forget_switches(machine: Machine, owner: Instance) -> None:
    """Forget each None, True or False of an `__init__` that another method replaces.

    Such a method, as `set_loaders`, runs before the one that is entered, or does not.
    """
    waiting, visits = [owner.kind], set[ast.ClassDef]()
    while waiting:
        kind = waiting.pop()
        if kind.node in visits:
            continue
        visits.add(kind.node)
        for name, expressions in assignments_of(kind.node).items():
            first = owner.attributes.get(name)
            if not isinstance(first, Constant) or not isinstance(first.value, bool | None):
                continue
            if any(not _gives(expression, first) for expression in expressions):
                del owner.attributes[name]
        waiting += bases(machine, kind)


def _gives(node: ast.expr, value: Constant) -> bool:
    return isinstance(node, ast.Constant) and node.value is value.value


class _Run:
    """The entries of one file, which share one effort.

    Args:
        module: the file.
        project: what follows imports.
    """

    def __init__(self, module: Module, project: Project | None) -> None:
        self._module = module
        self._project = project
        self._effort = EFFORT
        self._objects: dict[ast.ClassDef, Instance] = {}
        self._files: dict[str, Module | None] = {f"{module.path}": module}
        self.entered_bodies: set[ast.AST] = set()
        self.traces: list[Trace] = []

    def start(self, name: str, body: object) -> None:
        """Interpret from one entry, until its end or the end of the effort."""
        trace = Trace(self._module, name)
        machine = Machine(trace, self._project, self._effort)
        machine.entered_bodies = self.entered_bodies
        machine.files = self._files
        machine.evaluate = partial(evaluate, machine)
        machine.execute = partial(execute, machine)
        machine.grad = None if name else True
        self.traces.append(trace)
        try:
            if callable(body):
                body(machine)
        except (ExhaustedError, RecursionError):
            pass
        self._effort = max(0, machine.effort)

    def enter(self, kind: ast.ClassDef | None, body: FunctionNode) -> None:
        """Interpret from a function whose callers are out of sight."""
        if self._effort <= 0:
            return
        self.entered_bodies.add(body)

        def run(machine: Machine) -> None:
            owner = None if kind is None else self._object(machine, kind)
            del machine.trace.events[:]
            frame = enter(machine, Function(body, self._module, owner))
            machine.running.append(body)
            machine.frames.append(frame)
            if no_grad_decorator(body, self._module):
                machine.grad = False
            if owner is not None:
                _run_steps(machine, owner, frame)
            step = re.fullmatch(r"(validation|test|training)_step", frame.name) if owner else None
            phase = step[1].removesuffix("ing") if step else ""
            averages = phase != "train" or _averages(body)
            if owner is None or not phase or not averages or not is_module(machine, owner.kind):
                machine.execute(body.body, frame)
            else:
                _run_step(machine, owner, phase, body, frame)

        self.start(body.name, run)

    def _object(self, machine: Machine, kind: ast.ClassDef) -> Instance:
        if kind not in self._objects:
            blank = Instance(Class(kind, self._module), "self", {})
            self._objects[kind] = blank
            start = method(machine, blank.kind, "__init__", blank)
            if start is not None and not isinstance(start.node, ast.Lambda):
                machine.running.append(start.node)
                machine.execute(start.node.body, enter(machine, start))
                machine.running.pop()
            _forget_switches(machine, blank)
        whole = self._objects[kind]
        return Instance(whole.kind, "self", dict(whole.attributes))
