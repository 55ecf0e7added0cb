"""Windows that a framework leaves open: micro-batches that are left over and get no step.

Whether a trainer that accumulates k micro-batches steps over fewer is tried on it: over k + j of
them, with steps that move nothing. Where only the first k got a step, the gradients left
afterwards are those of the other j, each divided by k:

    left over  sum_j g_j / k  =  (j / k) * gradient of a window of those j alone

and a diagnosis is given only where that holds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from batchproof.check import Diagnosis

# train(model, optimizer, micro-batches, accumulate) runs the user's trainer over them
Train = Callable[[nn.Module, Any, list[Any], int], Any]


def left_open(
    train: Train, build: Callable[[], Any], batches: Sequence[Any], window: int, dtype: torch.dtype
) -> Diagnosis | None:
    """Return a diagnosis if no step is taken over a short window.

    Args:
        train: runs the trainer.
        build: makes (model, optimizer).
        batches: micro-batches, at least one.
        window: micro-batches that the trainer accumulates.
        dtype: of the model.
    """
    rest = [batches[i % len(batches)] for i in range(max(1, window // 2))]
    full = [batches[-1 - i % len(batches)] for i in range(window)]
    steps, gradient = _gradients(train, build, [*full, *rest], window, dtype)
    if steps != 1 or window == 1:
        return None
    _, alone = _gradients(train, build, rest, len(rest), dtype)
    share = len(rest) / window
    gap = float((gradient - share * alone).norm() / (share * alone).norm())
    return _diagnosis(window, len(rest), gap) if gap < 1e-4 else None


def _gradients(
    train: Train, build: Callable[[], Any], batches: list[Any], accumulate: int, dtype: torch.dtype
) -> tuple[int, Tensor]:
    """Return the number of steps taken, none of which moves anything, and the gradients left."""
    torch.manual_seed(0)
    model, optimizer = build()
    model.to(dtype)
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    steps: list[int] = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    train(model, optimizer, batches, accumulate)
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return len(steps), torch.cat(grads) if grads else torch.zeros(1, dtype=dtype)


def _diagnosis(window: int, rest: int, residual: float) -> Diagnosis:
    return Diagnosis(
        "fixed-window-size",
        f"No step is taken over a window that is short: of {window} + {rest} micro-batches the "
        f"last {rest}, each divided by {window}, get none. They wait for the first ones of the "
        "next epoch, and are lost after the last.",
        "Let every window that there is have its step, divided by what it holds.",
        "trainer = Engine(lambda engine, window: step(window, loss).loss.item())\n"
        f"trainer.run(batchproof.windows(loader, accumulate={window}))   # step: batchproof.Step",
        residual,
    )
