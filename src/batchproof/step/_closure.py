"""Optimisers that evaluate the objective several times within one step, such as LBFGS.

An evaluation does all of a step but the update: forward and backward over the whole window, one
division, one clipping. The step takes all its evaluations or none: where one is not finite, or
raises, parameters and the optimiser's state are restored.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from batchproof._errors import SettingError
from batchproof.step._result import StepResult

Evaluate = Callable[[], StepResult]


class NotFiniteError(Exception):
    """Ends the optimiser's step from within, with the evaluation that was not finite."""

    def __init__(self, result: StepResult) -> None:
        super().__init__("an evaluation is not finite")
        self.result = result


def search(optimizer: Optimizer, evaluate: Evaluate) -> StepResult:
    """Take one step of the optimiser, with as many evaluations as it asks for.

    Args:
        optimizer: its step() takes a closure.
        evaluate: returns the window's numbers at the current parameters, whose gradients it sets
            to the gradient of the mean.

    Returns:
        The first evaluation, where the step began; or the one that was not finite.
    """
    first = evaluate()
    if first.skipped:
        return first
    state = _Kept(optimizer)
    waiting = [first]

    def closure() -> Tensor:
        # the first evaluation is still valid if no parameter changed since
        result = waiting.pop() if waiting and state.unmoved() else evaluate()
        if result.skipped:
            raise NotFiniteError(result)
        return result.loss.value()

    try:
        optimizer.step(closure)  # type: ignore[arg-type]
    except BaseException as error:
        state.put_back()
        if isinstance(error, NotFiniteError):
            return error.result
        raise
    return first


class _Kept:
    """A copy of all that an optimiser may change in one step: parameters and its state."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.values = [p.detach().clone() for p in self.parameters]
        self.state = {p: _copied(state) for p, state in optimizer.state.items()}
        self.versions = self._versions()

    def unmoved(self) -> bool:
        return self._versions() == self.versions

    def put_back(self) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.values, strict=True):
                parameter.copy_(value)
        self.optimizer.state.clear()
        self.optimizer.state.update(self.state)

    def _versions(self) -> list[tuple[int, int | None]]:
        return [
            (p._version, None if p.grad is None else p.grad._version)  # noqa: SLF001
            for p in self.parameters
        ]


def _copied(state: Any) -> Any:
    """Return the state with tensors copied; LBFGS replaces those in lists, never changes them."""
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return list(state) if isinstance(state, list) else state


def refuse_scaler(optimizer: Optimizer, scaler: GradScaler | None) -> None:
    """Refuse a scaler, which cannot scale the loss of a closure.

    Raises:
        SettingError: if there is one that is enabled.
    """
    if scaler is not None and scaler.is_enabled():
        raise SettingError(
            f"{type(optimizer).__name__} takes its loss from a closure, which torch's GradScaler "
            "does not support; train in float32 or bfloat16, without a scaler."
        )
