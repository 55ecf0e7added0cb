"""Averages of the weights that a script writes by hand: copies that move toward the weights.

Of a parameter p the first numbers are compared with those of the tensors of its shape that are in
some dict or list. An average e moves on the line to p,

    e_after = p + d (e_before - p),     0 <= d < 1

and moves with every micro-batch if it does so between any two backward passes of one window.
"""

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# so many numbers of a parameter are compared, of so many copies, before so many backward passes
LENGTH, COPIES, LOOKS = 1024, 4, 24
LEAST = 4
# other kinds, such as the fake tensors of torch.compile, have no numbers or compute otherwise
PLAIN = {Tensor, nn.Parameter}
ROUNDINGS = 8.0
ALONG = 0.9


@dataclass(frozen=True, slots=True)
class Look:
    """The first numbers of a parameter and of its copies, before one backward pass.

    Attributes:
        steps: steps of the optimiser so far.
        parameter: shape (numbers,).
        copies: the same of each copy; None where it is gone.
    """

    steps: int
    parameter: Tensor
    copies: tuple[Tensor | None, ...]


class Copies:
    """The copies of one parameter of an optimiser, in windows of several backward passes.

    Attributes:
        looks: oldest first.
    """

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._parameter: Tensor | None = None
        self._places: Sequence[tuple[Any, Any]] = ()

    def look(self, parameters: Sequence[Tensor], state: Iterable[Any], steps: int) -> None:
        """Look at the copies before a backward pass.

        Args:
            parameters: those of the optimiser.
            state: what the optimiser keeps for each.
            steps: its steps so far.
        """
        if self._parameter is None:
            self._parameter = max(parameters, key=Tensor.numel)
            own = {id(value) for values in state for value in values.values()}
            own |= {id(parameter) for parameter in parameters}
            self._places = places_of(self._parameter, own)
        if not self._places:
            return
        copies = tuple(_head(_at(place)) for place in self._places)
        parameter = _head(self._parameter)
        if parameter is not None:
            self.looks.append(Look(steps, parameter, copies))
        if len(self.looks) == LOOKS:
            self._places = ()

    @property
    def is_wanted(self) -> bool:
        """Return whether another look may say something."""
        return self._parameter is None or bool(self._places)

    def moves(self) -> Iterable[dict[int, list[bool]]]:
        """Return for each copy whether it moved between backward passes, by the steps before."""
        for number in range(COPIES):
            windows: dict[int, list[bool]] = {}
            for before, after in zip(self.looks, self.looks[1:], strict=False):
                if before.steps != after.steps or number >= len(after.copies):
                    continue
                old, new = before.copies[number], after.copies[number]
                if old is None or new is None or torch.equal(old, after.parameter):
                    continue
                windows.setdefault(after.steps, []).append(is_toward(old, new, after.parameter))
            yield windows


def places_of(parameter: Tensor, own: Iterable[int]) -> list[tuple[Any, Any]]:
    """Return where the tensors nearest to a parameter are: a dict or list, and the key there.

    Args:
        parameter: has the shape and type of what is looked for.
        own: the identities of tensors that are no copies.
    """
    others = {*own, id(parameter), id(parameter.grad)}
    tensors = [
        thing
        for thing in gc.get_objects()
        if type(thing) in PLAIN
        and thing.layout == parameter.layout
        and thing.shape == parameter.shape
        and thing.dtype == parameter.dtype
        and thing.device == parameter.device
        and id(thing) not in others
    ]
    if parameter.numel() < LEAST or type(parameter) not in PLAIN or not tensors:
        return []
    with torch.no_grad():
        # no other list of ours may hold them, for it would be found in place of the script's
        tensors = sorted(tensors, key=lambda thing: float((thing - parameter).double().norm()))
        del tensors[COPIES:]
    places: list[tuple[Any, Any]] = []
    for tensor in tensors:
        for container in gc.get_referrers(tensor):
            if container is tensors or type(container) not in {dict, list}:
                continue
            items = container.items() if isinstance(container, dict) else enumerate(container)
            places += [(container, key) for key, value in list(items) if value is tensor][:1]
            break
    return places


def _at(place: tuple[Any, Any]) -> Any:
    container, key = place
    try:
        return container[key]
    except (KeyError, IndexError):
        return None


def _head(thing: Any) -> Tensor | None:
    return thing.detach().reshape(-1)[:LENGTH].clone() if isinstance(thing, Tensor) else None


def is_toward(before: Tensor, after: Tensor, parameter: Tensor) -> bool:
    """Return whether numbers moved on the line to those of a parameter, and not past it.

    Args:
        before: shape (numbers,).
        after: the same numbers later.
        parameter: where they move to.
    """
    eps = torch.finfo(before.dtype).eps
    e, u, p = before.double(), after.double(), parameter.double()
    way, move = p - e, u - e
    length = float(way.dot(way))
    along = float(move.dot(way))
    if not length or along <= 0 or along > length * (1 + ROUNDINGS * eps):
        return False
    rest = float((move - along / length * way).norm())
    noise = ROUNDINGS * eps * float(torch.maximum(e.abs(), p.abs()).norm())
    return rest <= noise and along >= ALONG * float(move.norm()) * length**0.5
