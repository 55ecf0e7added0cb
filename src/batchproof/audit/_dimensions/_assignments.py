"""Assignments: what a name is after them, and what a loop adds up in it."""

import ast
from dataclasses import replace

from batchproof.audit._dimensions._arithmetic import add, is_mask, operate, with_scale
from batchproof.audit._dimensions._beginnings import begin_sums
from batchproof.audit._dimensions._branch_sums import is_conditional
from batchproof.audit._dimensions._calls import call, is_model
from batchproof.audit._dimensions._carried import carried
from batchproof.audit._dimensions._collates import at
from batchproof.audit._dimensions._epochs import names_an_epoch
from batchproof.audit._dimensions._expressions import combine, factor
from batchproof.audit._dimensions._lattice import (
    UNKNOWN,
    Constant,
    Count,
    Dataset,
    Listing,
    Loader,
    Meter,
    Option,
    Quantity,
    Several,
    Shape,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._loaders import number, whole
from batchproof.audit._dimensions._machine import Frame, Machine
from batchproof.audit._dimensions._methods import keep, keep_rows, of_batch, size_of
from batchproof.audit._dimensions._names import FunctionNode, dotted, words_of
from batchproof.audit._dimensions._sizes import is_nominal, is_size
from batchproof.audit._dimensions._trace import Loop

_SAMPLES = {"data", "train_data", "test_data", "samples", "imgs"}
_ADDED = {"batch", "elements", "mask"}


def assign(machine: Machine, node: ast.Assign | ast.AnnAssign, frame: Frame) -> None:
    """Follow an assignment."""
    if node.value is None:
        return
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if isinstance(node.value, ast.IfExp) and _begins_by_choice(
        machine, targets[0], node.value, frame
    ):
        return
    name = dotted(targets[0]) if len(targets) == 1 else ""
    term = _added_to(node.value, targets[0]) if name else None
    if name and _carry(machine, node, targets[0], node.value, frame):
        return
    if term is not None:
        accumulate(machine, node, targets[0], term, frame)
        return
    if name and _grows(machine, node, targets[0], frame):
        return
    value = _value_of(machine, node, name, frame)
    for target in targets:
        store(machine, node, target, value, frame)
    frame.tests.pop(name, None)
    asks = isinstance(node.value, ast.Attribute) and node.value.attr.endswith("main_process")
    if name and (asks or _is_test(node.value)):
        frame.tests[name] = node.value


def _is_test(node: ast.expr) -> bool:
    """Return whether an expression is a test, as `not (i + 1) % k` is one too."""
    negation = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return negation or isinstance(node, ast.Compare | ast.BoolOp)


def _value_of(machine: Machine, node: ast.Assign | ast.AnnAssign, name: str, frame: Frame) -> Value:
    """Return the value that an assignment gives a name."""
    assert node.value is not None
    if isinstance(node.value, ast.Call):
        value = call(machine, node.value, frame, name)
        plain = isinstance(value, Tensor) and not value.output and value.form != "mask"
        unclear = value == UNKNOWN or plain
        if unclear and "loss" in words_of(name).split() and _may_be_loss(node.value, frame):
            value = Tensor(machine.batch_loop, "", None, output=True)
        value = _unless_carried(machine, node.value, value, name, frame)
    else:
        before = frame.names.get(name)
        value = machine.evaluate(node.value, frame)
        whole = name.partition("[")[0]
        carries_on = isinstance(before, Constant) or whole != name
        if isinstance(value, Quantity) and carries_on and _reads(node.value, whole):
            value = UNKNOWN  # an average that is carried along
        value = _scaled(machine, node, value, name, frame)
    return value


def _begins_by_choice(machine: Machine, target: ast.expr, value: ast.IfExp, frame: Frame) -> bool:
    """Return whether `total = loss if i == 0 else total + loss` begins a sum, and follow it."""
    ways: list[ast.stmt] = [
        ast.Assign([target], part, lineno=value.lineno) for part in (value.body, value.orelse)
    ]
    branches = ast.If(value.test, ways[:1], ways[1:])
    return begin_sums(machine, ast.copy_location(branches, value), frame)


def _may_be_loss(node: ast.Call, frame: Frame) -> bool:
    """Return whether what a call out of sight gives to a name with `loss` in it may be a loss.

    An object that averages losses is none, nor is what a method of it, or of a list, gives.
    """
    match node:
        case ast.Call(ast.Attribute(whole, name)):
            value = frame.read(frame.path(whole) or " ")
            if isinstance(value, Listing | Meter) and name not in {"pop", "popleft"}:
                return False
    name = dotted(node.func).rpartition(".")[2]
    return bool(node.args or node.keywords) or not name[:1].isupper()


def _grows(
    machine: Machine, node: ast.Assign | ast.AnnAssign, target: ast.expr, frame: Frame
) -> bool:
    """Return whether an array grows here by one loss, as by `losses = np.append(losses, loss)`."""
    match node.value:
        case ast.Call(ast.Attribute(_, "append"), [old, item, *_]):
            pass
        case ast.Call(
            ast.Attribute(_, "cat" | "concat" | "concatenate" | "hstack"),
            [ast.Tuple([old, item]) | ast.List([old, item]), *_],
        ):
            pass
        case _:
            return False
    name = frame.path(target)
    if not name or dotted(old) != dotted(target):
        return False
    value = machine.evaluate(item, frame)
    if isinstance(value, Several) and len(value.items) == 1:
        value = value.items[0]
    if isinstance(value, Tensor) and value.loop:
        return keep_rows(machine, machine.evaluate(target, frame), value, name, frame)
    if not isinstance(value, Quantity) or value.base not in {"mean", "sum", "coupled"}:
        return False
    return keep(machine, node, machine.evaluate(target, frame), value, name, frame)


def _carry(
    machine: Machine, node: ast.AST, target: ast.expr, value: ast.expr, frame: Frame
) -> bool:
    """Return whether a mean over a loop is carried along here, and note it as such a mean."""
    name = frame.path(target)
    parts = carried(machine, value, dotted(target), frame) if machine.loops and name else None
    if parts is None:
        return False
    term, count = parts
    total = replace(term, over=count.key, text=name)
    count = replace(count, plus=0, text="number of batches")
    machine.emit("average", node, frame, total, count, name)
    frame.write(name, replace(total, divisor=count))
    return True


def _unless_carried(
    machine: Machine, node: ast.Call, value: Value, name: str, frame: Frame
) -> Value:
    """Return what a call gives, unknown where it makes it of what its name held before the loop."""
    arguments = {dotted(part) for part in (*node.args, *(k.value for k in node.keywords))}
    goes_on = name in arguments - {""} and frame.depth(name) < len(machine.loops)
    of_one = isinstance(value, Tensor) or (isinstance(value, Quantity) and not value.over)
    return UNKNOWN if goes_on and of_one else value


def _reads(value: ast.expr, name: str) -> bool:
    return any(dotted(part) == name for part in ast.walk(value))


def _added_to(value: ast.expr, target: ast.expr) -> ast.expr | None:
    """Return what `target = target + term` adds, or None; d.get(key, 0) is the item d[key]."""
    if not (isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add)):
        return None
    name = ast.unparse(target)
    for old, term in ((value.left, value.right), (value.right, value.left)):
        match old:
            case ast.Call(ast.Attribute(whole, "get"), [key, *_]):
                old_name = f"{ast.unparse(whole)}[{ast.unparse(key)}]"
            case _:
                old_name = dotted(old) or ast.unparse(old)
        if old_name == name:
            return term
    return None


def store(machine: Machine, node: ast.AST, target: ast.expr, value: Value, frame: Frame) -> None:
    """Give a target a value.

    Args:
        machine: the interpretation.
        node: the statement.
        target: a name, an attribute, an item or a tuple of them.
        value: its new value.
        frame: the names around it.
    """
    if isinstance(target, ast.Tuple | ast.List):
        _unpack(machine, node, target, value, frame)
        return
    if isinstance(target, ast.Starred):
        target = target.value
    if isinstance(target, ast.Subscript) and _fills(machine, node, target, value, frame):
        return
    name = frame.path(target)
    if not name:
        machine.evaluate(target, frame)
        return
    if isinstance(target, ast.Attribute) and target.attr in _SAMPLES:
        _resize(target.value, value, frame)
    if isinstance(target, ast.Subscript) and name == dotted(target):
        value = value if isinstance(target.slice, ast.Constant) else UNKNOWN
    value = _name(machine, node, value, name)
    if name in frame.module.passes:
        value = _back_propagated(machine, node, value, name, frame)
    machine.emit("assign", node, frame, value, text=name)
    frame.write(name, value)
    frame.begin(name, len(machine.loops))


def _resize(data: ast.expr, column: Value, frame: Frame) -> None:
    """Give a data set the size of what its samples are set to: `data.data = data.data[:n]`."""
    whole = frame.read(dotted(data) or " ")
    if isinstance(whole, Dataset):
        rows = column.rows if isinstance(column, Tensor) else None
        frame.write(dotted(data), replace(whole, size=rows, among=None, choices=()))


def _name(machine: Machine, node: ast.AST, value: Value, name: str) -> Value:
    """Give a value the name that it is assigned to, and a loss out of sight its usual dimension."""
    words = words_of(name).split()
    match value:
        case Tensor() if {"loss", "losses"} & set(words[-2:]) and value.output and value.form == "":
            of_rows = _is_of_rows(getattr(node, "value", None))
            return Quantity(
                "elements" if of_rows else "mean", value.loop or machine.batch_loop,
                graph=value.graph, sure=of_rows, text=name, line=getattr(node, "lineno", 0),
                name=name if of_rows else _origin(node),
            )  # fmt: skip
        case Quantity():
            return replace(value, text=name)
        case Tensor() if value.form == "mask" or value.output or not value.text:
            return replace(value, text=name)
        case Loader() | Meter() if not value.text:
            return replace(value, text=name)
    return value


def _is_of_rows(node: ast.AST | None) -> bool:
    """Return whether a loss is a sum or mean along another dimension than the first."""
    match node:
        case ast.UnaryOp(ast.USub(), inner) | ast.BinOp(ast.Constant(), ast.Mult(), inner):
            return _is_of_rows(inner)
        case ast.Call(function, args, keywords) if (
            dotted(function).rpartition(".")[2] or getattr(function, "attr", "")
        ) in {"sum", "mean"}:
            along = [k.value for k in keywords if k.arg in {"dim", "axis"}] or args[-1:]
            return any(ast.unparse(place) in {"1", "-1", "2"} for place in along)
    return False


def _back_propagated(
    machine: Machine, node: ast.AST, value: Value, name: str, frame: Frame
) -> Value:
    """Return a loss for what is known of nothing but that its loop over batches back-propagates it.

    Args:
        machine: the interpretation.
        node: the statement.
        value: what it assigns.
        name: the name it is assigned to.
        frame: the names around it.
    """
    plain = isinstance(value, Unknown) or (isinstance(value, Tensor) and value.form == "")
    loop = machine.trace.loops.get(machine.batch_loop)
    if not plain or loop is None:
        return value
    first, last = getattr(loop.node, "lineno", 0), getattr(loop.node, "end_lineno", 0)
    line = getattr(node, "lineno", 0)
    passes = [each for each in frame.module.passes[name] if first <= each <= last]
    if not passes or not first <= line <= last:
        return value
    loss = Quantity("unknown", loop.key, sure=False, text=name, line=line, name=_origin(node))
    match getattr(node, "value", None):
        case ast.BinOp(_, ast.Div(), divisor):
            return operate(ast.Div(), loss, machine.evaluate(divisor, frame))
    return loss


def _scaled(
    machine: Machine, node: ast.Assign | ast.AnnAssign, value: Value, name: str, frame: Frame
) -> Value:
    """Return what `loss = outputs[0] / k` gives a name, with its divisor."""
    match node.value:
        case ast.BinOp(first, ast.Div(), ast.Name() | ast.Attribute() | ast.Subscript() as by):
            loss = _name(machine, ast.Expr(first, lineno=node.lineno), value, name)
        case _:
            return value
    if not (isinstance(value, Tensor) and isinstance(loss, Quantity)):
        return value
    divisor = machine.evaluate(by, frame)
    has_name = isinstance(divisor, Option | Unknown) and divisor.text
    return operate(ast.Div(), loss, divisor) if has_name else value


def _origin(node: ast.AST) -> str:
    """Return what gives a loss: outputs.loss where it is the first output of a model."""
    value = getattr(node, "value", None)
    match value:
        case ast.Subscript(ast.Name(name), ast.Constant(0) | ast.Slice(None)) if "out" in name:
            return "outputs.loss"
        case ast.Subscript(ast.Call(keywords=keywords), ast.Constant(0) | ast.Slice(None)):
            has_labels = any(k.arg in {None, "labels"} for k in keywords)
            if has_labels:
                return "outputs.loss"
    value = value.value if isinstance(value, ast.Subscript) else value
    function = dotted(value.func) if isinstance(value, ast.Call) else ""
    of_model = is_model(function.rpartition(".")[2])
    return "the loss of a model" if of_model else "a call out of sight"


def _unpack(
    machine: Machine, node: ast.AST, target: ast.Tuple | ast.List, value: Value, frame: Frame
) -> None:
    parts: list[Value] = []
    if isinstance(value, Several) and len(value.items) == len(target.elts) and not value.names:
        parts = list(value.items)
    if isinstance(value, Shape):
        parts = [size_of(value.tensor, Constant(place)) for place in range(len(target.elts))]
    for place, inner in enumerate(target.elts):
        part: Value = parts[place] if parts else UNKNOWN
        if not parts and isinstance(value, Tensor):
            form = (
                "classes" if value.form == "" and place == 1 and _is_maximum(node) else value.form
            )
            part = replace(value, text=dotted(inner), form=form, pads=at(value.pads, place))
        elif not parts and isinstance(value, Quantity):
            words = words_of(dotted(inner)).split()
            part = (
                value
                if "loss" in words or place == 0
                else Tensor(value.loop, "", value.graph, output=True)
            )
        elif not parts and isinstance(value, Loader):
            part = Tensor(machine.batch_loop, text=dotted(inner), pads=at(value.pads, place))
        elif not parts and isinstance(value, Listing):
            part = of_batch(value)
        is_call = isinstance(getattr(node, "value", None), ast.Call)
        if is_call and part == UNKNOWN and "loss" in words_of(dotted(inner)).split():
            part = Tensor(machine.batch_loop, "", None, output=True)
        store(machine, node, inner, part, frame)


def _is_maximum(node: ast.AST) -> bool:
    value = getattr(node, "value", None)
    return isinstance(value, ast.Call) and dotted(value.func).endswith((".max", ".topk"))


def _fills(
    machine: Machine, node: ast.AST, target: ast.Subscript, value: Value, frame: Frame
) -> bool:
    """Return whether losses[i] = loss fills a list or a tensor of losses, and note it.

    `losses[mask] = 0` fills a part of them with 0.
    """
    losses = frame.names.get(dotted(target.value))
    if value == Constant(0) and isinstance(losses, Quantity) and losses.base == "elements":
        mask = machine.evaluate(target.slice, frame)
        part = not isinstance(target.slice, ast.Slice | ast.Tuple | ast.Constant)
        name = is_mask(mask) or (ast.unparse(target.slice) if part else "")
        frame.names[dotted(target.value)] = replace(losses, masked=name)
        return True
    if not isinstance(value, Quantity) or isinstance(target.slice, ast.Constant):
        return False
    name = dotted(target.value)
    array = frame.names.get(name)
    empty = isinstance(array, Tensor) and not array.loop and not array.output
    if not (isinstance(array, Listing) or empty) or not machine.loops:
        return False
    match target.slice:
        case ast.Tuple([ast.Name(row), _]):
            name = f"{name}[{row}]"
            frame.parts.add(name)
        case ast.Tuple():
            return False
    loop = next((lp for lp in reversed(machine.loops) if lp.loader is not None), machine.loops[-1])
    if value.graph is False and value.loop not in {lp.key for lp in machine.loops}:
        machine.emit("append", node, frame, value, Constant("list"), name)
    frame.names[name] = Listing(value, loop.key, len(machine.conditions) > loop.outer)
    return True


def assign_with(machine: Machine, node: ast.AugAssign, frame: Frame) -> None:
    """Follow `target += value` and its like."""
    whole = ast.BinOp(node.target, node.op, node.value)
    if _carry(machine, node, node.target, ast.copy_location(whole, node), frame):
        return
    if isinstance(node.op, ast.Add):
        accumulate(machine, node, node.target, node.value, frame)
        return
    first, second = machine.evaluate(node.target, frame), machine.evaluate(node.value, frame)
    second = factor(machine, second, node.value, first)
    combine(machine, node, node.op, first, second, frame)
    name = frame.path(node.target)
    if name:
        machine.emit("assign", node, frame, first, text=name)
        frame.write(name, operate(node.op, first, second))


def accumulate(
    machine: Machine, node: ast.AST, target: ast.expr, term: ast.expr, frame: Frame
) -> None:
    """Follow the addition of a term to a target: a running sum of a loop, or one more term.

    Args:
        machine: the interpretation.
        node: the statement.
        target: what is added to.
        term: what is added.
        frame: the names around it.
    """
    current, value = machine.evaluate(target, frame), machine.evaluate(term, frame)
    name = frame.path(target)
    if not name:
        return
    if isinstance(term, ast.List) and isinstance(value, Several) and len(value.items) == 1:
        keep(machine, node, current, value.items[0], name, frame)
        return
    if _lengthens(machine, name, current, value, frame):
        return
    loop = _summing(machine, name, value, frame)
    if loop is None:
        if isinstance(current, Quantity) and isinstance(value, Quantity):
            machine.emit("add", node, frame, current, value)
        machine.emit("assign", node, frame, current, text=name)
        steps = machine.loops[frame.depth(name) :]
        if isinstance(value, Quantity) and steps and (passes := _passes(steps[-1])):
            value = with_scale(value, f"*{passes}")  # a sum over a sequence
        frame.write(name, _name(machine, node, add(current, value), name))
        return
    value = _as_size(value, term, loop)
    machine.emit("accumulate", node, frame, value, current, name)
    shared = value.divisor if isinstance(value, Quantity) and not value.over else None
    if shared is not None and isinstance(value, Quantity):
        value = replace(value, divisor=None, scales=value.scales[:-1])
    total = _total(machine, frame, name, current, value, loop)
    if isinstance(total, Quantity) and isinstance(value, Quantity):
        total = replace(total, text=name)
        if shared is not None:
            machine.emit("divide", term, frame, total, shared, name)
            total = replace(total, divisor=shared)
    frame.write(name, total)


def _lengthens(machine: Machine, name: str, current: Value, value: Value, frame: Frame) -> bool:
    """Return whether a list is made longer by another list, or by the samples of a batch."""
    is_list = current == Constant("list") or (isinstance(current, Listing) and current.rows)
    if is_list and isinstance(value, Tensor) and value.loop:
        keep_rows(machine, current, value, name, frame)
        return True
    if isinstance(value, Listing) and (is_list or current == value):
        frame.write(name, value)
        return True
    return False


def _passes(loop: Loop) -> str:
    """Return the number of passes of a loop that adds terms of one batch, as code, or ""."""
    match loop.node:
        case ast.For(_, ast.Call(ast.Name("zip"), [ast.Name(name), ast.Name(), *_])):
            return f"len({name})"
    return loop.micro


def _as_size(value: Value, term: ast.expr, loop: Loop) -> Value:
    """Return what a loop adds for each batch as the size its loader was built with, if it is."""
    if loop.loader is None or not is_size(value, dotted(term), loop.loader):
        return value
    return Count("nominal", loop.loader.key, text=dotted(term))


def _summing(machine: Machine, name: str, value: Value, frame: Frame) -> Loop | None:
    """Return the loop over which a name is summed: the innermost over batches since it began."""
    around = machine.loops[frame.depth(name) :]
    if not around:
        return None
    batches = [loop for loop in around if loop.loader is not None]
    loop = batches[-1] if batches else around[-1]
    outer = {other.key for other in machine.loops if other is not loop}
    if isinstance(value, Quantity) and loop.loader is None and value.loop in outer:
        return None  # one more term of the same batch
    return loop


def _total(
    machine: Machine, frame: Frame, name: str, current: Value, value: Value, loop: Loop
) -> Value:
    """Return the value of a target after a term of a loop was added to it."""
    around = machine.loops[frame.depth(name) :]
    if "[" in name:  # the item of a key has a sum of its own in each pass
        around = [other for other in around if not other.single]
    spans = len(around) > 1 and around[0] is not loop and not _is_set_between(name, around[0], loop)
    conditional = is_conditional(machine.conditions[loop.outer :], around[0] if spans else loop)
    if isinstance(value, Quantity):
        if value.over:
            return _total_of_totals(current, value, loop)
        inner = machine.loops[-1]
        if inner is not loop and not inner.single and "[" not in name:
            value = replace(value, base="unknown", sure=False)  # of a part of the batch
        offset = isinstance(current, Constant) and current.value not in (0, 0.0)
        total = replace(
            value,
            over=loop.key,
            conditional=value.conditional or conditional,
            sure=value.sure and not spans and not offset,
            spans=spans,
        )
        more = isinstance(current, Quantity) and current.over == loop.key
        return add(current, total) if more else total
    if isinstance(value, Count) and value.unit in _ADDED and not spans:
        return Count("seen", loop.key, number(current) or 0, value.unit, conditional)
    start = whole(current)
    plain = loop.loader is not None and not spans and not conditional
    if value == Constant(1) and plain and start is not None:
        return Count("batches", loop.key, start, name)
    if plain and start == 0 and loop.loader is not None and is_nominal(value):
        return Count("padded", loop.loader.key, text=name)
    return _more_of(current, value)


def _total_of_totals(current: Value, value: Quantity, loop: Loop) -> Value:
    """Return the sum over a loop of what an inner loop summed."""
    if current == value or value.over == loop.key:
        return replace(value, base="unknown", sure=False)
    total = replace(value, over=loop.key, loop=loop.key, divisor=None, sure=False)
    plain = value.divisor is not None or not value.loop
    return total if plain else replace(total, base="unknown")


def _more_of(current: Value, value: Value) -> Value:
    if isinstance(value, Constant) and type(value.value) is int and isinstance(current, Count):
        one_more = current.unit in {"batches", "passes"}
        return replace(current, plus=current.plus + value.value) if one_more else current
    if isinstance(value, Unknown | Tensor) and isinstance(current, Quantity):
        return current
    if isinstance(current, Count | Tensor) and isinstance(value, Count | Tensor | Quantity):
        return add(current, value)
    return UNKNOWN


def begin_counters(machine: Machine, body: list[ast.stmt], loop: Loop, frame: Frame) -> None:
    """Give the counters that a loop raises by one for each batch their values at its start.

    Args:
        machine: the interpretation, already inside the loop.
        body: the statements of the loop.
        loop: the loop.
        frame: the names around it.
    """
    for node, conditional in _increments(body, conditional=False):
        name, start = frame.path(node.target), machine.evaluate(node.target, frame)
        first = whole(start)
        if first is None or not isinstance(start, Constant):
            continue
        count: Value = Count("batches", loop.key, first - 1, name)
        if frame.depth(name) < len(machine.loops) - 1:
            begins = _is_set_between(name, machine.loops[frame.depth(name)], loop)
            begins = begins or ("." in name and _is_set_again(name, frame.module.tree))
            goes_on = loop.loader is not None and not begins and not conditional
            so_far = Count("passes", loop.key, first - 1, name)
            again = _sets_again(name, start, machine.loops[frame.depth(name)], loop)
            if again and loop.loader is not None and not conditional:
                count = count if again == "always" else replace(so_far, conditional=True)
            else:
                count = so_far if goes_on else Unknown(name)
        elif conditional:
            count = Count("some batches", loop.key, first, name, conditional=True)
        elif loop.loader is not None and _goes_on(machine, name, frame):
            count = Count("passes", loop.key, first - 1, name)
        frame.write(name, count)


def _goes_on(machine: Machine, name: str, frame: Frame) -> bool:
    """Return whether an attribute counts on from call to call of a function of one epoch."""
    body = machine.running[-1] if machine.running else None
    one_epoch = isinstance(body, FunctionNode) and not machine.calls and names_an_epoch(body)
    return one_epoch and not _is_set_again(name, frame.module.tree)


def _is_set_between(name: str, outer: Loop, loop: Loop) -> bool:
    """Return whether a sum that began before two loops is set in the outer one, for each pass."""
    inside = {id(node) for node in ast.walk(loop.node)}
    for node in ast.walk(outer.node):
        if isinstance(node, ast.Assign) and id(node) not in inside:
            sets = any(dotted(part) == name for t in node.targets for part in ast.walk(t))
            if sets and not _reads(node.value, name):
                return True
    return False


def _sets_again(name: str, start: Constant, outer: Loop, loop: Loop) -> str:
    """Return whether an outer loop gives a counter its first value again after each inner loop.

    Returns:
        "always", "sometimes" where a test decides it, or "" where it is set to something else.
    """
    inside = {id(node) for node in ast.walk(loop.node)}
    sets = [
        node
        for node in ast.walk(outer.node)
        if isinstance(node, ast.Assign | ast.AugAssign) and id(node) not in inside
        if name in {dotted(part) for part in ast.walk(node) if isinstance(part, ast.Name)}
    ]
    firsts = [n for n in sets if isinstance(n, ast.Assign) and _gives(n, name) == start.value]
    if not sets or len(firsts) != len(sets) or loop.node not in getattr(outer.node, "body", []):
        return ""
    last = sets[-1].lineno > getattr(loop.node, "end_lineno", 0)
    direct = any(node in getattr(outer.node, "body", []) for node in sets)
    return ("always" if direct else "sometimes") if last else ""


def _gives(node: ast.Assign, name: str) -> object:
    """Return the number that an assignment gives a name, alone or in a tuple, or None."""
    for target in node.targets:
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        for place, value in pairs:
            if dotted(place) == name and isinstance(value, ast.Constant):
                return value.value
    return None


def _is_set_again(name: str, tree: ast.AST) -> bool:
    """Return whether a file sets an attribute to a number anywhere but in an `__init__`."""
    if not name.startswith("self."):
        return True
    makers = (n for n in ast.walk(tree) if getattr(n, "name", "") == "__init__")
    inside = {id(node) for maker in makers for node in ast.walk(maker)}
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and id(node) not in inside
        and any(dotted(target) == name for target in node.targets)
        for node in ast.walk(tree)
    )


def _increments(body: list[ast.stmt], *, conditional: bool) -> list[tuple[ast.AugAssign, bool]]:
    increments: list[tuple[ast.AugAssign, bool]] = []
    for node in body:
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            if isinstance(node.value, ast.Constant) and node.value.value == 1:
                increments.append((node, conditional))
        elif isinstance(node, ast.If | ast.Try):
            parts = [
                _increments(part, conditional=conditional) for part in (node.body, node.orelse)
            ]
            first, second = ({dotted(n.target) for n, _ in part} for part in parts)
            for add, sometimes in (*parts[0], *parts[1]):
                both = isinstance(node, ast.If) and dotted(add.target) in first & second
                increments.append((add, sometimes or not both))
        elif isinstance(node, ast.With):
            increments += _increments(node.body, conditional=conditional)
    return increments
