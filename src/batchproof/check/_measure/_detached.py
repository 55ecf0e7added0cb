"""Detached values: where a step makes a constant of a value that depends on the parameters.

The uncut step is run once more. Each `detach`, `.data`, `item` and operation under `no_grad` on
such a value then keeps the value in the graph, behind a gate. While the gates are shut, every
gradient is as it was. While those of one line of code are open, the difference is what that line
keeps out of the gradient. The graph itself says where in the loss each such value enters.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.optim import optimizer as torch_optimizer
from torch.overrides import TorchFunctionMode

from batchproof._errors import ProbeError
from batchproof._trees import tensors, tree_map
from batchproof.check._measure._graph import (
    Gate,
    Place,
    ancestors,
    gated,
    gates_of,
    parameters_of,
)
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._slope import Gradients, add, dot, scaled

# code that is not the user's: torch, and this package
_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]))
_DETACHED = {torch.Tensor.detach, torch.detach, torch.tensor, torch.as_tensor}
_ITEM = torch.Tensor.item
# of a step; more places, or more backward passes, are not looked at
_MOST = 12
# relative
_NEAR = 1e-6


@dataclass(eq=False)
class Pass:
    """One backward pass.

    Attributes:
        roots: the nodes of the graph that it starts from.
        gradients: what it adds to each parameter's gradient.
        kept_out: by place, what detaching there keeps out of it.
    """

    roots: list[Node]
    gradients: Gradients
    kept_out: dict[Place, Gradients]


@dataclass(eq=False)
class DetachWatch:
    """The detached values of one run.

    Attributes:
        items: whether the results of `item` are kept in the graph.
        passes: the backward passes.
        kept_out: by place, what detaching there keeps out of the step's gradient.
        values: of nodes that hold one number.
        optimised: ids of the parameters that an optimiser steps.
        decays: whether an optimiser may move parameters by more than their gradient.
        moves_itself: whether parameters are moved outside of an optimiser.
    """

    items: bool = True
    passes: list[Pass] = field(default_factory=list)
    kept_out: dict[Place, Gradients] = field(default_factory=dict)
    values: dict[Node, float] = field(default_factory=dict)
    optimised: set[int] = field(default_factory=set)
    decays: bool = False
    moves_itself: bool = False

    def __post_init__(self) -> None:
        self.open_places: set[Place] = set()
        self.paused = False

    @contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        """Watch a run of this model."""
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.ids = {id(p) for p in self.parameters.values()}
        self.start = self.last = self._copies()
        backward = torch.autograd.backward
        torch.autograd.backward = self._watched(backward)
        with ExitStack() as stack:
            stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
            stack.callback(setattr, torch.autograd, "backward", backward)
            before = torch_optimizer.register_optimizer_step_pre_hook(self._before_step)
            after = torch_optimizer.register_optimizer_step_post_hook(self._after_step)
            stack.callback(before.remove)
            stack.callback(after.remove)
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(_Mode(self))
            yield
        self._look_at_parameters()

    def depends(self, value: Any) -> bool:
        """Return whether a value depends on the parameters where no gate is."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return False
        return id(value) in self.ids or (
            value.grad_fn is not None and self.has_gradient(value.grad_fn)
        )

    def has_gradient(self, node: Node) -> bool:
        """Return whether gradients reach a parameter through a node, all gates being shut."""
        leaves = parameters_of([node], through_gates=False)
        return any(id(parameter) in self.ids for parameter in leaves)

    def gate(self, value: Tensor, how: str) -> Tensor:
        """Return a value that is detached, kept in the graph behind a gate."""
        file, line = _caller()
        with torch.enable_grad():
            return gated(value, Gate(Place(file, line, how), value), self.open_places)

    def follows(self, gradients: Gradients) -> bool:
        """Return whether the step's gradients are its backward passes' sum, but for a factor.

        What is kept out of them is then multiplied by that factor.
        """
        own = add([one.gradients for one in self.passes])
        own = {name: own[name] for name in own.keys() & gradients.keys()}
        size = dot(own, own)
        if size == 0 or len(self.passes) == _MOST:
            return False
        factor = dot(own, gradients) / size
        gap = add([gradients, scaled(own, -factor)])
        places = dict.fromkeys(place for one in self.passes for place in one.kept_out)
        for place in places:
            there = add([one.kept_out.get(place, {}) for one in self.passes])
            self.kept_out[place] = scaled(there, factor)
        return dot(gap, gap) <= _NEAR**2 * dot(gradients, gradients)

    def _watched(self, backward: Callable[..., None]) -> Callable[..., None]:
        def watched(
            tensors: Any, seeds: Any = None, _retain: Any = None, *args: Any, **more: Any
        ) -> None:
            roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
            seeds = more.pop("grad_tensors", seeds)
            # gates join graphs that one backward pass, and the next, would free
            retain = more.pop("retain_graph", None) or True
            with self._looking():
                if len(self.passes) < _MOST:
                    self._look(roots, seeds)
                backward(tensors, seeds, retain, *args, **more)

        return watched

    def _look(self, roots: list[Tensor], seeds: Any) -> None:
        nodes = [root.grad_fn for root in roots if root.grad_fn is not None]
        places = list(dict.fromkeys(gate.place for gate in gates_of(ancestors(nodes))))[:_MOST]
        self.open_places.clear()
        own = self._gradients(roots, seeds)
        kept_out = {}
        for place in places:
            self.open_places.add(place)
            there = self._gradients(roots, seeds)
            kept_out[place] = {name: there[name] - own[name] for name in own}
            self.open_places.clear()
        self.passes.append(Pass(nodes, own, kept_out))

    def _gradients(self, roots: list[Tensor], seeds: Any) -> Gradients:
        seeds = [seeds] if isinstance(seeds, Tensor) else seeds
        values = torch.autograd.grad(
            roots, list(self.parameters.values()), seeds, retain_graph=True, allow_unused=True
        )
        return {
            name: torch.zeros_like(p).detach() if value is None else value.detach().clone()
            for (name, p), value in zip(self.parameters.items(), values, strict=True)
        }

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._look_at_parameters()
        self.paused = not any(callable(value) for value in (*args[1:], *kwargs.values()))
        self.decays |= not type(optimizer).__module__.startswith("torch.optim")
        for group in optimizer.param_groups:
            self.optimised |= {id(p) for p in group["params"]}
            self.decays |= bool(group.get("weight_decay", 0) or group.get("lambd", 0))

    def _after_step(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self.last, self.paused = self._copies(), False

    def _look_at_parameters(self) -> None:
        now = self._copies()
        self.moves_itself |= any(not torch.equal(now[name], self.last[name]) for name in now)

    def _copies(self) -> Gradients:
        with self._looking():
            return {name: p.detach().clone() for name, p in self.parameters.items()}

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Put no gates for what is called inside."""
        before, self.paused = self.paused, True
        yield
        self.paused = before


class _Mode(TorchFunctionMode):
    """Puts a gate in place of every detach."""

    def __init__(self, watch: DetachWatch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        watch, kwargs = self.watch, kwargs or {}
        if watch.paused:
            return func(*args, **kwargs)
        how = _detaches(func, items=watch.items)
        if how and args and isinstance(args[0], Tensor) and args[0].requires_grad:
            value = watch.gate(args[0], how) if watch.depends(args[0]) else args[0]
            return value.reshape(()) if how == "item" else value
        if (
            not torch.is_grad_enabled()
            and any(t.requires_grad for t in tensors(args))
            and not _in_place(func)
        ):
            args = tree_map(lambda a: watch.gate(a, "no_grad") if watch.depends(a) else a, args)
            with torch.enable_grad():
                return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.grad_fn is not None and result.numel() == 1:
            watch.values[result.grad_fn] = float(result.detach())
        return result


def _detaches(func: Any, *, items: bool) -> str:
    """Return how a function detaches its argument; "" where it does not."""
    if func == _ITEM:
        return "item" if items else ""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return "data" if func == torch.Tensor.data.__get__ else ""  # type: ignore[attr-defined]
    return name if func in _DETACHED else ""


def _in_place(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.startswith(("__i", "__set", "__get__"))
    return bool(name.endswith("_"))


def _caller() -> tuple[str, int]:
    """Return file and line of the innermost call outside of torch and this package."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("?", 0)


def measure_detached(runner: Runner) -> DetachWatch | None:
    """Return what the uncut step detaches; None where the run cannot be watched undisturbed.

    Args:
        runner: runs the step.
    """
    whole = runner.whole()
    usual = runner.observe(whole)
    for items in (True, False):
        watch = DetachWatch(items=items)
        try:
            result = runner.observe(whole, touch=watch)
        except ProbeError:
            continue
        gap = add([result.gradients, scaled(usual.gradients, -1.0)])
        disturbed = dot(gap, gap) ** 0.5 > runner.tolerance * usual.norm
        if not disturbed and result.loss_error(usual) == 0 and watch.follows(usual.gradients):
            return watch
    return None
