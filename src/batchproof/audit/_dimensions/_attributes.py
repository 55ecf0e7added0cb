"""Attributes of values: self.criterion, loader.dataset, batch.y, outputs.loss."""

import ast
from dataclasses import replace

from batchproof.audit._dimensions._collates import at
from batchproof.audit._dimensions._functions import bases, follow, method
from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Class,
    Constant,
    Count,
    Dataset,
    Function,
    Instance,
    Loader,
    Meter,
    Model,
    Option,
    Quantity,
    Reference,
    Shape,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import Module, dotted, methods_of
from batchproof.audit._dimensions._trace import Loop

_AVERAGES = {"avg", "average", "global_avg"}
_SIZES = {"num_graphs", "batch_size", "num_nodes", "num_events"}
_COLUMNS = {"data", "targets", "labels", "train_data", "train_labels", "test_data", "test_labels"}
_NAMESPACES = {
    "args", "opt", "opts", "hparams", "flags", "config", "cfg", "options", "parsed", "params",
    "argv",
}  # fmt: skip

# packages of which a file of a project may hand names on
_PACKAGES = {"torch", "numpy", "tqdm", "accelerate", "torchvision", "torchmetrics", "transformers"}


def attribute(machine: Machine, value: Value, node: ast.Attribute, frame: Frame) -> Value:
    """Return the value of an attribute.

    Args:
        machine: the interpretation.
        value: what it is an attribute of.
        node: the expression.
        frame: the names around it.
    """
    name = node.attr
    match value:
        case Reference():
            return _of_reference(machine, value, name, frame)
        case Instance() | Class():
            return of_instance(machine, value, name)
        case Loader():
            return _of_loader(value, name, node)
        case Tensor():
            return _of_tensor(machine, value, name)
        case Quantity():
            return _of_quantity(value, name)
        case Meter() if name in {*_AVERAGES, "val", "sum"}:
            return _of_meter(machine, value, name)
        case Model() if name == "module":
            return value
        case Dataset():
            rows = value.size if name in _COLUMNS else None
            return Tensor(rows=rows, text=dotted(node)) if rows else Unknown(dotted(node))
        case Unknown():
            return _of_unknown(machine, value, node, frame)
    return Unknown(dotted(node))


def _of_quantity(value: Quantity, name: str) -> Value:
    if name == "shape":
        return Shape(Tensor(value.loop))
    return replace(value, graph=False) if name == "data" else value


def _of_meter(machine: Machine, meter: Meter, name: str) -> Value:
    """Return what a meter holds after the loop that updates it: a mean, a sum, the last value."""
    text = f"{meter.text}.{name}"
    for event in reversed(machine.trace.events):
        if event.kind == "update" and event.text == meter.text:
            if machine.meters.get(event.order, meter.key) not in {meter.key, ""}:
                continue  # another meter of that name
            loss, loop = event.value, event.batches
            if not isinstance(loss, Quantity) or meter.pools:
                break
            last = replace(loss, graph=False, text=text)
            if name == "val" and event.loop in machine.loops:
                return last
            inside = loop in machine.loops and name not in _AVERAGES
            if loop is None or inside or loss.base != "mean" or loss.over:
                break
            if name == "val":
                return last
            if name == "sum":
                return _summed(last, event.other, loop)
            return replace(last, over=loop.key, divisor=Count("seen", loop.key))
    return Unknown(text)


def _summed(loss: Quantity, weight: Value, loop: Loop) -> Value:
    """Return the sum over a loop of what a meter is given, times the number beside it."""
    if weight in (NOTHING, Constant(1)):
        return replace(loss, over=loop.key)
    if isinstance(weight, Count) and weight.unit == "batch":
        return replace(loss, base="sum", unit="sample", over=loop.key)
    return Unknown(loss.text)


def _of_reference(machine: Machine, value: Reference, name: str, frame: Frame) -> Value:
    module = machine.file(value.name, frame.module)
    if module is not None:
        inner = member(module, name)
        if inner is not None:
            return inner
    whole = f"{value.name}.{name}"
    return _setting(machine, whole, frame.module) or Reference(whole)


def _setting(machine: Machine, name: str, module: Module) -> Option | None:
    """Return the constant that a file of the project gives to `config._C.DATA.BATCH_SIZE`."""
    origin, _, rest = name.rpartition(".")
    while origin:
        file = machine.file(origin, module)
        if file is not None:
            return file.settings.get(rest)
        origin, _, last = origin.rpartition(".")
        rest = f"{last}.{rest}"
    return None


def member(module: Module, name: str) -> Value | None:
    """Return what a name of another file of the project is: its own, or what it has from torch."""
    if name in module.functions:
        return Function(module.functions[name], module)
    if name in module.classes:
        return Class(module.classes[name], module)
    origin = module.imports.get(name, "")
    if origin.partition(".")[0] in _PACKAGES:
        return Reference(origin)
    return module.variables.get(name) or module.settings.get(name)


def _of_loader(loader: Loader, name: str, node: ast.Attribute) -> Value:
    if name == "dataset":
        return loader.dataset if isinstance(loader.dataset, Dataset) else Dataset(loader.source)
    if name == "batch_size":
        return Count("nominal", loader.key, text=dotted(node))
    if name == "sampler":
        return Dataset(f"{loader.key}.sampler")
    return Unknown(dotted(node))


def _of_tensor(machine: Machine, tensor: Tensor, name: str) -> Value:
    if name == "shape":
        return Shape(tensor)
    if name == "data":
        return replace(tensor, graph=False)
    if name == "loss" and tensor.output:
        loop = tensor.loop or machine.batch_loop
        return Quantity(
            "mean", loop, graph=tensor.graph, sure=False, name="outputs.loss", text="loss"
        )
    if name == "logits":
        return replace(tensor, form="")
    if name in _SIZES and not tensor.output:
        return Count("batch", tensor.loop, text=name)
    text, pads = f"{tensor.text}.{name}", at(tensor.pads, name)
    return Tensor(tensor.loop, "", tensor.graph, tensor.output, text, pads=pads)


def _of_unknown(machine: Machine, value: Unknown, node: ast.Attribute, frame: Frame) -> Value:
    text = dotted(node)
    options = frame.module.options
    if node.attr in options and value.text.rsplit(".", 1)[-1].lower() in _NAMESPACES:
        return Option(text, options[node.attr].default)
    if node.attr == "shape" and value.text and not value.text.startswith("self."):
        return Shape(Tensor(text=value.text, graph=None))
    if node.attr == "loss" and "out" in value.text.lower():
        return Quantity("mean", machine.batch_loop, sure=False, name="outputs.loss", text="loss")
    if node.attr == "dataset" and _is_loader_name(value.text):
        return Dataset(f"{value.text}.dataset")
    if node.attr == "sampler" and _is_loader_name(value.text):
        return Dataset(f"{value.text}.sampler")
    if node.attr == "batch_size" and _is_loader_name(value.text):
        return Count("nominal", value.text, text=text)
    return Unknown(text)


def _is_loader_name(text: str) -> bool:
    return "loader" in text.lower()


def of_instance(machine: Machine, instance: Instance | Class, name: str) -> Value:
    """Return an attribute of a class or an object, set by a method, or a method itself."""
    if isinstance(instance, Class):
        return method(machine, instance, name, None) or _of_class(instance, name)
    if name in instance.attributes:
        return instance.attributes[name]
    inner = method(machine, instance.kind, name, instance)
    if inner is not None:
        if any(dotted(d) == "property" for d in getattr(inner.node, "decorator_list", [])):
            value = follow(machine, inner, inner.node, [], {}) if _sums(instance) else UNKNOWN
            return Unknown(f"self.{name}") if value == UNKNOWN else value
        return inner
    value = _set_somewhere(machine, instance, name)
    if value == UNKNOWN:
        value = _of_class(instance.kind, name)
    value = Unknown(f"self.{name}") if value == UNKNOWN else value
    instance.attributes[name] = value
    return value


def _sums(instance: Instance) -> bool:
    """Return whether an attribute of an object is a sum over batches, as in a meter."""
    return any(isinstance(v, Quantity) and v.over for v in instance.attributes.values())


def _of_class(kind: Class, name: str) -> Value:
    """Return the constant that a class gives to one of its attributes."""
    settings = kind.module.settings if isinstance(kind.module, Module) else {}
    return settings.get(f"{kind.node.name}.{name}", UNKNOWN)


def _set_somewhere(machine: Machine, instance: Instance, name: str) -> Value:
    """Return the value of the only assignment to self.name in the class."""
    instance.attributes[name] = Unknown(f"self.{name}")
    kinds, assignments = [instance.kind], list[tuple[ast.expr, Module]]()
    while kinds:
        kind = kinds.pop(0)
        if isinstance(kind.module, Module):
            assignments += [(v, kind.module) for v in assignments_of(kind.node).get(name, [])]
            kinds += bases(machine, kind) if not assignments and len(kinds) < 8 else []
    values = [
        pair
        for pair in assignments
        if not (isinstance(pair[0], ast.Constant) and pair[0].value is None)
    ]
    if len(values) != 1:
        return UNKNOWN
    expression, module = values[0]
    events, loops, conditions = len(machine.trace.events), machine.loops, machine.conditions
    machine.loops, machine.conditions = [], []
    try:
        return machine.evaluate(expression, Frame(module, "", {"self": instance}, owner=instance))
    finally:
        machine.loops, machine.conditions = loops, conditions
        del machine.trace.events[events:]


_ASSIGNED: dict[int, tuple[ast.ClassDef, dict[str, list[ast.expr]]]] = {}


def assignments_of(kind: ast.ClassDef) -> dict[str, list[ast.expr]]:
    """Return the expressions that the methods of a class assign to each attribute of self."""
    memo = _ASSIGNED.get(id(kind))
    if memo is not None and memo[0] is kind:
        return memo[1]
    expressions: dict[str, list[ast.expr]] = {}
    for body in methods_of(kind).values():
        for node in ast.walk(body):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    _note(target, node.value, expressions)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                _note(node.target, node.value, expressions)
    if len(_ASSIGNED) > 64:
        _ASSIGNED.clear()
    _ASSIGNED[id(kind)] = kind, expressions
    return expressions


def _note(target: ast.expr, value: ast.expr, expressions: dict[str, list[ast.expr]]) -> None:
    if (
        isinstance(target, ast.Tuple)
        and isinstance(value, ast.Tuple)
        and len(target.elts) == len(value.elts)
    ):
        for inner, part in zip(target.elts, value.elts, strict=True):
            _note(inner, part, expressions)
    elif isinstance(target, ast.Tuple):
        for inner in target.elts:
            _note(inner, ast.Constant(...), expressions)
    elif (
        isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    ):
        expressions.setdefault(target.attr, []).append(value)
