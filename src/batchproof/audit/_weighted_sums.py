"""Rewrites of sums of batch means: each mean is multiplied by the size of its batch.

computed   Σ_b mean_b / B        rewritten   Σ_b mean_b · n_b / Σ_b n_b

The form is the plain one, in one function: a sum that begins with 0 beside the loop, one addition
in the loop, one division after it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._finding import Edit, Fix
from batchproof.audit._project import Source

# their means are over the samples of the first dimension, or over elements of equal samples
_CRITERIA = {
    *("CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"),
    *("BCELoss", "BCEWithLogitsLoss", "KLDivLoss", "cross_entropy", "nll_loss", "mse_loss"),
    *("l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy"),
    *("binary_cross_entropy_with_logits", "kl_div"),
}
_SAME_ROWS = {"to", "cuda", "cpu", "long", "float", "double", "half", "type", "type_as"}
_RESHAPED = {"transpose", "permute", "view", "reshape", "flatten", "movedim", "swapaxes"}
# arguments of DataLoader that leave every sample in the batches
_WHOLE = {
    *("dataset", "batch_size", "shuffle", "num_workers", "pin_memory", "persistent_workers"),
    *("prefetch_factor", "generator", "worker_init_fn", "timeout", "multiprocessing_context"),
}
_COUNTERS = ("seen", "samples_seen", "number_of_samples")


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum over the batches of a loop, and where it is divided.

    Attributes:
        scope: the function, or the file, that holds it all.
        loop: the loop.
        first: the statement that sets it to 0.
        addition: the statement that adds a batch.
        divisor: what it is divided by.
        call: the call of the criterion.
    """

    scope: ast.AST
    loop: ast.For
    first: ast.stmt
    addition: ast.AugAssign
    divisor: ast.expr
    call: ast.Call


def weighted(event: Event, trace: Trace, source: Source) -> Fix | None:
    """Return the fix that multiplies means by the sizes of their batches, None if unclear.

    Args:
        event: the division of the sum.
        trace: what happens around it.
        source: the file.
    """
    total, by = event.value, event.other
    if event.kind != "divide" or not (isinstance(total, Quantity) and isinstance(by, Count)):
        return None
    loop = trace.loops.get(total.over)
    if loop is None or loop in event.loops or not _is_mean_of_samples(total):
        return None
    parts = _parts(event, loop, total, source)
    if parts is None or _has_options(total.name, source):
        return None
    rows, certain = _rows(parts.call, parts.loop)
    build = _built(parts, event)
    safe = certain and total.sure and _is_plain(parts, build)
    return _rewritten(parts, by, f"{rows}.size(0)", build, source, safe=safe) if rows else None


def _rewritten(
    parts: _Sum, by: Count, size: str, build: ast.Call | None, source: Source, *, safe: bool
) -> Fix | None:
    """Return the edits of the addition and, where it counts batches, of the division."""
    _, _, line, column = source.span(parts.addition.value)
    edit = Edit(line, column, line, column, f" * {size}")
    message = "Multiply each mean by the size of its batch"
    if by.unit == "data set":
        if not _is_its_length(parts, build):
            return None
        return Fix(f"{message}.", (edit,), safe and _sees_all(parts, build))
    edits = _counted(parts, build, size, source)
    message = f"{message}, and divide by the number of samples."
    return Fix(message, (edit, *edits), safe) if edits else None


def _is_mean_of_samples(total: Quantity) -> bool:
    """Return whether a sum is of means over the samples of a batch, as far as they are in sight."""
    differs = total.scales or total.masked or total.conditional or total.spans or total.ranks
    uneven = total.ignores or total.classes or total.unit or total.metric
    is_mean = total.name in _CRITERIA or not total.sure
    return total.base == "mean" and is_mean and not differs and not uneven


def _has_options(name: str, source: Source) -> bool:
    """Return whether a criterion ignores targets, or has options by position, as weights may be."""
    most = 2 if name.islower() else 0
    for call in (n for n in ast.walk(source.tree) if isinstance(n, ast.Call)):
        ignores = any(keyword.arg == "ignore_index" for keyword in call.keywords)
        if dotted(call.func).rpartition(".")[2] == name and (ignores or len(call.args) > most):
            return True
    return False


def _parts(event: Event, loop: Loop, total: Quantity, source: Source) -> _Sum | None:
    """Return the statements of a sum, None where it has another form."""
    division, node = event.node, loop.node
    if isinstance(division, ast.BinOp):
        summed, divisor = division.left, division.right
    elif isinstance(division, ast.AugAssign):
        summed, divisor = division.target, division.value
    else:
        return None
    if not isinstance(summed, ast.Name) or not isinstance(node, ast.For):
        return None
    scope = source.scope(division)
    block = _block(scope, node)
    name, place = summed.id, block.index(node) if node in block else 0
    firsts = [statement for statement in block[:place] if _begins(statement, name)]
    additions = [s for s in _always(node.body) if _adds(s, name)]
    after = any(division in ast.walk(s) for s in block[place + 1 :])
    if len(firsts) != 1 or len(additions) != 1 or not after:
        return None
    (addition,) = additions
    if not isinstance(addition, ast.AugAssign) or not _alone(scope, name, division):
        return None
    call = _criterion(addition.value, node, total.line)
    return None if call is None else _Sum(scope, node, firsts[0], addition, divisor, call)


def _block(scope: ast.AST, statement: ast.stmt) -> list[ast.stmt]:
    """Return the list of statements that holds one."""
    for node in ast.walk(scope):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and statement in value:
                return value
    return []


def _always(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run in every pass, those under `with` included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.With):
            yield from _always(statement.body)


def _begins(statement: ast.stmt, name: str) -> bool:
    """Return whether a statement sets a name to 0, alone or among others."""
    if not isinstance(statement, ast.Assign):
        return False
    return any(
        isinstance(value, ast.Constant) and value.value == 0
        for target in statement.targets
        for value in _bound(target, statement.value, name)
    )


def _bound(target: ast.expr, value: ast.expr, name: str) -> Iterator[ast.expr]:
    """Yield the values that an assignment gives a name; the whole value where it is unpacked."""
    if isinstance(target, ast.Name) and target.id == name:
        yield value
    elif isinstance(target, ast.Tuple | ast.List):
        apart = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
        items = value.elts if isinstance(value, ast.Tuple | ast.List) and apart else None
        for place, part in enumerate(target.elts):
            yield from _bound(part, items[place] if items else value, name)


def _adds(statement: ast.stmt, name: str) -> bool:
    return (
        isinstance(statement, ast.AugAssign)
        and isinstance(statement.op, ast.Add)
        and dotted(statement.target) == name
    )


def _alone(scope: ast.AST, name: str, division: ast.AST) -> bool:
    """Return whether a sum is begun, added to and divided, and read nowhere before that."""
    uses = [n for n in ast.walk(scope) if isinstance(n, ast.Name) and n.id == name]
    summed = division.left if isinstance(division, ast.BinOp) else None
    loads = [n for n in uses if isinstance(n.ctx, ast.Load) and n is not summed]
    stores = [n for n in uses if isinstance(n.ctx, ast.Store)]
    end = getattr(division, "end_lineno", 0)
    again = isinstance(division, ast.AugAssign) or any(
        isinstance(s, ast.Assign) and s.value is division and name in map(dotted, s.targets)
        for s in ast.walk(scope)
    )
    return len(stores) == 2 + again and all(again and n.lineno > end for n in loads)


def _criterion(value: ast.expr, loop: ast.For, line: int) -> ast.Call | None:
    """Return the call of the criterion whose value, as a number or detached, is added."""
    inner, detaches = value, False
    while isinstance(inner, ast.Call):
        if isinstance(inner.func, ast.Attribute) and inner.func.attr in {"item", "detach", "cpu"}:
            inner, detaches = inner.func.value, True
        elif dotted(inner.func) == "float" and len(inner.args) == 1:
            inner, detaches = inner.args[0], True
        else:
            break
    if isinstance(inner, ast.Name):
        bound = list(_bindings(inner.id, loop.body))
        inner = bound[0] if len(bound) == 1 else inner
    return inner if detaches and isinstance(inner, ast.Call) and inner.lineno == line else None


def _bindings(name: str, body: list[ast.stmt]) -> Iterator[ast.expr]:
    """Yield the values that a block gives a name, None where that is not a plain assignment."""
    for node in (n for statement in body for n in ast.walk(statement)):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _bound(target, node.value, name)
        elif _stores(node, name) and not _assigned(node, body):
            yield ast.Constant(None)


def _stores(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)


def _assigned(name: ast.AST, body: list[ast.stmt]) -> bool:
    assigns = (n for s in body for n in ast.walk(s) if isinstance(n, ast.Assign))
    return any(name in ast.walk(target) for a in assigns for target in a.targets)


def _rows(call: ast.Call, loop: ast.For) -> tuple[str, bool]:
    """Return the tensor whose rows a criterion's mean is over, and whether the code shows that.

    That is the target, where it is a tensor of the batch; else the predictions, where they have a
    name; else "".
    """
    keywords = {k.arg: k.value for k in call.keywords}
    arguments = [*call.args, *(keywords[n] for n in ("input", "target") if n in keywords)]
    if len(arguments) != 2 or any(isinstance(a, ast.Starred) for a in arguments):
        return "", False
    prediction, target = arguments[0], _peeled(arguments[1])
    if isinstance(target, ast.Name) and _is_of_batch(target.id, loop):
        return target.id, not _reshapes(prediction, loop)
    return dotted(prediction) if isinstance(prediction, ast.Name) else "", False


def _is_of_batch(name: str, loop: ast.For) -> bool:
    """Return whether a name is a tensor of the batch, with all of its rows."""
    names = {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)}
    bound = [_peeled(value) for value in _bindings(name, loop.body)]
    mine = [b for b in bound if not (isinstance(b, ast.Name) and b.id == name)]
    if name in names:
        return not mine
    return len(mine) == 1 and _root(mine[0]) in names


def _peeled(value: ast.expr) -> ast.expr:
    """Return the tensor beneath methods that keep its rows."""
    while (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and (value.func.attr in _SAME_ROWS or _adds_last(value))
    ):
        value = value.func.value
    return value


def _adds_last(call: ast.Call) -> bool:
    """Return whether a call is `unsqueeze` of another dimension than the first."""
    match call:
        case ast.Call(func=ast.Attribute(attr="unsqueeze"), args=[place], keywords=[]):
            return ast.unparse(place) in {"1", "-1"}
    return False


def _root(value: ast.expr) -> str:
    """Return the name of the batch that a tensor is a part of, or ""."""
    if isinstance(value, ast.Subscript) and not isinstance(value.slice, ast.Constant):
        return ""
    if isinstance(value, ast.Subscript | ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else ""


def _reshapes(value: ast.expr, loop: ast.For) -> bool:
    """Return whether predictions are reshaped, as those of sequences are."""
    bound = _bindings(value.id, loop.body) if isinstance(value, ast.Name) else ()
    return any(not _RESHAPED.isdisjoint(_methods(node)) for node in (value, *bound))


def _methods(value: ast.expr) -> Iterator[str]:
    """Yield the methods that are called on a value, one after the other."""
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        yield value.func.attr
        value = value.func.value


def _loader(loop: ast.For) -> str:
    """Return the name that a loop draws its batches from, or ""."""
    source = loop.iter
    while isinstance(source, ast.Call) and source.args:
        if dotted(source.func).rpartition(".")[2] not in {"enumerate", "tqdm"}:
            return ""
        source = source.args[0]
    return dotted(source)


def _built(parts: _Sum, event: Event) -> ast.Call | None:
    """Return the call of torch's DataLoader that builds the loop's loader in the same function."""
    name = _loader(parts.loop)
    bound = list(_bindings(name, getattr(parts.scope, "body", []))) if name else []
    if len(bound) != 1 or not isinstance(bound[0], ast.Call):
        return None
    first, dot, rest = dotted(bound[0].func).partition(".")
    resolved = f"{event.module.imports.get(first, first)}{dot}{rest}"
    return bound[0] if resolved == "torch.utils.data.DataLoader" else None


def _is_plain(parts: _Sum, build: ast.Call | None) -> bool:
    """Return whether the criterion is not the caller's, and batches are formed as torch does."""
    arguments = getattr(parts.scope, "args", None)
    names = {a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg)} if arguments else set()
    options = {k.arg for k in build.keywords if not _is_off(k)} if build else set()
    has_collate = bool({"collate_fn", None} & options)
    keywords = build.keywords if build else []
    has_collate |= any(k.arg == "batch_size" and ast.unparse(k.value) == "None" for k in keywords)
    return dotted(parts.call.func).partition(".")[0] not in names and not has_collate


def _sees_all(parts: _Sum, build: ast.Call | None) -> bool:
    """Return whether the loop goes over every sample of the data set once."""
    leaves = any(isinstance(n, ast.Break | ast.Continue) for n in ast.walk(parts.loop))
    if leaves or build is None or len(build.args) > 3:
        return False
    options = {k.arg for k in build.keywords if not _is_off(k)}
    return options <= _WHOLE and not any(isinstance(a, ast.Starred) for a in build.args)


def _is_its_length(parts: _Sum, build: ast.Call | None) -> bool:
    """Return whether a sum is divided by the length of the loop's own data set."""
    whole = {f"{_loader(parts.loop)}.dataset"}
    if build is not None:
        whole |= {dotted(a) for a in build.args[:1]}
        whole |= {dotted(k.value) for k in build.keywords if k.arg == "dataset"}
    match parts.divisor:
        case ast.Call(func=ast.Name("len"), args=[dataset]):
            return dotted(dataset) in whole - {""}
    return False


def _is_off(keyword: ast.keyword) -> bool:
    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
    return (keyword.arg == "drop_last" and value is False) or (
        keyword.arg in {"sampler", "batch_sampler", "collate_fn"} and value is None
    )


def _counted(
    parts: _Sum, build: ast.Call | None, size: str, source: Source
) -> tuple[Edit, ...] | None:
    """Return the edits that divide by the number of samples, None where the divisor is another."""
    divisor, loader = parts.divisor, _loader(parts.loop)
    match divisor:
        case ast.Call(func=ast.Name("len"), args=[subject]) if dotted(subject) == loader:
            line, column, end_line, end_column = source.span(divisor)
        case _:
            return None
    if _sees_all(parts, build):
        _, _, after_line, after = source.span(subject)
        return (Edit(after_line, after, after_line, after, ".dataset"),)
    used = {n.id for n in ast.walk(source.tree) if isinstance(n, ast.Name)}
    used |= {n.arg for n in ast.walk(source.tree) if isinstance(n, ast.arg)}
    counter = next((c for c in _COUNTERS if c not in used), "")
    start = _before(parts.first, f"{counter} = 0", source)
    raise_ = _before(parts.addition, f"{counter} += {size}", source)
    if not counter or start is None or raise_ is None:
        return None
    return start, raise_, Edit(line, column, end_line, end_column, counter)


def _before(statement: ast.stmt, text: str, source: Source) -> Edit | None:
    """Return the edit that puts a statement on a line of its own before another."""
    line, column, _, _ = source.span(statement)
    indent = source.lines[line - 1][: column - 1]
    return None if indent.strip() else Edit(line, column, line, column, f"{text}\n{indent}")
