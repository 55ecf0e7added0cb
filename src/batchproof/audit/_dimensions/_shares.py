"""The shares that ranks take of a data set: samplers that repeat samples of an evaluation."""

import ast
import re

from batchproof.audit._dimensions._lattice import Loader, Quantity, Sampler, Tensor
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._questions import role, scopes_of
from batchproof.audit._dimensions._trace import Event, Loop, Trace

# what tells repeated samples apart: identities of images, objects by key
_BY_IDENTITY = re.compile(r"[cC]oco|COCO|gather_object|gather_for_metrics|image_id|dedup")
_IDS = {"id", "ids", "idx", "idxs", "index", "indices", "indexes"}


def repeats_held_out(trace: Trace, event: Event) -> bool:
    """Return whether a sampler repeats samples of held-out data, so that ranks hold as many.

    Args:
        trace: the events.
        event: the construction of a sampler.
    """
    sampler, node = event.value, event.node
    if not (isinstance(sampler, Sampler) and isinstance(node, ast.Call)):
        return False
    if sampler.kind != "ranks" or sampler.drop_last or not _is_held_out(event, node):
        return False
    options = {keyword.arg for keyword in node.keywords}
    apart = any(_BY_IDENTITY.search(line) for line in event.module.lines)
    exact = apart or _keeps_by_key(event.module.tree) or _drops(trace, event)
    exact = exact or cuts(event, after=event.line)
    return "even_divisible" not in options and not exact


def unused(reduction: Event, event: Event) -> bool:
    """Return whether a statement drops what a reduction returns, which changes nothing in place.

    Horovod's allreduce and accelerate's reduce and gather are such, torch's all_reduce is not.

    Args:
        reduction: where values of ranks are reduced.
        event: what follows it, with the calls that lead there.
    """
    node = reduction.node
    function = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    if not function.endswith(("hvd.allreduce", "accelerator.reduce", "accelerator.gather")):
        return False
    ends = {id(node), id((*reduction.calls, node)[len(event.calls)])}
    statements = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.Expr))
    return any(id(statement.value) in ends for statement in statements)


def of_samples(event: Event, loop: Loop) -> bool:
    """Return whether what is gathered are outputs or targets of a batch, a row for each sample."""
    repeats = ".repeat(" in ast.unparse(event.node)
    return all(
        (isinstance(value, Tensor) and value.loop == loop.key)
        or (isinstance(value, Quantity) and (repeats or value.base == "elements"))
        for value in flat(event.value)
    )


def cuts(event: Event, after: int = 0) -> bool:
    """Return whether the function around cuts a tensor to a number of rows that it computes.

    Args:
        event: where samples are repeated.
        after: a line; what is cut before it are samples to draw from, not those that were drawn.
    """
    for node in (n for scope in scopes_of(event) for n in ast.walk(scope)):
        match node:
            case ast.Subscript(slice=ast.Slice(None, ast.expr() as upper)):
                if not isinstance(upper, ast.Constant) and node.lineno > after:
                    return True
    return False


def _keeps_by_key(tree: ast.Module) -> bool:
    """Return whether a file keeps outputs in a dict by keys of samples, so that none counts twice.

    The key is one of several that a loop goes through, as the identities of a batch are, or their
    places in the data set.
    """
    for loop in (n for n in ast.walk(tree) if isinstance(n, ast.For)):
        own = {n.id for n in ast.walk(_batch_of(loop)) if isinstance(n, ast.Name)}
        for node in ast.walk(loop):
            match node:
                case ast.Assign([ast.Subscript(ast.Name(table), ast.Name(key))]):
                    if "pred" in table.lower() or (
                        key in own and _IDS & set(words_of(key).split())
                    ):
                        return True
    return False


def _batch_of(loop: ast.For) -> ast.expr:
    """Return what a loop assigns a batch to, without the number that enumerate gives it."""
    numbered = any(isinstance(n, ast.Name) and n.id == "enumerate" for n in ast.walk(loop.iter))
    match loop.target:
        case ast.Tuple([_, batch]) if numbered:
            return batch
    return loop.target


def _is_held_out(event: Event, node: ast.Call) -> bool:
    """Return whether the data or the sampler is named after what a model is evaluated with."""
    data = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "dataset")]
    roles = [role(dotted(data[0])) if data else "", role(event.text)]
    return "held out" in roles and "training" not in roles


def _drops(trace: Trace, event: Event) -> bool:
    """Return whether the loader of a sampler leaves out its last batch, or is one of training."""
    for other in trace.of("loader"):
        loader = other.value
        if isinstance(loader, Loader) and loader.sampler is not None:
            mine = loader.sampler.line == event.line and other.module is event.module
            if mine and (loader.drop_last or role(loader.text) == "training"):
                return True
    return False
