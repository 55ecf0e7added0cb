"""A copy of all that a pass through a model changes, from which it is restored.

A forward pass moves buffers (running statistics) and random generators; a backward pass adds to
gradients. What a loss or a layer keeps elsewhere, in attributes of its own, is not in the copy.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._random import Generator, capture, restore, restore_states, states_of


class Snapshot:
    """A copy of a model's buffers, of gradients and of random generators, global ones and others.

    Args:
        model: whose buffers are copied; nothing of what is not a Module.
        parameters: those whose gradients are copied.
        generators: random generators besides the global ones.
    """

    def __init__(
        self,
        model: Any,
        *,
        parameters: Sequence[Tensor] = (),
        generators: Sequence[Generator] = (),
    ) -> None:
        modules = model.modules() if isinstance(model, nn.Module) else ()
        self._buffers = [
            (module, name, buffer, buffer.clone())
            for module in modules
            for name, buffer in module.named_buffers(recurse=False)
        ]
        self._gradients = [(p, p.grad, p.grad.clone()) for p in parameters if p.grad is not None]
        self._without = [p for p in parameters if p.grad is None]
        self._generators, self._states = generators, states_of(generators)
        self._random = capture()

    @torch.no_grad()
    def restore(self) -> None:
        """Restore everything that was copied, in place; it can be restored again."""
        for module, name, buffer, value in self._buffers:
            # a buffer is written to in place, or another takes its place
            setattr(module, name, buffer.copy_(value))
        for parameter in self._without:
            parameter.grad = None
        for parameter, grad, value in self._gradients:
            parameter.grad = grad.copy_(value)
        restore(self._random)
        restore_states(self._generators, self._states)


@contextmanager
def leaving_no_trace(model: Any) -> Iterator[None]:
    """Restore buffers (running statistics) and random generators afterwards."""
    before = Snapshot(model)
    try:
        yield
    finally:
        before.restore()
