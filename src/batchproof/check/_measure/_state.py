"""State that a step leaves behind besides the parameters that the optimiser moves.

Averages of weights, buffers, learning rates, and what the user asks to watch. Statistics of
batch normalisation and the vectors of a spectral norm are left out: they move with every forward
pass by nature.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from batchproof._errors import ProbeError
from batchproof._trees import leaves

# entries of a buffer; larger ones hold data, such as a queue of keys
_LARGEST = 2**22
# before the names of what the user asks to watch
WATCHED = "watched "
_OF_SPECTRAL_NORM = {"_u", "_v", "weight_u", "weight_v"}


def state_of(
    model: nn.Module,
    optimizer: Any,
    names: Collection[str],
    start: Mapping[int, Tensor],
    watch: Callable[[nn.Module], Any] | None,
) -> dict[str, Tensor]:
    """Return the state after a step, by name.

    Args:
        model: the model.
        optimizer: what was built with it.
        names: names of the parameters that got a gradient.
        start: the parameters before the step, by id.
        watch: returns a module or a batch of tensors that are watched too.

    Raises:
        ProbeError: if watch returns something that holds no tensor.
    """
    state = _frozen(model, names, start)
    state.update(_buffers(model))
    for place, group in enumerate(getattr(optimizer, "param_groups", [])):
        if isinstance(group, Mapping) and isinstance(group.get("lr"), float | Tensor):
            state[f"lr of group {place}"] = torch.as_tensor(group["lr"], dtype=torch.float64)
    if watch is not None:
        state.update(_watched(watch(model)))
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    return {name: value.detach().clone() for name, value in floats.items()}


def _frozen(
    model: nn.Module, names: Collection[str], start: Mapping[int, Tensor]
) -> dict[str, Tensor]:
    """Return the change of each parameter that moved without gradient; most do not."""
    parameters = ((name, p) for name, p in model.named_parameters() if name not in names)
    return {
        name: p.detach() - start[id(p)]
        for name, p in parameters
        if id(p) in start and not torch.equal(p.detach(), start[id(p)])
    }


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: buffer
        for name, buffer in buffers_of(model).items()
        if name.split(".")[-1] not in _OF_SPECTRAL_NORM and buffer.numel() <= _LARGEST
    }


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of a model by name, but for statistics of batch normalisation."""
    norms = [name for name, module in model.named_modules() if isinstance(module, _NormBase)]
    buffers = model.named_buffers()
    return {name: buffer for name, buffer in buffers if name.rpartition(".")[0] not in norms}


def _watched(state: Any) -> dict[str, Tensor]:
    tree = state.state_dict() if isinstance(state, nn.Module) else state
    tensors = {f"{WATCHED}{name}": tensor for name, tensor in leaves(tree)}
    if not tensors:
        raise ProbeError(
            f"watch returned {type(state).__name__}; expected a module, or tensors in a mapping, "
            "list or tuple."
        )
    return tensors
