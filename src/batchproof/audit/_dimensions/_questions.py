"""Questions that several rules ask of a trace: its loops, its modes, what a test depends on."""

import ast
import re
from functools import lru_cache

from batchproof.audit._dimensions._lattice import (
    MASKED,
    Constant,
    Count,
    Option,
    Quantity,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._names import FunctionNode, Module, dotted, words_of
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace

_DEBUG = re.compile(
    r"debug|dry_?run|fast_dev|smoke|sanity|overfit|test_mode|quick|demo|tiny|profil", re.IGNORECASE
)
_NO_NUMBER = re.compile(r"isnan|isinf|isfinite|\bnan\b")
_CRITERIA = {
    "criterion",
    "criteria",
    "loss_fn",
    "loss_func",
    "loss_function",
    "outputs.loss",
    "the loss of a model",
}
_LOSSES = {"loss", "losses", "criterion", "criteria", "crit", "objective"}
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
_TRAINING = {"train", "training", "tr"}


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


def asks_for_number(condition: Condition) -> bool:
    """Return whether a test asks whether a value is a number, no NaN or infinity."""
    return bool(_NO_NUMBER.search(ast.unparse(condition.test)))


def asks_for_none(condition: Condition) -> bool:
    """Return whether a test asks for None, which a term that is switched off is in all batches."""
    tests = [n for n in ast.walk(condition.test) if isinstance(n, ast.Compare)]
    return any(isinstance(n.ops[0], ast.Is | ast.IsNot) for n in tests)


def asks_for_the_end(test: ast.expr, loop: Loop) -> bool:
    """Return whether a test asks for a length, other than that of a batch."""
    lengths = (n for n in ast.walk(test) if isinstance(n, ast.Call) and dotted(n.func) == "len")
    batch = names_in(getattr(loop.node, "target", ast.Pass()))
    return any(not names_in(length) & batch for length in lengths)


def is_batch_mean(value: Quantity) -> bool:
    """Return whether a value is a mean over its batch, as the loss of a criterion by name is.

    Where such a loss is a sum, its quotient by the number of batches is no more right.
    """
    usual = value.name in _CRITERIA or (value.metric and value.base == "mean")
    return value.sure or (usual and not value.spans)


def is_of_batch(value: Quantity) -> bool:
    """Return whether a value is a mean or a sum over its batch, as what a loss by name gives is."""
    by_name = bool(_LOSSES & set(words_of(value.name).split()))
    return is_batch_mean(value) or (by_name and not value.spans)


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
    states -= names_in(getattr(loop.node, "target", ast.Pass()))
    for node in assigns:
        if isinstance(node.targets[0], ast.Name) and dotted(node.targets[0]) in states:
            states -= {dotted(node.targets[0])} - names_in(node.value)
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
    read = set[str]().union(*(names_in(inner) for inner in node.body))
    draws = any(isinstance(n, ast.Name) and n.id == "next" for n in ast.walk(node))
    return not draws and not names_in(batch) & read


def over_data(loop: Loop, tree: ast.Module) -> bool:
    """Return whether a loop goes over samples one by one, up to the length of something."""
    names = {dotted(node) for node in ast.walk(getattr(loop.node, "iter", ast.Pass()))}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets, ast.Call(ast.Name("len"))):
                if names & {dotted(target) for target in targets}:
                    return True
    return "len" in names


def divisor_of(node: ast.AST) -> ast.expr | None:
    """Return the divisor of a quotient, `x / n` or `x /= n`."""
    match node:
        case ast.BinOp(_, _, divisor) | ast.AugAssign(_, _, divisor):
            return divisor
    return None


def raised(event: Event, loop: Loop) -> bool:
    """Return whether the divisor of a quotient is a name that a loop adds to."""
    divisor = divisor_of(event.node)
    name = dotted(divisor) if divisor is not None else ""
    adds = (n for n in ast.walk(loop.node) if isinstance(n, ast.AugAssign))
    return name != "" and name in {dotted(n.target) for n in adds}


def counts_too(condition: Condition, event: Event) -> bool:
    """Return whether the divisor stops or counts with a test."""
    divisor = divisor_of(event.node)
    name = dotted(divisor) if divisor is not None else ""
    raised = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.AugAssign))
    later = {dotted(n.target) for n in raised if n.lineno > condition.test.lineno}
    return bool(name) and name in later | {dotted(n) for n in ast.walk(condition.test)}


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


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def leaves_early(loop: Loop) -> bool:
    """Return whether a loop can end before its last batch, other than where a loss is no number."""
    return bool(_leaves(loop))


def may_break(loop: Loop) -> bool:
    """Return whether a loop can end before its last batch, other than to try things out."""
    return any(not any(is_debug(c) for c in conditions) for conditions in _leaves(loop))


def _leaves(loop: Loop) -> list[tuple[Condition, ...]]:
    return [
        tests
        for tests in loop.leaves
        if not any(asks_for_number(c) or _at_the_end(c) for c in tests)
    ]


def _at_the_end(condition: Condition) -> bool:
    """Return whether a break is in the handler of the end of an iterator."""
    return dotted(condition.test) == "StopIteration"


def says_no_number(event: Event) -> bool:
    """Return whether an event comes under a test of `isfinite` or its like: it tells of a nan."""
    return any(asks_for_number(c) for c in event.conditions if not c.by)


def is_cut(node: ast.AST) -> bool:
    """Return whether an expression is a call of islice, which ends a loop early."""
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "islice"


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
    of_mask = (total.unit == "mask" and total.base == "mean") or total.ignores == MASKED
    masked = "unmasked elements" if of_mask else ""
    return "class weights" if total.classes else targets or masked


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
    around = event.loops[: event.loops.index(loop)]
    apart = role(event.function) != "training" or any(trains(trace, each) for each in around)
    held_out = role(text) == "held out" and apart
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


def is_of_tokens(event: Event, loss: Quantity) -> bool:
    """Return whether a loss is that of a model of transformers which is given ids and labels.

    Those are means over the targets; the sums among its losses are of models that are given audio.
    """
    calls = (n for scope in scopes_of(event) for n in ast.walk(scope) if isinstance(n, ast.Call))
    names = ({keyword.arg for keyword in call.keywords} for call in calls)
    with_labels = any("labels" in own and own & {"input_ids", "attention_mask"} for own in names)
    return loss.name == "outputs.loss" and with_labels


def exchanges_weights(event: Event) -> bool:
    """Return whether a function exchanges weights for their average, and back."""
    nodes = (node for scope in scopes_of(event) for node in ast.walk(scope))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return "apply_shadow" in names or {"store", "restore"} <= names


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


def sets_in(trace: Trace, total: Quantity, loop: Loop) -> list[Event]:
    """Return where a sum is assigned inside its loop, as where it is set to 0."""
    return [e for e in trace.of("assign") if e.text == total.text and loop in e.loops]


def differs(by: Value, every: str, module: Module) -> bool:
    """Return whether a divisor and the length of a window are numbers that differ."""
    length = Constant(int(every)) if every.isdigit() else module.variables.get(every)
    both = [v.value for v in (by, length) if isinstance(v, Constant)]
    return len(both) == 2 and all(type(v) in {int, float} for v in both) and both[0] != both[1]


def loop_path(trace: Trace, loop: Loop) -> list[Loop]:
    """Return the loops around a loop."""
    inside = next((e for e in trace.events if loop in e.loops), None)
    return [] if inside is None else list(inside.loops[: inside.loops.index(loop)])


def set_before(trace: Trace, name: str, loop: Loop) -> bool:
    """Return whether a name, or the dict that it is an item of, was set before a loop."""
    whole = name.partition("[")[0]
    first = next((e for e in trace.of("assign") if e.text == name and loop in e.loops), None)
    if first is None:
        return whole != name
    before = (e for e in trace.of("assign") if e.order < first.order)
    sets = (e for e in before if e.text in {name, whole} and e.function == first.function)
    return whole != name or any(isinstance(e.value, Constant) and _counts(e.value) for e in sets)


def _counts(value: Constant) -> bool:
    """Return whether a constant is a number, from which a sum can begin."""
    return isinstance(value.value, int | float) and not isinstance(value.value, bool)


def of_the_whole(name: str) -> bool:
    """Return whether a name speaks of a whole pass, so that the loop was meant to add to it."""
    words = {"total", "epoch", "running", "avg", "validation", "val", "valid", "test", "dev", "sum"}
    return bool(words & set(words_of(name).split()))
