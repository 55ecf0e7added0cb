"""Backward passes and optimiser steps: which losses are in which gradient when it is followed."""

from collections import Counter
from collections.abc import Callable, Sequence
from gc import get_objects
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from batchproof.ranks import in_shards
from batchproof.watch._bodies import Caller
from batchproof.watch._ledger import Ledger, Loss, Scaler, StepRecord
from batchproof.watch._losses import Arrival
from batchproof.watch._place import user_site
from batchproof.watch._reads import Reads

# a loop inside the forward pass may make very many losses at one place
TERMS = 32


class Updates:
    """Every backward pass and every optimiser step.

    Args:
        clock: returns the next number of the order of events.
        reads: the numbers that wait to be read.

    Attributes:
        ledgers: the optimisers, each with what is in its gradient.
        living: those of optimisers that still exist.
        unfollowed: "file:line" of backward passes in which no known loss took part, with counts.
        backwards: number of backward passes so far.
        at_step: called after every step with the number of steps of its optimiser.
        closed: called with every step; first: with its ledger, at the first step.
        begins: called with what a backward pass begins at.
    """

    def __init__(self, clock: Callable[[], int], reads: Reads) -> None:
        self.clock, self.reads = clock, reads
        self.ledgers: list[Ledger] = []
        self.living: list[Ledger] = []
        self.unfollowed: dict[str, int] = {}
        self.backwards = 0
        self.at_step: Callable[[int], None] = _nobody
        self.closed: Callable[[StepRecord], None] = _nobody
        self.first: Callable[[Ledger], None] = _nobody
        self.begins: Callable[[Any], None] = _nobody
        self._depth = 0
        self._arrivals: list[tuple[Loss, Arrival]] = []
        self._scaler: Scaler | None = None
        self._by_optimizer: dict[int, Ledger] = {}
        self._closure: dict[int, bool] = {}
        self._inner_steps: list[Ledger] = []

    def find_optimizers(self) -> None:
        """Add the optimisers that were made before the run was watched."""
        for thing in get_objects():
            # by type, for a class of the user's may answer isinstance as it likes
            if issubclass(type(thing), Optimizer) and "param_groups" in vars(thing):
                self.know(thing, whole=True)

    def know(self, optimizer: Optimizer, *, whole: bool) -> Ledger:
        """Return the ledger of an optimiser, a new one where it has none."""
        ledger = self.ledger_of(optimizer)
        if ledger is None:
            kind = type(optimizer).__name__
            same = sum(other.name.split()[0] == kind for other in self.ledgers)
            name = f"{kind} {same + 1}" if same else kind
            ledger = Ledger(optimizer, name, self.reads, whole=whole or not self.backwards)
            self.ledgers.append(ledger)
            self.living.append(ledger)
            self._by_optimizer[id(optimizer)] = ledger
        return ledger

    def ledger_of(self, optimizer: Optimizer | None) -> Ledger | None:
        """Return the ledger of an optimiser that is known, or None."""
        ledger = self._by_optimizer.get(id(optimizer))
        return ledger if ledger is not None and ledger.optimizer is optimizer else None

    def in_backward(self) -> bool:
        """Return whether a backward pass is running."""
        return self._depth > 0

    def arrived(self, loss: Loss, arrival: Arrival) -> None:
        """Record the gradient that arrived at a loss; that of autograd.grad enters no gradient."""
        if self._depth:
            self._arrivals.append((loss, arrival))

    def scaled(self, scaler: Scaler) -> None:
        """Record that a gradient arrived at a loss that a scaler multiplied."""
        if self._depth:
            self._scaler = scaler

    def backward(self, original: Caller, arguments: tuple[Any, ...]) -> Any:
        """Run a backward pass, and record its losses with every optimiser that they reach."""
        if self._depth:
            return original(*arguments)
        self._arrivals, self._scaler, self._inner_steps = [], None, []
        self.living = [ledger for ledger in self.living if ledger.optimizer is not None]
        self._each(Ledger.begin)
        self.begins(arguments[0])
        self._depth += 1
        try:
            return original(*arguments)
        finally:
            self._depth -= 1
            self.backwards += 1
            self._close()

    def _each(self, do: Callable[[Ledger], None]) -> None:
        for ledger in self.living:
            do(ledger)

    def _close(self) -> None:
        arrivals = numbered(self._arrivals)
        if not arrivals:
            site = user_site()
            self.unfollowed[site] = self.unfollowed.get(site, 0) + 1
        # those that stepped inside the pass have taken its losses already
        took = [
            ledger in self._inner_steps or ledger.end(arrivals, self.backwards, self._scaler)
            for ledger in self.living
        ]
        if arrivals and not any(took):
            for ledger in self.living:
                if any(map(in_shards, ledger.parameters())):
                    ledger.hold(arrivals, self.backwards, self._scaler)
        self._arrivals = []

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Close the window of an optimiser that is about to step."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self._closure[id(optimizer)] = callable(closure)
        if callable(closure):
            self.know(optimizer, whole=False)
        else:
            self._step(optimizer, closure=False)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """Close the window of an optimiser that computed its gradient inside its step."""
        if self._closure.pop(id(optimizer), False):
            self._step(optimizer, closure=True)
        ledger = self.ledger_of(optimizer)
        if ledger is not None:
            self.at_step(ledger.steps)

    def _step(self, optimizer: Optimizer, *, closure: bool) -> None:
        ledger = self.know(optimizer, whole=False)
        if self._depth:
            # a step inside the backward pass, parameter by parameter
            ledger.end(numbered(self._arrivals), self.backwards + 1, self._scaler)
            self._inner_steps.append(ledger)
        scale = getattr(optimizer, "grad_scale", None)
        record = ledger.step(self.clock(), user_site(), closure=closure, scale=None)
        if isinstance(scale, Tensor):
            self.reads.into(scale.detach().clone(), record, "scale")
        self.closed(record)
        if ledger.steps == 1:
            self.first(ledger)

    def made(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        """Add an optimiser as soon as it is made."""
        if hasattr(arguments[0], "param_groups"):
            self.know(arguments[0], whole=True)

    def settle(self) -> None:
        """Update every ledger since the last event."""
        self._each(Ledger.settle_changes)


def numbered(arrivals: Sequence[tuple[Loss, Arrival]]) -> list[tuple[Loss, int, Arrival]]:
    """Return each loss of one backward pass with its number among those of its term.

    Losses of one line are several terms, unless each is of a batch of its own that one pass over a
    loader read: then they are micro-batches of one term.
    """
    if len(arrivals) == 1:
        return [(arrivals[0][0], 0, arrivals[0][1])]
    in_order = sorted(arrivals, key=lambda pair: pair[0].index)
    passes: dict[int, set[int]] = {}
    for loss, _ in in_order:
        passes.setdefault(loss.term, set()).add(loss.batch[0])
    counts: Counter[tuple[int, int]] = Counter()
    numbers: list[tuple[Loss, int, Arrival]] = []
    for loss, arrival in in_order:
        one_pass = len(passes[loss.term]) == 1
        key = (loss.term, loss.batch[1] if one_pass else -1)
        ordinal = counts[key]
        counts[key] += 1
        if ordinal < TERMS:
            numbers.append((loss, ordinal, arrival))
    return numbers


def _nobody(*_: Any) -> None:
    return None
