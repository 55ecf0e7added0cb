"""The events of an imagined run: what is computed, stepped, zeroed and reported, and where."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from batchproof.audit._dimensions._lattice import UNKNOWN, Loader, Value
from batchproof.audit._dimensions._names import Module, dotted


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A test that was passed on the way to an event.

    Attributes:
        test: the expression.
        branch: whether it held.
        by: how the other branch ended, where it did: continue, break, return or raise.
    """

    test: ast.expr
    branch: bool
    by: str = ""


@dataclass(slots=True, eq=False)
class Loop:
    """A loop, once for each way it is reached.

    Attributes:
        key: which one.
        node: its statement, or a comprehension's generator.
        loader: what it draws batches from; None where it is not a loop over batches.
        index: the name that enumerate counts with, or "".
        start: what it counts from; None where that is not known.
        outer: the conditions that hold around it.
        leaves: the conditions, inside it, under which it breaks.
        skips: the order and the conditions under which it continues with the next batch.
        draws: whether a batch is drawn by next() or a function, not by the loop itself.
        single: whether it is one pass of a loop over items in sight, which are followed one by one.
        micro: the number of micro-batches that it is over, as the code writes it, or "".
    """

    key: str
    node: ast.AST
    loader: Loader | None = None
    index: str = ""
    start: int | None = 0
    outer: int = 0
    leaves: list[tuple[Condition, ...]] = field(default_factory=list)
    skips: list[tuple[int, tuple[Condition, ...]]] = field(default_factory=list)
    draws: bool = False
    single: bool = False
    micro: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """An event of an imagined run.

    Attributes:
        kind: divide, average, update, add, mean, accumulate, append, keep, assign, compare,
            remainder, criterion, forward, backward, scale, unscale, clip, step, zero, schedule,
            managed, eval, train, mode, reduce, score, report, return, save, loader, sampler.
        node: where.
        order: its position among all events.
        loops: the loops around it, outermost first.
        conditions: the tests that were passed, outermost first.
        grad: whether autograd records; None where the caller decides and is out of sight.
        value: what it happens to.
        other: what it happens with.
        text: the name of what it happens to.
        function: the function that holds it.
        module: the file that holds it.
        calls: the calls that lead to it.
    """

    kind: str
    node: ast.AST
    order: int
    loops: tuple[Loop, ...]
    conditions: tuple[Condition, ...]
    grad: bool | None
    module: Module
    function: str
    value: Value = UNKNOWN
    other: Value = UNKNOWN
    text: str = ""
    calls: tuple[ast.AST, ...] = ()

    @property
    def line(self) -> int:
        """Return the line of its node."""
        line: int = getattr(self.node, "lineno", 0)
        return line

    @property
    def loop(self) -> Loop | None:
        """Return the innermost loop around it."""
        return self.loops[-1] if self.loops else None

    @property
    def batches(self) -> Loop | None:
        """Return the innermost loop over batches around it."""
        return next((loop for loop in reversed(self.loops) if loop.loader is not None), None)

    def inside(self, loop: Loop) -> tuple[Condition, ...]:
        """Return the conditions between it and a loop around it."""
        return self.conditions[loop.outer :]


@dataclass(eq=False)
class Trace:
    """The events from one entry into a file.

    Attributes:
        module: the file.
        entry: the function that it begins with, "" for the file's own statements.
        events: in order.
        loops: by key.
        opaque: texts of what was handed to functions that are out of sight.
        whole: whether the entry is the file itself, or a function that trains.
    """

    module: Module
    entry: str
    events: list[Event] = field(default_factory=list)
    loops: dict[str, Loop] = field(default_factory=dict)
    opaque: list[tuple[int, str]] = field(default_factory=list)

    def of(self, *kinds: str) -> Iterator[Event]:
        """Yield the events of these kinds, in order."""
        return (event for event in self.events if event.kind in kinds)

    def within(self, loop: Loop, *kinds: str) -> list[Event]:
        """Return the events of these kinds inside a loop."""
        return [event for event in self.of(*kinds) if loop in event.loops]

    @property
    def whole(self) -> bool:
        """Return whether the surroundings of what happens are in sight."""
        return not self.entry


def modulus(test: ast.expr, *, branch: bool = True) -> tuple[str, int, str] | None:
    """Return the parts of a test `(i + 1) % k == 0`: the counter, what is added to it, and k.

    The remainder is moved into what is added: `i % k == k - 1` is `(i + 1) % k == 0`.

    Args:
        test: an expression.
        branch: whether it holds; `i % k != 0` and `i % k` are such tests where they do not.

    Returns:
        None where it is not such a test.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, branch = test.operand, not branch
    if isinstance(test, ast.BinOp) and isinstance(test.op, ast.Mod):
        return None if branch else _counter(test, 0)
    equal = ast.Eq if branch else ast.NotEq
    if not (isinstance(test, ast.Compare) and isinstance(test.ops[0], equal)):
        return None
    left, right = test.left, test.comparators[0]
    if isinstance(right, ast.BinOp) and isinstance(right.op, ast.Mod):
        left, right = right, left
    if not (isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mod)):
        return None
    rest = _remainder(left.right, right)
    return None if rest is None else _counter(left, rest)


def _remainder(every: ast.expr, rest: ast.expr) -> int | None:
    """Return 0 for a remainder of 0, 1 for one of k - 1, and None for any other."""
    if isinstance(rest, ast.Constant) and type(rest.value) is int:
        if rest.value == 0:
            return 0
        return 1 if isinstance(every, ast.Constant) and every.value == rest.value + 1 else None
    if isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Sub) and _is_one(rest.right):
        return 1 if ast.dump(rest.left) == ast.dump(every) else None
    return None


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def _counter(node: ast.BinOp, rest: int) -> tuple[str, int, str] | None:
    counter, every = node.left, ast.unparse(node.right)
    if isinstance(counter, ast.BinOp) and isinstance(counter.op, ast.Add):
        first, second = counter.left, counter.right
        if isinstance(first, ast.Constant):
            first, second = second, first
        if isinstance(second, ast.Constant) and isinstance(second.value, int):
            return (dotted(first), rest + second.value, every) if dotted(first) else None
        return None
    return (dotted(counter), rest, every) if dotted(counter) else None


def tests_of(test: ast.expr) -> Iterator[ast.expr]:
    """Yield the parts of a test that `and` and `or` join, and the test itself."""
    yield test
    if isinstance(test, ast.BoolOp):
        for part in test.values:
            yield from tests_of(part)
