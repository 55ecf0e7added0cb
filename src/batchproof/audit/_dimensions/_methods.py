"""Methods of values: x.size(0), loss.item(), losses.append(v), optimizer.step()."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from batchproof.audit._dimensions._arithmetic import distance, is_mask, operate
from batchproof.audit._dimensions._branch_sums import is_conditional
from batchproof.audit._dimensions._functions import is_module, method
from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Base,
    Constant,
    Count,
    Criterion,
    Form,
    Instance,
    Listing,
    Loader,
    Meter,
    Model,
    Option,
    Quantity,
    Several,
    Shape,
    StateDict,
    Tensor,
    Tool,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._loaders import as_loader, number, wrap
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._names import FunctionNode, Module, dotted, words_of

_CASTS = {"to", "cuda", "cpu", "float", "double", "half", "bfloat16"}
PASSING = _CASTS | {
    "long", "int", "bool", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose",
    "contiguous", "clone", "flatten", "expand", "repeat", "type", "view_as", "type_as", "t",
    "requires_grad_", "pin_memory", "expand_as", "unsqueeze_", "squeeze_", "astype", "ravel",
    "copy", "mul_", "div_", "add_", "sub_", "clamp", "clip", "abs", "clamp_min", "chunk", "split",
}  # fmt: skip
_ELEMENTWISE = {"cos", "sin", "exp", "log", "sqrt", "square", "tanh", "relu", "sign"}
_OUT = {"item", "detach", "numpy", "tolist", "detach_"}
_IN_PLACE = {"mul_", "div_", "add_", "sub_", "log_", "exp_", "pow_", "neg_"}
_FACTORS = {"mul", "mul_", "div", "div_"}
_SCORES = {"probabilities", "log-probabilities", "sigmoid"}
_TARGETS = {"gold", "target", "targets", "label", "labels", "tgt"}
_COMPARISONS = {"eq", "ne", "gt", "ge", "lt", "le"}


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call with its parts evaluated.

    Attributes:
        node: the call.
        name: the last part of what is called.
        text: what the method is called on.
        args: the values of its positional arguments.
        keywords: the values of its keywords.
        frame: the names around it.
        starred: whether it has a `*` or `**` argument.
        target: the variable that its result is assigned to.
    """

    node: ast.Call
    name: str
    text: str
    args: list[Value]
    keywords: Mapping[str, Value]
    frame: Frame
    starred: bool = False
    target: str = ""

    def argument(self, place: int, name: str) -> Value | None:
        """Return an argument, by position or by keyword."""
        if place < len(self.args):
            return self.args[place]
        return self.keywords.get(name)


def call_method(machine: Machine, value: Value, call: Call) -> Value | None:
    """Return the result of a method of a value, None where the value has no such method.

    Args:
        machine: the interpretation.
        value: what the method is called on.
        call: the call.
    """
    special = ANY.get(call.name)
    if special is not None:
        result = special(machine, value, call)
        if result is not None:
            return result
    kind = KINDS.get(type(value))
    return None if kind is None else kind(machine, value, call)


def _of_tensor(machine: Machine, value: Value, call: Call) -> Value:
    assert isinstance(value, Tensor)
    name = call.name
    if name in {"mean", "sum"}:
        return reduce_tensor(value, name, call, machine)
    if name == "count_nonzero" and value.form == "hits":
        return reduce_tensor(value, "sum", call, machine)
    if value.form == "difference" and name in {"abs", "pow", "square"}:
        return replace(distance(value), line=call.node.lineno)
    if name in _COMPARISONS:
        return compare(value, call.args[0] if call.args else UNKNOWN)
    if name == "gather" and value.form == "log-probabilities":
        return replace(value, form="log-likelihoods")
    if name == "size":
        return Shape(value) if not call.args else size_of(value, call.args[0])
    if name == "numel":
        return Count("elements", value.loop, text="elements")
    if name == "split" and value.rows and not value.loop and len(call.args) == 1:
        return _pieces(value, call)
    if name in {"max", "min", "topk"}:
        best = replace(value, form="confidence" if value.form == "probabilities" else "")
        classes = replace(value, form="classes", graph=False)
        return Several((best, classes)) if call.args or call.keywords else best
    return _like(_after(value, call), name)


def _after(value: Tensor, call: Call) -> Tensor:
    """Return scores after a method that changes them in place: they are scores no more."""
    if call.name not in _IN_PLACE or value.form not in _SCORES:
        return value
    value = replace(value, form="")
    if call.text in call.frame.names:
        call.frame.names[call.text] = value
    return value


def _pieces(value: Tensor, call: Call) -> Value:
    """Return the batches that x.split(size) cuts a tensor into; the last may be smaller."""
    if number(call.args[0]) is None or call.keywords:
        return value
    key = f"{call.node.lineno}:{call.node.col_offset}"
    return Loader(key, call.target, call.node.lineno, call.args[0], drop_last=False, dataset=value)


_FORMS: dict[str, Form] = {
    "softmax": "probabilities",
    "sigmoid": "sigmoid",
    "log_softmax": "log-probabilities",
    "argmax": "classes",
    "round": "classes",
    "argsort": "classes",
}


def _like(value: Tensor, name: str) -> Tensor:
    """Return a tensor after a method that returns one like it."""
    if name in _FORMS:
        graph = False if _FORMS[name] == "classes" else value.graph
        return replace(value, form=_FORMS[name], graph=graph)
    if name in _OUT:
        return replace(value, graph=False)
    if name in PASSING:
        return value
    rows = value.rows if name in _ELEMENTWISE else None
    return Tensor(value.loop, "", value.graph, value.output, f"{value.text}.{name}", rows)


def reduce_tensor(value: Tensor, name: str, call: Call, machine: Machine) -> Value:
    """Return the mean or sum of a tensor.

    Args:
        value: the tensor.
        name: mean or sum.
        call: the call.
        machine: the interpretation.
    """
    line, active = call.node.lineno, {loop.key for loop in machine.loops}
    loop = value.loop if value.loop in active else machine.batch_loop
    dims = [a for a in call.args if not isinstance(a, Tensor)] or call.keywords.keys() & {
        "dim",
        "axis",
    }
    if value.form == "mask" or (name == "sum" and _masks_batch(value)):
        return Count("mask", loop, text=value.text) if not dims else Tensor(loop, text=value.text)
    if value.form == "hits":
        dims = [] if _is_flat(call.node) and call.args[:1] == [Constant(0)] else dims
        base: Literal["mean", "sum"] = "mean" if name == "mean" else "sum"
        if dims:
            return Tensor(loop)
        return Quantity(
            base, loop, graph=False, metric=True, line=line, name="accuracy", text="hits",
            ranks=value.ranks,
        )  # fmt: skip
    if not value.output or dims:
        return Tensor(loop, "", value.graph, value.output, value.text)
    return Quantity(
        "mean" if name == "mean" else "sum", loop, graph=value.graph, line=line, name=f"{name}()"
    )


def _masks_batch(value: Tensor) -> bool:
    """Return whether a part of a batch is a mask by its name, but none of a split: train_mask."""
    words = words_of(is_mask(value)).split()
    of_split = any(word.startswith(("train", "val", "test", "dev")) for word in words)
    return bool(value.loop and words) and not value.form and not of_split


def _is_flat(node: ast.Call) -> bool:
    """Return whether a method is called on what was flattened, as `x.view(-1).float().sum(0)`."""
    receiver: ast.AST = node
    while isinstance(receiver, ast.Call | ast.Attribute):
        match receiver:
            case ast.Call(ast.Attribute(_, "flatten" | "ravel"), []) | ast.Call(
                ast.Attribute(_, "view" | "reshape"), [ast.UnaryOp(ast.USub(), ast.Constant(1))]
            ):
                return True
        receiver = receiver.func if isinstance(receiver, ast.Call) else receiver.value
    return False


def size_of(value: Tensor, place: Value) -> Value:
    """Return the count in size(place), or shape[place], of a tensor."""
    if place == Constant(0):
        by_name = not value.loop and value.text and not value.output
        return (
            Constant(value.rows)
            if value.rows and not value.loop
            else Count("batch", value.loop, text=f"{value.text}.size(0)" if by_name else "batch")
        )
    return Unknown(f"{value.text}.size({getattr(place, 'value', '')})")


def compare(first: Value, second: Value) -> Value:
    """Return the result of comparing tensors: hits of a prediction, or a mask."""
    tensors = [v for v in (first, second) if isinstance(v, Tensor)]
    loop = next((t.loop for t in tensors if t.loop), "")
    if len(tensors) == 1 and tensors[0].form == "" and tensors[0].text in _TARGETS:
        return Tensor(loop, "mask", text=tensors[0].text)
    if any(t.output for t in tensors):
        if any(t.form in {"confidence", "probabilities"} for t in tensors) and len(tensors) == 1:
            return Tensor(loop, "confidence")
        if tensors[0].form == "sigmoid" and len(tensors) == 1:
            return Tensor(loop, "classes", output=True)
        hits = any(t.form == "classes" for t in tensors) and len(tensors) == 2
        ranks = tensors[0].ranks if len({t.ranks for t in tensors}) == 1 else "clean"
        return Tensor(loop, "hits" if hits else "", output=True, ranks=ranks)
    text = next((t.text for t in tensors if t.text), "")
    if any(t.form == "confidence" for t in tensors):
        return Tensor(loop, "confidence")
    return Tensor(loop, "mask", text=text)


_REDUCED: dict[str, dict[str, Base]] = {
    "mean": {"mean": "mean", "elements": "mean"},
    "sum": {"elements": "sum", "sum": "sum"},
}


def _of_quantity(machine: Machine, value: Value, call: Call) -> Value:
    assert isinstance(value, Quantity)
    name = call.name
    if name in _OUT:
        return replace(value, graph=False, number=name in {"item", "tolist"})
    if name in {"mean", "sum"}:
        return _reduce(machine, value, call)
    if name in {"size", "numel"}:
        return Count("elements" if name == "numel" else "batch", value.loop, text=name)
    if name in {"masked_fill", "masked_fill_"}:
        return _fill(value, call)
    if name in {"sqrt", "exp", "sqrt_", "pow", "square"}:
        return value if value.base == "elements" else replace(value, base="coupled")
    if name == "masked_select":
        return replace(value, base="elements", ignores="")
    if name in _FACTORS and len(call.args) == 1 and (value.metric or "div" in name):
        return _times(machine, value, call)
    if name in {"items", "values"} and not call.args:  # a dict of losses
        return Listing(value if name == "values" else Several((UNKNOWN, value)))
    return value if name in PASSING else UNKNOWN


def _times(machine: Machine, value: Quantity, call: Call) -> Value:
    """Return hits after `hits.mul_(100 / n)`, a loss after `loss.div_(n)`, and their like."""
    by, divides = call.args[0], "div" in call.name
    match call.node.args[0]:
        case ast.BinOp(_, ast.Div(), count) if not divides:
            by, divides = machine.evaluate(count, call.frame), True
    result = operate(ast.Div() if divides else ast.Mult(), value, by)
    if call.name.endswith("_") and call.text in call.frame.names:
        call.frame.names[call.text] = result
    return result


def _reduce(machine: Machine, value: Quantity, call: Call) -> Value:
    if call.args or call.keywords:  # a sum along a sequence leaves out what is 0
        return replace(value, ignores="", masked="") if call.name == "sum" else value
    if call.name == "mean":
        machine.emit("mean", call.node, call.frame, value)
    scalar = value.sure and value.base == "mean" and not (value.ranks or value.over)
    default: Base = value.base if call.name == "mean" or scalar else "unknown"
    base = _REDUCED[call.name].get(value.base, default)
    classes = value.classes and value.base != "elements"
    return replace(
        value,
        base=base,
        sure=value.sure and base != "unknown",
        classes=classes,
        line=value.line or call.node.lineno,
    )


def _fill(value: Quantity, call: Call) -> Value:
    if len(call.args) < 2 or value.base != "elements":
        return value
    if call.args[1] not in (Constant(0), Constant(0.0)):
        return value
    value = replace(value, masked=is_mask(call.args[0]) or "mask")
    if call.name.endswith("_") and call.text in call.frame.names:
        call.frame.names[call.text] = value
    return value


def _of_count(_machine: Machine, value: Value, call: Call) -> Value:
    assert isinstance(value, Count)
    if call.name in {"clamp", "clamp_min", "clip", "clamp_", "maximum"}:
        return replace(value, guarded=True)
    return value


def _of_shape(_machine: Machine, value: Value, call: Call) -> Value:
    assert isinstance(value, Shape)
    return (
        Count("elements", value.tensor.loop, text="elements") if call.name == "numel" else UNKNOWN
    )


def _of_listing(machine: Machine, value: Value, call: Call) -> Value:
    assert isinstance(value, Listing)
    if call.name in {"mean", "sum"}:
        return gather(machine, value, call, mean=call.name == "mean")
    if call.name in {"pop", "popleft"} and call.text in call.frame.names:
        call.frame.names[call.text] = replace(value, conditional=True)
    return value if call.name in PASSING | _OUT else UNKNOWN


def gather(machine: Machine, value: Listing, call: Call, *, mean: bool) -> Value:
    """Return the mean or the sum of a list, and record a mean."""
    item = value.item
    if isinstance(item, Several) and not item.names:  # a column for each of its parts
        columns = [replace(value, item=part) for part in item.items]
        return Several(tuple(gather(machine, each, call, mean=mean) for each in columns))
    if not isinstance(item, Quantity):
        return UNKNOWN
    source, active = machine.trace.loops.get(value.over), {loop.key for loop in machine.loops}
    if not mean and source is not None and source.loader is None and item.loop in active:
        return item  # the terms of one batch
    item = replace(
        item, over=value.over or item.over, conditional=value.conditional or item.conditional
    )
    if not mean:
        return item
    machine.emit(
        "average",
        call.node,
        call.frame,
        item,
        Count("batches", value.over, conditional=value.conditional),
    )
    return replace(item, divisor=Count("batches", value.over, conditional=value.conditional))


def of_batch(value: Listing) -> Value:
    """Return an item of a list of the numbers of one batch, as of the accuracies of a batch."""
    item = value.item
    return item if isinstance(item, Quantity) and item.loop not in {"", value.over} else UNKNOWN


def _of_loader(_machine: Machine, value: Value, call: Call) -> Value:
    return value if call.name in {"__iter__", "iter", "shuffle", "map"} else UNKNOWN


def _of_ray(_machine: Machine, _value: Value, call: Call) -> Value:
    """Return the batches of a data set of Ray, which keeps a last batch that is not full."""
    open_ = call.starred
    drop = call.keywords.get("drop_last", UNKNOWN if open_ else Constant(value=False))
    size = call.keywords.get("batch_size", UNKNOWN if open_ else Constant(256))
    last = bool(drop.value) if isinstance(drop, Constant) else None
    key, line = f"{call.node.lineno}:{call.node.col_offset}", call.node.lineno
    return Loader(key, call.target or call.name, line, size, last)


def _of_model(machine: Machine, value: Value, call: Call) -> Value | None:
    assert isinstance(value, Model)
    if call.name in _MOVES:
        return value
    if call.name in PASSES:
        machine.emit("forward", call.node, call.frame, value, text=f"{call.text}.{call.name}")
    return (
        Tensor(machine.batch_loop, "", machine.grad, output=True, text=call.text)
        if call.name not in QUIET
        else UNKNOWN
    )


def _itself(_machine: Machine, value: Value, call: Call) -> Value | None:
    """Return a module after a method that returns the module itself."""
    copies = call.name == "clone" and isinstance(value, Criterion)
    return value if call.name in _MOVES or copies else None


# methods of a module that compute what its forward pass does, or a part of it
PASSES = {
    "forward", "forward_features", "forward_head", "encode", "encode_image", "encode_text", "embed",
    "extract_features", "loss", "get_loss", "compute_loss", "calc_loss", "calculate_loss",
}  # fmt: skip
_MOVES = _CASTS | {"apply", "requires_grad_", "compile"}
QUIET = {
    "parameters",
    "named_parameters",
    "children",
    "modules",
    "load_state_dict",
    "register_buffer",
    "zero_grad",
    "named_modules",
}


def _of_tool(machine: Machine, value: Value, call: Call) -> Value | None:
    assert isinstance(value, Tool)
    name, args = call.name, call.args
    if value.kind not in {"accelerator", "fabric"}:
        return UNKNOWN
    if name in {
        "prepare",
        "setup",
        "setup_dataloaders",
        "prepare_data_loader",
        "setup_module",
        "prepare_model",
    }:
        loaders = [_shared(as_loader(a)) if value.ranks else a for a in args]
        return loaders[0] if len(loaders) == 1 else Several(tuple(loaders))
    if name in {"skip_first_batches", "pad_across_processes", "unwrap_model"} and args:
        return args[0]
    if name in {"gather", "gather_for_metrics", "all_gather", "reduce", "all_reduce"} and args:
        how = "clean" if name == "gather_for_metrics" else name
        machine.emit("reduce", call.node, call.frame, args[0], text=how)
        return _gathered(args[0], how)
    return UNKNOWN


def _shared(value: Value) -> Value:
    """Return a loader as one that gives each rank a share, and any other value as it is."""
    return wrap(value) if isinstance(value, Loader) else value


def _gathered(value: Value, how: str) -> Value:
    """Return a value, or a tuple of values, that all ranks gave their share of."""
    if isinstance(value, Several):
        return replace(value, items=tuple(_gathered(item, how) for item in value.items))
    return replace(value, ranks=how) if isinstance(value, Quantity | Tensor) else value


def _of_a_part(machine: Machine) -> bool:
    """Return whether an inner loop goes over parts of the batch of a loop around it."""
    inner = machine.loops[-1] if machine.loops else None
    return bool(machine.batch_loop) and inner is not None and not (inner.loader or inner.single)


_NO_WEIGHTS = {"step", "name", "key", "verbose", "epoch"}
_ADDS = {"update", "add", "push", "record", "accumulate"}


def _of_meter(machine: Machine, value: Value, call: Call) -> Value:
    if any(word in call.name for word in ("reduce", "gather", "sync")):
        machine.emit("reduce", call.node, call.frame, value, text="sum")
    if call.name in _ADDS:
        if call.args[:1] and isinstance(call.args[0], Constant) and call.args[1:]:
            call = replace(call, args=call.args[1:])  # update(name, value, n)
        weight = call.argument(1, "n") or call.keywords.get("weight") or call.keywords.get("num")
        if weight is None and call.args:  # update(loss, size=n)
            weight = next((v for k, v in call.keywords.items() if k not in _NO_WEIGHTS), None)
        count = NOTHING if weight is None else weight
        for item in call.args[:1] or [v for v in call.keywords.values() if v is not weight]:
            what = item
            if isinstance(item, Quantity) and _of_a_part(machine):
                what = replace(item, base="unknown", sure=False)
            if isinstance(value, Meter):
                machine.meters[len(machine.trace.events)] = value.key
            machine.emit("update", call.node, call.frame, what, count, call.text)
            if isinstance(value, Meter) and value.keeps:
                machine.emit("keep", call.node, call.frame, what, count, call.text)
    return UNKNOWN


def _of_several(_machine: Machine, value: Value, call: Call) -> Value:
    assert isinstance(value, Several)
    if call.name == "update" and value.names:
        other = call.args[0] if call.args else Several((), ())
        items = dict(zip(value.names, value.items, strict=True)) | dict(call.keywords)
        certain = isinstance(other, Several) and len(other.names) == len(other.items)
        if isinstance(other, Several) and certain:
            items |= dict(zip(other.names, other.items, strict=True))
        whole = Several(tuple(items.values()), tuple(items))
        call.frame.names[call.text] = whole if certain else UNKNOWN
    if call.name == "items" and value.names:
        pairs = zip(value.names, value.items, strict=False)
        return Several(tuple(Several((Constant(name), item)) for name, item in pairs))
    if call.name == "values" and value.names:
        return Several(value.items)
    if call.name == "keys" and value.names:
        return Several(tuple(Constant(name) for name in value.names))
    if (
        call.name == "get"
        and call.args
        and isinstance(call.args[0], Constant)
        and call.args[0].value in value.names
    ):
        return value.items[value.names.index(call.args[0].value)]
    return UNKNOWN


def _of_constant(_machine: Machine, value: Value, call: Call) -> Value | None:
    if call.name == "format" and isinstance(value, Constant) and isinstance(value.value, str):
        return Several((*call.args, *call.keywords.values()))
    if call.name == "join" and call.args and isinstance(value, Constant):  # parts of a text
        return call.args[0] if isinstance(value.value, str) else None
    return value if call.name in PASSING | _OUT else None


def _of_unknown(machine: Machine, value: Value, call: Call) -> Value | None:
    assert isinstance(value, Unknown)
    if call.name in {"sum", "mean"} and not call.args and is_mask(value):
        return Count("mask", machine.batch_loop, text=value.text)
    if call.name == "format" and call.args:
        return Several((*call.args, *call.keywords.values()))
    if call.name == "size" and value.text and not value.text.startswith("self."):
        shape = Shape(Tensor(text=value.text, graph=None))
        return size_of(shape.tensor, call.args[0]) if call.args else shape
    return value if call.name in PASSING | _OUT and value.text else None


KINDS: dict[type, Callable[[Machine, Value, Call], Value | None]] = {
    Tensor: _of_tensor,
    Quantity: _of_quantity,
    Count: _of_count,
    Shape: _of_shape,
    Listing: _of_listing,
    Loader: _of_loader,
    Model: _of_model,
    Criterion: _itself,
    Instance: _itself,
    StateDict: lambda _m, value, call: value if call.name in {"copy", "items"} else None,
    Tool: _of_tool,
    Meter: _of_meter,
    Several: _of_several,
    Constant: _of_constant,
    Unknown: _of_unknown,
}


# Methods that mean one thing whatever they are called on.


def _backward(machine: Machine, value: Value, call: Call) -> Value | None:
    what = call.args[0] if isinstance(value, Tool | Model) and call.args else value
    if (
        isinstance(value, Unknown | Instance)
        and call.args
        and not isinstance(call.args[0], Constant)
    ):
        what = call.args[0]
    machine.emit("backward", call.node, call.frame, what, text=call.text)
    return NOTHING


def _is(value: Value, kind: str, call: Call, *words: str) -> bool:
    if isinstance(value, Tool):
        return value.kind == kind
    if not isinstance(value, Unknown | Constant | Option):
        return False
    last = call.text.rsplit(".", 1)[-1].lower()
    return any(word in last for word in words)


def _scale(machine: Machine, value: Value, call: Call) -> Value | None:
    if not (_is(value, "scaler", call, "scaler") and call.args):
        return None
    machine.emit("scale", call.node, call.frame, call.args[0], value, call.text)
    return call.args[0]


def _step(machine: Machine, value: Value, call: Call) -> Value | None:
    if _is(value, "scaler", call, "scaler"):
        subject = dotted(call.node.args[0]) if call.node.args else ""
        machine.emit("step", call.node, call.frame, value, NOTHING, subject)
    elif _is(value, "scheduler", call, "sched") or _is(value, "plateau", call):
        first = call.args[0] if call.args else next(iter(call.keywords.values()), NOTHING)
        machine.emit("schedule", call.node, call.frame, value, first, call.text)
    elif _is(value, "optimizer", call, "optim", "opt"):
        machine.emit("step", call.node, call.frame, value, UNKNOWN, call.text)
    else:
        return None
    return NOTHING


def _zero_grad(machine: Machine, value: Value, call: Call) -> Value | None:
    if isinstance(value, Instance) and "zero_grad" not in call.text:
        machine.emit("zero", call.node, call.frame, value, text=call.text)
        return NOTHING
    machine.emit("zero", call.node, call.frame, value, text=call.text)
    return NOTHING


def _unscale(machine: Machine, value: Value, call: Call) -> Value | None:
    machine.emit("unscale", call.node, call.frame, value, text=call.text)
    return NOTHING


def _mode(machine: Machine, value: Value, call: Call) -> Value | None:
    if call.name == "train":
        if isinstance(value, Instance) and not _inherits(machine, value):
            return None
        mode = call.argument(0, "mode")
        if mode is not None and not isinstance(mode, Constant):
            machine.emit("mode", call.node, call.frame, value, mode, call.text)
            return value
        kind = "eval" if mode is not None and not getattr(mode, "value", True) else "train"
        if isinstance(value, Unknown) and call.args and mode is None:
            return None
        machine.emit(kind, call.node, call.frame, value, text=call.text)
        return value
    if call.args or (isinstance(value, Instance) and not _inherits(machine, value)):
        return None
    machine.emit("eval", call.node, call.frame, value, text=call.text)
    return value


def _inherits(machine: Machine, value: Instance) -> bool:
    return is_module(machine, value.kind) and method(machine, value.kind, "train", value) is None


def _clip(machine: Machine, value: Value, call: Call) -> Value | None:
    machine.emit("clip", call.node, call.frame, value, text=call.text)
    return UNKNOWN


def _state_dict(_machine: Machine, _value: Value, call: Call) -> Value | None:
    last = words_of(call.text)
    if any(word in last for word in ("optim", "sched", "scaler")):
        return None
    return StateDict(call.text)


def _append(machine: Machine, value: Value, call: Call) -> Value | None:
    item = call.args[0] if call.args else UNKNOWN
    if isinstance(item, Unknown) and call.node.args:
        item = _of_parts(dotted(call.node.args[0]), call.frame) or item
    name = _path_of_list(call)
    return NOTHING if keep(machine, call.node, value, item, name, call.frame) else None


def _path_of_list(call: Call) -> str:
    """Return the name or item that an item is appended to; d.setdefault(key, []) is d[key]."""
    match call.node.func:
        case ast.Attribute(ast.Call(ast.Attribute(whole, "setdefault"), [key, *_])):
            return call.frame.path(ast.Subscript(whole, key))
        case ast.Attribute(whole):
            return call.frame.path(whole)
    return ""


def _of_parts(name: str, frame: Frame) -> Several | None:
    """Return a dict of which some items are known, as those that were set after it was made."""
    begin = f"{name}['"
    parts = sorted(part for part in frame.parts if part.startswith(begin) and part.endswith("']"))
    items = {part.removeprefix(begin).removesuffix("']"): frame.names.get(part) for part in parts}
    losses = {key: value for key, value in items.items() if isinstance(value, Quantity)}
    return Several(tuple(losses.values()), tuple(losses)) if losses else None


def _log(machine: Machine, value: Value, call: Call) -> Value | None:
    """Follow self.log(name, loss) of Lightning, which weighs a batch by its size, or by another.

    Follow self.log_dict({name: loss}) likewise. With on_epoch, a training step is averaged too.
    """
    step = next((lp.node for lp in machine.loops if lp.loader is not None), None)
    several = call.name == "log_dict"
    loss = call.argument(0, "dictionary") if several else call.argument(1, "value")
    if not isinstance(value, Instance) or not isinstance(step, FunctionNode) or loss is None:
        return None
    trains = step.name == "training_step"
    averages = call.keywords.get("on_epoch", Constant(not trains))
    off = averages != Constant(value=True) if trains else averages == Constant(value=False)
    if off or "reduce_fx" in call.keywords:
        return None
    size = call.keywords.get("batch_size", NOTHING)
    weight = Count("batch", machine.batch_loop, text="batch") if size == NOTHING else size
    losses = loss.items if several and isinstance(loss, Several) else (loss,)
    for each in losses:
        machine.emit("update", call.node, call.frame, each, weight, call.text)
    return NOTHING


_PHASES = {
    "fit": {"train": (1, "train_dataloaders"), "validation": (2, "val_dataloaders")},
    "validate": {"validation": (1, "dataloaders")},
    "test": {"test": (1, "dataloaders")},
}


def _hand(machine: Machine, _value: Value, call: Call) -> Value | None:
    """Note the loaders of trainer.fit(module, train_loader, val_loader) of Lightning."""
    owner = call.argument(0, "model")
    if not isinstance(owner, Instance) or not is_module(machine, owner.kind):
        return None
    module = owner.kind.module
    for phase, (place, name) in _PHASES[call.name].items():
        loader = call.argument(place, name) or call.keywords.get(name.removesuffix("s"))
        if isinstance(loader, Loader) and isinstance(module, Module):
            other = module.handed.setdefault((owner.kind.node, phase), loader)
            if other != loader:
                module.handed[owner.kind.node, phase] = UNKNOWN
    return None


def _extend(machine: Machine, value: Value, call: Call) -> Value | None:
    """Follow `losses.extend([loss])`, which appends, and `losses.extend(losses_of_a_pass)`."""
    match call.node.args, call.args:
        case [ast.List([_])], [Several((item,))]:
            return _append(machine, value, replace(call, args=[item]))
        case [_], [Tensor(loop=loop) as rows] if loop and isinstance(call.node.func, ast.Attribute):
            name = call.frame.path(call.node.func.value)
            return NOTHING if keep_rows(machine, value, rows, name, call.frame) else None
        case [_], [Listing() as more] if isinstance(call.node.func, ast.Attribute):
            name, empty = call.frame.path(call.node.func.value), not isinstance(value, Listing)
            if name:
                call.frame.write(name, more if empty or value == more else UNKNOWN)
                return NOTHING
    return None


def keep(
    machine: Machine, node: ast.AST, value: Value, item: Value, name: str, frame: Frame
) -> bool:
    """Return whether an item is added to a list inside a loop, and note it.

    Args:
        machine: the interpretation.
        node: what adds it.
        value: the list, as far as it is known.
        item: what is added.
        name: how the code calls the list.
        frame: the names around it.
    """
    longer = _longer(machine, value, item, name, frame)
    if longer is None:
        return False
    machine.emit("append", node, frame, item, value, name)
    frame.write(name, longer)
    return True


def keep_rows(machine: Machine, value: Value, batch: Tensor, name: str, frame: Frame) -> bool:
    """Return whether the samples of a batch are added to a list one by one, and note it.

    Args:
        machine: the interpretation.
        value: the list, as far as it is known.
        batch: the samples.
        name: how the code calls the list.
        frame: the names around it.
    """
    longer = _longer(machine, value, batch, name, frame)
    if longer is None or longer.over != batch.loop:
        return False
    frame.write(name, replace(longer, rows=True))
    return True


def _longer(machine: Machine, value: Value, item: Value, name: str, frame: Frame) -> Listing | None:
    """Return a list after an item is added to it inside a loop, None where it is no list there."""
    if not name or not isinstance(value, Listing | Constant | Unknown | Several):
        return None
    around = machine.loops[frame.depth(name) :]
    if not around:
        return None
    loop = next((lp for lp in reversed(around) if lp.loader is not None), machine.loops[-1])
    dropping = isinstance(value, Listing) and value.conditional
    inside = machine.conditions[loop.outer :]
    conditional = dropping or any(c.by for c in inside) or is_conditional(inside, around[0])
    return Listing(item, loop.key, conditional)


ANY: dict[str, Callable[[Machine, Value, Call], Value | None]] = {
    "backward": _backward,
    "scale": _scale,
    "step": _step,
    "zero_grad": _zero_grad,
    "unscale_": _unscale,
    "unscale_gradients": _unscale,
    "eval": _mode,
    "train": _mode,
    "clip_grad_norm_": _clip,
    "clip_grad_value_": _clip,
    "clip_grad_norm": _clip,
    "clip_gradients": _clip,
    "state_dict": _state_dict,
    "append": _append,
    "extend": _extend,
    "iter_torch_batches": _of_ray,
    "fit": _hand,
    "validate": _hand,
    "test": _hand,
    "log": _log,
    "log_dict": _log,
}
