"""Numbers that are said to be of an epoch, and numbers of one batch that outlive its loop."""

import ast
import re

from batchproof.audit._dimensions._lattice import Quantity
from batchproof.audit._dimensions._names import FunctionNode, dotted, words_of
from batchproof.audit._dimensions._questions import (
    functions_of,
    loop_path,
    of_the_whole,
    role,
    scopes_of,
    trains,
    varies,
)
from batchproof.audit._dimensions._trace import Event, Loop, Trace

_OF_ONE = {
    "batch", "batches", "minibatch", "last", "latest", "current", "step", "steps", "iter", "iters",
    "iteration", "iterations", "final",
}  # fmt: skip
_OF_A_PASS = re.compile(
    r"\b(train|training|avg|average|mean|val|valid|validation|test|eval|dev) loss"
)
_SOURCES = {"loader", "dataloader", "dl", "batches", "iter", "iterator", "gen", "generator", "data"}
_TRAINING = {"train", "training", "fit", "finetune", "pretrain"}
_EPOCHS = re.compile(r"epoch|\b(ep|epk|epo)\b")


def of_one_by_name(name: str) -> bool:
    """Return whether a name says that it holds a value of one batch."""
    return bool({"new", "cur", *_OF_ONE} & set(words_of(name).split()))


def after_epochs(trace: Trace, event: Event, loop: Loop) -> bool:
    """Return whether a number is printed or returned after all passes of a loop, as that of one."""
    around = [outer for outer in loop_path(trace, loop) if outer not in event.loops]
    epochs = all(isinstance(outer.node, ast.For) and counts_epochs(outer.node) for outer in around)
    if not around or not epochs or not trains(trace, loop):
        return False
    if event.kind == "return":
        return bool(_TRAINING & set(words_of(event.function).split()))
    shows = event.kind == "report" and _OF_A_PASS.search(words_of(ast.unparse(event.node)))
    return bool(shows) and not event.text.rpartition(".")[2].startswith("set_")


def of_an_epoch(event: Event) -> bool:
    """Return whether what is printed, logged, appended or returned is said to be of an epoch."""
    text, bar = ast.unparse(event.node), event.text.rpartition(".")[2].startswith("set_")
    if event.kind == "schedule":
        text = " ".join(map(ast.unparse, getattr(event.node, "args", [])))
    keeps = event.kind in {"append", "accumulate"}
    words = set(re.findall("[a-z]+", words_of(text))) - ({"current"} if keeps else set())
    if _OF_ONE & words:
        return False
    loops = [loop.node for loop in event.loops if isinstance(loop.node, ast.For)]
    epochs = [node for node in loops if counts_epochs(node)]
    directly = bool(epochs) and epochs[-1] is event.loops[-1].node
    match event.kind:
        case "append" | "accumulate" | "schedule":
            return directly
        case "return":
            return is_a_pass(event)
        case "report":
            counters = {dotted(n) for node in epochs for n in ast.walk(node.target)} - {""}
            names = {dotted(n) for n in ast.walk(event.node) if isinstance(n, ast.Name)}
            says = "epoch" in text.lower() or bool(counters & names)
            return not bar and (says or (directly and bool(_OF_A_PASS.search(words_of(text)))))
    return False


def is_a_pass(event: Event) -> bool:
    """Return whether the function of an event is one pass of training, as its names say."""
    return any(names_an_epoch(node) for node in functions_of(event))


def names_an_epoch(node: FunctionNode) -> bool:
    """Return whether a function is one pass, as its name or a parameter says."""
    return "epoch" in {*(a.arg for a in node.args.args), *words_of(node.name).split()}


def counts_epochs(node: ast.For) -> bool:
    """Return whether a loop counts epochs, as its names say."""
    return bool(_EPOCHS.search(f"{ast.unparse(node.target)} {ast.unparse(node.iter)}".lower()))


def computed_in(trace: Trace, value: Quantity, loop: Loop) -> list[Event]:
    """Return where a loop gives a name to what a value is computed from, by its line."""
    return [e for e in trace.of("assign") if loop in e.loops and e.line == value.line]


def always_given(origin: Event, loop: Loop) -> bool:
    """Return whether every batch that is not skipped gives a value, whatever else is asked."""
    tests = (c.test for c in origin.inside(loop) if c.by != "continue")
    return not any(varies(test, loop) for test in tests)


def kept_from_before(trace: Trace, event: Event, loop: Loop) -> Loop | None:
    """Return the loop of which the last batch gave what another loop adds or keeps, or None.

    Args:
        trace: the events.
        event: where the other loop adds a value or keeps it.
        loop: the other loop.
    """
    value = event.value
    if not isinstance(value, Quantity) or value.over or not value.text.isidentifier():
        return None
    other = trace.loops.get(value.loop)
    if other is None or other.loader is None or other in event.loops:
        return None
    nodes = list(ast.walk(loop.node))
    stores = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    reads = {n.id for n in ast.walk(event.node) if isinstance(n, ast.Name)}
    loops = {id(other.node), id(loop.node)}
    beside = any(loops <= {id(n) for n in ast.walk(scope)} for scope in scopes_of(event))
    around = other.node is loop.node or loop in loop_path(trace, other)
    apart = beside and not around and event.module is trace.module
    return other if apart and value.text in reads - stores else None


def of_an_evaluation(event: Event, value: Quantity, loop: Loop) -> bool:
    """Return whether a script names a value of one batch after the held-out data of its loop."""
    text = loop.loader.text if loop.loader is not None else ""
    return (
        of_the_whole(value.text) and role(text) == "held out" and event.kind in {"report", "append"}
    )


def returns_last(event: Event) -> bool:
    """Return whether a function gives the last value of a meter, which has the mean of all too."""
    return event.kind == "return" and getattr(event.value, "text", "").endswith(".val")


def shows_mean(event: Event) -> bool:
    """Return whether the last value of a meter is shown beside the mean of all."""
    meter, _, attribute = getattr(event.value, "text", "").rpartition(".")
    return attribute == "val" and f"{meter}.avg" in ast.unparse(event.node)


def of_several(loop: Loop) -> bool:
    """Return whether a loop goes over several batches, as far as its loader shows."""
    loader = loop.loader
    if loader is None:
        return False
    in_sight = loader.line or loader.index or role(loader.text) == "training"
    return bool(in_sight or _SOURCES & set(words_of(loader.text).split()))


def is_history(event: Event) -> bool:
    """Return whether a list to which a loss is appended is called a history, and never summed."""
    name = event.text.partition("[")[0]
    calls = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.Call))
    reads = (c for c in calls if dotted(c.func) == "sum" and event.text in map(dotted, c.args))
    says = {"history", "hist", "curve", "logs", "log", "record", "records"}
    return bool(says & set(words_of(name).split())) and next(reads, None) is None


def is_engine_step(event: Event) -> bool:
    """Return whether a function is what an engine of ignite runs for each batch."""
    calls = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.Call))
    engines = (c for c in calls if dotted(c.func).rpartition(".")[2] == "Engine")
    return any(event.function in map(dotted, engine.args) for engine in engines)


def last_of(loop: Loop, value: Quantity, event: Event) -> bool:
    """Return whether a loss is that of the last pass of a loop that an event comes after."""
    nodes = list(ast.walk(loop.node))
    sums = {dotted(n.target) for n in nodes if isinstance(n, ast.AugAssign)}
    names = {dotted(n) for n in ast.walk(event.node)} & sums
    lines = {getattr(n, "lineno", 0) for n in nodes}
    return loop not in event.loops and value.line in lines and not names - {""}
