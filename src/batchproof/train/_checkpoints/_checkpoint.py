"""A checkpoint as a value, and the way from it into a model and its optimiser."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from batchproof.ranks import in_shards, unwrapped
from batchproof.runs._shards import laid_out, read_shards, with_shards, without_shards


@dataclass(slots=True)
class Checkpoint:
    """Everything that a run needs to be resumed.

    Attributes:
        weights: the model's state.
        average: the state of the averaged weights, or None.
        rest: all other states, in types that load with weights_only=True.
        shards: of a loaded checkpoint, the folder that holds its sharded tensors.
    """

    weights: Mapping[str, Any]
    average: Mapping[str, Any] | None
    rest: dict[str, Any]
    shards: Path | None = None

    def split(self) -> tuple["Checkpoint", dict[str, Tensor]]:
        """Return the checkpoint without its sharded tensors, and these by path."""
        shards: dict[str, Tensor] = {}
        state = {"weights": self.weights, "averaged": self.average, "rest": self.rest}
        whole = without_shards(state, shards)
        return Checkpoint(whole["weights"], whole["averaged"], whole["rest"]), shards


def load_into(checkpoint: Checkpoint, model: nn.Module, optimizer: Any) -> dict[str, Any] | None:
    """Load a checkpoint into a model and its optimiser; each of them may be in shards or not.

    Returns:
        The averaged weights, in shards as the model's are; None where there are none.
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

    whole = {"weights": checkpoint.weights, "averaged": checkpoint.average}
    state = {name: None if part is None else dict(part) for name, part in whole.items()}
    state["rest"] = checkpoint.rest
    if checkpoint.shards is not None:
        state = with_shards(state, read_shards(checkpoint.shards, like))
    unwrapped(model).load_state_dict(laid_out_as(now, state["weights"] or {}))
    if has_state(optimizer):
        optimizer.load_state_dict(_of_optimizer(checkpoint.rest["parts"]["optimizer"], parameters))
    average = state["averaged"]
    if average is None:
        return None
    return laid_out_as({f"module.{name}": tensor for name, tensor in now.items()}, average)


def laid_out_as(like: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with each tensor in shards where the one of its name in `like` is."""
    return {name: laid_out(value, like.get(name)) for name, value in state.items()}


def has_state(optimizer: Any) -> bool:
    """Return whether an optimiser has a state to save and load."""
    return hasattr(optimizer, "state_dict") and hasattr(optimizer, "load_state_dict")


def on_host(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state on the host, sharing no memory with it.

    Those in shards stay on their device, where alone they can be loaded again.
    """
    return {
        name: value.detach().clone() if in_shards(value) else value.detach().to("cpu", copy=True)
        for name, value in weights.items()
        if isinstance(value, Tensor)
    }


def _of_optimizer(state: Mapping[str, Any], parameters: list[Tensor]) -> dict[str, Any]:
    """Return an optimiser's state with what is as large as a parameter in shards as that is."""
    if "state" not in state:
        return dict(state)
    states = {
        index: {name: laid_out(value, parameters[index]) for name, value in each.items()}
        if isinstance(index, int) and index < len(parameters)
        else each
        for index, each in state["state"].items()
    }
    return {**state, "state": states}
