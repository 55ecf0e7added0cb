"""Branches: what each of two leaves in the names, and what is known after either.

A test that is asked twice holds in both places, or in neither, where nothing between them writes
what it asks for. The second time each branch begins with what the first time its own branch left:

    if scales:
        loss = loss / k
    loss.backward()
    if scales:
        ...          # here loss is divided
    else:
        print(loss)  # and here it is not
"""

import ast
from collections.abc import Callable

from batchproof.audit._dimensions._arithmetic import join
from batchproof.audit._dimensions._branch_sums import is_pure
from batchproof.audit._dimensions._criteria import CLASSES, build_criterion
from batchproof.audit._dimensions._functions import resolve
from batchproof.audit._dimensions._lattice import UNKNOWN, Constant, Unknown, Value
from batchproof.audit._dimensions._machine import Fork, Frame
from batchproof.audit._dimensions._names import dotted

State = tuple[dict[str, Value], dict[str, Value]]
Settle = Callable[[str, list[Value]], Value]
Parted = dict[str, tuple[Value, Value, Value]]


def state_of(frame: Frame) -> State:
    """Return a copy of the names, and of the attributes of self."""
    return dict(frame.names), dict(frame.owner.attributes) if frame.owner else {}


def restore(frame: Frame, state: State) -> None:
    """Give the names and the attributes of self the values of a copy."""
    frame.names.clear()
    frame.names.update(state[0])
    if frame.owner is not None:
        frame.owner.attributes.clear()
        frame.owner.attributes.update(state[1])


def merge(
    frame: Frame,
    state: State,
    node: ast.If | None = None,
    settle: Settle = lambda _name, parts: parts[0],
) -> None:
    """Give each name and attribute the value that is known after either of two branches.

    Args:
        frame: the names after the branch in which the test does not hold.
        state: those after the other.
        node: the statement; None where it has no test that can be asked again.
        settle: what else is known of a name, by its join and its value after each branch.
    """
    values = _join_into(frame.names, state[0], "", settle)
    if frame.owner is not None:
        values |= _join_into(frame.owner.attributes, state[1], "self.", settle)
    if values and node is not None and _is_pure(node.test):
        text, holds = _plain(node.test)
        sides = values if holds else {n: (no, yes, both) for n, (yes, no, both) in values.items()}
        frame.forks[text] = Fork(node.lineno, node.end_lineno or node.lineno, sides)


def _join_into(
    names: dict[str, Value], before: dict[str, Value], prefix: str, settle: Settle
) -> Parted:
    """Give names what is known after either branch; return those that the branches left unlike."""
    values: Parted = {}
    for name, value in before.items():
        full, mine = f"{prefix}{name}", names.get(name, value)
        both = mine if mine is value else settle(full, [join(mine, value), mine, value])
        if name not in names and "." in name and isinstance(value, Constant):
            both = Unknown(full)  # the other branch leaves the attribute as it was
        if prefix and both == UNKNOWN:
            both = Unknown(full)
        names[name] = both
        if mine is not value:
            values[full] = value, mine, both
    return values


def take_side(frame: Frame, test: ast.expr, scope: ast.AST, *, branch: bool) -> None:
    """Give the names that an earlier test of the same kind parted the values of one branch.

    Args:
        frame: the names.
        test: the test that is asked again.
        scope: the function, or the file, that holds both.
        branch: whether the test holds in the branch that is entered.
    """
    if not frame.forks:
        return
    (text, holds), line = _plain(test), getattr(test, "lineno", 0)
    fork = frame.forks.get(text)
    if fork is None or fork.end >= line:
        return
    asks = {dotted(node) for node in ast.walk(test)}
    if asks & _writes(scope, fork.start, line):
        return
    writes = _writes(scope, fork.end + 1, line)
    for name, (yes, no, both) in fork.values.items():
        if name not in writes and frame.read(name) is both:
            frame.write(name, yes if branch is holds else no)


def take_class(frame: Frame, test: ast.expr) -> None:
    """Give a name the criterion that a test says it is: isinstance(loss_fn, nn.CrossEntropyLoss).

    Args:
        frame: the names.
        test: the test, in the branch where it holds.
    """
    match test:
        case ast.Call(ast.Name("isinstance"), [subject, kind]) if dotted(subject):
            name = CLASSES.get(resolve(dotted(kind), frame.module))
            if name is not None:
                frame.write(dotted(subject), build_criterion(name, [], {}, open_=True))


def _is_pure(test: ast.expr) -> bool:
    """Return whether a test gives the same answer when it is asked again."""
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call)]
    return all(is_pure(call.func) for call in calls)


def _plain(test: ast.expr) -> tuple[str, bool]:
    """Return the text of a test without a negation, and whether it had none."""
    match test:
        case ast.UnaryOp(ast.Not(), operand):
            text, holds = _plain(operand)
            return text, not holds
        case ast.Compare(left, [ast.IsNot()], [right]):
            return f"{ast.unparse(left)} is {ast.unparse(right)}", False
        case ast.Compare(left, [ast.NotEq()], [right]):
            return f"{ast.unparse(left)} == {ast.unparse(right)}", False
    return ast.unparse(test), True


def _writes(scope: ast.AST, start: int, end: int) -> set[str]:
    """Return the names, attributes and items that lines of a scope write, the last left out."""
    names = set[str]()
    for node in ast.walk(scope):
        store = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)
        if store and start <= getattr(node, "lineno", 0) < end:
            names |= {dotted(node), dotted(getattr(node, "value", node))}
    return names - {""}
