"""What is trained and by what: everything of a run that has a state of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from batchproof.step import Step, is_sharded, unwrapped
from batchproof.train._average import MovingAverage, NoAverage
from batchproof.train._loss import Loss
from batchproof.train._scheduling import NoSchedule, TorchSchedule
from batchproof.train._shards import (
    load_whole_optimizer,
    load_whole_weights,
    whole_optimizer,
    whole_weights,
)


@dataclass(slots=True)
class Parts:
    """The model and what changes it.

    Attributes:
        model: what is trained.
        loss: the one function that gives a batch's Mean.
        optimizer: a torch optimiser, or an updater.
        step: takes optimiser steps.
        schedule: of the learning rate.
        average: of the weights.
        scaler: for float16, or None.
    """

    model: nn.Module
    loss: Loss
    optimizer: Any
    step: Step
    schedule: NoSchedule | TorchSchedule
    average: NoAverage | MovingAverage
    scaler: GradScaler | None

    def weights(self) -> dict[str, Any]:
        """Return the model's state, which shares its tensors."""
        return _weights(self.model)

    def weights_to_evaluate(self) -> dict[str, Any]:
        """Return the state of the model that is evaluated: the averaged one, where one is kept."""
        return _weights(self.average.model)

    def averaged(self) -> dict[str, Tensor] | None:
        """Return the state of the averaged weights, None where none are kept."""
        if isinstance(self.average, NoAverage):
            return None
        return dict(self.average.averaged.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all but the weights."""
        return {
            "optimizer": self._optimizer_state(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "step": self.step.state_dict(),
        }

    def _optimizer_state(self) -> dict[str, Any] | None:
        if not _stateful(self.optimizer):
            return None
        if is_sharded(self.model):
            return whole_optimizer(self.model, self.optimizer)
        state: dict[str, Any] = self.optimizer.state_dict()
        return state

    def load(
        self,
        weights: Mapping[str, Any],
        averaged: Mapping[str, Any] | None,
        state: Mapping[str, Any],
    ) -> None:
        """Take the weights and states of a checkpoint."""
        if is_sharded(self.model):
            load_whole_weights(self.model, weights)
        else:
            unwrapped(self.model).load_state_dict(weights)
        if averaged is not None and isinstance(self.average, MovingAverage):
            self.average.averaged.load_state_dict(averaged)
        if _stateful(self.optimizer) and is_sharded(self.model):
            load_whole_optimizer(self.model, self.optimizer, state["optimizer"])
        elif _stateful(self.optimizer):
            self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.step.load_state_dict(state["step"])

    def learning_rates(self) -> list[float]:
        """Return the learning rate of each parameter group."""
        groups = getattr(self.optimizer, "param_groups", None) or []
        return [float(group["lr"]) for group in groups if "lr" in group]


def _weights(model: nn.Module) -> dict[str, Any]:
    if is_sharded(model):
        return whole_weights(model)
    state: dict[str, Any] = unwrapped(model).state_dict()
    return state


def _stateful(optimizer: Any) -> bool:
    return hasattr(optimizer, "state_dict") and hasattr(optimizer, "load_state_dict")
