"""The gradients of a window: their norm, and the one factor they are multiplied by."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from batchproof.ranks import local
from batchproof.step._number import Number, at_most_one

DOUBLE = {torch.float64, torch.complex128}


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients of the parameters that have one, sparse ones with duplicates summed.

    A sharded gradient is represented by the part on this rank.
    """
    grads = []
    for parameter in parameters:
        grad = parameter.grad
        if grad is None:
            continue
        if type(grad) is not Tensor:
            grad = local(grad)
        if grad.is_sparse:
            parameter.grad = grad = grad.coalesce()
        grads.append(grad)
    return grads


def total_norm(grads: Sequence[Tensor]) -> Number:
    """Return the 2-norm of all gradients together, each taken in float32 or wider."""
    dense = _dense(grads)
    if not dense:
        return 0.0
    dtypes = {grad.dtype for grad in dense}
    if any(dtype.is_complex for dtype in dtypes):
        dense = [_real(grad) for grad in dense]
    wide = torch.float32 if dtypes.isdisjoint(DOUBLE) else torch.float64
    norms = torch._foreach_norm(dense, 2, dtype=wide)  # noqa: SLF001
    device = next((norm.device for norm in norms if not norm.is_cpu), None)
    if device is None:
        return math.hypot(*[norm.item() for norm in norms])
    whole: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(device) for norm in norms]))
    return whole


def scale(grads: Sequence[Tensor], factor: Number) -> None:
    """Multiply every gradient by a number, in one pass."""
    for same in _by_device(_dense(grads)):
        on_device = factor.to(same[0].device) if isinstance(factor, Tensor) else factor
        torch._foreach_mul_(same, on_device)


def clip_factor(norm: Number, max_norm: float) -> Number:
    """Return the factor that brings a norm down to max_norm, and at most 1.

    The 1e-6 is the one of torch.nn.utils.clip_grad_norm_, so that both clip alike.
    """
    return at_most_one(max_norm / (norm + 1e-6))


def _dense(grads: Sequence[Tensor]) -> list[Tensor]:
    return [grad._values() if grad.is_sparse else grad for grad in grads]  # noqa: SLF001


def _real(grad: Tensor) -> Tensor:
    """Return a complex gradient's real and imaginary parts as one real tensor, others as is."""
    return torch.view_as_real(grad.resolve_conj()) if grad.is_complex() else grad


def _by_device(tensors: list[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device, []).append(tensor)
    return groups.values()
