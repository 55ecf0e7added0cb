"""Questions that several rules ask of a trace: its windows, its loops, what a test depends on."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from batchproof.audit._dimensions._lattice import Count, Option, Quantity, Unknown, Value
from batchproof.audit._dimensions._names import dotted, words_of
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace, modulus, tests_of

_DEBUG = re.compile(
    r"debug|dry_?run|fast_dev|smoke|sanity|overfit|test_mode|quick|demo|tiny|profil", re.IGNORECASE
)
_HELD_OUT = {
    "val",
    "valid",
    "validation",
    "test",
    "testing",
    "eval",
    "evaluation",
    "dev",
    "holdout",
}
_TRAINING = {"train", "training", "tr"}


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """An accumulation window: several backward passes, then one step.

    Attributes:
        loop: the loop over micro-batches.
        step: the optimiser's step at its end.
        condition: the condition that ends it.
        test: the part of it that counts.
        counter: the counter that the test looks at.
        plus: what the test adds to the counter.
        every: how many micro-batches make a window, as the code writes it.
        last: whether the condition also holds for the last batch of the loader.
    """

    loop: Loop
    step: Event
    condition: Condition
    test: ast.expr
    counter: str
    plus: int
    every: str
    last: bool


def windows(trace: Trace) -> Iterator[Window]:
    """Yield the accumulation windows of a trace."""
    for step in trace.of("step"):
        loop = step.loop
        if loop is None:
            continue
        for condition in step.inside(loop):
            window = _window(loop, step, condition)
            if window is not None:
                if _accumulates(trace, window):
                    yield window
                break


def _accumulates(trace: Trace, window: Window) -> bool:
    """Return whether passes in which the window does not end add to the gradient of its step.

    A backward pass under the condition itself does not, nor one that another optimiser's step
    uses up, as in a GAN whose generator steps once for every k steps of its discriminator.
    """
    step, loop = window.step, window.loop
    steps = [e for e in trace.of("step") if e.loop is loop and not _ends(window, e)]
    for backward in trace.of("backward"):
        if backward.loop is not loop or _ends(window, backward) or not compatible(backward, step):
            continue
        first, last = backward.order, step.order
        spent = any(
            first < e.order < last if first < last else not last <= e.order <= first for e in steps
        )
        if not spent:
            return True
    return False


def _ends(window: Window, event: Event) -> bool:
    """Return whether an event happens only where a window ends."""
    return any(c.test is window.condition.test and c.branch for c in event.conditions)


def _window(loop: Loop, step: Event, condition: Condition) -> Window | None:
    parts = list(tests_of(condition.test))
    for part in parts:
        modulo = modulus(part)
        if modulo is None or not condition.branch or modulo[2] in {"1", "0"}:
            continue
        either = isinstance(condition.test, ast.BoolOp) and isinstance(condition.test.op, ast.Or)
        return Window(loop, step, condition, part, *modulo, either)
    return None


def micro_loops(trace: Trace) -> Iterator[tuple[Loop, list[Event]]]:
    """Yield loops `for _ in range(k)` that back-propagate before a step, with their passes."""
    for loop in trace.loops.values():
        if not loop.micro or loop.loader is not None:
            continue
        inside = [e for e in trace.of("backward") if e.loop is loop]
        steps = [e for e in trace.of("step") if loop in e.loops]
        if inside and not steps and any(e.order > inside[-1].order for e in trace.of("step")):
            yield loop, inside


def trains(trace: Trace, loop: Loop) -> bool:
    """Return whether a loop back-propagates."""
    return bool(trace.within(loop, "backward"))


def evaluates(trace: Trace, loop: Loop) -> bool:
    """Return whether a loop goes over batches and changes no weight, as far as it is in sight."""
    return loop.loader is not None and not trace.within(loop, "backward", "step")


def compatible(first: Event, second: Event) -> bool:
    """Return whether two events can happen in one pass: no test parts them."""
    branches = {ast.dump(c.test): c.branch for c in first.conditions}
    return all(branches.get(ast.dump(c.test), c.branch) == c.branch for c in second.conditions)


def implies(first: Event, second: Event, loop: Loop) -> bool:
    """Return whether the first event happens in every pass of a loop in which the second does."""
    tests = {(id(c.test), c.branch) for c in second.inside(loop)}
    return all((id(c.test), c.branch) in tests for c in first.inside(loop) if not c.by)


def is_debug(condition: Condition) -> bool:
    """Return whether a test is on a switch for trying things out."""
    return bool(_DEBUG.search(ast.unparse(condition.test)))


def carries_state(loop: Loop) -> bool:
    """Return whether a model's state is carried from batch to batch, so that all have one size.

    A recurrent model that is given the hidden state of the batch before, `y, h = net(x, h)`,
    refuses a batch of another size, unless the loop makes a new state for each batch.
    """
    assigns = [n for n in ast.walk(loop.node) if isinstance(n, ast.Assign)]
    states = {
        dotted(target)
        for node in assigns
        if isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Tuple)
        for target in node.targets[0].elts[1:]
        if dotted(target) in {dotted(argument) for argument in node.value.args[1:]} - {""}
    }
    for node in assigns:
        if isinstance(node.targets[0], ast.Name) and dotted(node.targets[0]) in states:
            states -= {dotted(node.targets[0])} - _names(node.value)
    return bool(states)


def skips_by_size(loop: Loop) -> bool:
    """Return whether a loop skips batches by their size, so that the others have one size."""
    tests = [ast.unparse(c.test) for _, conditions in loop.skips for c in conditions]
    return any(word in test for test in tests for word in ("size", "shape", "len("))


def skips_by_index(loop: Loop) -> bool:
    """Return whether a loop skips batches by their index, as one does to drop a short window."""
    names = {loop.index}
    for node in ast.walk(loop.node):
        if isinstance(node, ast.Assign) and _names(node.value) & {loop.index}:
            names |= {dotted(target) for target in node.targets}
    tests = [*(conditions for _, conditions in loop.skips), *loop.leaves]
    return any(_names(c.test) & names for conditions in tests for c in conditions)


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def may_break(loop: Loop) -> bool:
    """Return whether a loop can end before its last batch, other than to try things out."""
    return any(not any(is_debug(c) for c in conditions) for conditions in loop.leaves)


def varies(test: ast.expr, loop: Loop) -> bool:
    """Return whether a test can change from one batch of a loop to the next."""
    names = {dotted(n) for n in ast.walk(test) if isinstance(n, ast.Name | ast.Attribute)}
    body = getattr(loop.node, "body", [])
    stores = {
        n.id
        for n in ast.walk(loop.node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    for node in body:
        for inner in ast.walk(node):
            if isinstance(inner, ast.AugAssign | ast.Assign):
                targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                stores |= {dotted(t) for t in targets}
    return bool((names - {""}) & stores)


def role(text: str) -> str:
    """Return whether a name speaks of training data or of held-out data, or ""."""
    words = set(re.split(r"[^a-z]+", words_of(text)))
    compact = "".join(words_of(text).split())
    if words & _HELD_OUT or compact.startswith(("val", "test", "eval", "dev")):
        return "held out"
    if words & _TRAINING or compact.startswith("train"):
        return "training"
    return ""


def against_best(event: Event) -> bool:
    """Return whether a comparison is with the best value so far, by its name."""
    sides = (
        [event.node.left, *event.node.comparators] if isinstance(event.node, ast.Compare) else []
    )
    return any(word in dotted(side).lower() for side in sides for word in ("best", "min_", "_min"))


def is_world(value: Value) -> bool:
    """Return whether a divisor is the number of ranks."""
    if isinstance(value, Count):
        return value.unit == "ranks"
    text = value.text.lower() if isinstance(value, Unknown | Option) else ""
    return any(
        word in text
        for word in ("world_size", "num_processes", "worldsize", "n_ranks", "num_ranks")
    )


def is_nominal(value: Value) -> bool:
    """Return whether a value is the batch size that a loader was built with."""
    if isinstance(value, Count):
        return value.unit == "nominal"
    text = value.text.lower() if isinstance(value, Unknown | Option) else ""
    last = text.rsplit(".", 1)[-1]
    return last in {
        "batch_size",
        "batchsize",
        "bs",
        "train_batch_size",
        "eval_batch_size",
        "test_batch_size",
    }


def window_test(event: Event, loop: Loop) -> tuple[str, int, str] | None:
    """Return the modulus test under which an event happens inside a loop."""
    for condition in event.inside(loop):
        if not condition.branch:
            continue
        for part in tests_of(condition.test):
            modulo = modulus(part)
            if modulo is not None:
                return modulo
    return None


def accumulation_scale(quantity: Quantity, trace: Trace) -> str:
    """Return the accumulation steps that a loss was divided by, or ""."""
    every = {w.every for w in windows(trace)} | {loop.micro for loop, _ in micro_loops(trace)}
    for scale in quantity.scales:
        text = scale[1:]
        if scale[0] == "/" and text and (text in every or "accum" in text.lower()):
            return text
    return ""
