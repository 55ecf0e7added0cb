"""The gradients of a window: their norm, and the one factor they are multiplied by."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients that are there; sparse ones with their duplicates summed."""
    found = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
        found.append(parameter.grad)
    return found


def total_norm(grads: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the 2-norm of all gradients together, in float32 or wider, on one device."""
    dense = [grad._values() if grad.is_sparse else grad for grad in grads]  # noqa: SLF001
    if not dense:
        return torch.zeros((), device=device)
    wide = torch.float64 if dense[0].dtype == torch.float64 else torch.float32
    norms = [
        norm.to(device)
        for same in _by_device(dense)
        for norm in torch._foreach_norm(same, 2, dtype=wide)  # noqa: SLF001
    ]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


def scale(grads: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply every gradient by a number on the device, in one pass."""
    dense = [grad for grad in grads if not grad.is_sparse]
    for same in _by_device(dense):
        torch._foreach_mul_(same, factor.to(same[0].device))
    for grad in grads:
        if grad.is_sparse:
            grad._values().mul_(factor.to(grad.device))  # noqa: SLF001


def clip_factor(norm: Tensor, max_norm: float) -> Tensor:
    """Return the factor that brings a norm down to max_norm, and at most 1.

    The 1e-6 is that of torch.nn.utils.clip_grad_norm_, so that both clip alike.
    """
    return torch.clamp(max_norm / (norm + 1e-6), max=1.0)


def _by_device(tensors: list[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device, []).append(tensor)
    return groups.values()
