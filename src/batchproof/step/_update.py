"""The optimiser's side of a step: who zeroes, who divides, who updates.

The one division is done in the first of three places that is available:

    fused optimisers    divide by grad_scale inside their kernel
    clipping            multiplies every gradient by a factor anyway
    one foreach pass    over the gradients

grad_scale is an attribute of the very object whose kernel reads it, and whatever comes between
(a wrapper that delegates, a subclass, a hook before the step) would miss it or see gradients that
are not divided yet. So the kernel divides only for torch's own classes, and those that declare that
their own step does, with nothing between.

An updater, which divides by the window's weight itself, is handed that weight instead. An optimiser
that needs a closure reads the gradients more than once: there the foreach pass comes first.
"""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.optim import optimizer as torch_optimizer

from batchproof._errors import SettingError, shown
from batchproof.ranks import is_broken_collective
from batchproof.step._closure import Evaluate, refuse_scaler, search
from batchproof.step._gradients import gradients, scale
from batchproof.step._number import Number
from batchproof.step._result import StepResult
from batchproof.step._verdict import Verdict

Updater = Callable[[Any], Any]

_WITH_KERNELS = frozenset({SGD, Adagrad, Adam, AdamW})


@runtime_checkable
class Update(Protocol):
    """The interface of an optimiser that a step needs."""

    divides: bool

    def parameters(self) -> list[Tensor]:
        """Return the parameters that are updated."""

    def zero(self) -> None:
        """Drop all gradients."""

    def seed(self, seed: Tensor | None, total: Tensor) -> Tensor | None:
        """Return the gradient to back-propagate a total with, for a derivative of seed, or of 1."""

    def unscale(self) -> None:
        """Undo the factor of `seed`, before norms are taken."""

    def apply(self, factor: Number | None, weight: Number, verdict: Verdict) -> None:
        """Update the parameters from gradients times factor, unless the verdict holds it back."""


def updating(
    optimizer: Optimizer | Updater, model: object, scaler: GradScaler | None
) -> "OptimizerUpdate | ScaledUpdate | OwnUpdate":
    """Return the Update for a torch optimiser, one with a scaler, or an updater.

    Raises:
        SettingError: if the optimiser is neither, has a parameter twice, updates parameters within
            the backward pass, or needs a closure under a scaler.
    """
    if isinstance(optimizer, Optimizer) or _acts_as_optimizer(optimizer):
        _expect_each_once(optimizer)
        _refuse_release(optimizer)
        if _requires_closure(optimizer):
            refuse_scaler(optimizer, scaler)
            return ClosureUpdate(optimizer)
        if scaler is not None and scaler.is_enabled():
            return ScaledUpdate(optimizer, scaler)
        return OptimizerUpdate(optimizer)
    if isinstance(optimizer, type) or not callable(optimizer):
        raise SettingError(
            f"optimizer is {shown(optimizer)}; expected a torch.optim.Optimizer, or a "
            "callable updater(batch_weight) that updates parameters from summed gradients."
        )
    if not isinstance(model, torch.nn.Module):
        raise SettingError(
            f"model is {shown(model)}; expected a torch.nn.Module, whose parameters the updater "
            "updates."
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


def _acts_as_optimizer(optimizer: object) -> TypeGuard[Optimizer]:
    """Return whether an object that is not an Optimizer delegates to one."""
    if isinstance(optimizer, type):
        return False
    return all(hasattr(optimizer, name) for name in ("param_groups", "step", "state"))


def _refuse_release(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        has_release = group.get("gradient_release") or any(
            hasattr(parameter, "_in_backward_optimizers") for parameter in group["params"]
        )
        if has_release:
            raise SettingError(
                f"{type(optimizer).__name__} updates parameters within each backward pass, on "
                "gradients that are not divided yet; expected one update per window. Build it "
                "without gradient release, and do not put it in the backward pass."
            )


def _divides_by_grad_scale(optimizer: Optimizer) -> bool:
    """Return whether the kernel of this very object reads grad_scale, with nothing before it."""
    kind = type(optimizer)
    # a class of its own that declares the flag reads grad_scale in its own step
    if kind not in _WITH_KERNELS and vars(kind).get("_step_supports_amp_scaling") is not True:
        return False
    if optimizer._optimizer_step_pre_hooks or torch_optimizer._global_optimizer_pre_hooks:  # noqa: SLF001
        return False
    # a learning rate scheduler puts a step of its own in place, which only counts
    own = vars(optimizer).get("step")
    if own is not None and not hasattr(own, "_wrapped_by_lr_sched"):
        return False
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _requires_closure(optimizer: Optimizer) -> bool:
    """Return whether step() has to be given a closure, also where a wrapper makes it optional."""
    inner = getattr(optimizer, "optimizer", None)
    steps = [getattr(each, "step", None) for each in (optimizer, inner)]
    # an optimiser of one's own may have a step() without any argument
    closures = [signature(step).parameters.get("closure") for step in steps if callable(step)]
    return None not in closures[:1] and any(
        closure is not None and closure.default is Parameter.empty for closure in closures
    )


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
        in_kernel = _divides_by_grad_scale(self.optimizer)
        # without state, a held-back first step of a fused SGD would leave its momentum buffers
        # uninitialised, so the first window is read on the host
        on_device = in_kernel and not verdict.on_host and bool(self.optimizer.state)
        if not on_device and verdict.skipped():
            return
        settings: dict[str, Tensor] = {}
        if factor is not None:
            parameters = self.parameters()
            # grad_scale is a float32, too coarse for parameters in float64
            if in_kernel and all(p.dtype != torch.float64 for p in parameters):
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
        except Exception as error:
            # the timeout of a collective mentions a closure, too
            if not is_broken_collective(error):
                _explain(self.optimizer, error)
            raise
        finally:
            for name in settings:
                delattr(self.optimizer, name)


def _explain(optimizer: Optimizer, error: Exception) -> None:
    """Raise an error with a remedy for an optimiser that wants more than gradients.

    Raises:
        SettingError: if it wants a closure, or second derivatives.
    """
    name = type(optimizer).__name__
    if "closure" in str(error) or _called_no_closure(error):
        raise SettingError(
            f"{name} wants a closure, which its step() does not ask for by its signature. Derive a "
            "class whose step(self, closure) hands the closure on: Step then gives it one."
        ) from error
    # autograd's words for a gradient without a graph, or the optimiser's own
    if "create_graph" in str(error) or "does not require grad" in str(error):
        raise SettingError(
            f"{name} wants gradients with a graph of their own (create_graph=True), which Step "
            "does not make; expected an optimiser of first derivatives."
        ) from error


def _called_no_closure(error: Exception) -> bool:
    """Return whether the error is that of calling a closure which is None."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    variables = trace.tb_frame.f_locals if trace is not None else {}
    return isinstance(error, TypeError) and variables.get("closure", ...) is None


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
        self._has_gradients = False

    def seed(self, seed: Tensor | None, total: Tensor) -> Tensor | None:
        """Return the seed times the loss scale."""
        result = self.scaler.scale(torch.ones_like(total) if seed is None else seed)
        assert isinstance(result, Tensor)
        return result

    def unscale(self) -> None:
        """Divide the gradients by the loss scale; the scaler notes whether they overflowed."""
        # a window without gradients gives the scaler nothing to judge, which it takes for an error
        self._has_gradients = bool(gradients(self.parameters()))
        if self._has_gradients:
            self.scaler.unscale_(self.optimizer)

    def apply(self, factor: Number | None, weight: Number, verdict: Verdict) -> None:
        """Let the scaler step or skip, and adapt its scale."""
        del weight
        flags = verdict.read()
        # a wrapper would not hand found_inf on to a fused optimiser inside it
        if not any(flags.values()):
            if factor is not None:
                scale(gradients(self.parameters()), factor)
            self.scaler.step(self.optimizer)
        if self._has_gradients:
            self.scaler.update()


class OwnUpdate:
    """A callable that updates parameters from summed gradients, given the window's weight."""

    divides = False

    def __init__(self, updater: Updater, model: torch.nn.Module) -> None:
        self.updater = self.optimizer = updater
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
