"""Calls: which function is meant, and what its result is."""

import ast
import re
from contextlib import ExitStack
from dataclasses import replace

from batchproof.audit._dimensions._arithmetic import join
from batchproof.audit._dimensions._attributes import attribute, member
from batchproof.audit._dimensions._collates import pads_of_items
from batchproof.audit._dimensions._criteria import FUNCTIONS, reduction_of
from batchproof.audit._dimensions._functions import (
    create,
    follow,
    forward,
    handed_on,
    is_module,
    is_optimizer,
    is_schedule,
    method,
)
from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Base,
    Choice,
    Class,
    Constant,
    Criterion,
    Dataset,
    Function,
    Instance,
    Loader,
    Meter,
    Model,
    Option,
    Quantity,
    Reference,
    Several,
    Tensor,
    Tool,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._library import flat, transfer_of, use_criterion
from batchproof.audit._dimensions._loaders import build_loader
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._methods import PASSES, QUIET, Call, call_method
from batchproof.audit._dimensions._names import (
    REPORTS,
    FunctionNode,
    dotted,
    methods_of,
    prints_for_first_rank,
    words_of,
)
from batchproof.audit._dimensions._trace import Condition

_MODELS = re.compile(
    r".*(model|net|encoder|decoder|classifier|backbone|generator|discriminator|network|unet|bert|gpt|forward|module)\d?"
)
_BUILDERS = {"get", "build", "make", "create", "load", "init", "initialize", "setup", "construct"}
_THINGS = {
    "model", "net", "network", "optimizer", "optim", "opt", "scheduler", "sched", "loader",
    "dataloader", "dataset", "config", "cfg", "args", "writer", "logger", "scaler",
}  # fmt: skip
_CHANGES = {"add", "register", "save", "set", "reset", "freeze", "unfreeze", "print", "log"}
# words of functions out of sight that show what they are given, where nothing uses their result
_SHOWS = {"log", "logs", "logger", "print", "report", "pbar", "progress", "scalar", "scalars"}
_RATIOS = {"iou", "miou", "dice", "psnr", "f1", "auc", "auroc", "rmse", "kappa", "jaccard"}
_MEANS = {"accuracy", "acc"}
_POOLS = re.compile(r"reduce\(|gather\(")
_CUTS = re.compile(r"\.item\(|float\(|detach|\.data\b|numpy|no_grad|tolist")
_METERS = {
    "averager",
    "cumulativeaverage",
    "runningaverage",
    "metriclogger",
    "metrictracker",
    "metricmonitor",
}
# functions that leave the model that they are given as it is
_ONLY_READ = {
    "isinstance", "issubclass", "hasattr", "getattr", "callable", "len", "type", "id", "print",
    "repr", "str", "append", "extend", "watch",
}  # fmt: skip
_DRAWS = ("get_batch", "next_batch")
_CLIPS = {"clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "clip_grads_with_norm_"}


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
    if isinstance(function, ast.Attribute) and function.attr == "__len__" and not node.args:
        length = ast.Call(ast.Name("len", ast.Load()), [function.value], [])
        return call(machine, ast.copy_location(length, node), frame)
    if isinstance(function, ast.Attribute):
        receiver = machine.evaluate(function.value, frame)
    text = dotted(function.value) if isinstance(function, ast.Attribute) else ""
    name = function.attr if isinstance(function, ast.Attribute) else dotted(function)
    parts = _parts(machine, node, frame, name, text, target)
    own = frame.names.get(dotted(function)) if isinstance(receiver, Unknown) else None
    callee: Value = UNKNOWN
    if isinstance(
        own, Criterion | Model | Instance | Function | Choice
    ):  # args.loss_fn = nn.MSELoss()
        callee = own
    elif receiver is not None and not isinstance(receiver, Reference):
        result = _on_value(machine, receiver, parts)
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
    if prints_for_first_rank(name):
        _write(machine, parts)
    return invoke(machine, callee, parts)


def _parts(
    machine: Machine, node: ast.Call, frame: Frame, name: str, text: str, target: str
) -> Call:
    args: list[Value] = []
    has_star = False
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            has_star = True
            value = machine.evaluate(argument.value, frame)
            args.append(value if name == "zip" else UNKNOWN)
        else:
            args.append(machine.evaluate(argument, frame))
    keywords: dict[str, Value] = {}
    for keyword in node.keywords:
        value = machine.evaluate(keyword.value, frame)
        if keyword.arg:
            keywords[keyword.arg] = value
        elif isinstance(value, Several) and all(isinstance(n, str) for n in value.names):
            keywords |= {f"{n}": v for n, v in zip(value.names, value.items, strict=False)}
            has_star |= not value.names and bool(value.items)
        else:
            has_star = True
    return Call(node, name, text, args, keywords, frame, has_star, target)


def _on_value(machine: Machine, receiver: Value, call: Call) -> Value | None:
    if isinstance(receiver, Instance):
        own = method(machine, receiver.kind, call.name, receiver)
        if own is not None:
            if _is_meter(receiver.kind) and call.name == "update":
                return call_method(machine, Meter(call.text, ""), call)
            more = handed_on(own, call.node, call.frame)
            value = follow(machine, own, call.node, call.args, {**call.keywords, **more})
            takes_tensor = any(isinstance(a, Tensor) for a in call.args)
            if isinstance(value, Unknown) and takes_tensor and is_module(machine, receiver.kind):
                ratio = _metric(machine, call)
                if ratio is not None and ratio.base == "coupled":
                    return _as_seen(ratio, own, call)
                return Tensor(machine.batch_loop, "", machine.grad, output=True)
            return _as_seen(value, own, call)
    if call.name in REPORTS or (isinstance(receiver, Unknown) and _shows(machine, call)):
        _write(machine, call)
    result = call_method(machine, receiver, call)
    if result is None and call.name == "update" and _names_meter(call.text):
        return call_method(machine, Meter(call.text, ""), call)
    return result


def _shows(machine: Machine, call: Call) -> bool:
    """Return whether a call out of sight is a statement by itself, and named after a report."""
    return call.node is machine.statement and bool(_SHOWS & set(words_of(call.name).split()))


def _write(machine: Machine, call: Call) -> None:
    for value in (*call.args, *call.keywords.values()):
        for inner in flat(value):
            if isinstance(inner, Quantity):
                machine.emit(
                    "report", call.node, call.frame, inner, text=f"{call.text}.{call.name}"
                )


def _reduced(machine: Machine, call: Call) -> Value:
    """Return what a function reduces over ranks, in the way that its name and options say."""
    first = call.args[0] if call.args else UNKNOWN
    averages = set(words_of(call.name.lower()).split()) & {"mean", "avg", "average"}
    how = "average" if averages else "helper"
    if call.keywords.get("average") == Constant(value=False):
        how = "sum"
    machine.emit("reduce", call.node, call.frame, first, text=how)
    return replace(first, ranks=how) if isinstance(first, Quantity) else first


def _is_meter(kind: Class) -> bool:
    """Return whether a class is a meter that weighs what it is given by the number beside it."""
    update = methods_of(kind.node).get("update")
    return _names_meter(kind.node.name) and not (update is not None and _adds_apart(update))


def _adds_apart(update: FunctionNode) -> bool:
    """Return whether a method adds its first argument and its second to sums of their own."""
    parameters = [argument.arg for argument in update.args.args[1:3]]
    terms = {dotted(n.value) for n in ast.walk(update) if isinstance(n, ast.AugAssign)}
    return len(parameters) == 2 and set(parameters) <= terms


def _adds_graphs(update: FunctionNode | None) -> bool:
    """Return whether a method adds its first argument to a sum as it is, with its graph."""
    if update is None or len(update.args.args) < 2 or _CUTS.search(ast.unparse(update)):
        return False
    first = update.args.args[1].arg
    adds = (n for n in ast.walk(update) if isinstance(n, ast.AugAssign))
    return any(first in {dotted(part) for part in ast.walk(n.value)} for n in adds)


def _names_meter(name: str) -> bool:
    """Return whether a name is that of a running average: AverageMeter, but not Parameter."""
    low = name.lower()
    return "meter" in low.replace("parameter", "") or low.rsplit(".", 1)[-1] in _METERS


def invoke(machine: Machine, callee: Value, call: Call) -> Value:
    """Return the result of calling a value."""
    if "update_grad" in call.keywords or "need_update" in call.keywords:
        return _loss_scaler(machine, call)
    match callee:
        case Function():
            return _invoke_function(machine, callee, call)
        case Choice():
            return _invoke_each(machine, callee, call)
        case Class():
            return _build(machine, callee, call)
        case Instance():
            return _call_object(machine, callee, call)
        case Criterion():
            return _with_pass(machine, call, use_criterion(machine, call, callee))
        case Model():
            text = call.name if " or " in callee.text else callee.text
            machine.emit("forward", call.node, call.frame, callee, text=text)
            return Tensor(
                machine.batch_loop,
                callee.form,
                machine.grad is not False,
                output=True,
                text=callee.text,
            )
        case Reference():
            return _outside(machine, callee.name, call)
    return _out_of_sight(machine, call)


def _invoke_function(machine: Machine, function: Function, call: Call) -> Value:
    """Return the result of a function in sight."""
    more = handed_on(function, call.node, call.frame)
    value = follow(machine, function, call.node, call.args, {**call.keywords, **more})
    value = _usual_loss(machine, call) if _is_unclear(value) and _is_loss(call) else value
    if isinstance(value, Quantity) and not _POOLS.search(ast.unparse(function.node)):
        return _as_seen(_as_ratio(value, call), function, call)
    return _as_seen(_unless_known(machine, value, call), function, call)


def _invoke_each(machine: Machine, choice: Choice, call: Call) -> Value:
    """Return the joint result of the functions that are called by a test, each in its branch."""
    value: Value = NOTHING
    with ExitStack() as branches:
        for function in choice.functions:
            name = ast.Name(getattr(function.node, "name", "lambda"), ast.Load())
            test = ast.copy_location(ast.Compare(call.node.func, [ast.Is()], [name]), call.node)
            with machine.under(Condition(test, branch=True)):
                result = invoke(machine, function, call)
            value = join(value, result)
            branches.enter_context(machine.under(Condition(test, branch=False)))
    return value


def _call_object(machine: Machine, callee: Instance, call: Call) -> Value:
    """Return the result of calling an object: of its forward, or its `__call__`."""
    if is_module(machine, callee.kind):
        machine.emit("forward", call.node, call.frame, callee, text=call.name)
    elif _shows(machine, call):
        _write(machine, call)
    value = forward(machine, callee, call.node, call.args, call.keywords)
    return _as_loss(machine, value, call)


def _as_loss(machine: Machine, value: Value, call: Call) -> Value:
    """Give a loss module that hides its reduction the name of a loss."""
    unclear = isinstance(value, Tensor) or _is_unclear(value)
    return _usual_loss(machine, call) if unclear and _is_loss(call) else value


def _is_unclear(value: Value) -> bool:
    """Return whether of a loss nothing is known but that it is one of a batch."""
    return isinstance(value, Quantity) and value.base == "unknown" and not value.over


def _usual_loss(machine: Machine, call: Call) -> Quantity:
    """Return the loss of a function out of sight: a mean, unless the call names a reduction."""
    base, _ = reduction_of(call.keywords)
    line, name = call.node.lineno, "a call out of sight" if _of_weights(call) else call.name
    return Quantity(base, machine.batch_loop, sure=False, line=line, name=name)


def _of_weights(call: Call) -> bool:
    """Return whether a loss is given a model alone, so that it is one of its weights."""
    args = (*call.args, *call.keywords.values())
    names = [value.text.rpartition(".")[2] for value in args if isinstance(value, Unknown)]
    others = [value for value in args if not isinstance(value, Unknown | Constant | Option)]
    models = all(isinstance(value, Model | Instance) for value in others)
    return bool(args) and models and all(is_model(name) for name in names)


def _unless_known(machine: Machine, value: Value, call: Call) -> Value:
    """Return the value of a followed call, or that which its name suggests if there is none."""
    name = call.name.lower()
    if "reduce" in name or "gather" in name:
        return _reduced(machine, call)
    if value == UNKNOWN:
        machine.trace.opaque.append((len(machine.trace.events), call.name))
    if value == UNKNOWN and _is_loss(call):
        return _usual_loss(machine, call)
    if value == UNKNOWN and name.endswith(_DRAWS):
        return Tensor(machine.batch_loop, text="batch")
    return _metric(machine, call) or value if value == UNKNOWN else value


def _as_ratio(value: Quantity, call: Call) -> Quantity:
    """Return what a function that is named after a ratio, and takes a mean last, computes."""
    ratio = bool(_RATIOS & set(words_of(call.name).split())) and not _is_loss(call)
    plain = value.base == "mean" and not value.over
    return replace(value, base="coupled", sure=False) if ratio and plain else value


def _as_seen(value: Value, function: Function, call: Call) -> Value:
    """Return the ratio of a function in sight, sure if it divides sums of whole tensors."""
    if not isinstance(value, Quantity) or value.base != "coupled" or value.sure:
        return value
    if not _RATIOS & set(words_of(call.name).split()) or _is_loss(call):
        return value
    whole, divides = False, False
    for node in ast.walk(function.node):
        match node:
            case ast.For() | ast.ListComp() | ast.GeneratorExp() | ast.keyword(arg="dim" | "axis"):
                return value
            case ast.Call(ast.Attribute(attr="mean")):
                return value
            case ast.Call(ast.Attribute(owner, "sum"), args):
                if bool(args) is not (dotted(owner) in {"torch", "np"}) or len(args) > 1:
                    return value
                whole = True
            case ast.BinOp(op=ast.Div()):
                divides = True
    return replace(value, sure=whole and divides, metric=True, name=call.name)


def _metric(machine: Machine, call: Call) -> Quantity | None:
    """Return the metric of a batch that a function out of sight is named after."""
    words = set(words_of(call.name).split())
    tensors = [a for a in (*call.args, *call.keywords.values()) if isinstance(a, Tensor)]
    base: Base = "coupled" if words & _RATIOS else "mean"
    if not (words & (_RATIOS | _MEANS) and any(t.output for t in tensors)) or _is_loss(call):
        return None
    graph = False if all(t.graph is False for t in tensors) else None
    return Quantity(
        base, machine.batch_loop, graph=graph, sure=False, metric=True, line=call.node.lineno,
        name=call.name, text=call.name,
    )  # fmt: skip


def _build(machine: Machine, kind: Class, call: Call) -> Value:
    if _is_meter(kind):
        pools = bool(_POOLS.search(ast.unparse(kind.node)))
        keeps = _adds_graphs(methods_of(kind.node).get("update"))
        return Meter(call.target, machine.loop_key(call.node), pools, keeps)
    if any(dotted(base).endswith("DataLoader") for base in kind.node.bases):
        return _own_loader(kind, call)
    words = words_of(kind.node.name)
    if words.strip().endswith("data loader") or words.strip().endswith("loader"):
        return Loader(machine.loop_key(call.node), call.target or call.name)
    if any(dotted(base).endswith(("Dataset", "DataSet")) for base in kind.node.bases):
        rows = {a.rows for a in (*call.args, *call.keywords.values()) if isinstance(a, Tensor)}
        size = rows.pop() if len(rows) == 1 else None
        place = f"{call.node.lineno}:{call.node.col_offset}"
        return Dataset(place, size, words=words_of(call.target), pads=pads_of_items(kind))
    if is_schedule(machine, kind):
        return Tool("scheduler", call.target)
    if is_optimizer(machine, kind):
        of = ast.unparse(call.node.args[0]) if call.node.args else ""
        return Tool("optimizer", call.target, of=of)
    instance = create(machine, kind, call.node, call.args, call.keywords, call.target)
    if (
        is_module(machine, kind)
        and "loss" in words
        and method(machine, kind, "forward", instance) is None
    ):
        return Criterion(kind.node.name, "mean", sure=False)
    return instance


def _own_loader(kind: Class, call: Call) -> Loader:
    """Return what a class of the project makes that is a DataLoader of torch with a collator."""
    code = ast.unparse(kind.node)
    forms_batches = re.search(r"\b(drop_last|\w*sampler|__iter__|__len__)\b", code)
    if forms_batches or "batch_size" not in call.keywords:
        return Loader(f"{call.node.lineno}:{call.node.col_offset}", call.target or call.name)
    options = {"dataset": call.args[0], **call.keywords} if call.args else call.keywords
    return build_loader(kind.node.name, call.node, [], options, call.target, open_=call.starred)


def _outside(machine: Machine, name: str, call: Call) -> Value:
    module_name, _, last = name.rpartition(".")
    file = machine.file(module_name, call.frame.module) if module_name else None
    inner = member(file, last) if file is not None else None
    if inner is not None:
        return invoke(machine, inner, call)
    transfer = transfer_of(name)
    if transfer is not None:
        short = name.rsplit(".", 1)[-1]
        plain = call if call.name == short else replace(call, name=short)
        if call.target and _names_meter(name):
            return Meter(call.target, machine.loop_key(call.node))
        return transfer(machine, plain, name)
    return _out_of_sight(machine, replace(call, name=last or call.name))


def _out_of_sight(machine: Machine, call: Call) -> Value:
    """Return the value of a call of a function out of sight, by its name and its arguments."""
    name, low = call.name, call.name.lower()
    if name in _CLIPS:
        machine.emit(
            "clip", call.node, call.frame, text=dotted(call.node.args[0]) if call.node.args else ""
        )
        return UNKNOWN
    if _shows(machine, call) and not prints_for_first_rank(name):
        _write(machine, call)
    _note_opaque(machine, call)
    if _names_meter(name) and (name[:1].isupper() or low.startswith("average")):
        return Meter(call.target, machine.loop_key(call.node))
    if low.endswith(("dataloader", "data_loader")) and name[:1].isupper():
        return Loader(machine.loop_key(call.node), call.target or name)
    if "reduce" in low or "gather" in low:
        return _reduced(machine, call)
    if name == "get_world_size":
        return _outside(machine, "torch.distributed.get_world_size", call)
    loader = [a for a in call.args if isinstance(a, Loader)]
    shows = low in {"tqdm", "iter", "list", "progress", "track", "pbar"}
    if len(loader) == 1 and len(call.args) == 1 and (shows or not call.keywords):
        return loader[0] if shows else replace(loader[0], drop_last=None, line=0)
    return _by_name(machine, call)


def is_model(name: str) -> bool:
    """Return whether a name is what such code calls a model, and no class or change of one."""
    changes = words_of(name).split()[:1] in ([verb] for verb in _CHANGES)
    return bool(_MODELS.fullmatch(name.lower())) and not name[:1].isupper() and not changes


def _by_name(machine: Machine, call: Call) -> Value:
    low = call.name.lower()
    if call.name == "scale_loss" and call.args and isinstance(call.args[0], Quantity):
        return call.args[0]  # apex's block, which scales back what it back-propagates
    if _is_loss(call) and (call.args or call.keywords):
        name = "a call out of sight" if _of_weights(call) else call.name
        criterion = Criterion(name, reduction_of(call.keywords)[0], sure=False)
        return _with_pass(machine, call, use_criterion(machine, call, criterion))
    if low.endswith(_DRAWS):
        return Tensor(machine.batch_loop, text="batch")
    batches = [a for a in (*call.args, *call.keywords.values()) if isinstance(a, Tensor)]
    if _builds(call):
        return UNKNOWN
    if is_model(call.name) or dotted(call.node.func) in call.frame.module.modules:
        machine.emit("forward", call.node, call.frame, Unknown(call.name), text=call.name)
        return Tensor(machine.batch_loop, "", machine.grad, output=True)
    owner = call.text.rpartition(".")[2].lower()
    if batches and call.name in PASSES and _MODELS.fullmatch(owner):
        machine.emit("forward", call.node, call.frame, text=f"{call.text}.{call.name}")
        return Tensor(machine.batch_loop, "", machine.grad, output=True)
    metric = _metric(machine, call)
    if metric is not None:
        return metric
    if batches:
        output = any(t.output for t in batches)
        graph = False if all(t.graph is False for t in batches) and output else None
        return Tensor(batches[0].loop, "", graph, output)
    return UNKNOWN


def _with_pass(machine: Machine, call: Call, loss: Value) -> Value:
    """Return the loss that a model computes of a batch in a method of its own, with its graph."""
    whole = dotted(call.node.func).rpartition(".")[0]
    owner = whole.rpartition(".")[2]
    inputs = [*call.args, *call.keywords.values()]
    plain = any(isinstance(v, Tensor) for v in inputs) and not any(
        isinstance(v, Tensor) and v.output for v in inputs
    )
    if call.name not in PASSES or not plain or not _MODELS.fullmatch(owner.lower()):
        return loss
    machine.emit("forward", call.node, call.frame, Unknown(owner), text=f"{whole}.{call.name}")
    return replace(loss, graph=machine.grad) if isinstance(loss, Quantity) else loss


def _builds(call: Call) -> bool:
    """Return whether a call out of sight gives a model or a tool, as its name or target says.

    What is made for a model is no output of it, whatever the call is given.
    """
    words, target = words_of(call.name).split(), words_of(call.target).split()
    gives = words[:1] and words[0] in _BUILDERS and words[-1] in _THINGS
    return bool(gives or (target and target[-1] in _THINGS))


def _is_loss(call: Call) -> bool:
    words = {"loss", "losses", "criterion", "objective", "criteria", "crit"} & set(
        words_of(call.name).split()
    )
    return bool(words) and call.name.rsplit(".", 1)[-1] not in FUNCTIONS


def _note_opaque(machine: Machine, call: Call) -> None:
    order = len(machine.trace.events)
    if call.name in _ONLY_READ:
        return
    for argument in (*call.node.args, *(k.value for k in call.node.keywords)):
        text = dotted(argument)
        if text:
            machine.trace.opaque.append((order, text))
    if call.text and call.name not in QUIET:
        machine.trace.opaque.append((order, call.text))


def _loss_scaler(machine: Machine, call: Call) -> Value:
    """Follow timm's gradient scaler: back-propagate, and clip and step if its arguments say so."""
    loss = call.args[0] if call.args else call.keywords.get("loss", UNKNOWN)
    machine.emit("backward", call.node, call.frame, loss, text="")
    test = next(k.value for k in call.node.keywords if k.arg in {"update_grad", "need_update"})
    subject = dotted(call.node.args[1]) if len(call.node.args) > 1 else ""
    with machine.under(Condition(test, branch=True)):
        machine.emit("unscale", call.node, call.frame, text=subject)
        machine.emit("step", call.node, call.frame, text=subject)
    return NOTHING
