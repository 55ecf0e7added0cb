"""The means of micro-batches, or of batches, are added, and nothing divides their sum."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._loaders import of_one_batch
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import is_batch_mean, is_of_tokens, scopes_of
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._dimensions._windows import last_part, micro_loops, windows
from batchproof.audit._reports import Report
from batchproof.mistakes import mistake

_SUMS = re.compile(r"total|sum|cum|accum|running|acc_")  # says that it is a sum
_SCALES = re.compile(r"(scale|multiply|divide|average|normali[sz]e)_grad")


def find(trace: Trace) -> Iterator[Report]:
    """Yield backward passes of means of micro-batches that a step takes as they are."""
    places = set[int]()
    spans = [(w.every, trace.within(w.loop, "backward")) for w in windows(trace)]
    spans += [(loop.micro, passes) for loop, passes in micro_loops(trace)]
    for every, passes in spans:
        sums = {e.text for e in trace.of("accumulate") if _is_number(e)}
        plain = not any(trace.of("managed")) and all(map(_is_plain, passes))
        if not plain or _divides(passes, every, sums):
            continue
        for event in passes:
            loss = event.value
            if not isinstance(loss, Quantity) or id(event.node) in places:
                continue
            places.add(id(event.node))
            evidence = (
                f"{loss.name or 'the loss'} (line {loss.line}) is a mean over one micro-batch",
                f"{every} of them are added before the optimiser steps, and nothing divides them",
            )
            sure = (loss.sure or is_of_tokens(event, loss)) and "accum" in every.lower()
            yield Report(event, "Σ_m mean_m", "Σ_m Σ_i loss_i / Σ_m n_m", evidence, sure)
    yield from _reported(trace)


def _reported(trace: Trace) -> Iterator[Report]:
    """Yield sums of the means of all batches of a pass that are reported as its loss."""
    for event in trace.of("report"):
        total = event.value
        if not isinstance(total, Quantity) or total.base != "mean" or total.metric or total.spans:
            continue
        loop = trace.loops.get(total.over)
        if loop is None or loop.loader is None or loop in event.loops or total.loop != loop.key:
            continue
        if total.scales or total.divisor is not None or total.conditional or total.ranks:
            continue
        if of_one_batch(loop.loader) or not is_batch_mean(total):
            continue
        evidence = (
            f"{total.text or 'it'} adds the mean of each batch of {loop.loader.text}",
            "nothing divides it before it is reported",
        )
        says_so = _SUMS.search(ast.unparse(event.node).lower()) or _SUMS.search(total.text.lower())
        remedy = mistake("not-divided").remedy_for(evaluation=True).code
        formula = "Σ_b n_b · mean_b / Σ_b n_b"
        yield Report(event, "Σ_b mean_b", formula, evidence, not says_so, remedy=remedy)


def _is_plain(event: Event) -> bool:
    """Return whether what is back-propagated is the mean of a micro-batch, as it is."""
    loss = event.value
    if not isinstance(loss, Quantity) or loss.base != "mean" or not is_batch_mean(loss):
        return False
    return not (loss.over or loss.scales or loss.divisor is not None or "engine" in event.text)


def _is_number(event: Event) -> bool:
    """Return whether what is added to a sum is a number, so that the sum is only reported."""
    return isinstance(event.value, Quantity) and event.value.number


def _divides(passes: list[Event], every: str, sums: set[str]) -> bool:
    """Return whether the function of a window divides gradients, or all but sums of numbers."""
    nodes = (node for scope in scopes_of(passes[0]) for node in ast.walk(scope)) if passes else ()
    return any(_changes_gradients(node) or _divides_by(node, every, sums) for node in nodes)


def _divides_by(node: ast.AST, every: str, sums: set[str]) -> bool:
    """Return whether code divides by the length of a window, other than batches or such sums."""
    match node:
        case ast.BinOp(left, ast.Div(), right) | ast.AugAssign(left, ast.Div(), right):
            other = "len(" in ast.unparse(left) or dotted(left) in sums
            return last_part(ast.unparse(right)) == last_part(every) and not other
    return False


def _changes_gradients(node: ast.AST) -> bool:
    """Return whether code writes to gradients, or changes a learning rate by hand."""
    match node:
        case ast.Attribute(ast.Attribute(_, "grad"), "div_" | "mul_" | "copy_" | "data"):
            return True
        case ast.Assign(targets):
            return any(_is_gradient(target) for target in targets)
        case ast.AugAssign(target):
            return _is_gradient(target)
        case ast.Attribute(_, name):
            return bool(_SCALES.search(name))
    return False


def _is_gradient(node: ast.expr) -> bool:
    """Return whether a target is a gradient, or the learning rate of an optimiser."""
    match node:
        case ast.Attribute(_, "grad") | ast.Subscript(_, ast.Constant("lr")):
            return True
    return False
