"""Questions that several rules ask of a trace: its windows, its loops, what a test depends on."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from batchproof.audit._dimensions._lattice import (
    Constant,
    Count,
    Option,
    Quantity,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._loaders import equal_batches, length_of, number
from batchproof.audit._dimensions._names import FunctionNode, Module, dotted, words_of
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace, modulus, tests_of

_DEBUG = re.compile(
    r"debug|dry_?run|fast_dev|smoke|sanity|overfit|test_mode|quick|demo|tiny|profil", re.IGNORECASE
)
_NO_NUMBER = re.compile(r"isnan|isinf|isfinite|\bnan\b")
_CRITERIA = {"criterion", "criteria", "loss_fn", "loss_func", "loss_function", "outputs.loss"}
_CRITERIA |= {"the loss of a model"}
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
_HELD_OUT_BEGINNING = re.compile(r"val|test|eval|dev(?!ice)")
_BATCH_INDEX = re.compile(r"(mini|micro)?(batch|step|iter)(i|idx|index|id|nb|no|num|number)")
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
    """Return whether an event happens only where a window ends."""
    end = window.condition
    return any(c.test is end.test and c.branch is end.branch for c in event.conditions)


def _window(loop: Loop, step: Event, condition: Condition) -> Window | None:
    for part in tests_of(condition.test):
        modulo = modulus(part, branch=condition.branch)
        if modulo is None and condition.branch:
            modulo = _begun_again(part, loop)
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


def _begun_again(test: ast.expr, loop: Loop) -> tuple[str, int, str] | None:
    """Return the parts of a test `held == k` of a counter that is then set to 0."""
    match test:
        case ast.Compare(ast.Name(name), [ast.Eq() | ast.GtE()], [every]):
            pass
        case _:
            return None
    if not (dotted(every) or isinstance(every, ast.Constant)):
        return None
    zeros = [n for n in ast.walk(loop.node) if isinstance(n, ast.Assign) and _is_zero(n.value)]
    again = any(dotted(target) == name for node in zeros for target in node.targets)
    return (name, 0, ast.unparse(every)) if again else None


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
        if event.node not in tests or not isinstance(count, Count) or count.conditional:
            continue
        if count.unit in units and count.key == loop.key:
            return count.plus + (plus - _written(test))
    if loop.index and loop.index == counter and loop.start is not None:
        return loop.start - 1 + plus
    return None


def ends_inside(loop: Loop, every: str, ahead: int, module: Module) -> bool:
    """Return whether a pass can end inside a window, as far as its numbers are known.

    Args:
        loop: the loop over batches.
        every: how many batches make a window, as the code writes it.
        ahead: the lead of its counter, see `lead_of`.
        module: the file.
    """
    loader, width = loop.loader, _number(module, every)
    if loader is None:
        passes = _number(module, loop.micro)
        if passes is None or not width:
            return over_data(loop, module.tree)
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


def within(event: Event, loop: Loop) -> ast.AST:
    """Return the call inside a loop that leads to an event, or the event's own node."""
    inside = {id(node) for node in ast.walk(loop.node)}
    return next((call for call in event.calls if id(call) in inside), event.node)


def meter_call(trace: Trace, total: Quantity, loop: Loop) -> ast.AST | None:
    """Return the call in a loop that adds to the sum in an object, None where no call does."""
    if not total.text.startswith("self."):
        return None
    for event in trace.of("accumulate"):
        if event.text == total.text and loop in event.loops:
            place = within(event, loop)
            return None if place is event.node else place
    return None


def added_by_remainder(loop: Loop, name: str) -> bool:
    """Return whether a loop adds to a name where a test of a remainder holds."""
    for node in ast.walk(loop.node):
        adds = [n for n in getattr(node, "body", []) if isinstance(n, ast.AugAssign)]
        if isinstance(node, ast.If) and any(dotted(n.target) == name for n in adds):
            return any(isinstance(n, ast.Mod) for n in ast.walk(node.test))
    return False


def last_of_window(loop: Loop, event: Event, total: Quantity) -> bool:
    """Return whether a scaled sum changes in a loop, and is divided outside its windows' tests."""
    changes = bool(total.scales) and varies(ast.Name(total.text), loop)
    return changes and window_test(event, loop) is None and added_by_remainder(loop, total.text)


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


def asks_for_none(condition: Condition) -> bool:
    """Return whether a test asks for None, which a term that is switched off is in all batches."""
    tests = [n for n in ast.walk(condition.test) if isinstance(n, ast.Compare)]
    return any(isinstance(n.ops[0], ast.Is | ast.IsNot) for n in tests)


def is_batch_mean(value: Quantity) -> bool:
    """Return whether a value is a mean over its batch, as the loss of a criterion by name is.

    Where such a loss is a sum, its quotient by the number of batches is no more right.
    """
    usual = value.name in _CRITERIA or (value.metric and value.base == "mean")
    return value.sure or (usual and not value.spans)


def ignores_padding(value: Quantity) -> bool:
    """Return whether a mean leaves out targets of a number, or of what is called padding."""
    return "pad" in value.ignores.lower() or value.ignores.isdigit()


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
    states -= _names(getattr(loop.node, "target", ast.Pass()))
    for node in assigns:
        if isinstance(node.targets[0], ast.Name) and dotted(node.targets[0]) in states:
            states -= {dotted(node.targets[0])} - _names(node.value)
    return bool(states)


def reads_no_batch(loop: Loop) -> bool:
    """Return whether a loop reads nothing of its batches, as one that fits one batch repeatedly."""
    node = loop.node
    if not isinstance(node, ast.For) or loop.draws:
        return False
    function = isinstance(node.iter, ast.Call) and dotted(node.iter.func)
    if function == "range":
        return False
    batch = node.target
    if function == "enumerate" and isinstance(batch, ast.Tuple):
        batch = batch.elts[-1]
    read = set[str]().union(*(_names(inner) for inner in node.body))
    draws = any(isinstance(n, ast.Name) and n.id == "next" for n in ast.walk(node))
    return not draws and not _names(batch) & read


def over_data(loop: Loop, tree: ast.Module) -> bool:
    """Return whether a loop goes over samples one by one, up to the length of something."""
    names = {dotted(node) for node in ast.walk(getattr(loop.node, "iter", ast.Pass()))}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets, ast.Call(ast.Name("len"))):
                if names & {dotted(target) for target in targets}:
                    return True
    return "len" in names


def raised(event: Event, loop: Loop) -> bool:
    """Return whether the divisor of a quotient is a name that a loop adds to."""
    divisor = getattr(event.node, "right", None) or getattr(event.node, "value", None)
    name = dotted(divisor) if isinstance(divisor, ast.expr) else ""
    adds = (n for n in ast.walk(loop.node) if isinstance(n, ast.AugAssign))
    return name != "" and name in {dotted(n.target) for n in adds}


def skips_by_size(loop: Loop) -> bool:
    """Return whether a loop skips batches by their size, so that the others have one size."""
    tests = [ast.unparse(c.test) for _, conditions in loop.skips for c in conditions]
    return any(word in test for test in tests for word in ("size", "shape", "len("))


def takes_one_size(loop: Loop) -> bool:
    """Return whether the code of a loop shows that its batches have one size."""
    return carries_state(loop) or skips_by_size(loop) or views_by_size(loop)


def views_by_size(loop: Loop) -> bool:
    """Return whether a loop views a batch by the batch size, which raises for any other size.

    The sizes of `x.view(batch_size, 784)` are all given; one that is -1 fits other batches too.
    """
    own = {dotted(t) for n in ast.walk(loop.node) if isinstance(n, ast.Assign) for t in n.targets}
    for node in ast.walk(loop.node):
        match node:
            case ast.Call(ast.Attribute(_, "view" | "reshape"), [first, *others]) if others:
                last = words_of(dotted(first).rpartition(".")[2])
                whole = not any(isinstance(size, ast.UnaryOp) for size in others)
                if last == "batch size" and dotted(first) not in own and whole:
                    return True
    return False


def skips_by_index(loop: Loop, apart: ast.expr) -> bool:
    """Return whether a loop skips batches by their index, as one does to drop a short window.

    Args:
        loop: the loop.
        apart: a test that ends its windows, and does not count.
    """
    names = {loop.index}
    for node in ast.walk(loop.node):
        if isinstance(node, ast.Assign) and _names(node.value) & {loop.index}:
            names |= {dotted(target) for target in node.targets}
    tests = [*(conditions for _, conditions in loop.skips), *loop.leaves]
    others = [c for conditions in tests for c in conditions if c.test is not apart]
    bounds = (c for c in others if not _is_limit(c) and not _every_so_often(c))
    return any(_names(c.test) & names for c in bounds)


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


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def leaves_early(loop: Loop) -> bool:
    """Return whether a loop can end before its last batch, other than where a loss is no number."""
    return bool(_leaves(loop))


def may_break(loop: Loop) -> bool:
    """Return whether a loop can end before its last batch, other than to try things out."""
    return any(not any(is_debug(c) for c in conditions) for conditions in _leaves(loop))


def _leaves(loop: Loop) -> list[tuple[Condition, ...]]:
    texts = [" ".join(ast.unparse(c.test) for c in conditions) for conditions in loop.leaves]
    return [c for c, text in zip(loop.leaves, texts, strict=True) if not _NO_NUMBER.search(text)]


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
    ends = tuple("".join(words_of(part).split()) for part in (text, text.rpartition(".")[2]))
    if any(end.startswith("trainval") for end in ends):
        return ""
    if words & _HELD_OUT or any(_HELD_OUT_BEGINNING.match(end) for end in ends):
        return "held out"
    if words & _TRAINING or any(end.startswith("train") for end in ends):
        return "training"
    return ""


def weighted_beside(trace: Trace, loop: Loop) -> int:
    """Return the line where a loop weighs some mean by the size of its batch, 0 where none does."""
    for event in trace.within(loop, "accumulate", "update"):
        value, by = event.value, event.other
        if not isinstance(value, Quantity) or value.loop != loop.key:
            continue
        by_size = isinstance(by, Count) and by.unit == "batch" and value.base == "mean"
        if by_size if event.kind == "update" else (value.base, value.unit) == ("sum", "sample"):
            return event.line
    return 0


def weights_of(total: Quantity) -> str:
    """Return what the mean of a batch is weighted by, where that is not its samples, or ""."""
    targets = "targets that are not ignored" if ignores_padding(total) else ""
    masked = "unmasked elements" if total.unit == "mask" and total.base == "mean" else ""
    return "class weights" if total.classes else targets or masked


def one_by_many(event: Event) -> str:
    """Return the number of batches so far by which the loss of one batch is divided, or ""."""
    loss, loop = event.value, event.batches
    if not isinstance(loss, Quantity) or loss.over or loss.scales != ("/batches",):
        return ""
    by = loss.divisor
    return by.text if by is not None and loop is not None and by.key == loop.key else ""


def of_other_data(text: str, other: str) -> bool:
    """Return whether two names speak of different data: training or not, validation or test."""
    roles, phases = (role(text), role(other)), (_phase(text), _phase(other))
    return any("" not in pair and pair[0] != pair[1] for pair in (roles, phases))


def _phase(text: str) -> str:
    """Return val or test where the last word of a name that says so is that, or ""."""
    match = re.fullmatch(r".*(?<![a-z])(val|test)(id|idation)?(?![a-z]).*", words_of(text))
    return match[1] if match else ""


def keeps_numbers(trace: Trace, event: Event, loop: Loop) -> str:
    """Return that a loop over held-out data keeps numbers of it alone, "" where it may not.

    Args:
        trace: the events.
        event: a forward pass in the loop.
        loop: the loop.
    """
    values = [
        e.value
        for e in trace.within(loop, "accumulate", "append", "update")
        if isinstance(e.value, Quantity) and e.value.loop == loop.key
    ]
    numbers = bool(values) and all(value.graph is False for value in values)
    text = loop.loader.text if loop.loader is not None else ""
    held_out = role(text) == "held out" and role(event.function) != "training"
    return (
        f"{text} is held-out data, of which only numbers are kept" if numbers and held_out else ""
    )


def of_numpy(event: Event) -> bool:
    """Return whether a file imports numpy and nothing of torch, as exercises do that teach both.

    What their modules and optimisers do with gradients is their own, not that of torch.
    """
    names = {name.partition(".")[0] for name in event.module.imports.values()}
    return "numpy" in names and not any(name.startswith("torch") for name in names)


def functions_of(event: Event) -> list[FunctionNode]:
    """Return the functions of the file that have the name of the one that an event is in."""
    return _functions_in(event.module.tree).get(event.function, [])


@lru_cache(maxsize=4)
def _functions_in(tree: ast.Module) -> dict[str, list[FunctionNode]]:
    """Return the functions of a file by their names."""
    functions: dict[str, list[FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            functions.setdefault(node.name, []).append(node)
    return functions


def scopes_of(event: Event) -> list[FunctionNode] | list[ast.Module]:
    """Return the functions that an event may be in, or the file where it is in none."""
    return functions_of(event) or [event.module.tree]


def asked_for(event: Event) -> bool:
    """Return whether a function does something only where an argument of it asks for that."""
    for function in functions_of(event):
        arguments = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)} - {"self"}
        for branch in ast.walk(function):
            asks = isinstance(branch, ast.If) and arguments & set(
                map(dotted, ast.walk(branch.test))
            )
            if asks and any(node is event.node for node in ast.walk(branch)):
                return True
    return False


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


def window_test(event: Event, loop: Loop) -> tuple[str, int, str] | None:
    """Return the modulus test under which an event happens inside a loop, as its parts."""
    return next((modulo for _, modulo in _moduli(event, loop)), None)


def window_lead(trace: Trace, event: Event, loop: Loop, *, over_passes: bool = False) -> int | None:
    """Return the lead of the counter in the modulus test of an event, see `lead_of`."""
    for test, (counter, plus, _) in _moduli(event, loop):
        return lead_of(trace, loop, test, counter, plus, over_passes=over_passes)
    return None


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


def counts_all_so_far(by: Value, loop: Loop) -> bool:
    """Return whether a divisor is the index of a loop, or one more: all batches so far."""
    if not isinstance(by, Count) or (by.unit, by.key) != ("batches", loop.key):
        return False
    return loop.index != "" and by.text.strip("()").split(" ")[0] == loop.index


def sets_in(trace: Trace, total: Quantity, loop: Loop) -> bool:
    """Return whether a sum is assigned inside its loop, as where it is set to 0."""
    return any(e.text == total.text and loop in e.loops for e in trace.of("assign"))


def outgrows(trace: Trace, event: Event, total: Quantity, loop: Loop) -> bool:
    """Return whether a sum over all passes is divided, in its loop, by the batches of this one."""
    inside = total.spans and loop in event.loops and counts_all_so_far(event.other, loop)
    return inside and not sets_in(trace, total, loop)


def differs(by: Value, every: str) -> bool:
    """Return whether a divisor and the length of a window are numbers that differ."""
    both = isinstance(by, Constant) and isinstance(by.value, int | float) and every.isdigit()
    return both and isinstance(by, Constant) and by.value != int(every)


def begins_again(trace: Trace, event: Event, total: Quantity, loop: Loop) -> bool:
    """Return whether a sum is set to a number where an event of its loop happens."""
    sets = [e for e in trace.of("assign") if e.text == total.text and loop in e.loops]
    return any(e.conditions == event.conditions and isinstance(e.value, Constant) for e in sets)


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


def accumulation_scale(quantity: Quantity, trace: Trace) -> str:
    """Return the accumulation steps that a loss was divided by, or ""."""
    every = {w.every for w in windows(trace)} | {loop.micro for loop, _ in micro_loops(trace)}
    names = {last_part(text) for text in every}
    for scale in quantity.scales:
        text = scale[1:]
        if scale[0] == "/" and text and (last_part(text) in names or "accum" in text.lower()):
            return text
    return ""


def last_part(text: str) -> str:
    """Return the last part of a dotted name: an attribute and what it was set from share it."""
    return text if text.replace(".", "").isdigit() else text.rpartition(".")[2]


def loop_path(trace: Trace, loop: Loop) -> list[Loop]:
    """Return the loops around a loop."""
    inside = next((e for e in trace.events if loop in e.loops), None)
    return [] if inside is None else list(inside.loops[: inside.loops.index(loop)])


def set_before(trace: Trace, name: str, loop: Loop) -> bool:
    """Return whether a name, or the dict that it is an item of, was set before a loop."""
    whole = name.partition("[")[0]
    first = next((e.order for e in trace.of("assign") if e.text == name and loop in e.loops), 0)
    sets = (e for e in trace.of("assign") if e.text in {name, whole} and e.order < first)
    return whole != name or any(isinstance(e.value, Constant) for e in sets)


def of_the_whole(name: str) -> bool:
    """Return whether a name speaks of a whole pass, so that the loop was meant to add to it."""
    words = {"total", "epoch", "running", "avg", "validation", "val", "valid", "test", "dev", "sum"}
    return bool(words & set(words_of(name).split()))


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
    if ahead != -1:
        return None
    if all(not isinstance(c.test, ast.BoolOp) for c in event.inside(loop)):
        return "1 batch", "the first report comes after 1 batch"
    adds = [e for e in trace.of("accumulate") if e.text == event.text and loop in e.loops]
    always = all(e.order < event.order and all(c.by for c in e.inside(loop)) for e in adds)
    if adds and always and leaves_out_first(event, loop, counter):
        return f"the first {every} + 1 batches", "batch 0 is added, unreported"
    return None
