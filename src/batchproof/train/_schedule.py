"""The learning rate's schedule, which moves after every optimiser step or after every epoch."""

from collections.abc import Mapping
from typing import Any, Literal

from torch.optim.lr_scheduler import (
    CyclicLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from batchproof._errors import SettingError

Per = Literal["epoch", "step"]


class Schedule:
    """One of torch's schedulers, moved per step or per epoch; None leaves the rate as it is.

    Attributes:
        scheduler: the same, or None.
        plateau: whether it waits for a plateau of the monitored mean.
    """

    def __init__(self, scheduler: LRScheduler | None = None, per: Per = "epoch") -> None:
        self.scheduler = scheduler
        self._per_step = per == "step"
        self.plateau = isinstance(scheduler, ReduceLROnPlateau)

    def after_step(self) -> None:
        """Move after an optimiser step, where the schedule counts steps."""
        if self.scheduler is not None and self._per_step:
            self.scheduler.step()

    def after_epoch(self) -> None:
        """Move after an epoch, where the schedule counts epochs."""
        if self.scheduler is not None and not (self._per_step or self.plateau):
            self.scheduler.step()

    def after_validation(self, value: float) -> None:
        """Move after a validation, where the schedule waits for a plateau of the monitored mean."""
        if self.scheduler is not None and self.plateau:
            self.scheduler.step(value)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state."""
        return {} if self.scheduler is None else dict(self.scheduler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the state of a checkpoint."""
        if self.scheduler is not None:
            self.scheduler.load_state_dict(dict(state))
            # the optimiser's steps were taken before the checkpoint, so that torch is not to warn
            # of a schedule that moves before them
            self.scheduler.optimizer._opt_called = True  # type: ignore[attr-defined]  # noqa: SLF001


def schedule_of(scheduler: Any, per: str, optimizer: Any) -> Schedule:
    """Return the schedule of a scheduler that counts epochs or steps.

    Raises:
        SettingError: if it is not a scheduler, moves another optimiser, or cannot count what it is
            asked to.
    """
    if per not in ("epoch", "step"):
        raise SettingError(f"scheduler_per is {per!r}; expected 'epoch' or 'step'.")
    if scheduler is None:
        return Schedule()
    if not isinstance(scheduler, LRScheduler):
        raise SettingError(
            f"scheduler is {type(scheduler).__name__}; expected one of torch.optim.lr_scheduler."
        )
    # a wrapper of an optimiser has the very groups of what it wraps
    if scheduler.optimizer.param_groups is not getattr(optimizer, "param_groups", None):
        raise SettingError(
            f"{type(scheduler).__name__} moves the learning rate of another optimiser than the one "
            "that trains; make it with that one."
        )
    if isinstance(scheduler, OneCycleLR | CyclicLR) and per == "epoch":
        raise SettingError(
            f"{type(scheduler).__name__} counts optimiser steps, but scheduler_per is 'epoch'; "
            "pass scheduler_per='step'."
        )
    if isinstance(scheduler, ReduceLROnPlateau) and per == "step":
        raise SettingError(
            "ReduceLROnPlateau looks at validation means; pass scheduler_per='epoch'."
        )
    return Schedule(scheduler, "step" if per == "step" else "epoch")
