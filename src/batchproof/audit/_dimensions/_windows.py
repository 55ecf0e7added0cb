"""Windows: accumulation windows that end in a step, and windows of a running average."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from batchproof.audit._dimensions._arithmetic import name_of
from batchproof.audit._dimensions._lattice import (
    Constant,
    Count,
    Option,
    Quantity,
    Value,
)
from batchproof.audit._dimensions._loaders import equal_batches, length_of, number
from batchproof.audit._dimensions._names import Module, dotted, words_of
from batchproof.audit._dimensions._questions import (
    compatible,
    differs,
    divisor_of,
    functions_of,
    loop_path,
    names_in,
    over_data,
    sets_in,
    varies,
)
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace, modulus, tests_of

REST = "the last r batches"
_BATCH_INDEX = re.compile(r"(mini|micro)?(batch|step|iter)(i|idx|index|id|nb|no|num|number)")


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

    @property
    def place(self) -> ast.AST:
        """Return its test, or its step where the test is what a function in sight returns."""
        inside = any(node is self.test for node in ast.walk(self.step.module.tree))
        return self.test if inside else self.step.node


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
    steps = [e for e in trace.of("step") if loop in e.loops and not _ends(window, e)]
    if not trace.within(loop, "backward"):  # out of sight
        return "accum" in window.every.lower()
    for backward in trace.of("backward"):
        if loop not in backward.loops or not compatible(backward, step):
            continue
        if _ends(window, backward):
            loss = backward.value
            if isinstance(loss, Quantity) and loss.over == loop.key and loss.graph is not False:
                return True  # losses that are added up and back-propagated at once
            continue
        first, last = backward.order, step.order
        spent = any(
            first < e.order < last if first < last else not last <= e.order <= first for e in steps
        )
        if not spent:
            return True
    return False


def _ends(window: Window, event: Event) -> bool:
    """Return whether an event happens only where a window ends: under its test, or one like it."""
    end, parts = window.condition, (window.counter, window.plus, window.every)
    return any(
        (c.test is end.test and c.branch is end.branch) or modulus(c.test, branch=c.branch) == parts
        for c in event.conditions
    )


def _window(loop: Loop, step: Event, condition: Condition) -> Window | None:
    for part in tests_of(condition.test):
        modulo = modulus(part, branch=condition.branch)
        if modulo is None:
            modulo = _begun_again(part, loop, branch=condition.branch)
        if modulo is None or modulo[2] in {"1", "0"}:
            continue
        if step.module.variables.get(modulo[2]) == Constant(1):
            continue
        return Window(loop, step, condition, part, *modulo, _at_the_end(condition, modulo[2]))
    return None


def _at_the_end(condition: Condition, every: str) -> bool:
    """Return whether a condition that ends windows may also hold for the last batch of a pass.

    `len(loader) <= k and i + 1 == len(loader)` is of passes that are shorter than a window.
    """
    test, joint = condition.test, ast.Or if condition.branch else ast.And
    if not isinstance(test, ast.BoolOp) or not isinstance(test.op, joint):
        return False
    for part in (other for other in test.values if modulus(other, branch=condition.branch) is None):
        bounds = [n for n in ast.walk(part) if isinstance(n, ast.Compare)]
        short = any(
            isinstance(n.ops[0], ast.LtE | ast.Lt) and ast.unparse(n.comparators[0]) == every
            for n in bounds
        )
        if not (isinstance(part, ast.BoolOp) and isinstance(part.op, ast.And) and short):
            return True
    return False


def _begun_again(test: ast.expr, loop: Loop, *, branch: bool) -> tuple[str, int, str] | None:
    """Return the parts of a test of a counter that begins again where its window ends.

    `held == k` of one that is then set to 0, or `left == 0` of one that is then set to k.

    Args:
        test: the test.
        loop: the loop.
        branch: whether it holds; `held < k` and `left` are such tests where they do not.
    """
    match test:
        case ast.UnaryOp(ast.Not(), ast.Name() | ast.Attribute() as counter) if branch:
            every: ast.expr = ast.Constant(0)
        case ast.Name() | ast.Attribute() as counter if not branch:
            every = ast.Constant(0)
        case ast.Compare(counter, [ast.Eq() | ast.GtE()], [every]) if branch:
            pass
        case ast.Compare(counter, [ast.LtE()], [ast.Constant(0) as every]) if branch:
            pass
        case ast.Compare(counter, [ast.NotEq() | ast.Lt()], [every]) if not branch:
            pass
        case ast.Compare(counter, [ast.Gt()], [ast.Constant(0) as every]) if not branch:
            pass
        case _:
            return None
    name = dotted(counter)
    if not name or not (dotted(every) or isinstance(every, ast.Constant)):
        return None
    values = list(_given(loop, name))
    if not _is_zero(every):
        return (name, 0, ast.unparse(every)) if any(map(_is_zero, values)) else None
    lengths = [value for value in values if dotted(value) or isinstance(value, ast.Constant)]
    return (name, 0, ast.unparse(lengths[0])) if lengths and _counts_down(loop, name) else None


def _given(loop: Loop, name: str) -> Iterator[ast.expr]:
    """Yield what a loop assigns to a name, as `held = 0` and `held, total = 0, 0.0`."""
    for node in (n for n in ast.walk(loop.node) if isinstance(n, ast.Assign)):
        for target in node.targets:
            pairs = zip(
                getattr(target, "elts", [target]),
                node.value.elts if isinstance(node.value, ast.Tuple) else [node.value],
                strict=False,
            )
            yield from (value for part, value in pairs if dotted(part) == name)


def _counts_down(loop: Loop, name: str) -> bool:
    """Return whether a loop takes one from a name."""
    takes = (n for n in ast.walk(loop.node) if isinstance(n, ast.AugAssign))
    return any(isinstance(n.op, ast.Sub) and dotted(n.target) == name for n in takes)


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0


def lead(trace: Trace, window: Window, *, over_passes: bool = False) -> int | None:
    """Return the lead of the number that a window's test looks at over the micro-batches so far.

    Args:
        trace: the events.
        window: the window.
        over_passes: whether a counter that goes on from pass to pass counts too.

    Returns:
        None where the counter does not begin with the loop, or its values are not known.
    """
    parts = window.counter, window.plus
    return lead_of(trace, window.loop, window.test, *parts, over_passes=over_passes)


def lead_of(
    trace: Trace, loop: Loop, test: ast.expr, counter: str, plus: int, *, over_passes: bool
) -> int | None:
    """Return the lead over the batches of a loop so far of the number that a test looks at.

    Args:
        trace: the events.
        loop: the loop.
        test: the test of a remainder.
        counter: the counter in it, as `modulus` gives it.
        plus: what the test adds to the counter.
        over_passes: whether a counter that goes on from pass to pass counts too.
    """
    units = {"batches", "passes"} if over_passes else {"batches"}
    tests = {test, getattr(test, "operand", test)}
    for event in trace.of("compare", "remainder"):
        count = event.value
        if event.node not in tests or not isinstance(count, Count):
            continue
        if count.conditional and count.unit != "passes":
            continue
        if count.unit in units and count.key == loop.key:
            return count.plus + (plus - _written(test))
    start = _after_resuming(loop) if loop.start is None else loop.start
    if loop.index and loop.index == counter and start is not None:
        return start - 1 + plus
    if _begins_full(trace, loop, counter):
        return 0
    return plus - 1 if _counts_between(trace, loop, test, counter) else None


def _after_resuming(loop: Loop) -> int | None:
    """Return what a loop counts from where it resumes nothing: 1 for `start=first_step + 1`."""
    for node in ast.walk(getattr(loop.node, "iter", ast.Pass())):
        match node:
            case ast.Call(ast.Name("enumerate"), [_, start]) | ast.Call(
                ast.Name("enumerate"), keywords=[ast.keyword("start", start)]
            ):
                match start:
                    case ast.BinOp(ast.Name(name), ast.Add(), ast.Constant(1)) if "start" in name:
                        return 1
                    case ast.Name(name) if "start" in name:
                        return 0
    return None


def _begins_full(trace: Trace, loop: Loop, counter: str) -> bool:
    """Return whether a counter that a loop counts down is set just before that loop."""
    around = loop_path(trace, loop)
    sets = [e for e in trace.of("assign") if e.text == counter and list(e.loops) == around]
    return bool(sets) and _counts_down(loop, counter)


def _counts_between(trace: Trace, loop: Loop, test: ast.expr, counter: str) -> bool:
    """Return whether a counter is 0 before a loop, set to 0 where its test holds, and raised else.

    Such a counter holds the batches since the last window, less the one that is now.
    """
    around = loop_path(trace, loop)
    zeros = (e for e in trace.of("assign") if e.text == counter and e.value == Constant(0))
    if not any(list(e.loops) == around for e in zeros):
        return False
    for node in (n for n in ast.walk(loop.node) if isinstance(n, ast.If) and n.test is test):
        zeros_in = [n for n in node.body if isinstance(n, ast.Assign) and _is_zero(n.value)]
        sets = {dotted(target) for n in zeros_in for target in n.targets}
        adds = {dotted(n.target) for n in node.orelse if isinstance(n, ast.AugAssign)}
        return counter in sets & adds
    return False


def ends_inside(
    loop: Loop, every: str, ahead: int, module: Module, *, at_the_end: bool = False
) -> bool:
    """Return whether a pass can end inside a window, as far as its numbers are known.

    Args:
        loop: the loop over batches.
        every: how many batches make a window, as the code writes it.
        ahead: the lead of its counter, see `lead_of`.
        module: the file.
        at_the_end: whether the code steps at the end of a pass too, so that a window may be short.
    """
    loader, width = loop.loader, _number(module, every)
    if loader is None:
        passes = _number(module, loop.micro)
        if passes is None or not width:
            return at_the_end or over_data(loop, module.tree)
        return (passes + ahead) % width != 0
    samples, size = length_of(loader.dataset), number(loader.batch_size)
    if not width or not samples or not size:
        return True
    drops = bool(loader.drop_last)
    batches = samples // size if drops or equal_batches(loader)[0] else -(-samples // size)
    return (batches + ahead) % width != 0


def _number(module: Module, text: str) -> int | None:
    """Return the number that a text writes, or that a name of the file has."""
    if text.isdigit():
        return int(text)
    value = module.variables.get(text)
    return value.value if isinstance(value, Constant) and type(value.value) is int else None


def _written(test: ast.expr) -> int:
    """Return the number that a test itself adds to the counter: `i % k == k - 1` adds none."""
    side = test.operand if isinstance(test, ast.UnaryOp) else test
    if isinstance(side, ast.Compare):
        side = side.left if isinstance(side.left, ast.BinOp) else side.comparators[0]
    if isinstance(side, ast.BinOp):
        inner = side.left
        if isinstance(inner, ast.BinOp) and isinstance(inner.right, ast.Constant):
            return int(inner.right.value) if isinstance(inner.right.value, int) else 0
    return 0


def step_test(step: Event) -> ast.expr | None:
    """Return the test `(batch_idx + 1) % accumulation_steps == 0` of a step outside loops."""
    for condition in step.conditions:
        parts = modulus(condition.test, branch=condition.branch)
        if parts is None or "accum" not in parts[2].lower():
            continue
        index = "".join(words_of(last_part(parts[0])).split())
        if parts[1] == 1 and _BATCH_INDEX.fullmatch(index):
            return condition.test
    return None


def steps_elsewhere(step: Event, test: ast.expr) -> bool:
    """Return whether a file calls a method `step` of an optimiser outside the branch of a test."""
    branch = next((n for n in ast.walk(step.module.tree) if getattr(n, "test", None) is test), None)
    own = {id(n) for n in ast.walk(branch)} if branch is not None else set[int]()
    for node in ast.walk(step.module.tree):
        match node:
            case ast.Call(ast.Attribute(owner, "step")) if id(node) not in own:
                if "opt" in dotted(owner).lower():
                    return True
    return False


def step_after(trace: Trace, window: Window) -> Event | None:
    """Return the step after the loop of a window, of its own optimiser where there is one."""
    outer = window.step.loops[: window.step.loops.index(window.loop)]
    after = [
        event
        for event in trace.of("step")
        if event.order > window.step.order
        and all(loop.node is not window.loop.node for loop in event.loops)  # nor of another call
        and event.loops[: len(outer)] == outer
        and event.function == window.step.function
    ]
    own = [event for event in after if event.text == window.step.text]
    return next(iter(own or after), None)


def zeroed_between(trace: Trace, window: Window) -> bool:
    """Return whether gradients are emptied between the passes of a loop, whatever its counter."""
    outer = window.step.loops[: window.step.loops.index(window.loop)]
    conditions = window.step.conditions[: window.loop.outer]
    return (bool(outer) or _comes_from_before(trace, window)) and any(
        (e.loops, e.conditions, e.function) == (outer, conditions, window.step.function)
        for e in trace.of("zero")
    )


def _comes_from_before(trace: Trace, window: Window) -> bool:
    """Return whether a counter goes on in a function that is called for each pass.

    It is a parameter of the function, or an attribute, and the function does not set it.
    """
    adds = [n for n in ast.walk(window.loop.node) if isinstance(n, ast.AugAssign)]
    counts = any(_adds_one(n) and dotted(n.target) == window.counter for n in adds)
    sets = (e for e in trace.of("assign") if e.text == window.counter)
    functions = functions_of(window.step)
    is_parameter = any(a.arg == window.counter for node in functions for a in node.args.args)
    return counts and next(sets, None) is None and (is_parameter or "self." in window.counter)


def _adds_one(node: ast.AugAssign) -> bool:
    return isinstance(node.op, ast.Add) and _is_one(node.value)


def micro_loops(trace: Trace) -> Iterator[tuple[Loop, list[Event]]]:
    """Yield loops `for _ in range(k)` that back-propagate before a step, with their passes."""
    for loop in trace.loops.values():
        if not loop.micro or loop.loader is not None:
            continue
        inside = [e for e in trace.of("backward") if e.loop is loop]
        steps = [e for e in trace.of("step") if loop in e.loops]
        if inside and not steps and any(e.order > inside[-1].order for e in trace.of("step")):
            yield loop, inside


def added_by_remainder(loop: Loop, name: str) -> bool:
    """Return whether a loop adds to a name where a test of a remainder holds."""
    for node in (n for n in ast.walk(loop.node) if isinstance(n, ast.If)):
        adds = [n for n in node.body if isinstance(n, ast.AugAssign)]
        if any(dotted(n.target) == name for n in adds):
            return any(isinstance(n, ast.Mod) for n in ast.walk(node.test))
    return False


def goes_over_a_pass(loop: Loop) -> bool:
    """Return whether a loop goes over its loader, and draws no number of batches from passes."""
    over = loop.loader is not None and not loop.loader.endless
    return not loop.draws or (over and not loop.leaves)


def adds_a_window(event: Event, condition: Condition) -> bool:
    """Return whether a sum takes more than the loss of one batch where a test ends a window."""
    loss = event.value
    of_one = isinstance(loss, Quantity) and not (loss.over or loss.scales) and loss.sure
    return not of_one and any(isinstance(n, ast.Mod) for n in ast.walk(condition.test))


def last_of_window(loop: Loop, event: Event, total: Quantity) -> bool:
    """Return whether a scaled sum changes in a loop, and is divided outside its windows' tests."""
    changes = bool(total.scales) and varies(ast.Name(total.text), loop)
    return changes and window_test(event, loop) is None and added_by_remainder(loop, total.text)


def skips_by_index(loop: Loop, apart: ast.expr) -> bool:
    """Return whether a loop skips batches by their index, as one does to drop a short window.

    Args:
        loop: the loop.
        apart: a test that ends its windows, and does not count.
    """
    names = {loop.index}
    for node in ast.walk(loop.node):
        if isinstance(node, ast.Assign) and names_in(node.value) & {loop.index}:
            names |= {dotted(target) for target in node.targets}
    tests = [*(conditions for _, conditions in loop.skips), *loop.leaves]
    others = [c for conditions in tests for c in conditions if c.test is not apart]
    bounds = (c for c in others if not _is_limit(c) and not _every_so_often(c))
    return any(names_in(c.test) & names for c in bounds)


def _every_so_often(condition: Condition) -> bool:
    """Return whether a condition holds once in so many batches, as that of saving and the like."""
    parts = tests_of(condition.test)
    return any(modulus(part, branch=condition.branch) is not None for part in parts)


def _is_limit(condition: Condition) -> bool:
    """Return whether a test has a limit that may be None: `limit is not None and i == limit`."""
    match condition.test:
        case ast.BoolOp(ast.And(), [ast.Compare(_, [ast.IsNot()], [ast.Constant(None)]), *_]):
            return True
    return False


def window_test(event: Event, loop: Loop) -> tuple[str, int, str] | None:
    """Return the modulus test under which an event happens inside a loop, as its parts."""
    return next((modulo for _, modulo in _moduli(event, loop)), None)


def divisor_name(trace: Trace, event: Event, loop: Loop) -> str:
    """Return the code of a divisor: the length of the windows where it is the same value."""
    for test, (_, _, every) in _moduli(event, loop):
        inner = {id(node) for node in ast.walk(test)}
        if any(e.other == event.other for e in trace.of("remainder") if id(e.node) in inner):
            return every
    return name_of(event.other)


def window_lead(trace: Trace, event: Event, loop: Loop, *, over_passes: bool = False) -> int | None:
    """Return the lead of the counter in the modulus test of an event, see `lead_of`."""
    for test, (counter, plus, _) in _moduli(event, loop):
        return lead_of(trace, loop, test, counter, plus, over_passes=over_passes)
    return None


def lengths_of_windows(trace: Trace, event: Event, loop: Loop) -> set[str]:
    """Return the lengths of the windows of batches that an event ends, see `plain_length`."""
    ends = list(_moduli(event, loop))
    leads = (
        lead_of(trace, loop, test, parts[0], parts[1], over_passes=True) for test, parts in ends
    )
    texts = {parts[2] for (_, parts), ahead in zip(ends, leads, strict=True) if ahead is not None}
    return {plain_length(ast.parse(text, mode="eval").body) for text in texts}


def plain_length(node: ast.expr) -> str:
    """Return the code of a product of lengths with the last part of each name or key alone."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return " * ".join(sorted((plain_length(node.left), plain_length(node.right))))
    return last_part(ast.unparse(node))


def begins_short(trace: Trace, event: Event, total: Quantity, loop: Loop) -> bool:
    """Return whether a sum begins with each pass of a loop, and the counter of its windows not."""
    ahead = window_lead(trace, event, loop, over_passes=True)
    if ahead is None or window_lead(trace, event, loop) is not None or total.spans:
        return False
    return ends_inside(loop, (window_test(event, loop) or ("", 0, ""))[2], ahead, event.module)


def _moduli(event: Event, loop: Loop) -> Iterator[tuple[ast.expr, tuple[str, int, str]]]:
    for condition in event.inside(loop):
        for part in tests_of(condition.test):
            modulo = modulus(part, branch=condition.branch)
            if modulo is not None:
                yield part, modulo


def shown_so_far(trace: Trace) -> Iterator[tuple[Event, Count, Loop]]:
    """Yield what a loop shows once in so many batches of a sum over it, with what divides it."""
    places = set[int]()
    for event in trace.of("report"):
        mean, loop = event.value, event.batches
        by = mean.divisor if isinstance(mean, Quantity) else None
        if not isinstance(mean, Quantity) or by is None or loop is None or mean.over != loop.key:
            continue
        _, _, every = window_test(event, loop) or ("", 0, "")
        if every.isdigit() and by.unit in {"batches", "data set"} and id(event.node) not in places:
            places.add(id(event.node))
            yield event, by, loop


def counts_all_so_far(by: Value, loop: Loop) -> bool:
    """Return whether a divisor is the index of a loop, or one more: all batches so far."""
    if not isinstance(by, Count) or (by.unit, by.key) != ("batches", loop.key):
        return False
    return loop.index != "" and by.text.strip("()").split(" ")[0] == loop.index


def counts_on(trace: Trace, by: Value, loop: Loop) -> bool:
    """Return whether a divisor counts batches, and is never set to a number inside their loop."""
    if not isinstance(by, Count) or by.unit not in {"batches", "passes"} or by.key != loop.key:
        return False
    name = by.text.strip("()").split(" ")[0]
    sets = (e for e in trace.of("assign") if e.text == name and loop in e.loops)
    return name.isidentifier() and not any(isinstance(e.value, Constant) for e in sets)


def outgrows(trace: Trace, event: Event, total: Quantity, loop: Loop) -> bool:
    """Return whether a sum over all passes is divided, in its loop, by the batches of this one."""
    inside = total.spans and loop in event.loops and counts_all_so_far(event.other, loop)
    return inside and not sets_in(trace, total, loop)


def begins_again(trace: Trace, event: Event, total: Quantity, loop: Loop) -> bool:
    """Return whether a sum is set to a number where an event of its loop happens."""
    sets = sets_in(trace, total, loop)
    return any(e.conditions == event.conditions and isinstance(e.value, Constant) for e in sets)


def off_by_one(trace: Trace, event: Event, total: Quantity, loop: Loop) -> str:
    """Return the divisor k + 1 or k - 1 of a sum that begins again after every k batches, or ""."""
    divisor = divisor_of(event.node)
    match divisor:
        case ast.BinOp(length, ast.Add() | ast.Sub(), ast.Constant(1)):
            windows = (window_test(e, loop) for e in sets_in(trace, total, loop))
            again = any(w is not None and w[2] == ast.unparse(length) for w in windows)
            return ast.unparse(divisor) if again else ""
    return ""


def of_other_length(trace: Trace, event: Event, loop: Loop, every: str) -> bool:
    """Return whether a divisor is a number other than a window's length, or that of another window.

    Args:
        trace: the events.
        event: a quotient of the sum of a window.
        loop: the loop over batches.
        every: the length of the window, as the code writes it.
    """
    text = divisor_name(trace, event, loop)
    if differs(event.other, every, event.module):
        return True
    value, length = event.other, event.module.variables.get(every)
    equal = isinstance(value, Option) and length == Constant(value.default)
    others = (window_test(e, loop) for e in trace.within(loop, "divide", "assign", "report"))
    apart = any(window is not None and window[2] == text for window in others)
    return apart and text != every and not text.isdigit() and not equal


def subtracts(event: Event) -> bool:
    """Return whether what is divided is a difference, as from the sum at the last report."""
    match event.node:
        case ast.BinOp(ast.BinOp(op=ast.Sub()), ast.Div(), _):
            return True
    return False


def bare_remainder(event: Event, loop: Loop) -> str:
    """Return k of a test `if i % k:` that an event of a loop passes; "" where none is."""
    for condition in event.inside(loop):
        match condition.test:
            case ast.BinOp(_, ast.Mod(), ast.Constant(int(every))) if condition.branch:
                return f"{every}" if every > 2 else ""
    return ""


def leaves_out_first(event: Event, loop: Loop, counter: str) -> bool:
    """Return whether `i > 0`, `i != 0` or `i` of a counter is tested on the way to an event."""
    parts = (part for c in event.inside(loop) if c.branch for part in tests_of(c.test))
    subjects = {
        dotted(part.left) if isinstance(part, ast.Compare) and _above_zero(part) else dotted(part)
        for part in parts
    }
    return counter in subjects


def _above_zero(test: ast.Compare) -> bool:
    zero = isinstance(test.comparators[0], ast.Constant) and test.comparators[0].value == 0
    return zero and isinstance(test.ops[0], ast.Gt | ast.NotEq)


def also_at_the_end(event: Event, loop: Loop, plus: int, every: str) -> bool:
    """Return whether an event comes after each window of a loop, and after its last batch too.

    Args:
        event: what happens there.
        loop: the loop.
        plus: what the test of the windows adds to the index.
        every: how many batches make a window, as the code writes it.
    """
    tests = (c.test for c in event.conditions if isinstance(c.test, ast.BoolOp))
    for part in (part for test in tests if isinstance(test.op, ast.Or) for part in test.values):
        match part:
            case ast.Compare(index, [ast.Eq()], [ast.Constant(int(last))]) if every.isdigit():
                if dotted(index) == loop.index and (last + plus) % int(every):
                    return True
        if "len(" in ast.unparse(part):
            return True
    return False


def lengths(trace: Trace, window: Window) -> set[str]:
    """Return the last parts of the names that the length of a window has: its own, and its value's.

    `k = config["accum"]` has two, and a loss may be divided by either.
    """
    inner = {id(node) for node in ast.walk(window.test)}
    values = (e.other for e in trace.of("remainder") if id(e.node) in inner)
    return {last_part(text) for text in (window.every, *map(name_of, values)) if text}


def accumulation_scale(quantity: Quantity, trace: Trace) -> str:
    """Return the accumulation steps that a loss was divided by, or ""."""
    names = {last_part(loop.micro) for loop, _ in micro_loops(trace)}
    names = names.union(*(lengths(trace, window) for window in windows(trace)))
    for scale in quantity.scales:
        text = scale[1:]
        if scale[0] == "/" and text and (last_part(text) in names or "accum" in text.lower()):
            return text
    return ""


def last_part(text: str) -> str:
    """Return the last part of a dotted name, or a key: a name and what it was set from share it."""
    if text.endswith(("']", '"]')):
        return text.replace("'", '"').split('"')[-2]
    return text if text.replace(".", "").isdigit() else text.rpartition(".")[2]


def first_window(trace: Trace, event: Event, total: Quantity, loop: Loop) -> tuple[str, str] | None:
    """Return what the first window of a pass holds where it is not as long as others, and why.

    Args:
        trace: the events.
        event: a quotient of the sum of a window, under the test that ends the window.
        total: the sum.
        loop: the loop over batches.
    """
    counter, _, every = window_test(event, loop) or ("", 0, "")
    ahead, name = window_lead(trace, event, loop), total.text
    if ahead == 0 and total.spans and ends_inside(loop, every, ahead, event.module):
        return f"{every} batches and the rest before", f"{name} goes on from pass to pass"
    if begins_short(trace, event, total, loop):
        return "the rest of a window", f"{counter} goes on from pass to pass, {name} does not"
    if ahead is None and total.spans:
        ahead = window_lead(trace, event, loop, over_passes=True)  # both go on from pass to pass
    adds = [e for e in trace.of("accumulate") if e.text == event.text and loop in e.loops]
    always = all(e.order < event.order and all(c.by for c in e.inside(loop)) for e in adds)
    if ahead is not None and ahead > 0 and adds and always:
        return f"the first {every} - {ahead} batches", f"{counter} is ahead of the batches added"
    if ahead != -1:
        return None
    if all(not isinstance(c.test, ast.BoolOp) for c in event.inside(loop)):
        return "1 batch", "the first report comes after 1 batch"
    if adds and always and leaves_out_first(event, loop, counter):
        return f"the first {every} + 1 batches", "batch 0 is added, unreported"
    return None


def held_instead(trace: Trace, event: Event, total: Quantity, loop: Loop) -> tuple[str, str] | None:
    """Return what a sum that is divided by the window's length holds instead, and why."""
    _, plus, every = window_test(event, loop) or ("", 0, "")
    if also_at_the_end(event, loop, plus, every):
        return REST, "it is reported after the last batch, too"
    if not subtracts(event) and (why := goes_on(trace, total, loop, every)):
        return "more than a window", why
    return first_window(trace, event, total, loop)


def window_left(trace: Trace, event: Event) -> str:
    """Return why a sum that is used after its loop holds only the batches since a window, or ""."""
    total, loop = event.value, trace.loops.get(getattr(event.value, "over", ""))
    if not isinstance(total, Quantity) or loop is None or loop in event.loops or total.divisor:
        return ""
    sets = [e for e in sets_in(trace, total, loop) if isinstance(e.value, Constant)]
    begins = sets and window_test(sets[-1], loop)
    return f"{total.text} is set to 0 after each window, line {sets[-1].line}" if begins else ""


def set_for_a_window(trace: Trace, event: Event) -> Event | None:
    """Return where a mean that is used after its loop was last set, for one window, or None."""
    average, loop = event.value, trace.loops.get(getattr(event.value, "over", ""))
    if not isinstance(average, Quantity) or average.divisor is None:
        return None
    if loop is None or loop in event.loops or loop.loader is None:
        return None
    names = {average.text} | {
        getattr(e.value, "text", "") for e in trace.of("return") if _alike(e.value, average)
    }
    sets = [e for e in trace.of("assign") if e.text in names and e.order < event.order]
    sets = [e for e in sets if loop in e.loops or e.text == average.text]
    while sets and loop not in sets[-1].loops and _alike(sets[-1].value, average):
        sets.pop()  # what a function gave
    last = sets[-1] if sets else None
    return last if last and loop in last.loops and window_test(last, loop) else None


def gives(leaving: Event, start: Event, event: Event) -> bool:
    """Return whether a function gives a mean, set in it, to where another function reports it."""
    own = leaving.function == start.function != event.function
    return own and start.order < leaving.order < event.order and _alike(leaving.value, start.value)


def _alike(first: Value, second: Value) -> bool:
    """Return whether two values are one mean, by whatever name."""
    if not isinstance(first, Quantity) or not isinstance(second, Quantity):
        return False
    return (first.over, first.line, first.divisor) == (second.over, second.line, second.divisor)


def goes_on(trace: Trace, total: Quantity, loop: Loop, every: str) -> str:
    """Return why a sum that is divided every so many batches does not begin again there, or "".

    Args:
        trace: the events.
        total: the sum.
        loop: the loop over batches.
        every: after how many batches it is divided, as the code writes it.
    """
    sets = sets_in(trace, total, loop)
    if not sets:
        return f"{total.text} is never set to 0 inside the loop"
    others = [window_test(e, loop) for e in sets]
    longer = [w[2] for w in others if w and w[2].isdigit() and every.isdigit()]
    apart = len(longer) == len(sets) and all(int(other) > int(every) for other in longer)
    return f"{total.text} is set to 0 after every {longer[0]} batches only" if apart else ""
