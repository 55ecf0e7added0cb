"""Modes of modules and weights kept by reference, which a run shows at no cost."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from batchproof.watch._bodies import Caller
from batchproof.watch._calls import Calls
from batchproof.watch._place import user_site

DROPOUT, BATCH_STATISTICS = 1, 2
DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout)
DEPTH = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """Weights that were taken by reference: the first of them, as it was.

    Attributes:
        tensor: the first.
        version: its version then.
        site: where it was taken.
        steps: steps of its optimiser before.
        again: whether the same line took the same weights before, at an earlier version.
        loads: how often other weights were loaded into the tensor before.
    """

    tensor: ref[Tensor]
    version: int
    site: str
    steps: int
    again: bool
    loads: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Weights that were taken after one step and used after another.

    Attributes:
        site: where they were taken.
        used: where they were saved or loaded.
        taken_at: optimiser steps before they were taken.
        used_at: optimiser steps before they were used.
        how: "saved" or "loaded".
        is_choice: whether the line that took them took others before, as it does for the best.
        back: whether they were loaded into the model that they came from.
    """

    site: str
    used: str
    taken_at: int
    used_at: int
    how: str
    is_choice: bool
    back: bool


@dataclass(slots=True)
class Loop:
    """The modes and kept weights of a run.

    Attributes:
        calls: the losses of the run.
        steps: returns the number of steps so far of the optimiser that owns a parameter.
        uses: weights kept by reference.
        random_by_wish: whether the script put only dropout into training mode.
    """

    calls: Calls
    steps: Callable[[Tensor], int]
    uses: list[Moved] = field(default_factory=list)
    random_by_wish: bool = False
    _states: dict[int, Kept] = field(default_factory=dict)
    _takes: dict[int, dict[str, Kept]] = field(default_factory=dict)
    _loads: Counter[int] = field(default_factory=Counter)
    _depth: int = 0

    def bodies(self) -> list[tuple[FunctionType, Callable[..., Any]]]:
        """Return the functions that are watched, and the listener to the results of each."""
        pairs: list[tuple[Any, Callable[..., Any]]] = [(f, self.dropped) for f in DROPOUTS]
        pairs += [
            (F.batch_norm, self.normalised),
            (torch.save, self.saved),
            (nn.Module.load_state_dict, self.loaded),
        ]
        return pairs

    def dropped(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Record that dropout was active."""
        if arguments[2] and arguments[1] > 0:
            self.calls.noise |= DROPOUT

    def normalised(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Record that a batch was normalised by its own statistics, though running ones exist."""
        if arguments[5] and arguments[1] is not None:
            self.calls.noise |= BATCH_STATISTICS

    def train(self, original: Caller, arguments: tuple[Any, ...]) -> Any:
        """Put a module into a mode, and record whether it is only dropout."""
        module, mode = arguments
        if mode and not self._depth and type(module).__name__.endswith(("Dropout", "Dropout2d")):
            self.random_by_wish = True
        self._depth += 1
        try:
            return original(*arguments)
        finally:
            self._depth -= 1

    def taken(self, state: Any) -> None:
        """Record that a state_dict was taken now."""
        tensor = next(_tensors(state, 1), None)
        if tensor is None:
            return
        key, site, version = id(tensor), user_site(), tensor._version  # noqa: SLF001
        sites = self._takes.setdefault(tensor.data_ptr(), {})
        before = sites.get(site)
        original = Kept(
            ref(tensor, lambda _: self._states.pop(key, None)),
            version,
            site,
            self.steps(tensor),
            again=before is not None and (before.again or before.version < version),
            loads=self._loads[tensor.data_ptr()],
        )
        self._states[key] = sites[site] = original

    def saved(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Check whether saved weights were taken before the weights moved."""
        self._used(arguments[0], "saved", ())

    def loaded(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Check whether loaded weights were taken before the weights moved."""
        module, state = arguments[:2]
        own = {tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())}
        self._used(state, "loaded", own)
        if not any(tensor.data_ptr() in own for tensor in _tensors(state, DEPTH)):
            self._loads.update(own)

    def _used(self, thing: Any, how: str, own: Collection[int]) -> None:
        tensors = list(_tensors(thing, DEPTH))
        all_own = all(tensor.data_ptr() in own for tensor in tensors)
        for tensor in tensors:
            back = tensor.data_ptr() in own
            original = self._states.get(id(tensor))
            if original is None or original.tensor() is not tensor:
                original = self._origin(tensor) if back else None
            if original is None:
                continue
            # loading weights into themselves is a write of its own
            writes = tensor._version - original.version - back  # noqa: SLF001
            steps = self.steps(tensor)
            over = all_own and self._loads[tensor.data_ptr()] > original.loads
            if writes > 0 and (steps > original.steps or over):
                use = Moved(
                    original.site,
                    user_site(),
                    original.steps,
                    steps,
                    how,
                    is_choice=original.again,
                    back=back,
                )
                self.uses.append(use)
                return

    def _origin(self, tensor: Tensor) -> Kept | None:
        """Return where weights were taken that a script detached, or brought to the CPU, since.

        Neither copies what is on the CPU. None where some line took them as they are now: the
        script may have built the state from those.
        """
        takes = self._takes.get(tensor.data_ptr(), {}).values()
        if isinstance(tensor, nn.Parameter) or not takes:
            return None
        latest = max(takes, key=lambda take: take.version)
        return latest if latest.steps < self.steps(tensor) else None

    def wrong_uses(self) -> list[Moved]:
        """Return the uses of weights that were to be kept as they were.

        Weights that are loaded back into their model were. Others may be taken once so that they
        follow the training, into each checkpoint or into a second model: they were to be kept
        only if the line chose among several, or took them within the training for one use.
        """
        uses = Counter((use.site, use.taken_at) for use in self.uses)
        return [
            use
            for use in self.uses
            if use.back or use.is_choice or (use.taken_at and uses[use.site, use.taken_at] == 1)
        ]


def _tensors(thing: Any, depth: int) -> Iterator[Tensor]:
    """Return the tensors of nested dicts and lists, without calling code of the user's."""
    if isinstance(thing, Tensor):
        yield thing
    elif depth and isinstance(thing, dict):
        for value in thing.values():
            yield from _tensors(value, depth - 1)
    elif depth and isinstance(thing, list | tuple):
        for value in thing:
            yield from _tensors(value, depth - 1)
