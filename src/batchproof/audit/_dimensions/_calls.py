"""Calls: which function is meant, and what its result is."""

import ast
import re
from dataclasses import replace

from batchproof.audit._dimensions._attributes import attribute, member
from batchproof.audit._dimensions._criteria import FUNCTIONS
from batchproof.audit._dimensions._functions import create, follow, forward, is_module, method
from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Class,
    Constant,
    Criterion,
    Dataset,
    Function,
    Instance,
    Loader,
    Meter,
    Model,
    Quantity,
    Reference,
    Several,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._library import flat, transfer_of, use_criterion
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._methods import Call, call_method
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._trace import Condition

_MODELS = re.compile(
    r".*(model|net|encoder|decoder|classifier|backbone|generator|discriminator|network|unet|bert|gpt|forward|module)\d?"
)
_REPORTS = {
    "info",
    "debug",
    "warning",
    "log",
    "add_scalar",
    "add_scalars",
    "set_postfix",
    "set_description",
    "write",
    "log_metrics",
    "print",
    "set_postfix_str",
    "log_metric",
    "log_dict",
}
_METERS = {"averager", "runningaverage", "metriclogger"}
_CLIPS = {"clip_grad_norm_", "clip_grad_value_", "clip_grad_norm"}


def call(machine: Machine, node: ast.Call, frame: Frame, target: str = "") -> Value:
    """Return the value of a call.

    Args:
        machine: the interpretation.
        node: the call.
        frame: the names around it.
        target: the variable that its result is assigned to.
    """
    function = node.func
    receiver: Value | None = None
    if isinstance(function, ast.Attribute):
        receiver = machine.evaluate(function.value, frame)
    text = dotted(function.value) if isinstance(function, ast.Attribute) else ""
    name = function.attr if isinstance(function, ast.Attribute) else dotted(function)
    made = _parts(machine, node, frame, name, text, target)
    if receiver is not None and not isinstance(receiver, Reference):
        result = _on_value(machine, receiver, made)
        if result is not None:
            return result
        callee = (
            attribute(machine, receiver, function, frame)
            if isinstance(function, ast.Attribute)
            else UNKNOWN
        )
    elif isinstance(receiver, Reference) and isinstance(function, ast.Attribute):
        callee = attribute(machine, receiver, function, frame)
    else:
        callee = machine.evaluate(function, frame)
    return invoke(machine, callee, made)


def _parts(
    machine: Machine, node: ast.Call, frame: Frame, name: str, text: str, target: str
) -> Call:
    args: list[Value] = []
    starred = False
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            starred = True
            machine.evaluate(argument.value, frame)
            args.append(UNKNOWN)
        else:
            args.append(machine.evaluate(argument, frame))
    keywords: dict[str, Value] = {}
    for keyword in node.keywords:
        value = machine.evaluate(keyword.value, frame)
        if keyword.arg:
            keywords[keyword.arg] = value
        elif isinstance(value, Several) and all(isinstance(n, str) for n in value.names):
            keywords |= {f"{n}": v for n, v in zip(value.names, value.items, strict=False)}
            starred |= not value.names and bool(value.items)
        else:
            starred = True
    return Call(node, name, text, args, keywords, frame, starred, target)


def _on_value(machine: Machine, receiver: Value, made: Call) -> Value | None:
    if isinstance(receiver, Instance):
        known = method(machine, receiver.kind, made.name, receiver)
        if known is not None:
            if _is_meter(receiver.kind) and made.name == "update":
                return call_method(machine, Meter(made.text, ""), made)
            value = follow(machine, known, made.node, made.args, made.keywords)
            given = any(isinstance(a, Tensor) for a in made.args)
            if isinstance(value, Unknown) and given and is_module(machine, receiver.kind):
                return Tensor(machine.batch_loop, "", machine.grad, output=True)
            return value
    if made.name in _REPORTS:
        _write(machine, made)
    result = call_method(machine, receiver, made)
    if result is None and made.name == "update" and _names_meter(made.text):
        return call_method(machine, Meter(made.text, ""), made)
    return result


def _write(machine: Machine, made: Call) -> None:
    for value in (*made.args, *made.keywords.values()):
        for inner in flat(value):
            if isinstance(inner, Quantity):
                machine.emit(
                    "report", made.node, made.frame, inner, text=f"{made.text}.{made.name}"
                )


def _is_meter(kind: Class) -> bool:
    return _names_meter(kind.node.name)


def _names_meter(name: str) -> bool:
    """Return whether a name is that of a running average: AverageMeter, but not Parameter."""
    low = name.lower()
    return "meter" in low.replace("parameter", "") or low.rsplit(".", 1)[-1] in _METERS


def invoke(machine: Machine, callee: Value, made: Call) -> Value:
    """Return the result of calling a value."""
    if "update_grad" in made.keywords or "need_update" in made.keywords:
        return _loss_scaler(machine, made)
    match callee:
        case Function():
            value = follow(machine, callee, made.node, made.args, made.keywords)
            return _unless_known(machine, value, made)
        case Class():
            return _build(machine, callee, made)
        case Instance():
            if is_module(machine, callee.kind):
                machine.emit("forward", made.node, made.frame, callee, text=made.name)
            value = forward(machine, callee, made.node, made.args, made.keywords)
            return _as_loss(machine, value, made)
        case Criterion():
            return use_criterion(machine, made, callee)
        case Model():
            machine.emit("forward", made.node, made.frame, callee, text=callee.text)
            return Tensor(
                machine.batch_loop,
                callee.form,
                machine.grad is not False,
                output=True,
                text=callee.text,
            )
        case Reference():
            return _outside(machine, callee.name, made)
    return _unknown(machine, made)


def _as_loss(machine: Machine, value: Value, made: Call) -> Value:
    """Give a loss module that hides its reduction the name of a loss."""
    if isinstance(value, Tensor) and _is_loss(made):
        return Quantity(
            "mean", machine.batch_loop, sure=False, line=made.node.lineno, name=made.name
        )
    return value


def _unless_known(machine: Machine, value: Value, made: Call) -> Value:
    """Return the value of a followed call, or that which its name suggests if there is none."""
    name = made.name.lower()
    if "reduce" in name or "gather" in name:
        first = made.args[0] if made.args else UNKNOWN
        average = made.keywords.get("average")
        how = "sum" if average == Constant(value=False) else "helper"
        machine.emit("reduce", made.node, made.frame, first, text=how)
        return replace(first, ranks=how) if isinstance(first, Quantity) else first
    if value == UNKNOWN:
        machine.trace.opaque.append((len(machine.trace.events), made.name))
    if value == UNKNOWN and _is_loss(made):
        return Quantity(
            "mean", machine.batch_loop, sure=False, line=made.node.lineno, name=made.name
        )
    return value


def _build(machine: Machine, kind: Class, made: Call) -> Value:
    if _is_meter(kind):
        return Meter(made.target, machine.loop_key(made.node))
    words = words_of(kind.node.name)
    if words.strip().endswith("data loader") or words.strip().endswith("loader"):
        return Loader(machine.loop_key(made.node), made.target or made.name)
    if any(dotted(base).endswith(("Dataset", "DataSet")) for base in kind.node.bases):
        rows = {a.rows for a in (*made.args, *made.keywords.values()) if isinstance(a, Tensor)}
        size = rows.pop() if len(rows) == 1 else None
        place = f"{made.node.lineno}:{made.node.col_offset}"
        return Dataset(place, size, words=words_of(made.target))
    instance = create(machine, kind, made.node, made.args, made.keywords, made.target)
    if (
        is_module(machine, kind)
        and "loss" in words
        and method(machine, kind, "forward", instance) is None
    ):
        return Criterion(kind.node.name, "mean", sure=False)
    return instance


def _outside(machine: Machine, name: str, made: Call) -> Value:
    module_name, _, last = name.rpartition(".")
    file = machine.file(module_name, made.frame.module) if module_name else None
    inner = member(file, last) if file is not None else None
    if inner is not None:
        return invoke(machine, inner, made)
    transfer = transfer_of(name)
    if transfer is not None:
        short = name.rsplit(".", 1)[-1]
        plain = made if made.name == short else replace(made, name=short)
        if made.target and _names_meter(name):
            return Meter(made.target, machine.loop_key(made.node))
        return transfer(machine, plain, name)
    return _unknown(machine, replace(made, name=last or made.name))


def _unknown(machine: Machine, made: Call) -> Value:
    """Return the value of a call of a function out of sight, by its name and its arguments."""
    name, low = made.name, made.name.lower()
    if name in _CLIPS:
        machine.emit(
            "clip", made.node, made.frame, text=dotted(made.node.args[0]) if made.node.args else ""
        )
        return UNKNOWN
    _note_opaque(machine, made)
    if _names_meter(name) and (name[:1].isupper() or low.startswith("average")):
        return Meter(made.target, machine.loop_key(made.node))
    if low.endswith(("dataloader", "data_loader")) and name[:1].isupper():
        return Loader(machine.loop_key(made.node), made.target or name)
    if "reduce" in low or "gather" in low:
        first = made.args[0] if made.args else UNKNOWN
        how = "sum" if made.keywords.get("average") == Constant(value=False) else "helper"
        machine.emit("reduce", made.node, made.frame, first, text=how)
        return replace(first, ranks=how) if isinstance(first, Quantity) else first
    if name == "get_world_size":
        return _outside(machine, "torch.distributed.get_world_size", made)
    loader = [a for a in made.args if isinstance(a, Loader)]
    if len(loader) == 1 and len(made.args) == 1 and not made.keywords:
        return (
            loader[0]
            if low in {"tqdm", "iter", "list", "progress", "track", "pbar"}
            else replace(loader[0], drop_last=None, line=0)
        )
    return _by_name(machine, made)


def _by_name(machine: Machine, made: Call) -> Value:
    low = made.name.lower()
    if _is_loss(made) and (made.args or made.keywords):
        chosen = Criterion(made.name, "mean", sure=False)
        return use_criterion(machine, made, chosen)
    if low.endswith(("get_batch", "next_batch")):
        return Tensor(machine.batch_loop, text="batch")
    batches = [a for a in (*made.args, *made.keywords.values()) if isinstance(a, Tensor)]
    if _MODELS.fullmatch(low) and not made.name[:1].isupper():
        machine.emit("forward", made.node, made.frame, Unknown(made.name), text=made.name)
        return Tensor(machine.batch_loop, "", machine.grad, output=True)
    if batches:
        output = any(t.output for t in batches)
        graph = False if all(t.graph is False for t in batches) and output else None
        return Tensor(batches[0].loop, "", graph, output)
    return UNKNOWN


def _is_loss(made: Call) -> bool:
    words = words_of(made.name).split()
    last = made.name.rsplit(".", 1)[-1]
    return (
        bool({"loss", "criterion", "objective", "criteria"} & set(words)) and last not in FUNCTIONS
    )


def _note_opaque(machine: Machine, made: Call) -> None:
    order = len(machine.trace.events)
    for argument in (*made.node.args, *(k.value for k in made.node.keywords)):
        text = dotted(argument)
        if text:
            machine.trace.opaque.append((order, text))
    if made.text:
        machine.trace.opaque.append((order, made.text))


def _loss_scaler(machine: Machine, made: Call) -> Value:
    """Follow timm's gradient scaler: back-propagate, and clip and step if its arguments say so."""
    loss = made.args[0] if made.args else made.keywords.get("loss", UNKNOWN)
    machine.emit("backward", made.node, made.frame, loss, text="")
    test = next(k.value for k in made.node.keywords if k.arg in {"update_grad", "need_update"})
    subject = dotted(made.node.args[1]) if len(made.node.args) > 1 else ""
    with machine.under(Condition(test, branch=True)):
        machine.emit("unscale", made.node, made.frame, text=subject)
        machine.emit("step", made.node, made.frame, text=subject)
    return NOTHING
