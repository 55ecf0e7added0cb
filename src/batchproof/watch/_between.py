"""Events between backward passes and optimiser steps.

Clipping, loss scaling, schedules of the learning rate, and averages of the weights.
"""

from collections.abc import Iterable
from typing import Any
from weakref import ref

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from batchproof.watch._bodies import Caller
from batchproof.watch._ledger import Ledger, StepRecord
from batchproof.watch._place import user_site
from batchproof.watch._updates import Updates


class Between:
    """Clipping, scaling, schedules and averages.

    Args:
        updates: the optimisers.

    Attributes:
        schedules: for each schedule, in order, its steps and those of optimisers: who, and where.
        scaler_used: whether a loss scaler was at work.
    """

    def __init__(self, updates: Updates) -> None:
        self.updates = updates
        self.schedules: dict[int, list[tuple[str, str]]] = {}
        self.scaler_used = False
        self._clips = False

    def closed(self, record: StepRecord) -> None:
        """Record that an optimiser stepped."""
        for calls in self.schedules.values():
            calls.append(("optimizer", record.site))

    def clip(self, original: Caller, arguments: tuple[Any, ...]) -> Any:
        """Clip gradients, and record the factor apart from what the script does itself."""
        if self._clips:
            return original(*arguments)
        parameters = arguments[0]
        if not isinstance(parameters, Tensor):
            parameters = list(parameters)
            arguments = (parameters, *arguments[1:])
        owners = self._owners([parameters] if isinstance(parameters, Tensor) else parameters)
        for ledger in owners:
            ledger.settle_changes()
        self._clips = True
        try:
            return original(*arguments)
        finally:
            self._clips = False
            site = user_site()
            norm = None if original.__name__ == "clip_grad_value_" else float(arguments[1])
            for ledger in owners:
                ledger.clipped(site, norm, before_unscale=is_scaled(ledger))

    def _owners(self, parameters: Iterable[Tensor]) -> list[Ledger]:
        numbers = {id(parameter) for parameter in parameters}
        return [
            ledger
            for ledger in self.updates.living
            if any(id(parameter) in numbers for parameter in ledger.parameters())
        ]

    def scaled(self, arguments: tuple[Any, ...], out: Any) -> None:
        """Record that a scaler multiplies losses, and listen for their backward pass."""
        scaler = arguments[0]
        if not scaler.is_enabled():
            return
        self.scaler_used = True
        reference = ref(scaler)
        for loss in out if isinstance(out, list | tuple) else [out]:
            if isinstance(loss, Tensor) and loss.requires_grad:
                loss.register_hook(lambda _: self.updates.scaled(reference))  # type: ignore[no-untyped-call]

    def scheduled(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Record that a schedule stepped."""
        scheduler: LRScheduler = arguments[0]
        if getattr(scheduler, "_is_initial", False):
            return
        site = user_site()
        optimizer = getattr(scheduler, "optimizer", None)
        ledger = self.updates.ledger_of(optimizer)
        if ledger is not None:
            ledger.moved(f"{type(scheduler).__name__} {id(scheduler)}", site)
        calls = self.schedules.setdefault(id(scheduler), [])
        if not calls and ledger is not None:
            calls += [("optimizer", "")] * min(ledger.steps, 2)
        calls.append(("scheduler", site))
        # the beginning and the end say in which order the two take turns
        del calls[64:-64]

    def averaged(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Record that an average of weights moved."""
        site = user_site()
        for ledger in self.updates.living:
            ledger.moved(f"{type(arguments[0]).__name__} {id(arguments[0])}", site)


def is_scaled(ledger: Ledger) -> bool:
    """Return whether a micro-batch in the gradient carries a loss scale that is still on it.

    A gradient that the script multiplied since may have been unscaled by hand.
    """
    for gift in ledger.open:
        scaler = gift.scaler() if gift.scaler is not None else None
        if scaler is None or gift.factors:
            continue
        states = scaler._per_optimizer_states  # noqa: SLF001
        state = states.get(id(ledger.optimizer), {}) if states else {}
        if getattr(state.get("stage"), "name", "READY") == "READY":
            return True
    return False
