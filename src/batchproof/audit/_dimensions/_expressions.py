"""Expressions: names, operators, subscripts, comparisons and what else has a value."""

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import reduce

from batchproof.audit._dimensions._arithmetic import is_mask, join, operate
from batchproof.audit._dimensions._attributes import attribute, member
from batchproof.audit._dimensions._calls import call
from batchproof.audit._dimensions._collates import after
from batchproof.audit._dimensions._cuts import length_of_cuts
from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Class,
    Constant,
    Count,
    Criterion,
    Dataset,
    Function,
    Listing,
    Loader,
    Meter,
    Option,
    Quantity,
    Reference,
    Scope,
    Several,
    Shape,
    StateDict,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._loaders import as_loader, length_of, number
from batchproof.audit._dimensions._machine import DEEPEST, Frame, Machine
from batchproof.audit._dimensions._methods import compare, of_batch, size_of
from batchproof.audit._dimensions._names import USUAL, dotted, words_of
from batchproof.audit._dimensions._sizes import is_size
from batchproof.audit._dimensions._trace import Condition, Loop

_BUILTINS = {
    "str",
    "len", "float", "int", "round", "sum", "max", "min", "abs", "list", "tuple", "dict", "iter",
    "next", "print", "range", "enumerate", "zip", "reversed",
}  # fmt: skip


_FEW = 6  # items of a tuple or dict that are followed one by one


def evaluate(machine: Machine, node: ast.expr | None, frame: Frame) -> Value:
    """Return the value of an expression, and record its events."""
    machine.spend()
    rule = _RULES.get(type(node))
    if node is None or machine.depth > DEEPEST:
        return UNKNOWN
    machine.depth += 1
    try:
        if rule is None:
            return _parts(machine, node, frame)
        return rule(machine, node, frame)
    finally:
        machine.depth -= 1


def _parts(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            machine.evaluate(child, frame)
    return UNKNOWN


def _name(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Name)
    name, module = node.id, frame.module
    if name in frame.names:
        value = frame.names[name]
        return Unknown(name) if value == UNKNOWN else value
    if name in module.variables and frame.names is not module.variables:
        value = module.variables[name]
        return Unknown(name) if value == UNKNOWN else value
    if name in module.settings:
        return module.settings[name]
    if name in module.functions:
        return Function(module.functions[name], module)
    if name in module.classes:
        return Class(module.classes[name], module)
    if name in module.imports:
        return _import(machine, module.imports[name], frame)
    if name in USUAL:
        return Reference(USUAL[name])
    for origin in module.stars:
        file = machine.file(origin, module)
        inner = member(file, name) if file is not None else None
        if inner is not None:
            return inner
    return Reference(name) if name in _BUILTINS else Unknown(name)


def _import(machine: Machine, name: str, frame: Frame) -> Value:
    parent, _, last = name.rpartition(".")
    parent = parent if parent.strip(".") else name.removesuffix(last)  # from . import name
    if parent:
        file = machine.file(parent, frame.module)
        inner = member(file, last) if file is not None else None
        if inner is not None:
            return inner
    return Reference(name)


def _attribute(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Attribute)
    name = dotted(node)
    value = frame.names.get(name)
    if value is None and name.partition(".")[0] not in frame.names:
        value = frame.module.settings.get(name)
    if value is not None:
        return value
    value = attribute(machine, machine.evaluate(node.value, frame), node, frame)
    return Unknown(name) if value == UNKNOWN else value


def _constant(_machine: Machine, node: ast.expr, _frame: Frame) -> Value:
    assert isinstance(node, ast.Constant)
    return (
        Constant(node.value) if isinstance(node.value, int | float | str | bool | None) else UNKNOWN
    )


def _call(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Call)
    return call(machine, node, frame)


def _binary(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.BinOp)
    first, second = machine.evaluate(node.left, frame), machine.evaluate(node.right, frame)
    if isinstance(node.op, ast.Mult) and isinstance(second, Quantity | Count):
        first = factor(machine, first, node.left, second)
    second = factor(machine, second, node.right, first)
    combine(machine, node, node.op, first, second, frame)
    if isinstance(node.op, ast.Mod) and isinstance(first, Count):
        machine.emit("remainder", node, frame, first, second)
    if (
        isinstance(node.op, ast.Mod)
        and isinstance(first, Constant)
        and isinstance(first.value, str)
    ):
        return second if isinstance(second, Several) else Several((second,))
    result = _batches_so_far(machine, node, first, second, frame) or operate(node.op, first, second)
    unplaced = isinstance(result, Quantity) and not result.line
    return (
        replace(result, line=node.lineno) if unplaced and isinstance(result, Quantity) else result
    )


def _batches_so_far(
    machine: Machine, node: ast.BinOp, first: Value, second: Value, frame: Frame
) -> Count | None:
    """Return the batches of this pass and of those before it that `epoch * len(loader) + i` is."""
    if not isinstance(node.op, ast.Add):
        return None
    for index, other in ((first, node.right), (second, node.left)):
        match other:
            case ast.BinOp(one, ast.Mult(), two) if isinstance(index, Count):
                counts = [machine.evaluate(part, frame) for part in (one, two)]
            case _:
                continue
        loop, keys = machine.trace.loops.get(index.key), {outer.key for outer in machine.loops[:-1]}
        lengths = [c for c in counts if isinstance(c, Count) and c.unit == "batches" and not c.plus]
        epochs = [c for c in counts if isinstance(c, Count) and c.key in keys and c.plus == -1]
        if loop is None or loop.loader is None or index.unit != "batches" or not epochs:
            continue
        if loop in machine.loops and any(c.key == loop.loader.key for c in lengths):
            return Count("passes", loop.key, index.plus, ast.unparse(node))
    return None


def _length_of_data(value: Value, loader: Loader) -> Count | None:
    """Return a divisor `len(x)` as the size of a loader's data set x, or of what x is a part of."""
    text = value.text if isinstance(value, Unknown) else ""
    data = text.removeprefix("len(").removesuffix(")") if text.startswith("len(") else ""
    whole = loader.dataset.whole if isinstance(loader.dataset, Dataset) else ""
    return Count("data set", data, text=text) if data in {loader.source, whole} - {""} else None


def factor(machine: Machine, value: Value, node: ast.expr, of: Value) -> Value:
    """Return a factor or divisor as the batch size of a loader, or by the name that the code uses.

    Args:
        machine: the interpretation.
        value: the factor or divisor.
        node: its code.
        of: what is multiplied or divided by it.
    """
    counts = isinstance(value, Count) and (
        value.unit == "data set" or (value.unit == "batch" and not value.key)
    )
    if not isinstance(of, Quantity | Count) or not (
        counts or isinstance(value, Constant | Option | Unknown)
    ):
        return value
    keys = {of.over or of.loop} if isinstance(of, Quantity) else {of.key}
    for loop in machine.trace.loops.values():
        if loop.loader is None or not {loop.key, loop.loader.key, loop.loader.source} & keys:
            continue
        if loop.draws and loop.micro and loop.micro == ast.unparse(node) and loop.key in keys:
            return Count("batches", loop.key, text=loop.micro)
        count = _count_of(loop.loader, value, node, of)
        if count is not None:
            return count
    if isinstance(of, Count) and of.unit == "data set":
        return _size_to_come(machine, value, node, of) or value
    is_number = isinstance(value, Constant) and type(value.value) in {int, float}
    if is_number and isinstance(value, Constant) and isinstance(of, Quantity) and dotted(node):
        return Option(dotted(node), value.value)
    return value


def _count_of(loader: Loader, value: Value, node: ast.expr, of: Value) -> Count | None:
    """Return a factor or divisor as the length of a loader's data set, or as its batch size."""
    is_literal = isinstance(value, Constant) and isinstance(of, Quantity) and of.over != ""
    samples = length_of_cuts(value, node, loader) or _length_of_data(value, loader)
    if samples is not None:
        return samples
    size = length_of(loader.dataset)
    if is_literal and size and number(value) == size:
        return Count("data set", loader.source, text=ast.unparse(node))
    if is_size(value, dotted(node), loader) and not (is_literal and not dotted(node)):
        return Count("nominal", loader.key, text=dotted(node) or ast.unparse(node))
    return None


def _size_to_come(machine: Machine, value: Value, node: ast.expr, of: Count) -> Count | None:
    """Return the batch size of a loader whose data set is counted before the loop over it."""
    for event in machine.trace.of("loader"):
        loader = event.value
        if not isinstance(loader, Loader) or loader.source != of.key:
            continue
        if is_size(value, dotted(node), loader):
            return Count("nominal", loader.key, text=dotted(node))
    return None


def combine(
    machine: Machine,
    node: ast.AST,
    operator: ast.operator,
    first: Value,
    second: Value,
    frame: Frame,
) -> None:
    """Record that a quantity, or each item of a list, is divided, or that terms are added."""
    divides = isinstance(operator, ast.Div) and isinstance(second, Count)
    array = getattr(node, "left", getattr(node, "target", None))
    if divides and isinstance(first, Listing | Tensor) and isinstance(array, ast.Name):
        for part in _parts_in(array, frame):
            if isinstance(part, Quantity) and part.over:
                machine.emit("divide", node, frame, part, second, part.text)
    countable = isinstance(first, Quantity) or (isinstance(second, Count) and second.unit == "seen")
    if isinstance(operator, ast.Div | ast.FloorDiv) and countable:
        name = first.text if isinstance(first, Quantity) else ""
        machine.emit("divide", node, frame, first, second, name)
    elif (
        isinstance(operator, ast.Add)
        and isinstance(first, Quantity)
        and isinstance(second, Quantity)
    ):
        machine.emit("add", node, frame, first, second)


def _unary(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.UnaryOp)
    value = machine.evaluate(node.operand, frame)
    if (
        isinstance(node.op, ast.USub)
        and isinstance(value, Constant)
        and isinstance(value.value, int | float)
    ):
        return Constant(-value.value)
    if isinstance(node.op, ast.Not):
        return Constant(not value.value) if isinstance(value, Constant) else UNKNOWN
    if isinstance(node.op, ast.Invert) and isinstance(value, Tensor | Unknown):
        mask = is_mask(value)
        text = mask or (value.text if isinstance(value, Tensor) else "")
        loop = value.loop if isinstance(value, Tensor) else machine.batch_loop
        return Tensor(loop, "mask", graph=False, text=text)
    if isinstance(value, Tensor) and value.form == "log-likelihoods":
        loop, line = value.loop or machine.batch_loop, node.lineno
        return Quantity("elements", loop, graph=value.graph, line=line, name="-log p")
    return value


def _compare(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Compare)
    first = machine.evaluate(node.left, frame)
    others = [machine.evaluate(other, frame) for other in node.comparators]
    machine.emit("compare", node, frame, first, others[0], dotted(node.left))
    second = others[0]
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        if isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn):
            part = isinstance(first, Tensor) and first.loop and not first.output
            there = part and second == NOTHING  # a part of a batch is no None
            return Constant(value=isinstance(node.ops[0], ast.IsNot)) if there else UNKNOWN
        return compare(first, second)
    if isinstance(first, Constant) and isinstance(second, Constant) and len(others) == 1:
        return _decide(node.ops[0], first.value, second.value)
    return UNKNOWN


def _decide(operator: ast.cmpop, first: object, second: object) -> Value:
    if isinstance(operator, ast.Eq | ast.Is):
        return Constant(first == second)
    if isinstance(operator, ast.NotEq | ast.IsNot):
        return Constant(first != second)
    return UNKNOWN


def _logic(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.BoolOp)
    values = [machine.evaluate(part, frame) for part in node.values]
    if all(isinstance(v, Constant) for v in values):
        truths = [bool(getattr(v, "value", False)) for v in values]
        return Constant(all(truths) if isinstance(node.op, ast.And) else any(truths))
    if isinstance(node.op, ast.And) and any(v == Constant(value=False) for v in values):
        return Constant(value=False)
    return values[0] if isinstance(values[0], Loader | Quantity) else UNKNOWN


def _choice(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.IfExp)
    test = machine.evaluate(node.test, frame)
    if isinstance(test, Constant):
        return machine.evaluate(node.body if test.value else node.orelse, frame)
    with machine.under(Condition(node.test, branch=True)):
        first = machine.evaluate(node.body, frame)
    with machine.under(Condition(node.test, branch=False)):
        second = machine.evaluate(node.orelse, frame)
    if isinstance(first, Quantity) and second in {Constant(0), Constant(value=False)}:
        return first  # 0 where there is none
    return join(first, second)


def _subscript(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Subscript)
    item = frame.names.get(frame.path(node))
    if item is not None:
        return item
    value, place = machine.evaluate(node.value, frame), machine.evaluate(node.slice, frame)
    parts = not isinstance(node.slice, ast.Constant)
    if isinstance(value, Tensor | Quantity) and value.ranks and parts:
        value = replace(value, ranks="clean")  # what ranks repeat may be cut off
    cut = _of_slices(machine, node, value, place) or _rows(machine, node, value, frame)
    if cut is not None:
        return cut
    part = _pick(node, value, place)
    pads = value.pads if isinstance(value, Tensor) else ()
    return replace(part, pads=after(pads, node.slice)) if isinstance(part, Tensor) else part


def _of_results(value: Tensor, place: Value) -> Value:
    """Return what results of a batch hold under a key: a loss or an accuracy where it says so."""
    key = place.value if isinstance(place, Constant) else ""
    if not isinstance(key, str):
        return replace(value, form="", rows=None)
    last = words_of(key).split()[-1:]
    if not set(last) & {"loss", "acc", "accuracy"}:
        return replace(value, text=key or value.text, form="" if key else value.form, rows=None)
    name, graph = ("outputs.loss", value.graph) if value.output else (key, None)
    metric, name = last != ["loss"], name if key == "loss" else key
    return Quantity("mean", value.loop, graph=graph, sure=False, metric=metric, name=name, text=key)


def _pick(node: ast.Subscript, value: Value, place: Value) -> Value:
    """Return what a subscript picks out of a value, other than rows of a batch."""
    match value:
        case Shape():
            return size_of(value.tensor, place)
        case Several() if (item := _item(value, place)) != UNKNOWN:
            return item
        case Tensor():
            return _of_results(value, place)
        case Quantity() if value.base == "elements" and isinstance(place, Tensor | Unknown):
            unit = "mask" if is_mask(place) else value.unit
            return replace(value, ignores="", unit=unit)
        case Quantity() if (
            value.base == "elements"
            or isinstance(node.slice, ast.Tuple | ast.Slice)
            or _is_row(value, place)
        ):
            return value
        case Quantity() if _is_of_dict(value, place):
            return value
        case Quantity() if place == Constant(0):
            return replace(value, number=True)  # loss.data[0] of PyTorch 0.3
        case Loader() | Listing() | Meter():
            return _of_list(node, value, place) if isinstance(value, Listing) else value
        case Unknown() if isinstance(node.slice, ast.Tuple | ast.Slice):
            return value
    return Unknown(dotted(node))


def _of_list(node: ast.Subscript, value: Listing, place: Value) -> Value:
    """Return an item of a list of the numbers of one batch, or the last of those of all batches."""
    item = value.item
    if isinstance(item, Several) and item.names and isinstance(place, Constant):
        column = _item(item, place)  # of a table
        return UNKNOWN if column == UNKNOWN else replace(value, item=column)
    if place == Constant(-1) and isinstance(item, Quantity) and not item.over:
        return replace(item, text=dotted(node)) if item.loop == value.over else UNKNOWN
    return of_batch(value) if isinstance(place, Constant) else UNKNOWN


_COUNTED = {"n", "num", "count", "correct", "hits", "samples", "tokens", "size", "total_n"}


def _is_of_dict(value: Quantity, place: Value) -> bool:
    """Return whether a key picks one of the losses in a dict of them, by the key or its name."""
    if value.over or value.metric:
        return False
    if isinstance(place, Unknown):
        words = set(words_of(f"{value.text} {value.name}").split())
        return place.text != "" and bool({"losses", "dict", "stats", "metrics", "logs"} & words)
    key = place.value if isinstance(place, Constant) else ""
    return isinstance(key, str) and key != "" and not _COUNTED & set(words_of(key).split())


def _is_row(value: Quantity, place: Value) -> bool:
    """Return whether a key picks ratios out of a report of scikit-learn."""
    others = (Constant("support"), Constant("accuracy"))
    return value.name == "classification_report" and place not in others


def _of_slices(machine: Machine, node: ast.Subscript, value: Value, place: Value) -> Tensor | None:
    """Return the batch that x[i : i + size] is in a loop over slices, or x[indices of a batch]."""
    text = dotted(node.value)
    if not isinstance(value, Unknown | Tensor) or (isinstance(value, Tensor) and value.loop):
        return None
    if isinstance(place, Tensor) and place.loop and place.form == "":
        return Tensor(place.loop, text=text)
    for loop in reversed(machine.loops):
        if loop.loader is not None and loop.loader.index:
            cuts = [n for n in ast.walk(node.slice) if isinstance(n, ast.Slice)]
            names = {dotted(n) for cut in cuts if cut.lower for n in ast.walk(cut.lower)}
            if loop.loader.index in names:
                return Tensor(loop.key, text=text)
    return None


def _rows(machine: Machine, node: ast.Subscript, value: Value, frame: Frame) -> Tensor | None:
    """Return x[first:last] of a tensor outside loops, where both are numbers."""
    cut, tensor = node.slice, value if isinstance(value, Tensor) else None
    if not isinstance(cut, ast.Slice) or cut.step is not None:
        return None
    if (tensor is None and not isinstance(value, Unknown)) or (tensor is not None and tensor.loop):
        return None
    rows = tensor.rows if tensor is not None else None
    first = machine.evaluate(cut.lower, frame) if cut.lower is not None else Constant(0)
    last = machine.evaluate(cut.upper, frame) if cut.upper is not None else Constant(rows)
    start, stop = number(first), number(last)
    if start is None or stop is None or not 0 <= start < stop:
        return None
    return Tensor(rows=stop - start, text=dotted(node.value))


def _item(value: Several, place: Value) -> Value:
    if not isinstance(place, Constant):
        return _one_of(value)
    if value.names:
        if place.value in value.names:
            return value.items[value.names.index(place.value)]
        return _one_of(value) if ... in value.names else UNKNOWN
    if type(place.value) is int and -len(value.items) <= place.value < len(value.items):
        return value.items[place.value]
    return UNKNOWN


def _one_loss(value: Several) -> Value:
    """Return one of the losses in a dict, where all that is known of it are means of one batch."""
    items = [item for item in value.items if not isinstance(item, Unknown)]
    losses = [v for v in items if isinstance(v, Quantity) and v.base == "mean" and not v.over]
    return losses[0] if losses and len(losses) == len(items) else UNKNOWN


def _one_of(value: Several) -> Value:
    """Return what is known of any item of a tuple or dict of loaders, data sets or losses."""
    first, *others = value.items or (UNKNOWN,)
    if all(isinstance(v, Dataset) for v in value.items):
        return reduce(join, others, first)
    if not isinstance(first, Loader):
        return _one_loss(value)
    for other in others:
        if not isinstance(other, Loader) or _formed(other) != _formed(first):
            return UNKNOWN
    sets = [v.dataset for v in value.items if isinstance(v, Loader)]
    dataset = reduce(join, sets) if all(isinstance(d, Dataset) for d in sets) else UNKNOWN
    if isinstance(dataset, Dataset):
        dataset = replace(dataset, key=f"{first.key}.dataset")
    return replace(first, dataset=dataset, text="")


def _formed(loader: Loader) -> tuple[object, ...]:
    return loader.drop_last, loader.batch_size, loader.sampler


def _tuple(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Tuple | ast.List | ast.Set)
    values = tuple(machine.evaluate(part, frame) for part in node.elts)
    if isinstance(node, ast.List) and not values:
        return Constant("list")
    return Several(values)


def _dict(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Dict)
    names, values = list[object](), list[Value]()
    for key, part in zip(node.keys, node.values, strict=True):
        value = machine.evaluate(part, frame)
        if key is not None:
            name = machine.evaluate(key, frame)
            names.append(name.value if isinstance(name, Constant) else ...)
            values.append(value)
        elif isinstance(value, Several) and len(value.names) == len(value.items):
            names += value.names
            values += value.items
    return Several(tuple(values), tuple(names))


def items_of(value: Several) -> tuple[Value, ...]:
    """Return the items that a loop over a tuple or dict takes, where it is worth to follow each."""
    keys = tuple(Constant(n) if isinstance(n, str) else UNKNOWN for n in value.names)
    items: tuple[Value, ...] = keys or value.items
    words = all(isinstance(item, Constant) and isinstance(item.value, str) for item in items)
    kinds = Quantity | Loader | Count | Listing | Dataset
    worth = words or any(
        isinstance(v, kinds) or (isinstance(v, Criterion) and v.metric)
        for item in items
        for v in flat(item)
    )
    return items if worth and len(items) <= _FEW else ()


def parts_of(target: ast.expr, item: Value) -> dict[str, Value]:
    """Return the names in the target of a loop with the parts of an item that they take."""
    if not isinstance(target, ast.Tuple | ast.List):
        return {dotted(target): Unknown(dotted(target)) if item == UNKNOWN else item}
    parts: list[Value] = [UNKNOWN] * len(target.elts)
    if isinstance(item, Several) and not item.names and len(item.items) == len(parts):
        parts = list(item.items)
    names: dict[str, Value] = {}
    for inner, part in zip(target.elts, parts, strict=True):
        names |= parts_of(inner, part)
    return names


def _of_each(
    machine: Machine,
    node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp,
    items: tuple[Value, ...],
    frame: Frame,
) -> Value:
    """Return the tuple or dict that a comprehension makes of items in sight."""
    first = node.generators[0]
    keys, values = list[object](), list[Value]()
    for item in items:
        inner = Frame(frame.module, frame.name, dict(frame.names), dict(frame.depths), frame.owner)
        inner.names |= parts_of(first.target, item)
        if isinstance(node, ast.DictComp):
            key = machine.evaluate(node.key, inner)
            keys.append(key.value if isinstance(key, Constant) else ...)
        values.append(
            machine.evaluate(node.value if isinstance(node, ast.DictComp) else node.elt, inner)
        )
    return UNKNOWN if first.ifs else Several(tuple(values), tuple(keys))


def _dict_comprehension(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.DictComp)
    source = machine.evaluate(node.generators[0].iter, frame)
    if isinstance(source, Tensor) and source.loop:
        return _moved(machine, node.generators[0], node.value, source, frame)
    if isinstance(source, StateDict):
        return replace(source, is_copy=source.is_copy or not _is_alias(node.value))
    items = items_of(source) if isinstance(source, Several) else ()
    if items:
        return _of_each(machine, node, items, frame)
    inner = Frame(frame.module, frame.name, dict(frame.names), dict(frame.depths), frame.owner)
    for part in node.generators:
        inner.names |= parts_of(part.target, UNKNOWN)
        for test in part.ifs:
            machine.evaluate(test, inner)
    machine.evaluate(node.key, inner)
    value = machine.evaluate(node.value, inner)
    if isinstance(value, Loader):
        return Several((value,), (...,))  # a dict of loaders by keys out of sight
    return value if isinstance(value, Meter) else UNKNOWN  # it stands for a dict of meters


def _is_alias(node: ast.expr) -> bool:
    """Return whether an item of a dict is a tensor itself, or a view without its graph."""
    match node:
        case ast.Call(ast.Attribute(whole, "detach"), []) | ast.Attribute(whole, "data"):
            return isinstance(whole, ast.Name)
    return isinstance(node, ast.Name)


def _moved(
    machine: Machine, part: ast.comprehension, item: ast.expr, batch: Tensor, frame: Frame
) -> Value:
    """Return a batch whose tensors are moved one by one, as by `tuple(t.cuda() for t in batch)`."""
    inner = Frame(frame.module, frame.name, dict(frame.names), dict(frame.depths), frame.owner)
    names = [n.id for n in ast.walk(part.target) if isinstance(n, ast.Name)]
    inner.names |= {name: replace(batch, text=name) for name in names}
    value = machine.evaluate(item, inner)
    moves = isinstance(value, Tensor) and value.loop == batch.loop and not value.output
    return replace(batch, text=batch.text.removesuffix(".items")) if moves else UNKNOWN


def _parts_in(node: ast.expr, frame: Frame) -> tuple[Value, ...]:
    """Return the items of a list that are known one by one, as from `totals[0] += loss`."""
    name = dotted(node)
    items = [frame.names.get(f"{name}[{place}]") for place in range(_FEW + 1)]
    count = items.index(None) if None in items else 0
    others = [part for part in frame.parts if part.startswith(f"{name}[")]
    return tuple(v for v in items[:count] if v is not None) if len(others) == count else ()


def _comprehension(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp)
    first = node.generators[0]
    source = as_loader(machine.evaluate(first.iter, frame))
    items = items_of(source) if isinstance(source, Several) else _parts_in(first.iter, frame)
    if items:
        return _of_each(machine, node, items, frame)
    if isinstance(source, Tensor) and source.loop and not first.ifs:
        batch = _moved(machine, first, node.elt, source, frame)
        if batch != UNKNOWN:
            return batch
    inner = Frame(frame.module, frame.name, dict(frame.names), dict(frame.depths), frame.owner)
    loader = source if isinstance(source, Loader) else None
    loop = Loop(machine.loop_key(node), node, loader)
    with machine.in_loop(loop):
        names = [n.id for n in ast.walk(first.target) if isinstance(n, ast.Name)]
        if loader is not None:
            inner.names |= {name: Tensor(loop.key, text=name) for name in names}
        else:
            inner.names |= parts_of(
                first.target, source.item if isinstance(source, Listing) else UNKNOWN
            )
        value = machine.evaluate(node.elt, inner)
    over = source.over if isinstance(source, Listing) and source.over else loop.key
    if isinstance(value, Quantity) and loader is None and not isinstance(source, Listing):
        return UNKNOWN
    holds = isinstance(value, Several) and any(isinstance(v, Quantity) for v in value.items)
    if isinstance(value, Quantity) or (holds and loader is not None):
        return Listing(value, over, conditional=bool(first.ifs))
    return UNKNOWN


def _text(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.JoinedStr)
    fields = [part for part in node.values if isinstance(part, ast.FormattedValue)]
    values = [machine.evaluate(field.value, frame) for field in fields]
    texts = [v.value for v in values if isinstance(v, Constant) and isinstance(v.value, str)]
    plain = all(field.conversion == -1 and field.format_spec is None for field in fields)
    if not plain or len(texts) < len(values):
        return Several(tuple(values))
    rest = iter(texts)
    parts = (p.value if isinstance(p, ast.Constant) else next(rest) for p in node.values)
    return Constant("".join(map(str, parts)))


def _lambda(_machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.Lambda)
    return Function(node, frame.module, around=Scope(frame.names, frame.depths))


def _assigned_here(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    assert isinstance(node, ast.NamedExpr)
    value = machine.evaluate(node.value, frame)
    frame.names[node.target.id] = value
    return value


def _yield(machine: Machine, node: ast.expr, frame: Frame) -> Value:
    """Note what a generator gives, as what its function returns."""
    assert isinstance(node, ast.Yield)
    if node.value is not None:
        frame.results.append(machine.evaluate(node.value, frame))
    return UNKNOWN


_RULES: dict[type, Callable[[Machine, ast.expr, Frame], Value]] = {
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Constant: _constant,
    ast.Call: _call,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _logic,
    ast.IfExp: _choice,
    ast.Subscript: _subscript,
    ast.Tuple: _tuple,
    ast.List: _tuple,
    ast.Set: _tuple,
    ast.Dict: _dict,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.JoinedStr: _text,
    ast.Lambda: _lambda,
    ast.NamedExpr: _assigned_here,
    ast.Yield: _yield,
    ast.Await: lambda machine, node, frame: machine.evaluate(getattr(node, "value", None), frame),
    ast.Starred: lambda machine, node, frame: machine.evaluate(getattr(node, "value", None), frame),
}
