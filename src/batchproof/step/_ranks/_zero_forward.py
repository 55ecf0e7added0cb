"""A forward pass in place of the model's: sums over no elements, whose gradients are all 0.

A rank without data has to take part in the reduction that its wrapper starts in the backward
pass. It calls the wrapper as ever, but with this forward inside: no layer runs, no running
statistic or random generator moves, and every gradient is an exact 0, whatever the parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

Forward = Callable[..., list[Tensor]]


def touching(module: nn.Module, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return one sum over no elements for each parameter, in their order.

    Embeddings with sparse gradients get sparse ones here too, as wrappers expect.
    """
    sparse = sparse_weights(module)
    return [_sparse_zero(p) if p in sparse else p.flatten()[:0].sum() for p in parameters]


def probing(parameters: Sequence[Tensor]) -> Tensor:
    """Return the first element of the first parameter, whose gradient is 1."""
    return parameters[0].flatten()[:1].sum()


def sparse_weights(module: nn.Module) -> set[Tensor]:
    """Return the weights of embeddings that have sparse gradients."""
    kinds = nn.Embedding | nn.EmbeddingBag
    return {m.weight for m in module.modules() if isinstance(m, kinds) and m.sparse}


def dense(parameters: Sequence[Tensor], sparse: set[Tensor]) -> list[Tensor]:
    """Return the parameters with elements and without sparse gradients."""
    return [p for p in parameters if p not in sparse and p.numel()]


@contextmanager
def with_forwards(modules: Sequence[nn.Module], forwards: Sequence[Forward]) -> Iterator[None]:
    """Have each module run another forward; hooks and wrappers around it stay."""
    originals = [vars(module).get("forward") for module in modules]
    for module, forward in zip(modules, forwards, strict=True):
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module, own in zip(modules, originals, strict=True):
            if own is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = own


def _sparse_zero(weight: Tensor) -> Tensor:
    nothing = torch.empty(0, dtype=torch.long, device=weight.device)
    return functional.embedding(nothing, weight, sparse=True).sum()
