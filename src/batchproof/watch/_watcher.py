"""A run that is watched: what is put in place, what is heard, and what is taken away again."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from itertools import count
from threading import local
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.optim.swa_utils import AveragedModel

from batchproof._errors import SettingError
from batchproof.watch._bodies import Around, Body, Caller
from batchproof.watch._calls import Calls
from batchproof.watch._events import Finding, LossEvent, StepEvent
from batchproof.watch._findings import of_loop, of_losses, of_updates, once
from batchproof.watch._loop import Loop
from batchproof.watch._reads import Reads
from batchproof.watch._right import missed_by, right_of
from batchproof.watch._updates import Updates
from batchproof.watch._windows import steps_of


@runtime_checkable
class Observer(Protocol):
    """What watches beside the losses: the numbers that reach a person."""

    def start(self, watcher: "Watcher") -> None:
        """Begin to watch."""

    def stop(self) -> None:
        """Take away what was put in place."""


_ACTIVE: list["Watcher"] = []


class Watcher:
    """Everything that is seen of a run.

    Args:
        steps: stop after so many steps of an optimiser; None to watch to the end.

    Attributes:
        ended_early: whether watching stopped before the run did.
        failed: whether the run was ended by an error.
        troubles: what could not be watched, one line each.
    """

    def __init__(self, *, steps: int | None = None) -> None:
        self.reads = Reads()
        self._count = count()
        self.calls = Calls(self.clock, self.reads)
        self.updates = Updates(self.clock, self.reads)
        self.loop = Loop(self.calls, self._steps)
        self.limit = steps
        self.ended_early = False
        self.troubles: list[str] = []
        self.failed = False
        self._observers: list[Observer] = []
        self._undo: list[Callable[[], None]] = []
        self._inside = local()
        self.calls.arrived = self.updates.arrived
        self.calls.in_backward = self.updates.in_backward
        self.updates.stepped = self._stepped

    def clock(self) -> int:
        """Return the next number of the order of events."""
        return next(self._count)

    def attach(self, observer: Observer) -> None:
        """Start an observer with the run, and stop it with the run."""
        self._observers.append(observer)

    def start(self) -> None:
        """Put everything in place.

        Raises:
            SettingError: if a run is already watched in this process.
        """
        if _ACTIVE:
            raise SettingError(
                "a run is already watched in this process; leave the first watch() before another "
                "begins."
            )
        _ACTIVE.append(self)
        _turn_off_in_children()
        self.updates.find_optimizers()
        for function, around in self._bodies():
            body = Body(function, around)
            body.replace(torch.compiler.is_compiling)
            self._undo.append(body.restore)
        for handle in (
            register_optimizer_step_pre_hook(self._guarded(self.updates.before_step)),
            register_optimizer_step_post_hook(self._guarded(self.updates.after_step)),
        ):
            self._undo.append(handle.remove)
        self._watch_state_dicts()
        for observer in self._observers:
            observer.start(self)

    def stop(self) -> None:
        """Take everything away, and leave torch as it was."""
        if self not in _ACTIVE:
            return
        _ACTIVE.remove(self)
        for observer in self._observers:
            observer.stop()
        for undo in reversed(self._undo):
            undo()
        self._undo = []
        self._safely(self.updates.settle)

    def _bodies(self) -> list[tuple[Any, Around]]:
        updates, loop = self.updates, self.loop
        heard = [
            *self.calls.bodies(),
            *loop.bodies(),
            (Optimizer.__init__, updates.made),
            (GradScaler.scale, updates.scaled),
            (LRScheduler.step, updates.scheduled),
            (AveragedModel.update_parameters, updates.averaged),
        ]
        around = [
            (torch.autograd.backward, updates.backward),
            (_inner(clip_grad_norm_), updates.clip),
            (_inner(clip_grad_value_), updates.clip),
            (nn.Module.train, loop.train),
        ]
        return [(function, self._listening(saw)) for function, saw in heard] + around

    def _listening(self, saw: Callable[[tuple[Any, ...], Any], None]) -> Around:
        inside = self._inside

        def around(original: Caller, arguments: tuple[Any, ...]) -> Any:
            if getattr(inside, "deep", False):
                return original(*arguments)
            inside.deep = True
            try:
                out = original(*arguments)
            finally:
                inside.deep = False
            self._safely(saw, arguments, out)
            return out

        return around

    def _guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            self._safely(hook, *arguments)

        return run

    def _safely(self, do: Callable[..., Any], *arguments: Any) -> None:
        """Run something of our own; what fails there must not reach the script."""
        try:
            do(*arguments)
        except Exception as error:
            line = f"{getattr(do, '__name__', do)}: {type(error).__name__}: {error}"
            if line not in self.troubles and len(self.troubles) < 64:
                self.troubles.append(line)

    def _watch_state_dicts(self) -> None:
        original, loop = nn.Module.state_dict, self.loop
        depth = local()

        @wraps(original)
        def state_dict(module: nn.Module, *args: Any, **named: Any) -> Any:
            outer = not getattr(depth, "deep", False)
            depth.deep = True
            try:
                state = original(module, *args, **named)
            finally:
                depth.deep = not outer
            if outer:
                self._safely(loop.taken, state)
            return state

        nn.Module.state_dict = state_dict  # type: ignore[method-assign, assignment]

        def restore() -> None:
            if nn.Module.state_dict is state_dict:
                nn.Module.state_dict = original  # type: ignore[method-assign]

        self._undo.append(restore)

    def _steps(self) -> int:
        return sum(ledger.steps for ledger in self.updates.ledgers)

    def _stepped(self, steps: int) -> None:
        self.calls.stepped()
        if self.limit is not None and steps >= self.limit:
            self.ended_early = True
            self.stop()

    @property
    def losses(self) -> list[LossEvent]:
        """Return every call of a loss; read what waits on the device."""
        self.reads.settle()
        return self.calls.events()

    def marked(self, losses: Tensor, mask: Tensor | None) -> None:
        """Record losses that a line of the user's marks."""
        self._safely(self.calls.marked, losses, mask)

    def findings(self) -> list[Finding]:
        """Return what is wrong, or worth knowing, each mistake of each place once."""
        self.reads.settle()
        ended = self not in _ACTIVE and not self.ended_early and not self.failed
        every = [
            *of_updates(self.updates, ended=ended),
            *of_losses(self.calls),
            *of_loop(self.calls, self.loop, self.updates),
        ]
        return once(every)

    def right(self) -> list[str]:
        """Return a sentence for all that was seen to be right."""
        return right_of(self.updates, self.findings())

    def not_followed(self) -> list[str]:
        """Return a sentence for all that could not be followed."""
        self.reads.settle()
        return missed_by(self.calls, self.updates, self.troubles)

    @property
    def steps(self) -> list[StepEvent]:
        """Return every optimiser step, in order."""
        self.reads.settle()
        return steps_of(self.updates.ledgers)


def active() -> tuple[Watcher, ...]:
    """Return the watchers at work in this process: one, or none."""
    return tuple(_ACTIVE)


def _inner(function: Any) -> FunctionType:
    inner: FunctionType = getattr(function, "__wrapped__", function)
    return inner


@cache
def _turn_off_in_children() -> None:
    """Watch nothing in a process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_stop_all)


def _stop_all() -> None:
    for watcher in active():
        with suppress(Exception):
            watcher.stop()
