"""The optimiser's side of a step: who zeroes, who divides, who updates.

The one division has three places to ride on, and takes the first that is there:

    fused optimisers    divide by grad_scale inside their kernel
    clipping            multiplies every gradient by a factor anyway
    one foreach pass    over the gradients

An updater, which divides by the window's weight itself, is handed that weight instead. An optimiser
that needs a closure reads the gradients more than once: there the foreach pass comes first.
"""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from batchproof._errors import SettingError
from batchproof.step._closure import Evaluate, refuse_scaler, search
from batchproof.step._gradients import gradients, scale
from batchproof.step._number import Number
from batchproof.step._result import StepResult
from batchproof.step._verdict import Verdict

Updater = Callable[[Any], Any]


@runtime_checkable
class Update(Protocol):
    """What a step needs of an optimiser."""

    divides: bool

    def parameters(self) -> list[Tensor]:
        """Return the parameters that are updated."""

    def zero(self) -> None:
        """Drop all gradients."""

    def seed(self, seed: Tensor | None, total: Tensor) -> Tensor | None:
        """Return what to back-propagate a total with, for a derivative of `seed`, or of 1."""

    def unscale(self) -> None:
        """Undo what `seed` multiplied by, before norms are taken."""

    def apply(self, factor: Number | None, weight: Number, verdict: Verdict) -> None:
        """Update the parameters from gradients times factor, unless the verdict holds it back."""


def updating(
    optimizer: Optimizer | Updater, model: object, scaler: GradScaler | None
) -> "OptimizerUpdate | ScaledUpdate | OwnUpdate":
    """Return the Update for a torch optimiser, one with a scaler, or an updater.

    Raises:
        SettingError: if the optimiser is neither, has a parameter twice, or needs a closure under
            a scaler.
    """
    if isinstance(optimizer, Optimizer):
        _expect_each_once(optimizer)
        if _requires_closure(optimizer):
            refuse_scaler(optimizer, scaler)
            return ClosureUpdate(optimizer)
        if scaler is not None and scaler.is_enabled():
            return ScaledUpdate(optimizer, scaler)
        return OptimizerUpdate(optimizer)
    if isinstance(optimizer, type) or not callable(optimizer):
        given = optimizer if isinstance(optimizer, type) else type(optimizer)
        raise SettingError(
            f"optimizer is {given.__name__}; expected a torch.optim.Optimizer, or a "
            "callable updater(batch_weight) that updates parameters from summed gradients."
        )
    if not isinstance(model, torch.nn.Module):
        raise SettingError(
            f"an updater needs a torch.nn.Module to take parameters from, not "
            f"{type(model).__name__}; hold the parameters in a Module."
        )
    return OwnUpdate(optimizer, model)


def _expect_each_once(optimizer: Optimizer) -> None:
    for number, group in enumerate(optimizer.param_groups):
        parameters = group["params"]
        if len(set(parameters)) < len(parameters):
            raise SettingError(
                f"group {number} of the optimizer has a parameter twice, whose gradient would be "
                "divided twice; a shared parameter is one parameter. Give each once: "
                "list(dict.fromkeys(parameters))."
            )


def _requires_closure(optimizer: Optimizer) -> bool:
    # an optimiser of one's own may have a step() without any argument
    closure = signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is Parameter.empty


class OptimizerUpdate:
    """A torch optimiser."""

    divides = True

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def parameters(self) -> list[Tensor]:
        """Return the optimiser's parameters, group by group."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def zero(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def seed(self, seed: Tensor | None, total: Tensor) -> Tensor | None:
        """Return the seed as it is."""
        del total
        return seed

    def unscale(self) -> None:
        """Leave the gradients as they are."""

    def apply(self, factor: Number | None, weight: Number, verdict: Verdict) -> None:
        """Step, dividing on the way; held back by the kernel where it can, else by the host."""
        del weight
        on_device = not verdict.on_host and self._holds_back_on_device()
        if not on_device and verdict.skipped():
            return
        settings: dict[str, Tensor] = {}
        if factor is not None:
            parameters = self.parameters()
            if self._divides_in_kernel(parameters):
                device = parameters[0].device
                settings["grad_scale"] = torch.as_tensor(
                    1 / factor, dtype=torch.float32, device=device
                )
            else:
                scale(gradients(parameters), factor)
        if on_device:
            settings["found_inf"] = torch.as_tensor(verdict.held()).float()
        self._step(settings)

    def _step(self, settings: dict[str, Tensor]) -> None:
        for name, value in settings.items():
            setattr(self.optimizer, name, value)
        try:
            self.optimizer.step()
        finally:
            for name in settings:
                delattr(self.optimizer, name)

    def _fused(self) -> bool:
        return bool(getattr(self.optimizer, "_step_supports_amp_scaling", False))

    def _divides_in_kernel(self, parameters: list[Tensor]) -> bool:
        # grad_scale is a float32, too coarse for parameters in float64
        return self._fused() and all(p.dtype != torch.float64 for p in parameters)

    def _holds_back_on_device(self) -> bool:
        # without state, a held-back first step of a fused SGD would leave its momentum buffers
        # uninitialised, so the first window is read on the host
        return self._fused() and bool(self.optimizer.state)


class ClosureUpdate(OptimizerUpdate):
    """A torch optimiser that evaluates the objective several times a step."""

    def search(self, evaluate: Evaluate) -> StepResult:
        """Step, with the numbers of the first evaluation; or none where one is not finite."""
        return search(self.optimizer, evaluate)


class ScaledUpdate(OptimizerUpdate):
    """A torch optimiser under a GradScaler, which skips steps that overflow in float16."""

    def __init__(self, optimizer: Optimizer, scaler: GradScaler) -> None:
        super().__init__(optimizer)
        self.scaler = scaler
        self._judged = False

    def seed(self, seed: Tensor | None, total: Tensor) -> Tensor | None:
        """Return the seed times the loss scale."""
        scaled = self.scaler.scale(torch.ones_like(total) if seed is None else seed)
        assert isinstance(scaled, Tensor)
        return scaled

    def unscale(self) -> None:
        """Divide the gradients by the loss scale; the scaler notes whether they overflowed."""
        # a window without gradients gives the scaler nothing to judge, which it takes for an error
        self._judged = bool(gradients(self.parameters()))
        if self._judged:
            self.scaler.unscale_(self.optimizer)

    def apply(self, factor: Number | None, weight: Number, verdict: Verdict) -> None:
        """Let the scaler step or skip, and adapt its scale."""
        del weight
        flags = verdict.read()
        if not (flags["empty"] or flags["nonfinite"] or flags["miscounted"]):
            if factor is not None:
                scale(gradients(self.parameters()), factor)
            self.scaler.step(self.optimizer)
        if self._judged:
            self.scaler.update()


class OwnUpdate:
    """A callable that updates parameters from summed gradients, given the window's weight."""

    divides = False

    def __init__(self, updater: Updater, model: torch.nn.Module) -> None:
        self.updater = updater
        self.model = model

    def parameters(self) -> list[Tensor]:
        """Return the model's parameters that take a gradient."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def zero(self) -> None:
        """Drop all gradients."""
        self.model.zero_grad(set_to_none=True)

    def seed(self, seed: Tensor | None, total: Tensor) -> Tensor | None:
        """Return the seed as it is."""
        del total
        return seed

    def unscale(self) -> None:
        """Leave the gradients as they are."""

    def apply(self, factor: Number | None, weight: Number, verdict: Verdict) -> None:
        """Call the updater with the window's weight, unless the step is held back."""
        if verdict.skipped():
            return
        if factor is not None:
            scale(gradients(self.parameters()), factor)
        self.updater(weight)


def named(model: object, parameters: Iterable[Tensor]) -> dict[Tensor, str]:
    """Return the name of each parameter: the model's, or its place in the optimiser."""
    names = {p: f"parameter {index}" for index, p in enumerate(parameters)}
    if isinstance(model, torch.nn.Module):
        names |= {p: repr(name) for name, p in model.named_parameters()}
    return names
