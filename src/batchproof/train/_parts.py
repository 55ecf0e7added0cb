"""What is trained and by what: everything of a run that has a state of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from batchproof.ranks import unwrapped
from batchproof.runs._shards import laid_out, read_shards, with_shards
from batchproof.step import Step
from batchproof.train._average import MovingAverage, NoAverage
from batchproof.train._keeper import Checkpoint
from batchproof.train._loss import Loss
from batchproof.train._scheduling import NoSchedule, TorchSchedule


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
        state: dict[str, Any] = unwrapped(self.model).state_dict()
        return state

    def weights_to_evaluate(self) -> dict[str, Any]:
        """Return the state that is evaluated: the averaged weights, where an average is kept."""
        return {**self.weights(), **self.average.weights()}

    def statistics(self) -> dict[str, Tensor]:
        """Return the buffers of the model's state, such as running means, sharing them.

        Only DistributedDataParallel makes them alike on all ranks.
        """
        names = {name for name, _ in unwrapped(self.model).named_buffers()}
        return {name: value for name, value in self.weights().items() if name in names}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all but the weights."""
        return {
            "optimizer": self.optimizer.state_dict() if _stateful(self.optimizer) else None,
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "step": self.step.state_dict(),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Take the weights and states of a checkpoint."""
        averaged = load_into(checkpoint, self.model, self.optimizer)
        self.average.load_state_dict(averaged)
        state = checkpoint.rest["parts"]
        self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.step.load_state_dict(state["step"])

    def as_in_model(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Return weights as the model's load_state_dict takes them: in shards where it is."""
        return _laid_out(weights, self.weights())

    def learning_rates(self) -> list[float]:
        """Return the learning rate of each parameter group."""
        groups = getattr(self.optimizer, "param_groups", None) or []
        return [float(group["lr"]) for group in groups if "lr" in group]


def load_into(checkpoint: Checkpoint, model: nn.Module, optimizer: Any) -> dict[str, Any] | None:
    """Give a model and its optimiser the state of a checkpoint; either may lie in shards or not.

    Returns:
        The averaged weights, laid out as the model's; None where there are none.
    """
    now: dict[str, Any] = unwrapped(model).state_dict()
    groups = getattr(optimizer, "param_groups", [])
    parameters = [p for group in groups for p in group["params"]]

    def like(path: list[Any]) -> Tensor | None:
        match path:
            case ["weights", name]:
                return now.get(name)
            case ["averaged", name]:
                return now.get(name.removeprefix("module."))
            case [*_, "state", int(index), _]:
                return parameters[index] if index < len(parameters) else None
        return None

    whole = {"weights": checkpoint.weights, "averaged": checkpoint.averaged}
    state = {name: None if part is None else dict(part) for name, part in whole.items()}
    state["rest"] = checkpoint.rest
    if checkpoint.shards is not None:
        state = with_shards(state, read_shards(checkpoint.shards, like))
    unwrapped(model).load_state_dict(_laid_out(state["weights"] or {}, now))
    if _stateful(optimizer):
        optimizer.load_state_dict(_of_optimizer(checkpoint.rest["parts"]["optimizer"], parameters))
    averaged = state["averaged"]
    if averaged is None:
        return None
    return _laid_out(averaged, {f"module.{name}": tensor for name, tensor in now.items()})


def _laid_out(state: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    return {name: laid_out(value, like.get(name)) for name, value in state.items()}


def _of_optimizer(state: Mapping[str, Any], parameters: list[Tensor]) -> dict[str, Any]:
    """Return an optimiser's state, with what is as large as a parameter laid out as that is."""
    if "state" not in state:
        return dict(state)
    states = {
        index: {name: laid_out(value, parameters[index]) for name, value in each.items()}
        if isinstance(index, int) and index < len(parameters)
        else each
        for index, each in state["state"].items()
    }
    return {**state, "state": states}


def _stateful(optimizer: Any) -> bool:
    return hasattr(optimizer, "state_dict") and hasattr(optimizer, "load_state_dict")
