"""The recorder of a step, from outside: gradients at the moment of the optimiser's step.

Hooks on torch's optimisers see every step, whoever made the optimiser and whatever wraps it. A
closure handed to step is awaited first. Fused optimisers divide by their `grad_scale` on the way,
so the gradient divided by it counts. Clipping is recorded where torch does it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad
from torch.optim import optimizer as torch_optimizer

from batchproof.check._measure._determinism import Trace
from batchproof.ranks import full

# what torch's clipping by norm calls to scale the gradients, however it was imported
_CLIP = "_clip_grads_with_norm_"
# and its clipping by value
_CLAMP = ("_foreach_clamp_min_", "_foreach_clamp_max_")


class Clip(NamedTuple):
    """A clipping by norm: the factor that it applied, and the parameters that it clipped."""

    factor: float
    names: tuple[str, ...]


@dataclass
class Recorder:
    """The record of one run.

    Attributes:
        model: the model whose parameters are named.
        restore: whether parameters go back to where they were after every step, so that the
            windows of one run are all measured at the same point.
        steps: gradients by parameter name, one dict a step.
        clips: for every clipping by norm, the factor that it applied, and to which parameters.
        clamps: for every clipping by value, its limit.
        trace: paused while the optimiser itself is at work.
    """

    model: nn.Module
    restore: bool = False
    steps: list[dict[str, Tensor]] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    clamps: list[float] = field(default_factory=list)
    trace: Trace | None = None

    def __post_init__(self) -> None:
        parameters = list(self.model.named_parameters())
        self.names = {id(p): name.removeprefix("module.") for name, p in parameters}
        self.start = {id(p): p.detach().clone() for _, p in parameters}
        self.counts: dict[int, int] = {}

    def record(
        self, optimizer: Any, params: Sequence[Tensor], scale: float | Tensor | None
    ) -> None:
        """Record the gradients that an optimiser is about to step with."""
        step = self.counts.get(id(optimizer), 0)
        self.counts[id(optimizer)] = step + 1
        while len(self.steps) <= step:
            self.steps.append({})
        for number, param in enumerate(params):
            if param.grad is None:
                continue
            grad = full(param.grad).detach()
            grad = grad.to_dense() if grad.is_sparse else grad.clone()
            name = self.names.get(id(param), f"parameter {number} of the optimiser")
            self.steps[step][name] = grad if scale is None else grad / scale

    def after(self, params: Sequence[Tensor]) -> None:
        """Restore parameters after a step, where several windows are measured."""
        if not self.restore:
            return
        with torch.no_grad():
            for param in params:
                if id(param) in self.start:
                    param.copy_(self.start[id(param)])

    @contextmanager
    def watching(self, *, unclipped: bool) -> Iterator[None]:
        """Watch every optimiser step and clipping inside the block.

        Args:
            unclipped: let clipping do nothing, though it is still recorded.
        """
        before = torch_optimizer.register_optimizer_step_pre_hook(self._before_step)
        after = torch_optimizer.register_optimizer_step_post_hook(self._after_step)
        with self._clipping(unclipped=unclipped):
            try:
                yield
            finally:
                before.remove()
                after.remove()

    @contextmanager
    def _clipping(self, *, unclipped: bool) -> Iterator[None]:
        scale, clamp = getattr(clip_grad, _CLIP), getattr(torch, _CLAMP[0])

        def by_norm(params: Any, max_norm: Any, total_norm: Any, *rest: Any, **more: Any) -> None:
            params = [params] if isinstance(params, Tensor) else list(params)
            names = tuple(self.names[id(p)] for p in params if id(p) in self.names)
            self.clips.append(Clip(min(1.0, float(max_norm / (total_norm + 1e-6))), names))
            if not unclipped:
                scale(params, max_norm, total_norm, *rest, **more)

        def by_value(grads: Any, limit: Any) -> None:
            self.clamps.append(abs(float(limit)))
            if not unclipped:
                clamp(grads, limit)

        swaps: list[tuple[Any, str, Any]] = [
            (clip_grad, _CLIP, by_norm),
            (torch, _CLAMP[0], by_value),
        ]
        if unclipped:
            swaps.append((torch, _CLAMP[1], lambda _grads, _limit: None))
        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in swaps]
        for owner, name, swap in swaps:
            setattr(owner, name, swap)
        try:
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)

    def _pause(self, *, pause: bool) -> None:
        if self.trace is not None:
            self.trace.paused = pause

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        closures = [value for value in (*args[1:], *kwargs.values()) if callable(value)]
        if not closures:
            self.record(optimizer, params, getattr(optimizer, "grad_scale", None))
            self._pause(pause=True)
            return None
        closure = closures[0]
        calls: list[bool] = []

        def awaited() -> Any:
            self._pause(pause=False)
            value = closure()
            self._pause(pause=True)
            if not calls:
                calls.append(True)
                self.record(optimizer, params, getattr(optimizer, "grad_scale", None))
            return value

        positional = tuple(awaited if value is closure else value for value in args)
        return positional, {k: awaited if v is closure else v for k, v in kwargs.items()}

    def _after_step(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self._pause(pause=False)
        self.after([p for group in optimizer.param_groups for p in group["params"]])

    def wrap_updater(self, updater: Callable[..., Any]) -> Callable[..., Any]:
        """Return an updater that is not a torch optimiser, watched.

        It is a callable that updates parameters from summed gradients and divides them by the
        weight it is given.
        """
        params = list(self.model.parameters())

        def watched(*args: Any, **kwargs: Any) -> Any:
            weight = args[0] if args and isinstance(args[0], int | float | Tensor) else None
            self.record(updater, params, weight)
            result = updater(*args, **kwargs)
            self.after(params)
            return result

        return watched
