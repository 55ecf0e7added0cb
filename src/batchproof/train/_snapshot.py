"""Everything put back as it was, after steps that were taken on trial."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor

from batchproof.train._keeper import Checkpoint
from batchproof.train._parts import Parts
from batchproof.train._randomness import restore
from batchproof.train._walk import Walk


@contextmanager
def put_back(parts: Parts, train: Walk) -> Iterator[None]:
    """Let the body train, and put weights, states, generators and training flags back."""
    averaged = parts.average.state_dict()
    kept = Checkpoint(
        _copied(parts.weights()),
        None if averaged is None else _copied(averaged),
        {"parts": deepcopy(parts.state_dict())},
    )
    generators = train.generators()
    flags = [(module, module.training) for module in parts.model.modules()]
    gradients = [(p, p.grad) for p in parts.model.parameters()]
    try:
        yield
    finally:
        parts.load(kept)
        restore(generators["random"])
        train.restore(generators["own"])
        for module, training in flags:
            module.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, Tensor) else deepcopy(v) for k, v in state.items()}
