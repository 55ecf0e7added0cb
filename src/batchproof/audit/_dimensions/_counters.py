"""Divisors that count other batches than a sum holds: one more, one fewer, those of one pass.

And means of batch means that are multiplied by the size of one batch, Σ_b mean_b / batches · n_b.
"""

import ast

from batchproof.audit._dimensions._lattice import Count, Loader, Quantity
from batchproof.audit._dimensions._loaders import of_one_sample
from batchproof.audit._dimensions._questions import divisor_of
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._dimensions._windows import last_of_window


def miscount(event: Event, total: Quantity, by: Count, loop: Loop) -> tuple[str, str, str] | None:
    """Return what a quotient computes, what was meant, and why its divisor is off, or None.

    Args:
        event: the quotient.
        total: what the loop added up.
        by: the divisor.
        loop: the loop.
    """
    why = _of_one_pass(event, by, loop)
    if why:
        return f"Σ_b loss_b / {by.text}", "Σ_b loss_b / batches", why
    if loop.loader is not None:
        if (by.unit, by.plus, by.key) == ("data set", 1, loop.loader.source):
            why = f"the slices end at {by.key}, one fewer than {by.text}"
            return f"Σ_i loss_i / {by.text}", f"Σ_i loss_i / ({by.key})", why
        return _of_batches(event, total, by, loop, loop.loader)
    steps = (by.unit, by.key, by.plus) == ("batches", loop.key, -1) and loop not in event.loops
    if steps and not (loop.leaves or total.conditional or total.scales):
        why = f"{by.text} begins at 0, so it is one less than the number of steps"
        return f"Σ_i loss_i / {by.text}", f"Σ_i loss_i / ({by.text} + 1)", why
    return None


def report_clash(trace: Trace, event: Event) -> tuple[str, str, str] | None:
    """Return what a report computes, what was meant, and why that is wrong, or None.

    Args:
        trace: the events.
        event: the report.
    """
    loss = event.value
    if not isinstance(loss, Quantity) or loss.divisor is None:
        return None
    by, loop = loss.divisor, trace.loops.get(loss.over) if loss.over else event.batches
    if loop is None or loop.loader is None or by.key not in {loop.key, loop.loader.key}:
        return None
    if not loss.over and loss.scales == ("/batches",) and by.key == loop.key:
        why = f"the loss is of one batch, and {by.text} counts all batches so far"
        return f"loss_b / {by.text}", f"Σ_b loss_b / {by.text}", why
    mean = loss.base == "mean" and loss.sure and loss.loop == loop.key and by.unit == "batches"
    if not mean or loss.scales != ("*batch",) or of_one_sample(loop.loader):
        return None
    why = f"the sum of means is divided by {by.text} already, and is multiplied by a batch size"
    return "(Σ_b mean_b / batches) · n_b", "Σ_b n_b · mean_b / Σ_b n_b", why


def product_in(event: Event) -> ast.AST:
    """Return the product of a quotient in a report, or the report itself."""
    for node in ast.walk(event.node):
        match node:
            case ast.BinOp(ast.BinOp(_, ast.Div(), _), ast.Mult(), _):
                return node
    return event.node


def _of_batches(
    event: Event, total: Quantity, by: Count, loop: Loop, loader: Loader
) -> tuple[str, str, str] | None:
    if by.unit != "batches" or by.key not in {loop.key, loader.key, loader.source}:
        return None
    if by.plus > 0 and by.key == loader.key:
        why = f"the sum holds one term for each batch of {loader.text}, {by.plus} fewer"
        return f"Σ_b loss_b / (batches + {by.plus})", "Σ_b loss_b / batches", why
    if by.key == loop.key and by.plus == 1 and loop not in event.loops and not loop.leaves:
        why = f"{by.text} is one more than the number of batches"
        return f"Σ_b loss_b / {by.text}", "Σ_b loss_b / batches", why
    if by.key == loop.key and by.plus == -1 and loop not in event.loops:
        why = f"{by.text} begins at 0, so it is one less than the number of batches"
        return f"Σ_b loss_b / {by.text}", f"Σ_b loss_b / ({by.text} + 1)", why
    if total.conditional and last_of_window(loop, event, total):
        why = "only the last batch of each window is added, and every batch is counted"
        return "Σ_windows loss of its last batch / batches", "Σ_b loss_b / batches", why
    return None


def _of_one_pass(event: Event, by: Count, loop: Loop) -> str:
    """Return why a divisor is a number of one pass of a loop, no count of all, or ""."""
    if by.unit == "offset" and by.key == loop.key and abs(by.plus) < 2:
        return f"{by.text} is where a slice begins, and moves by the length of a slice"
    if (by.unit, by.key, by.plus) == ("batch", loop.key, 0) and loop not in event.loops:
        return "after the loop it is the size of the last batch"
    match divisor_of(event.node), loop.node:
        case ast.Call(ast.Name("len"), [ast.Name(name)]), ast.For(target):
            items = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            if loop not in event.loops and name in items and not _set_again(event, name, loop.node):
                return f"after the loop {name} is what its last pass was over"
    return ""


def _set_again(event: Event, name: str, loop: ast.For) -> bool:
    """Return whether a name is set between the end of a loop and an event after it."""
    names = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.Name) and n.id == name)
    stores = (n.lineno for n in names if isinstance(n.ctx, ast.Store))
    return any((loop.end_lineno or 0) < line <= event.line for line in stores)
