"""Determinism: random draws, batch statistics and narrow types, found and switched off.

Random draws are found while the step runs: torch marks every operation that draws. Dropout is
then switched off, batch normalisation can be put on its running statistics, and what cannot be
switched off is named.
"""

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

_RATES = ("dropout", "attention_dropout", "hidden_dropout", "dropout_p", "attn_dropout")


def seed_all(seed: int) -> None:
    """Seed torch, random, and numpy where it is loaded."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


@dataclass(frozen=True)
class Controls:
    """What is switched off during a run: dropout, batch statistics, clipping.

    Attributes:
        dropout: nothing is dropped.
        norm: batch normalisation looks at its running statistics.
        clip: torch's clipping does nothing.
        shrink: gradients are made 2 to this power smaller on their way into the parameters, and
            as much larger when they are recorded: a limit in the step's own code is not reached.
    """

    dropout: bool = False
    norm: bool = False
    clip: bool = False
    shrink: int = 0


@contextmanager
def controlled(model: nn.Module, controls: Controls) -> Iterator[None]:
    """Switch off dropout and batch statistics of a freshly built model."""
    with contextlib.ExitStack() as stack:
        if controls.dropout:
            _without_dropout(model)
            stack.enter_context(_functional_dropout_off())
        if controls.norm:
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    handle = module.register_forward_pre_hook(_eval_first)
                    stack.callback(handle.remove)
        if controls.shrink:
            for param in model.parameters():
                if param.requires_grad:
                    hook = partial(_shrunk, 2.0**-controls.shrink)
                    handle = param.register_hook(hook)  # type: ignore[no-untyped-call]
                    stack.callback(handle.remove)
        yield


def _shrunk(factor: float, gradient: Tensor) -> Tensor:
    return gradient * factor


def _eval_first(module: nn.Module, _args: Any) -> None:
    module.training = False


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for rate in _RATES:
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)


@contextmanager
def _functional_dropout_off() -> Iterator[None]:
    """Let the functional forms of dropout, and of attention, drop nothing."""

    def same(input: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:  # noqa: A002
        return input

    attention = functional.scaled_dot_product_attention

    def no_dropout(*args: Any, **kwargs: Any) -> Any:
        if len(args) > 4:
            args = (*args[:4], 0.0, *args[5:])
        kwargs.pop("dropout_p", None)
        return attention(*args, **kwargs)

    swaps: dict[str, Callable[..., Any]] = dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), same
    )
    swaps["scaled_dot_product_attention"] = no_dropout
    originals = {name: getattr(functional, name) for name in swaps}
    for name, swap in swaps.items():
        setattr(functional, name, swap)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(functional, name, original)


@dataclass
class Trace:
    """What one traced run did.

    Attributes:
        draws: where random numbers were drawn, as "module (operation)".
        norms: batch normalisation layers that ran on the statistics of their batch.
        narrowest: the narrowest floating-point type that was computed in.
        paused: nothing is noted, as while the optimiser updates its own state.
    """

    draws: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    narrowest: torch.dtype = torch.float64
    paused: bool = False


def _can_draw(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether the operation draws: with a dropout rate of 0 it is marked but does not."""
    name = func.overloadpacket.__name__
    if not any(word in name for word in ("dropout", "attention", "lstm", "gru", "rnn")):
        return True
    rates = [value for value in (*args, *(kwargs or {}).values()) if isinstance(value, float)]
    return any(0.0 < rate < 1.0 for rate in rates[:1])


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, trace: Trace, inside: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace, self.inside = trace, inside

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.trace.paused:
            return result
        if torch.Tag.nondeterministic_seeded in func.tags and _can_draw(func, args, kwargs):
            where = self.inside[-1] if self.inside else "the step"
            self._note(f"{where} ({func.overloadpacket.__name__})")
        values = result if isinstance(result, list | tuple) else [result]
        for value in values:
            if isinstance(value, Tensor) and value.is_floating_point():
                self._narrow(value.dtype)
        return result

    def _note(self, text: str) -> None:
        if text not in self.trace.draws:
            self.trace.draws.append(text)

    def _narrow(self, dtype: torch.dtype) -> None:
        if dtype.itemsize < self.trace.narrowest.itemsize:
            self.trace.narrowest = dtype


@contextmanager
def traced(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Note random draws, batch statistics and narrow numbers of what runs inside the block."""
    inside: list[str] = []
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: Any) -> None:
            inside.append(name)
            uses_batch = isinstance(module, _BatchNorm) and (
                module.training or not module.track_running_stats
            )
            if uses_batch and name not in trace.norms:
                trace.norms.append(name)

        return hook

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        inside.pop()

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name or "the model")))
        handles.append(module.register_forward_hook(leave))
    try:
        with _Watch(trace, inside):
            yield
    finally:
        for handle in handles:
            handle.remove()
