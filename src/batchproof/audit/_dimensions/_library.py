"""The transfer functions of torch, numpy and Python: the results of their functions and classes."""

import ast
import math
import re
from collections.abc import Callable
from dataclasses import replace

from batchproof.audit._dimensions._arithmetic import add, is_mask
from batchproof.audit._dimensions._collates import pads_of, pads_of_call
from batchproof.audit._dimensions._criteria import (
    CLASSES,
    FUNCTIONS,
    build_criterion,
    call_criterion,
    function_criterion,
)
from batchproof.audit._dimensions._functions import bind, follow
from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Class,
    Constant,
    Count,
    Criterion,
    Dataset,
    Form,
    Function,
    Listing,
    Loader,
    Meter,
    Model,
    Option,
    Pads,
    Quantity,
    Reference,
    Several,
    StateDict,
    Tensor,
    Tool,
    Unit,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._loaders import (
    LOADERS,
    RAGGED,
    SAMPLERS,
    as_loader,
    build_dataset,
    build_loader,
    build_sampler,
    build_split,
    build_subset,
    number,
)
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._methods import Call, call_method, compare, gather
from batchproof.audit._dimensions._modes import is_positive
from batchproof.audit._dimensions._names import Module, assigns_in, dotted
from batchproof.audit._dimensions._scores import base_of_score, is_class, is_score
from batchproof.audit._dimensions._trace import Loop

Transfer = Callable[[Machine, Call, str], Value]


def _first(call: Call) -> Value:
    return call.args[0] if call.args else next(iter(call.keywords.values()), UNKNOWN)


def _loader(machine: Machine, call: Call, name: str) -> Value:
    open_ = call.starred
    loader = build_loader(name, call.node, call.args, call.keywords, call.target, open_=open_)
    loader = replace(loader, pads=_pads(machine, call, loader))
    machine.emit("loader", call.node, call.frame, loader, text=call.target)
    return loader


def _pads(machine: Machine, call: Call, loader: Loader) -> Pads:
    """Return the parts of a loader's batches that its collator, or else its data set, pads."""
    maker = call.keywords.get("collate_fn", NOTHING)
    for keyword in call.node.keywords:
        match keyword.value:
            case ast.Call(func, [ast.expr() as inner, *_]) if keyword.arg == "collate_fn":
                if dotted(func).endswith("partial"):
                    maker = machine.evaluate(inner, call.frame)
    if maker == NOTHING:
        return loader.dataset.pads if isinstance(loader.dataset, Dataset) else ()
    return pads_of(maker)


def _padded(machine: Machine, call: Call, _name: str) -> Value:
    pads = pads_of_call(call.node, call.frame.module)
    return Tensor(machine.batch_loop, text="pad_sequence", pads=pads)


def _tensor_dataset(machine: Machine, call: Call, name: str) -> Value:
    """Return a data set of tensors, of which some may be padded."""
    data = _dataset(machine, call, name)
    parts = [(place, part.pads) for place, part in enumerate(call.args) if isinstance(part, Tensor)]
    pads = tuple((place, how) for place, pad in parts for part, how in pad if part is None)
    return replace(data, pads=pads) if isinstance(data, Dataset) else data


def _torchtext(_machine: Machine, call: Call, name: str) -> Value:
    """Return the iterators of torchtext, which never drop a last batch."""

    def iterator(place: int) -> Value:
        size = call.keywords.get("batch_size", UNKNOWN)
        if isinstance(call.keywords.get("batch_sizes"), Several):
            size = UNKNOWN
        key = f"{call.node.lineno}:{call.node.col_offset}:{place}"
        return Loader(key, call.target, call.node.lineno, size, drop_last=False)

    if not name.endswith(".splits"):
        return iterator(0)
    parts = _first(call)
    count = len(parts.items) if isinstance(parts, Several) else 0
    return Several(tuple(iterator(place) for place in range(count))) if count else UNKNOWN


def _sampler(machine: Machine, call: Call, name: str) -> Value:
    sampler = build_sampler(name, call.node, call.keywords, call.args)
    machine.emit("sampler", call.node, call.frame, sampler, text=call.target)
    return sampler


def _criterion_class(_machine: Machine, call: Call, name: str) -> Value:
    return build_criterion(CLASSES[name], call.args, call.keywords, open_=call.starred)


def _criterion_call(machine: Machine, call: Call, name: str) -> Value:
    criterion = function_criterion(name, call.args, call.keywords)
    return use_criterion(machine, call, criterion)


def use_criterion(machine: Machine, call: Call, criterion: Criterion) -> Value:
    """Return the loss of a criterion that is called, and write the call down."""
    loss = call_criterion(criterion, call.node, call.args, call.keywords, machine.batch_loop)
    if machine.grad is False:
        loss = replace(loss, graph=False)
    if loss.base == "mean" and not loss.unit and _picks_by_mask(machine, call):
        loss = replace(loss, unit="mask")
    machine.emit("criterion", call.node, call.frame, loss, _first(call), criterion.name)
    return loss


def _picks_by_mask(machine: Machine, call: Call) -> bool:
    """Return whether both inputs of a criterion are the elements that one mask picks."""
    picks = set[str]()
    for node in call.node.args[:2]:
        values = [node]
        if isinstance(node, ast.Name):
            body = machine.running[-1] if machine.running else call.node
            assigns = assigns_in(body).get(node.id, ())
            values += [each.value for each in assigns if isinstance(each, ast.Assign)]
        indices = (v.slice for v in values if isinstance(v, ast.Subscript))
        masks = (i.id for i in indices if isinstance(i, ast.Name))
        picks.add(next((m for m in masks if _is_mask_of(call.frame.read(m))), ""))
    return len(call.node.args) > 1 and len(picks) == 1 and picks != {""}


def _is_mask_of(value: Value | None) -> bool:
    return isinstance(value, Tensor) and value.form == "mask"


def _optimizer(_machine: Machine, call: Call, _name: str) -> Value:
    of = ast.unparse(call.node.args[0]) if call.node.args else ""
    return Tool("optimizer", call.target, of=of)


def _scheduler(_machine: Machine, call: Call, name: str) -> Value:
    return Tool("plateau" if name.endswith("ReduceLROnPlateau") else "scheduler", call.target)


def _scaler(_machine: Machine, call: Call, _name: str) -> Value:
    switch = call.keywords.get("enabled")
    return Tool("scaler", call.target, switch != Constant(value=False))


def _tool(kind: str) -> Transfer:
    def build(_machine: Machine, call: Call, _name: str) -> Value:
        ranks = not _of_one_process(call)
        return Tool("fabric" if kind == "fabric" else "accelerator", call.target, ranks=ranks)

    return build


def _of_one_process(call: Call) -> bool:
    """Return whether the arguments of a Fabric ask for one device, as it has one of a CPU."""
    kind, devices = call.argument(0, "accelerator"), call.argument(2, "devices")
    one = devices in (Constant(1), Constant("1"))
    alone = call.keywords.get("num_nodes", Constant(1)) == Constant(1)
    return alone and (one or (kind == Constant("cpu") and devices in (None, Constant("auto"))))


def _spawn(machine: Machine, call: Call, _name: str) -> Value:
    """Follow the function that each of several processes calls with its rank."""
    function = call.argument(0, "fn")
    others = call.argument(1, "args")
    if isinstance(function, Function):
        rest = list(others.items) if isinstance(others, Several) else []
        follow(machine, function, call.node, [Unknown("rank"), *rest], {})
    return UNKNOWN


def _same(_machine: Machine, call: Call, _name: str) -> Value:
    return _first(call)


def _cat(_machine: Machine, call: Call, _name: str) -> Value:
    """Return tensors outside loops joined, with as many rows as they have together."""
    parts, dim = _first(call), call.argument(1, "dim") or call.keywords.get("axis", Constant(0))
    if isinstance(parts, Listing) and isinstance(parts.item, Tensor):
        return replace(parts, rows=True) if dim == Constant(0) else UNKNOWN
    items = parts.items if isinstance(parts, Several) else ()
    tensors = [item for item in items if isinstance(item, Tensor) and not item.loop]
    if not tensors or len(tensors) < len(items):
        return parts
    rows = [tensor.rows for tensor in tensors if tensor.rows is not None]
    certain = dim != Constant(0) or len(rows) == len(tensors)
    number = sum(rows) if dim == Constant(0) else tensors[0].rows
    return replace(tensors[0], rows=number if certain else None)


def _deepcopy(_machine: Machine, call: Call, _name: str) -> Value:
    value = _first(call)
    if isinstance(value, StateDict):
        return replace(value, is_copy=True)
    return (
        StateDict(dotted(call.node.args[0]) if call.node.args else "", is_copy=True)
        if not isinstance(value, Quantity | Count | Constant)
        else value
    )


def _save(machine: Machine, call: Call, _name: str) -> Value:
    machine.emit(
        "save",
        call.node,
        call.frame,
        _first(call),
        text=dotted(call.node.args[0]) if call.node.args else "",
    )
    return NOTHING


def _report(machine: Machine, call: Call, name: str) -> Value:
    for value in (*call.args, *call.keywords.values()):
        for inner in flat(value):
            if isinstance(inner, Quantity):
                machine.emit("report", call.node, call.frame, inner, text=name)
    return NOTHING


def _shown(_machine: Machine, call: Call, _name: str) -> Value:
    """Return the numbers that a text shows."""
    value = _first(call)
    return value if isinstance(value, Quantity | Several) else UNKNOWN


def flat(value: Value) -> list[Value]:
    """Return the values inside a tuple or dict."""
    if isinstance(value, Several):
        return [inner for item in value.items for inner in flat(item)]
    return [value]


def _mean(machine: Machine, call: Call, name: str) -> Value:
    value = _first(call)
    if isinstance(value, Listing):
        if "weights" in call.keywords or len(call.args) > 2:
            return UNKNOWN
        return gather(machine, value, call, mean=True)
    if isinstance(value, Quantity) and name.startswith(("numpy", "statistics")):
        machine.emit("average", call.node, call.frame, value, UNKNOWN, dotted(call.node.args[0]))
        return replace(value, loop="")
    return _as_method(machine, call, name)


def _sum(machine: Machine, call: Call, name: str) -> Value:
    value = _first(call)
    if isinstance(value, Listing):
        return gather(machine, value, call, mean=False)
    if name == "sum" and isinstance(value, Several) and value.items:
        total = value.items[0]
        for item in value.items[1:]:
            total = add(total, item)
        return total
    if name == "sum" and isinstance(value, Tensor) and not value.output:
        return Count("elements", value.loop, text=value.text)
    return _as_method(machine, call, name)


def _as_method(machine: Machine, call: Call, _name: str) -> Value:
    if not call.args:
        return UNKNOWN
    value, rest = call.args[0], call.args[1:]
    inner = Call(call.node, call.name, "", rest, call.keywords, call.frame)
    if isinstance(value, Tensor | Quantity | Count | Listing):
        return call_method(machine, value, inner) or UNKNOWN
    return UNKNOWN


def _where(_machine: Machine, call: Call, _name: str) -> Value:
    if len(call.args) < 3:
        return UNKNOWN
    mask, first, second = call.args[:3]
    codes = [ast.unparse(argument) for argument in call.node.args[1:3]]
    for loss, other, code in ((first, second, codes[-1]), (second, first, codes[0])):
        zero = other in (Constant(0), Constant(0.0)) or "zeros" in code
        if isinstance(loss, Quantity) and loss.base == "elements" and zero:
            return replace(loss, masked=is_mask(mask) or ast.unparse(call.node.args[0]))
    if isinstance(first, Tensor):
        return Tensor(first.loop, "", first.graph, first.output)
    return UNKNOWN


def _zeros(_machine: Machine, call: Call, _name: str) -> Value:
    first = _first(call)
    if not call.args or first in (Constant(1), Constant(0), Several(()), Several((Constant(1),))):
        return Constant(0)
    if len(call.args) == 1 and isinstance(first, Count | Unknown | Option | Constant):
        return Listing(UNKNOWN)
    return _random(_machine, call, _name)


def _random(_machine: Machine, call: Call, _name: str) -> Value:
    first = call.keywords.get("size", _first(call))
    if isinstance(first, Several) and first.items:
        first = first.items[0]
    if len(call.args) > 1 and _name.endswith("randint") and isinstance(call.args[-1], Several):
        first = call.args[-1].items[0] if call.args[-1].items else UNKNOWN
    rows = first.value if isinstance(first, Constant) and type(first.value) is int else None
    return Tensor(graph=False, rows=rows)


def _tensor(_machine: Machine, call: Call, _name: str) -> Value:
    value = _first(call)
    items = value.items if isinstance(value, Several) and not value.names else ()
    kinds = {(i.base, i.loop) for i in items if isinstance(i, Quantity) and not i.over}
    alike = len(kinds) == 1 and all(isinstance(i, Quantity) and not i.over for i in items)
    return items[0] if len(items) == 1 or alike else value


def _length(machine: Machine, call: Call, _name: str) -> Value:
    value = as_loader(_first(call))
    text = f"len({dotted(call.node.args[0])})" if call.node.args else ""
    match value:
        case Loader():
            return Count("batches", value.key, text=text)
        case Dataset():
            return Count("data set", value.key, text=text, size=value.size)
        case Listing():
            unit: Unit = "seen" if value.rows else "batches"
            return Count(unit, value.over, conditional=value.conditional, text=text)
        case Tensor() if value.output and value.form not in {"hits", "classes"}:
            return Unknown(text)
        case Tensor():
            return (
                Count("batch", value.loop, text="batch")
                if value.loop
                else Constant(value.rows)
                if value.rows
                else Unknown(text)
            )
        case Quantity():
            return Count("batch", value.loop, text=text)
        case Several():
            return Constant(len(value.items))
    name = value.text if isinstance(value, Unknown) else ""
    loaders = [loop.loader for loop in machine.trace.loops.values() if loop.loader is not None]
    if name and any(loader.key == name for loader in loaders):
        return Count("batches", name, text=text)
    if name.lower().endswith(("data", "set", "ds")) or "dataset" in name.lower():
        return Count("data set", name, text=text)
    return Unknown(text)


def _next(machine: Machine, call: Call, _name: str) -> Value:
    value = _first(call)
    loop = machine.batch_loop
    if isinstance(value, Loader) and machine.loops and machine.loops[-1].loader is None:
        machine.loops[-1].draws = True
    return Tensor(loop, text="batch") if isinstance(value, Loader | Unknown) else UNKNOWN


def _model(_machine: Machine, call: Call, name: str) -> Value:
    short = name.rsplit(".", 1)[-1]
    if short in {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel"}:
        return _first(call)
    forms: dict[str, Form] = {
        "Softmax": "probabilities",
        "Sigmoid": "sigmoid",
        "LogSoftmax": "log-probabilities",
        "Linear": "logits",
    }
    form: Form = forms.get(short, "")
    if short == "Sequential" and call.args and isinstance(call.args[-1], Model):
        form = call.args[-1].form
    weights = not (name.startswith("torch.nn.") and _WEIGHTLESS.fullmatch(short))
    return Model(call.target or short, form, _moody(name, short, call), weights)


_WEIGHTLESS = re.compile(
    r"Cosine\w+|Pairwise\w+|\w*Pool\dd|Upsample\w*|\w*Pad\dd|Pixel\w+|Flatten|Unflatten|Identity|Fold"
    r"|Unfold|Dropout\w*|(Log)?Softmax\w*|Sigmoid|Tanh|\w*(?<!P)ReLU6?|GELU|SiLU|ELU"
)


def _data_parallel(machine: Machine, call: Call, _name: str) -> Value:
    """Run a model on several devices, as `data_parallel(model, x)` does."""
    text = dotted(call.node.args[0]) if call.node.args else ""
    machine.emit("forward", call.node, call.frame, _first(call), text=text)
    return Tensor(machine.batch_loop, "", machine.grad, output=True)


_PLAIN = {
    "Linear",
    "ReLU",
    "Conv1d",
    "Conv2d",
    "MaxPool2d",
    "Flatten",
    "Sigmoid",
    "Tanh",
    "Softmax",
}


def _moody(name: str, short: str, call: Call) -> bool | None:
    """Return whether a module differs between training and evaluation; None where not in sight."""
    pretrained = name.startswith(("torchvision.models.", "timm.create_model")) and short.islower()
    if short.startswith(("Dropout", "BatchNorm", "SyncBatchNorm", "Transformer")):
        return True
    if (pretrained and "detection" not in name) or is_positive(call.keywords.get("dropout")):
        return True
    if short != "Sequential":
        return False if name.startswith("torch.nn.") and short in _PLAIN else None
    parts = [a.moody if isinstance(a, Model) else None for a in call.args]
    return True if True in parts else None if None in parts or call.starred else False


def _softmax(_machine: Machine, call: Call, name: str) -> Value:
    value, form = _first(call), _NORMALISED[name.rpartition(".")[2]]
    if isinstance(value, Tensor):
        return replace(value, form=form)
    return Tensor("", form, None, output=True)


_NORMALISED: dict[str, Form] = {
    "softmax": "probabilities",
    "log_softmax": "log-probabilities",
    "sigmoid": "sigmoid",
}


def _linear(_machine: Machine, call: Call, _name: str) -> Value:
    value = _first(call)
    return (
        replace(value, form="logits")
        if isinstance(value, Tensor)
        else Tensor("", "logits", None, output=True)
    )


def _all_reduce(machine: Machine, call: Call, _name: str) -> Value:
    value, target = _first(call), call.node.args[0] if call.node.args else None
    op = next((ast.unparse(k.value) for k in call.node.keywords if k.arg == "op"), "")
    op = op or (ast.unparse(call.node.args[1]) if len(call.node.args) > 1 else "SUM")
    how = "average" if "AVG" in op else "sum"
    machine.emit("reduce", call.node, call.frame, value, text=how)
    if isinstance(value, Quantity) and isinstance(target, ast.Name):
        call.frame.names[target.id] = replace(value, ranks=how)
    return value


def _ranks(_machine: Machine, _call: Call, _name: str) -> Value:
    return Count("ranks", "", text="world size")


def _root(_machine: Machine, call: Call, _name: str) -> Value:
    value = _first(call)
    return (
        replace(value, base="coupled")
        if isinstance(value, Quantity) and value.base != "elements"
        else value
    )


def _logarithm(machine: Machine, call: Call, name: str) -> Value:
    of_loss = isinstance(_first(call), Quantity)
    return _root(machine, call, name) if of_loss else _as_method(machine, call, name)


def _number(_machine: Machine, call: Call, name: str) -> Value:
    value = _first(call)
    if isinstance(value, Constant) and type(value.value) is float and len(call.args) == 1:
        return _rounded(value.value, name)
    if isinstance(value, Count) and value.unit == "portions":
        return _whole_batches(value, name)
    return replace(value, graph=False, number=True) if isinstance(value, Quantity) else value


def _whole_batches(portions: Count, name: str) -> Count:
    """Return the number of batches that N / B is, rounded down, up or to the nearest."""
    last = name.rpartition(".")[2]
    if last == "ceil":
        return replace(portions, unit="batches")
    return replace(portions, unit="full") if last in {"int", "floor"} else portions


def _rounded(value: float, name: str) -> Value:
    """Return the whole number that int(...), round(...) or ceil(...) makes of a number."""
    if name == "float" or not math.isfinite(value):
        return Constant(value)
    if name.endswith("ceil"):
        return Constant(math.ceil(value))
    return Constant(round(value) if "round" in name or name.endswith("around") else int(value))


def _largest(_machine: Machine, call: Call, _name: str) -> Value:
    count = next((value for value in call.args if isinstance(value, Count)), None)
    return UNKNOWN if count is None else replace(count, guarded=True)


def _dataset(machine: Machine, call: Call, name: str) -> Value:
    dataset = build_dataset(name, call.node, call.args, call.keywords, call.target)
    rows = call.args[0] if call.args else UNKNOWN
    loop = machine.trace.loops.get(rows.over) if isinstance(rows, Listing) and rows.rows else None
    if isinstance(dataset, Dataset) and loop is not None and loop.loader is not None:
        return replace(dataset, full=loop.loader.batch_size if loop.loader.drop_last else None)
    return dataset


def _subset(_machine: Machine, call: Call, _name: str) -> Value:
    return build_subset(call.node, call.args, call.target)


def _split(_machine: Machine, call: Call, _name: str) -> Value:
    return build_split(call.node, call.args)


def _compare(_machine: Machine, call: Call, _name: str) -> Value:
    return compare(call.args[0], call.args[1]) if len(call.args) > 1 else UNKNOWN


def _meter(machine: Machine, call: Call, _name: str) -> Value:
    return Meter(call.target, machine.loop_key(call.node))


def _set_grad(machine: Machine, call: Call, _name: str) -> Value:
    value = _first(call)
    machine.grad = bool(value.value) if isinstance(value, Constant) else None
    return NOTHING


def _enumerate(_machine: Machine, call: Call, _name: str) -> Value:
    """Return the loader inside enumerate(...), where that counts from 0."""
    value = as_loader(_first(call))
    plain = isinstance(value, Loader) and len(call.args) == 1 and not call.keywords
    return replace(value, with_index=True) if plain and isinstance(value, Loader) else UNKNOWN


def _engine(machine: Machine, call: Call, _name: str) -> Value:
    """Follow the process function of an ignite Engine that evaluates, over batches out of sight.

    Where a file switches autograd off anywhere, it may do so around the engine's run.
    """
    process = _first(call)
    if not isinstance(process, Function) or isinstance(process.node, ast.Lambda):
        return UNKNOWN
    body, module = process.node, process.module
    attributes = {n.attr for n in ast.walk(body) if isinstance(n, ast.Attribute)}
    if not isinstance(module, Module) or attributes & {"backward", "step"}:
        return UNKNOWN
    if any(re.search("no_grad|grad_enabled|inference_mode", line) for line in module.lines):
        return UNKNOWN
    loop = Loop(machine.loop_key(body), body, Loader("engine", "the data of the engine"))
    with machine.in_loop(loop):
        names = bind(machine, process, [UNKNOWN, Tensor(loop.key, text="batch")], {})
        machine.execute(body.body, Frame(module, body.name, names, owner=process.owner))
    return UNKNOWN


def _note_scored(machine: Machine, call: Call) -> None:
    """Record that a score is computed of what a loop kept of its batches."""
    for value in (*call.args, *call.keywords.values()):
        if isinstance(value, Listing) and isinstance(value.item, Tensor):
            machine.emit("score", call.node, call.frame, value)


def _score(machine: Machine, call: Call, name: str) -> Value:
    """Return a score of a batch, or an object whose call gives one."""
    _note_scored(machine, call)
    short = name.rsplit(".", 1)[-1]
    kind = None if call.starred else base_of_score(name, call.keywords)
    if kind is None:
        return UNKNOWN
    base, sure = kind
    if is_class(name):
        return Criterion(short, base, sure, metric=True)
    return Quantity(
        base, machine.batch_loop, graph=False, sure=sure, metric=True,
        number=name.startswith("sklearn"), line=call.node.lineno, name=short,
    )  # fmt: skip


def _all_scores(machine: Machine, call: Call, name: str) -> Value:
    """Return the ratios that scikit-learn computes together."""
    _note_scored(machine, call)
    report = name.endswith("classification_report")
    if report and call.keywords.get("output_dict") != Constant(value=True):
        return UNKNOWN
    ratio = Quantity(
        "coupled", machine.batch_loop, graph=False, metric=True, number=True,
        line=call.node.lineno, name=name.rsplit(".", 1)[-1],
    )  # fmt: skip
    micro = call.keywords.get("average") == Constant("micro")
    return ratio if report else UNKNOWN if micro else Several((ratio, ratio, ratio, UNKNOWN))


def _collected(_machine: Machine, call: Call, _name: str) -> Value:
    """Return a collection of scores, whose call gives all of them: a ratio if one of them is."""
    scores = [v for v in flat(_first(call)) if isinstance(v, Criterion) and v.metric]
    return next((score for score in scores if score.base == "coupled" and score.sure), UNKNOWN)


def _modules(machine: Machine, call: Call, name: str) -> Value:
    """Return the scores that nn.ModuleDict or nn.ModuleList holds, or a module."""
    scores = [v for v in flat(_first(call)) if isinstance(v, Criterion) and v.metric]
    return _first(call) if scores else _model(machine, call, name)


def _recent(_machine: Machine, call: Call, _name: str) -> Value:
    """Return a list that may drop its oldest items."""
    bound = call.argument(1, "maxlen")
    return Listing(UNKNOWN, conditional=bound not in (None, NOTHING))


def _zip(_machine: Machine, call: Call, _name: str) -> Value:
    """Return the first loader of zip(...), which yields as many batches as the shortest.

    Of `zip(*rows)`, return the columns.
    """
    match call.args:
        case [Listing(item=Several(items, ())) as rows] if call.starred:
            return Several(tuple(replace(rows, item=part) for part in items))
    return next((value for value in call.args if isinstance(value, Loader)), UNKNOWN)


def _table(_machine: Machine, call: Call, _name: str) -> Value:
    """Return the list, or the dict of lists, that a table of pandas is made of."""
    value = _first(call)
    return value if isinstance(value, Listing | Several) else UNKNOWN


def _mapping(machine: Machine, call: Call, name: str) -> Value:
    """Return the dict that keywords make, or a copy of one; a meter stands for a dict of meters."""
    first = _first(call)
    if (call.args and name == "dict") or isinstance(first, StateDict):
        return first
    kind = first.node.name if isinstance(first, Class) else getattr(first, "name", "")
    if name.endswith("defaultdict") and "meter" in kind.lower():
        return Meter(call.target, machine.loop_key(call.node))
    return Several(tuple(call.keywords.values()), tuple(call.keywords))


def _collection(machine: Machine, call: Call, _name: str) -> Value:
    if not call.args:
        return Constant("list")
    match call.node.args[0]:
        case ast.Call(ast.Name("range"), [end]) if call.target:
            return _indices(number(machine.evaluate(end, call.frame))) or call.args[0]
    return call.args[0]


def _indices(count: int | None) -> Tensor | None:
    """Return as many indices as a number that is known, from which parts may be cut."""
    return Tensor(rows=count, graph=False, text="indices") if count else None


def _permutation(_machine: Machine, call: Call, _name: str) -> Value:
    return _indices(number(_first(call))) or Tensor(graph=False)


def _named_tuple(_machine: Machine, call: Call, _name: str) -> Value:
    """Return a class with the fields that the code gives a named tuple."""
    match call.node.args:
        case [ast.Constant(str(title)), ast.Constant(str(text))]:
            names: list[object] = [*text.replace(",", " ").split()]
        case [ast.Constant(str(title)), ast.List(parts) | ast.Tuple(parts)]:
            names = [getattr(part, "value", None) for part in parts]
        case _:
            return UNKNOWN
    fields = [
        ast.AnnAssign(ast.Name(name, ast.Store()), ast.Name("object", ast.Load()), None, 1)
        for name in names
        if isinstance(name, str)
    ]
    body = ast.ClassDef(title, [], [], [*fields], [])
    return Class(ast.copy_location(body, call.node), call.frame.module)


_TORCH = "torch."
EXACT: dict[str, Transfer] = {
    **dict.fromkeys((*LOADERS, *RAGGED), _loader),
    **dict.fromkeys(SAMPLERS, _sampler),
    **dict.fromkeys(CLASSES, _criterion_class),
    **dict.fromkeys(FUNCTIONS, _criterion_call),
    **dict.fromkeys(
        ("torch.cuda.amp.GradScaler", "torch.amp.GradScaler", "torch.GradScaler"), _scaler
    ),
    "collections.namedtuple": _named_tuple,
    "accelerate.Accelerator": _tool("accelerator"),
    "lightning.Fabric": _tool("fabric"),
    "lightning.fabric.Fabric": _tool("fabric"),
    "lightning_fabric.Fabric": _tool("fabric"),
    "lightning.pytorch.Fabric": _tool("fabric"),
    "copy.deepcopy": _deepcopy,
    "copy.copy": _same,
    "torch.save": _save,
    **dict.fromkeys(
        ("torch.multiprocessing.spawn", "torch.multiprocessing.spawn.spawn"),
        _spawn,
    ),
    **dict.fromkeys(
        ("print", "wandb.log", "tqdm.tqdm.write", "mlflow.log_metric", "mlflow.log_metrics"),
        _report,
    ),
    **dict.fromkeys(
        (
            "numpy.mean",
            "numpy.average",
            "statistics.mean",
            "statistics.fmean",
            "torch.mean",
            "numpy.nanmean",
        ),
        _mean,
    ),
    **dict.fromkeys(("pandas.Series", "pandas.DataFrame"), _table),
    **dict.fromkeys(("numpy.sum", "torch.sum", "sum", "math.fsum"), _sum),
    "torch.where": _where,
    **dict.fromkeys(("torch.zeros", "numpy.zeros", "torch.empty", "numpy.empty"), _zeros),
    **dict.fromkeys(
        ("torch.rand", "torch.randn", "torch.ones", "torch.randint", "torch.full", "torch.normal"),
        _random,
    ),
    **dict.fromkeys(
        ("torch.tensor", "torch.as_tensor", "torch.Tensor", "torch.FloatTensor", "numpy.array"),
        _tensor,
    ),
    **dict.fromkeys(
        ("torch.stack", "numpy.asarray", "torch.from_numpy"),
        _same,
    ),
    **dict.fromkeys(
        ("torch.cat", "torch.concat", "numpy.concatenate", "numpy.vstack", "numpy.hstack"), _cat
    ),
    "len": _length,
    "next": _next,
    **dict.fromkeys(("torch.nn.functional.softmax", "torch.softmax"), _softmax),
    **dict.fromkeys(("torch.nn.functional.log_softmax", "torch.log_softmax"), _softmax),
    **dict.fromkeys(("torch.nn.functional.sigmoid", "torch.sigmoid"), _softmax),
    "torch.nn.functional.linear": _linear,
    **dict.fromkeys(("torch.distributed.all_reduce", "torch.distributed.reduce"), _all_reduce),
    "torch.distributed.get_world_size": _ranks,
    **dict.fromkeys(
        ("torch.no_grad", "torch.inference_mode", "torch.enable_grad"),
        lambda _m, _c, name: Reference(name),
    ),
    **dict.fromkeys(
        ("math.sqrt", "numpy.sqrt", "torch.sqrt", "math.exp", "numpy.exp", "torch.exp"), _root
    ),
    **dict.fromkeys(
        [f"{home}.{name}" for home in ("math", "numpy", "torch") for name in ("log", "log10")],
        _logarithm,
    ),
    **dict.fromkeys(
        (
            "float",
            "int",
            "round",
            *(f"{home}.{name}" for home in ("numpy", "math") for name in ("floor", "ceil")),
            "numpy.round",
            "numpy.around",
        ),
        _number,
    ),
    "str": _shown,
    "max": _largest,
    **dict.fromkeys(("torch.randperm", "numpy.random.permutation"), _permutation),
    "torch.utils.data.Subset": _subset,
    "torch.utils.data.random_split": _split,
    "torch.utils.data.TensorDataset": _tensor_dataset,
    "torch.nn.utils.rnn.pad_sequence": _padded,
    **dict.fromkeys(
        ("torch.eq", "torch.ne", "torch.gt", "torch.ge", "torch.lt", "torch.le"), _compare
    ),
    **dict.fromkeys(("torch.set_grad_enabled", "torch.autograd.set_grad_enabled"), _set_grad),
    **dict.fromkeys(
        ("list", "tuple", "iter", "reversed", "abs", "torch.compile", "torch.jit.script"),
        _collection,
    ),
    **dict.fromkeys(
        (
            "tqdm.tqdm",
            "tqdm.auto.tqdm",
            "tqdm.notebook.tqdm",
            "tqdm.trange",
            "rich.progress.track",
            "fastprogress.progress_bar",
            "torch.nn.SyncBatchNorm.convert_sync_batchnorm",
            "apex.parallel.convert_syncbn_model",
            "apex.parallel.DistributedDataParallel",
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            "sklearn.metrics.classification_report",
            "sklearn.metrics.precision_recall_fscore_support",
        ),
        _all_scores,
    ),
    **dict.fromkeys(("ignite.engine.Engine", "ignite.engine.engine.Engine"), _engine),
    **dict.fromkeys(
        ("torch.nn.parallel.data_parallel", "torch.nn.parallel.data_parallel.data_parallel"),
        _data_parallel,
    ),
    "torchmetrics.MetricCollection": _collected,
    "torchmetrics.collections.MetricCollection": _collected,
    **dict.fromkeys(("torch.nn.ModuleDict", "torch.nn.ModuleList"), _modules),
    "collections.deque": _recent,
    **dict.fromkeys(("dict", "collections.defaultdict", "collections.OrderedDict"), _mapping),
    "enumerate": _enumerate,
    "range": lambda _m, call, _n: Constant("range" if len(call.args) == 1 else "span"),
    "zip": _zip,
    "itertools.islice": lambda _m, _c, _n: UNKNOWN,
    **dict.fromkeys(
        ("timm.utils.AverageMeter", "torcheval.metrics.Mean", "utils.AverageMeter"), _meter
    ),
}
_PATTERNS: tuple[tuple[re.Pattern[str], Transfer], ...] = (
    (re.compile(r"torch\.optim\.lr_scheduler\.\w+"), _scheduler),
    (
        re.compile(
            r"((pytorch_)?transformers|diffusers)\.(optimization\.)?(get_\w*schedule\w*|[A-Z]\w*Schedule)"
        ),
        _scheduler,
    ),
    (re.compile(r"torch\.optim\.[A-Z]\w+"), _optimizer),
    (re.compile(r"(torch\.optim|transformers|timm)\..*(AdamW|SGD|Adam)$"), _optimizer),
    (re.compile(r"torchvision\.datasets\.\w+"), _dataset),
    (re.compile(r"torchtext\.(legacy\.)?data\.(Bucket)?Iterator(\.splits)?"), _torchtext),
    (re.compile(r"torch\.nn\.([A-Z]\w+|parallel\.\w+)"), _model),
    (re.compile(r"torch\.distributed\.fsdp\.\w+"), _model),
    (re.compile(r"torchvision\.models\.[\w.]+"), _model),
    (re.compile(r"(logging|logger|wandb|mlflow)\.(info|debug|warning|log|log_metrics?)"), _report),
    (re.compile(r"(torch|numpy)\.\w+"), _as_method),
    (re.compile(r"torch\.nn\.functional\.\w+"), _as_method),
)


def transfer_of(name: str) -> Transfer | None:
    """Return the transfer function of a name outside the file, as imports resolve it."""
    exact = EXACT.get(name)
    if exact is not None:
        return exact
    if is_score(name):
        return _score
    for pattern, transfer in _PATTERNS:
        if pattern.fullmatch(name):
            return transfer
    return None
