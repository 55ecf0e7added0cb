"""Backward passes and optimiser steps: which losses are in which gradient when it is followed."""

from collections.abc import Callable, Iterable
from gc import get_objects
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from batchproof.watch._bodies import Caller
from batchproof.watch._ledger import Ledger, Loss
from batchproof.watch._losses import Arrival
from batchproof.watch._place import user_site
from batchproof.watch._reads import Reads


class Updates:
    """Every backward pass and every optimiser step.

    Args:
        clock: returns the next number of the order of events.
        reads: where numbers wait.

    Attributes:
        ledgers: the optimisers, each with what is in its gradient.
        unfollowed: "file:line" of backward passes in which no known loss took part, with counts.
        backwards: number of backward passes so far.
        stepped: called after every step with the number of steps of its optimiser.
        scaler_used: whether a loss scaler was at work.
    """

    def __init__(self, clock: Callable[[], int], reads: Reads) -> None:
        self.clock, self.reads = clock, reads
        self.ledgers: list[Ledger] = []
        self._living: list[Ledger] = []
        self.unfollowed: dict[str, int] = {}
        self.backwards = 0
        self.stepped: Callable[[int], None] = _nobody
        self.scaler_used = False
        self.schedules: dict[int, list[tuple[str, str]]] = {}
        self._depth = 0
        self._arrivals: list[tuple[Loss, Arrival]] = []
        self._scalers: WeakSet[GradScaler] = WeakSet()
        self._closure: dict[int, bool] = {}

    def find_optimizers(self) -> None:
        """Know the optimisers that were made before the run was watched."""
        for thing in get_objects():
            # the type is asked, and nothing that a class of the user's may answer for itself
            if issubclass(type(thing), Optimizer) and "param_groups" in vars(thing):
                self.know(thing, whole=True)

    def know(self, optimizer: Optimizer, *, whole: bool) -> Ledger:
        """Return the ledger of an optimiser, a new one where it has none."""
        ledger = self._ledger(optimizer)
        if ledger is None:
            kind = type(optimizer).__name__
            same = sum(other.name.split()[0] == kind for other in self.ledgers)
            name = f"{kind} {same + 1}" if same else kind
            ledger = Ledger(optimizer, name, self.reads, whole=whole or not self.backwards)
            self.ledgers.append(ledger)
            self._living.append(ledger)
        return ledger

    def _ledger(self, optimizer: Optimizer | None) -> Ledger | None:
        for ledger in self._living:
            if ledger.optimizer is optimizer:
                return ledger
        return None

    def in_backward(self) -> bool:
        """Return whether a backward pass is going on."""
        return self._depth > 0

    def arrived(self, loss: Loss, arrival: Arrival) -> None:
        """Note what arrived at a loss; what is asked for by autograd.grad enters no gradient."""
        if self._depth:
            self._arrivals.append((loss, arrival))

    def backward(self, original: Caller, arguments: tuple[Any, ...]) -> Any:
        """Run a backward pass and note what it brought to every optimiser."""
        if self._depth:
            return original(*arguments)
        self._arrivals = []
        self._living = [ledger for ledger in self._living if ledger.optimizer is not None]
        self._each(Ledger.begin)
        self._depth += 1
        try:
            return original(*arguments)
        finally:
            self._depth -= 1
            self.backwards += 1
            self._close()

    def _each(self, do: Callable[[Ledger], None]) -> None:
        with torch.no_grad():
            for ledger in self._living:
                do(ledger)

    def _close(self) -> None:
        arrivals = list(numbered(self._arrivals))
        if not arrivals:
            site = user_site()
            self.unfollowed[site] = self.unfollowed.get(site, 0) + 1
        self._each(lambda ledger: _end(ledger, arrivals, self.backwards))
        self._arrivals = []

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Close the window of an optimiser that is about to step."""
        closure = kwargs.get("closure", args[0] if args else None)
        self._closure[id(optimizer)] = callable(closure)
        if callable(closure):
            self.know(optimizer, whole=False)
        else:
            self._step(optimizer, closure=False)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """Close the window of an optimiser that computed its gradient inside its step."""
        if self._closure.pop(id(optimizer), False):
            self._step(optimizer, closure=True)
        ledger = self._ledger(optimizer)
        if ledger is not None:
            self.stepped(ledger.steps)

    def _step(self, optimizer: Optimizer, *, closure: bool) -> None:
        ledger = self.know(optimizer, whole=False)
        with torch.no_grad():
            if self._depth:
                # a step inside the backward pass, parameter by parameter
                _end(ledger, list(numbered(self._arrivals)), self.backwards)
            scale = getattr(optimizer, "grad_scale", None)
            record = ledger.step(self.clock(), user_site(), closure=closure, scale=None)
            if isinstance(scale, Tensor):
                self.reads.later(scale.detach().clone(), lambda x: setattr(record, "scale", x))
        for calls in self.schedules.values():
            calls.append(("optimizer", record.site))

    def clip(self, original: Caller, arguments: tuple[Any, ...]) -> Any:
        """Clip gradients, and note the factor apart from what the script does itself."""
        parameters = arguments[0]
        if not isinstance(parameters, Tensor):
            parameters = list(parameters)
            arguments = (parameters, *arguments[1:])
        owners = self._owners([parameters] if isinstance(parameters, Tensor) else parameters)
        with torch.no_grad():
            for ledger in owners:
                ledger.clip_begins()
        try:
            return original(*arguments)
        finally:
            site = user_site()
            with torch.no_grad():
                for ledger in owners:
                    ledger.clip_ends(site, before_unscale=self._is_scaled(ledger))

    def _owners(self, parameters: Iterable[Tensor]) -> list[Ledger]:
        clipped = {id(parameter) for parameter in parameters}
        return [
            ledger
            for ledger in self._living
            if any(id(parameter) in clipped for parameter in ledger.parameters())
        ]

    def _is_scaled(self, ledger: Ledger) -> bool:
        for scaler in self._scalers:
            states = scaler._per_optimizer_states  # noqa: SLF001
            state = states.get(id(ledger.optimizer), {}) if states else {}
            stage = getattr(state.get("stage"), "name", "READY")
            if stage == "READY" and any(gift for gift in ledger.open):
                return True
        return False

    def scaled(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Note that a scaler multiplies losses."""
        scaler = arguments[0]
        if scaler.is_enabled():
            self.scaler_used = True
            self._scalers.add(scaler)

    def made(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Know an optimiser as soon as it is made."""
        if hasattr(arguments[0], "param_groups"):
            self.know(arguments[0], whole=True)

    def scheduled(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Note that a schedule stepped."""
        scheduler: LRScheduler = arguments[0]
        if getattr(scheduler, "_is_initial", False):
            return
        site = user_site()
        optimizer = getattr(scheduler, "optimizer", None)
        ledger = self._ledger(optimizer)
        if ledger is not None:
            ledger.moved(f"{type(scheduler).__name__} {id(scheduler)}", site)
        calls = self.schedules.setdefault(id(scheduler), [])
        if not calls and ledger is not None:
            calls += [("optimizer", "")] * min(ledger.steps, 2)
        calls.append(("scheduler", site))
        # the beginning and the end say in which order the two take turns
        del calls[64:-64]

    def averaged(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Note that an average of weights moved."""
        site = user_site()
        for ledger in self._living:
            ledger.moved(f"{type(arguments[0]).__name__} {id(arguments[0])}", site)

    def settle(self) -> None:
        """Take in what happened since the last event."""
        self._each(Ledger.settle_changes)


def _end(ledger: Ledger, arrivals: list[tuple[Loss, int, Arrival]], backward: int) -> None:
    ledger.end(arrivals, backward)


def numbered(arrivals: Iterable[tuple[Loss, Arrival]]) -> Iterable[tuple[Loss, int, Arrival]]:
    """Return each loss of one backward pass with its number among those of its term."""
    counts: dict[int, int] = {}
    for loss, arrival in sorted(arrivals, key=lambda pair: pair[0].index):
        ordinal = counts.get(loss.term, 0)
        counts[loss.term] = ordinal + 1
        yield loss, ordinal, arrival


def _nobody(*_: Any) -> None:
    return None
