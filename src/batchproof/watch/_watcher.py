"""The watcher of a run: it installs listeners in torch, collects events, and cleans up."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import cache, partial
from itertools import count
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.optim.swa_utils import AveragedModel

from batchproof._errors import SettingError
from batchproof.watch._across import Ranks
from batchproof.watch._between import Between
from batchproof.watch._calls import Calls
from batchproof.watch._events import Finding, LossEvent, StepEvent
from batchproof.watch._findings import of_loop, of_losses, of_updates, once
from batchproof.watch._loaders import Loaders
from batchproof.watch._loop import Loop
from batchproof.watch._patches import Patches
from batchproof.watch._reads import Reads
from batchproof.watch._right import missed_by, right_of
from batchproof.watch._surrogates import begins
from batchproof.watch._updates import Updates
from batchproof.watch._windows import steps_of


@runtime_checkable
class Observer(Protocol):
    """An observer beside the watcher of losses: of the numbers that reach a person."""

    def start(self, watcher: "Watcher") -> None:
        """Start watching."""

    def stop(self) -> None:
        """Remove what start installed."""

    def leave(self) -> Any:
        """Return the records of this rank that rank 0 needs, as plain values."""

    def receive(self, records: Any) -> None:
        """Take the records of another rank, on rank 0."""


_ACTIVE: list["Watcher"] = []


class Watcher:
    """The records of a watched run.

    Args:
        steps: stop after so many steps of an optimiser; None to watch to the end.

    Attributes:
        clock: returns the next number of the order of events.
        ended_early: whether watching stopped before the run did.
        has_failed: whether the run was ended by an error.
        elsewhere: what the other ranks saw of their losses and loops, on rank 0.
    """

    def __init__(self, *, steps: int | None = None) -> None:
        self.reads = Reads()
        self.clock = count().__next__
        self.loaders = Loaders(self.clock)
        self.calls = Calls(self.clock, self.reads, self.loaders.latest)
        self.updates = Updates(self.clock, self.reads)
        self.between = Between(self.updates)
        self.ranks = Ranks()
        self.loop = Loop(self.calls, self._steps)
        self.limit = steps
        self._watched = ExitStack()
        self.ended_early = False
        self.has_failed = False
        self.elsewhere: list[Finding] = []
        self._observers: list[Observer] = []
        self.patches = Patches()
        self.calls.arrived = self.updates.arrived
        self.calls.in_backward = self.updates.in_backward
        self.updates.at_step = self._stepped
        self.updates.closed = self.between.closed
        self.updates.first = self.ranks.note
        self.updates.begins = self.patches.guarded(partial(begins, self.calls))

    def attach(self, observer: Observer) -> None:
        """Start an observer with the run, and stop it with the run."""
        self._observers.append(observer)

    def start(self) -> None:
        """Install every listener.

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
        try:
            self.updates.find_optimizers()
            self._put_in_place()
            self._watched.enter_context(self.loaders.watched())
            for observer in self._observers:
                observer.start(self)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove every listener, and restore torch."""
        if self not in _ACTIVE:
            return
        _ACTIVE.remove(self)
        for observer in self._observers:
            observer.stop()
        self._watched.close()
        self.patches.remove()
        self.patches.safely(self.updates.settle)
        if not self.has_failed:
            self._exchange()

    def _exchange(self) -> None:
        self.patches.safely(self.reads.settle)
        self.patches.safely(_exchange, self, self._observers)

    def _put_in_place(self) -> None:
        updates, between, patches = self.updates, self.between, self.patches
        listeners = [
            *self.calls.bodies(),
            *self.loop.bodies(),
            (Optimizer.__init__, updates.made),
            (GradScaler.scale, between.scaled),
            (LRScheduler.step, between.scheduled),
            (AveragedModel.update_parameters, between.averaged),
        ]
        for function, saw in listeners:
            patches.listen(function, saw)
        patches.replace(torch.autograd.backward, updates.backward)
        for clipping in (clip_grad_norm_, clip_grads_with_norm_, clip_grad_value_):
            patches.replace(clipping, between.clip)
        patches.replace(nn.Module.train, self.loop.train)
        # after it the ranks cannot reach each other
        patches.call_before(torch.distributed.destroy_process_group, self._exchange)
        patches.listen_to_state_dicts(self.loop.taken)
        patches.listen_to_rows(self.calls.by_hand)
        before, after = patches.guarded(updates.before_step), patches.guarded(updates.after_step)
        patches.undo += [
            register_optimizer_step_pre_hook(before).remove,
            register_optimizer_step_post_hook(after).remove,
        ]

    def _steps(self, parameter: Tensor) -> int:
        """Return the steps of the optimiser of a parameter; of all, where none has it."""
        place = parameter.data_ptr()
        for ledger in self.updates.living:
            if any(other.data_ptr() == place for other in ledger.parameters()):
                return ledger.steps
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
        """Record losses that a line of the user's code marks."""
        self.patches.safely(self.calls.marked, losses, mask)

    def findings(self) -> list[Finding]:
        """Return the mistakes and notes, each mistake of each place once."""
        self.reads.settle()
        complete = self not in _ACTIVE and not self.ended_early and not self.has_failed
        every = [
            *of_updates(self.updates, self.between, complete=complete),
            *of_losses(self.calls),
            *of_loop(self.calls, self.loop, self.updates),
            *self.elsewhere,
        ]
        return once(every)

    def right(self) -> list[str]:
        """Return a sentence for all that was seen to be right."""
        return right_of(self.updates, self.findings())

    def not_followed(self) -> list[str]:
        """Return a sentence for all that could not be followed."""
        self.reads.settle()
        missed = missed_by(self.calls, self.updates, self.ranks, self.patches.troubles)
        if self.ended_early:
            missed.insert(
                0, f"Watching stopped after step {self.limit}; what came later was not seen."
            )
        return missed

    @property
    def steps(self) -> list[StepEvent]:
        """Return every optimiser step, in order."""
        self.reads.settle()
        return steps_of(self.updates.ledgers)


def _exchange(watcher: Watcher, observers: Sequence[Observer]) -> None:
    """Send the records of this rank to rank 0, and take there those of the others."""

    def own() -> dict[str, Any]:
        findings = [
            *of_losses(watcher.calls),
            *of_loop(watcher.calls, watcher.loop, watcher.updates),
        ]
        values = [observer.leave() for observer in observers]
        return {"findings": [asdict(finding) for finding in findings], "observed": values}

    for records in watcher.ranks.exchange(watcher.updates.ledgers, own):
        watcher.elsewhere += [Finding(**finding) for finding in records["findings"]]
        for observer, values in zip(observers, records["observed"], strict=True):
            observer.receive(values)


def active() -> tuple[Watcher, ...]:
    """Return the watchers at work in this process: one, or none."""
    return tuple(_ACTIVE)


@cache
def _turn_off_in_children() -> None:
    """Watch nothing in a process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_stop_all)


def _stop_all() -> None:
    for watcher in active():
        with suppress(Exception):
            watcher.stop()
