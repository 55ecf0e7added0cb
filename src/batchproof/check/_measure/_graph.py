"""The graph of a loss: what it is computed from, and the terms that it adds up."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

# nodes that add, and multiply by constants
_SHAPE = {"View", "Reshape", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Expand"}
_LINEAR = _SHAPE | {"Add", "Sub", "Rsub", "Neg", "Sum", "Mean", "Stack", "Cat", "Alias", "ToCopy"}
# nodes of a penalty on parameters, into which no data enters
_PENALTY = _LINEAR | {"Pow", "Norm", "LinalgVectorNorm", "Abs", "Sqrt", "Mul"}


class Place(NamedTuple):
    """Where a value is detached.

    Attributes:
        file: of the code.
        line: its number.
        how: the call: detach, data, item or no_grad.
    """

    file: str
    line: int
    how: str

    def __str__(self) -> str:
        return f"{self.how} at {Path(self.file).name}:{self.line}"


class Gate(NamedTuple):
    """A detached value that is kept in the graph: its place, and what it was made of."""

    place: Place
    source: Tensor


class _Identity(torch.autograd.Function):
    """The identity, through which gradients pass while the gate's place is open."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gate: Gate, open_places: set[Place]) -> Tensor:
        ctx.gate, ctx.open_places = gate, open_places
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        is_open = ctx.gate.place in ctx.open_places
        return gradients[0] if is_open else None, None, None


def gated(value: Tensor, gate: Gate, open_places: set[Place]) -> Tensor:
    """Return a value, through which gradients pass while the gate's place is open."""
    result: Tensor = _Identity.apply(value, gate, open_places)  # type: ignore[no-untyped-call]
    return result


def gate_of(node: Node) -> Gate | None:
    """Return the gate that a node of the graph is; None if it is none."""
    gate = getattr(node, "gate", None)
    return gate if isinstance(gate, Gate) else None


def gates_of(nodes: Iterable[Node]) -> list[Gate]:
    """Return the gates among nodes."""
    return [gate for node in nodes if (gate := gate_of(node)) is not None]


def ancestors(nodes: Iterable[Node | None], *, through_gates: bool = True) -> set[Node]:
    """Return the nodes of a graph that these are computed from, with themselves.

    Args:
        nodes: where to begin.
        through_gates: go on behind gates, which are then left out otherwise.
    """
    before, waiting = set[Node](), [node for node in nodes if node is not None]
    while waiting:
        node = waiting.pop()
        if node in before or (not through_gates and gate_of(node)):
            continue
        before.add(node)
        waiting += [after for after, _ in node.next_functions if after is not None]
    return before


def parameters_of(nodes: Iterable[Node | None], *, through_gates: bool = True) -> list[Tensor]:
    """Return the leaves of a graph that these nodes are computed from.

    Args:
        nodes: where to begin.
        through_gates: go on behind gates.
    """
    before = ancestors(nodes, through_gates=through_gates)
    return [node.variable for node in before if hasattr(node, "variable")]


def _kind(node: Node) -> str:
    return re.sub(r"Backward\d*$", "", node.name()).rpartition("::")[2]


def added(roots: Iterable[Node]) -> tuple[list[Node], set[Node]]:
    """Return the terms that a sum adds up, and the nodes that add them.

    A term is a node that does more than add, or multiply by a constant; a gate is one as well.
    """
    terms, sums, waiting = list[Node](), set[Node](), list(roots)
    while waiting:
        node = waiting.pop()
        inputs = [after for after, _ in node.next_functions]
        scales = _kind(node) in {"Mul", "Div"} and inputs[1:] == [None]
        scales = scales or (_kind(node) == "Mul" and inputs[:1] == [None])
        if node in sums or node in terms:
            continue
        if _kind(node) in _LINEAR or scales:
            sums.add(node)
            waiting += [after for after in inputs if after is not None]
        else:
            terms.append(node)
    return terms, sums


def is_penalty(nodes: Iterable[Node]) -> bool:
    """Return whether nodes compute a penalty on parameters, into which no data enters."""
    plain = (n for n in nodes if gate_of(n) is None and not hasattr(n, "variable"))
    return all(_kind(node) in _PENALTY for node in plain)
