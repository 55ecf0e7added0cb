"""The state of a run: everything that a checkpoint saves and a resumed run loads.

A run is a function of its position, of what is trained and by what, of the sums over the epoch so
far, of the best epoch and of its random generators.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from batchproof._random import seed_everything
from batchproof.data import Padding
from batchproof.mean import Mean
from batchproof.ranks import of_all, rank, unwrapped, world_size
from batchproof.runs import Record, Span
from batchproof.step import Step, batches_drawn
from batchproof.train._average import Average
from batchproof.train._batches import Epochs, Generators
from batchproof.train._checkpoints._checkpoint import (
    Checkpoint,
    has_state,
    laid_out_as,
    load_into,
)
from batchproof.train._loss import Loss
from batchproof.train._options import Options, Stopping
from batchproof.train._outputs._callback import load_callbacks, states_of_callbacks
from batchproof.train._pass_means import PassMeans, padding_records, records_of, setting
from batchproof.train._position import Position
from batchproof.train._schedule import Schedule


@dataclass(slots=True)
class Parts:
    """The model and what changes it.

    Attributes:
        model: what is trained.
        loss: the one function that gives a batch's Mean.
        optimizer: a torch optimiser, or an updater.
        step: takes optimiser steps.
        schedule: of the learning rate.
        average: the weights that are evaluated.
        scaler: for float16, or None.
    """

    model: nn.Module
    loss: Loss
    optimizer: Any
    step: Step
    schedule: Schedule
    average: Average
    scaler: GradScaler | None

    def weights(self) -> dict[str, Any]:
        """Return the model's state, which shares its tensors."""
        state: dict[str, Any] = unwrapped(self.model).state_dict()
        return state

    def weights_to_evaluate(self) -> dict[str, Any]:
        """Return the state that is evaluated."""
        return {**self.weights(), **self.average.weights()}

    def statistics(self) -> dict[str, Tensor]:
        """Return the buffers of the model's state, such as running means, sharing them.

        Only DistributedDataParallel makes them alike on all ranks.
        """
        names = {name for name, _ in unwrapped(self.model).named_buffers()}
        return {name: value for name, value in self.weights().items() if name in names}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all but the weights."""
        return {
            "optimizer": self.optimizer.state_dict() if has_state(self.optimizer) else None,
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "step": self.step.state_dict(),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Load the weights and states of a checkpoint."""
        average = load_into(checkpoint, self.model, self.optimizer)
        self.average.load_state_dict(average)
        state = checkpoint.rest["parts"]
        self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.step.load_state_dict(state["step"])

    def as_in_model(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Return weights as the model's load_state_dict takes them: in shards where it is."""
        return laid_out_as(self.weights(), weights)

    def learning_rates(self) -> list[float]:
        """Return the learning rate of each parameter group."""
        groups = getattr(self.optimizer, "param_groups", None) or []
        return [float(group["lr"]) for group in groups if "lr" in group]


class Best:
    """The best validation so far by one monitored mean, and how many came since.

    One is better when it beats the best by more than min_delta. Training stops once `patience`
    in a row were not better. There is one per epoch, or one every validate_every_steps; one that
    comes only because training ends is not waited through.

    Args:
        stopping: which is better, and by how much; how long to wait.

    Attributes:
        value: the best mean so far, None before the first.
        epoch: the epoch it was reached in, from 1.
        step: the optimiser step it was reached after.
        waits: validations since.
    """

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._sign = 1.0 if stopping.mode == "min" else -1.0
        self.value: float | None = None
        self.epoch = self.step = self.waits = 0

    def update(self, record: Record, *, counts: bool = True) -> bool:
        """Take a monitored mean; return whether it is the best so far.

        Args:
            record: the mean.
            counts: whether one that is not the best is waited through.
        """
        best = math.inf if self.value is None else self._sign * self.value
        again = self.value is not None and record.step == self.step
        if again or self._sign * record.value < best - self._stopping.min_delta:
            self.value, self.epoch, self.step = record.value, record.epoch, record.step
            self.waits = 0
            return True
        self.waits += counts
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        patience = self._stopping.patience
        return patience is not None and self.waits >= patience

    def state_dict(self) -> dict[str, Any]:
        """Return the attributes, for a checkpoint."""
        best = {"value": self.value, "epoch": self.epoch, "step": self.step}
        return best | {"waited": self.waits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the attributes of a checkpoint; an older one has no step."""
        self.value, self.epoch, self.waits = state["value"], state["epoch"], state["waited"]
        self.step = state.get("step", 0)


class State:
    """All that changes from step to step, and so all that a checkpoint holds.

    Args:
        parts: what is trained and by what.
        train: the training data.
        vals: the validation data by name, "" where they have none; empty without any.
        options: of the trainer.

    Attributes:
        position: epochs, steps and batches done.
        validation_step: the step after which the last validation was.
        closing_step: the step after which an epoch was last closed; None of an older checkpoint.
        after_validation: the generators after the last validation, where it restored those before.
        best: the best validation so far.
        generators: the random generators of this rank.
        fingerprint: what must be the same when the run is resumed, as plain values.
        first_generators: the generators that the first epoch was begun with.
        callbacks: those of the user, whose own states are saved as well.
    """

    def __init__(
        self, parts: Parts, train: Epochs, vals: Mapping[str, Epochs], options: Options
    ) -> None:
        self.parts, self.train, self.vals, self.group = parts, train, vals, options.group
        self.position = Position()
        self.validation_step = 0
        self.closing_step: int | None = 0
        self.after_validation: Mapping[str, Any] | None = None
        self.callbacks = options.reporting.callbacks
        self.best = Best(options.stopping)
        self.fingerprint: dict[str, Any] = {}
        self.first_generators: Mapping[str, Any] = {}
        # of the epoch up to the last record of steps, and since
        self._coefficients = options.steps.coefficients
        self._earlier = PassMeans(coefficients=self._coefficients)
        self._recent = PassMeans(coefficients=self._coefficients)
        # new parts come last: older checkpoints hold the states of the first two alone
        self.generators = Generators(train, vals, parts.loss, parts.model, parts.optimizer)
        # the same of the padding, where windows are cut by plan
        self._cut = options.steps.tokens is not None or train.gives_windows
        self._padding = {"logged": Padding(), "recent": Padding()}

    def add(self, result: Any, window: list[Any]) -> None:
        """Add a step's pairs to the sums, and count it."""
        self._recent.add(result.terms, result.metrics)
        self._padding["recent"] += getattr(window, "padding", None) or Padding()
        self.position.advance(batches_drawn(window))

    def recent_records(self) -> list[Record]:
        """Return the records of the steps since the last, which are then counted as logged."""
        records = self.records(self._recent, "train", "steps")
        records += self._padding_records(self._padding["recent"], "steps")
        self._earlier.merge(self._recent)
        self._recent.reset()
        self._padding["logged"] += self._padding["recent"]
        self._padding["recent"] = Padding()
        return records

    def epoch_records(self) -> list[Record]:
        """Return the records of the epoch so far."""
        sums = PassMeans(coefficients=self._coefficients)
        sums.merge(self._earlier)
        sums.merge(self._recent)
        padding = sum(self._padding.values(), Padding())
        return self.records(sums, "train", "epoch") + self._padding_records(padding, "epoch")

    def _padding_records(self, padding: Padding, span: Span) -> list[Record]:
        if not self._cut:
            return []
        of_ranks = of_all(padding, self.group)
        return padding_records(sum(of_ranks, Padding()), self.position, span)

    def so_far(self) -> list[Record]:
        """Return the records of the epoch up to the last record of steps."""
        return self.records(self._earlier, "train", "epoch")

    def close_epoch(self, *, complete: bool) -> None:
        """Close an epoch; count one that is complete, and begin the next."""
        self.closing_step = self.position.step
        if complete:
            self.parts.schedule.after_epoch()
            self.position.next_epoch()
            self._reset_sums()

    def _reset_sums(self) -> None:
        self._earlier.reset()
        self._recent.reset()
        self._padding = dict.fromkeys(self._padding, Padding())

    def running_means(self) -> dict[str, float]:
        """Return the means of the epoch so far, which waits for the device."""
        earlier, recent = self._earlier.means(), self._recent.means()
        pairs: dict[str, Mean] = {**earlier, **recent}
        both = {name: earlier[name] + recent[name] for name in earlier.keys() & recent.keys()}
        return {f"train_{name}": float(pair.value()) for name, pair in {**pairs, **both}.items()}

    def records(self, sums: PassMeans, prefix: str, span: Span) -> list[Record]:
        """Return the records of a pass; of one over training data, the learning rates too."""
        records = records_of(sums, prefix, self.position, span)
        rates = self.parts.learning_rates() if prefix == "train" else []
        names = ["lr", *(f"lr/{index}" for index in range(1, len(rates)))]
        rows = zip(names, rates, strict=False)
        return [*records, *(setting(name, rate, self.position, span) for name, rate in rows)]

    def changed_by_validation(self) -> dict[str, Any]:
        """Return copies of the states of every random generator and callback of this rank."""
        return {**self.generators.states(), "callbacks": states_of_callbacks(self.callbacks)}

    def checkpoint(self, states: Mapping[str, Any] | None = None) -> Checkpoint:
        """Return all that the run needs to be resumed, sharing tensors; every rank calls it.

        Args:
            states: those that a validation changes, where they are not those of now.
        """
        rest = {
            "position": asdict(self.position),
            "parts": self.parts.state_dict(),
            "sums": self._earlier.state_dict(),
            "recent": self._recent.state_dict(),
            "best": self.best.state_dict(),
            "validated": self.validation_step,
            "closed": self.closing_step,
            "ranks": of_all(self._of_this_rank(states), self.group),
            "generators": self.first_generators,
            "identity": self.fingerprint,
        }
        return Checkpoint(self.parts.weights(), self.parts.average.state_dict(), rest)

    def _of_this_rank(self, states: Mapping[str, Any] | None) -> dict[str, Any]:
        statistics = self.parts.statistics() if world_size(self.group) > 1 else {}
        return {
            "statistics": {name: value.cpu() for name, value in statistics.items()},
            **(self.changed_by_validation() if states is None else states),
            "after validation": self.after_validation,
            "fits": self.parts.step.memory.fits,
            "walk": self.train.state_dict(),
            "padding": {name: each.state_dict() for name, each in self._padding.items()},
        }

    def load(self, checkpoint: Checkpoint) -> tuple[Mapping[str, Any], list[str]]:
        """Load a checkpoint.

        Where another number of ranks made it, samples are dealt out again: each rank seeds its
        generators from rank 0's, and an epoch that was under way begins again.

        Returns:
            The generators that the epoch under way was begun with, and a sentence for the user
            about each part of the run that is not resumed exactly.
        """
        state = checkpoint.rest
        self.parts.load(checkpoint)
        for name in ("epoch", "step", "batch"):
            setattr(self.position, name, state["position"][name])
        self._earlier.load_state_dict(state["sums"])
        self._recent.load_state_dict(state["recent"])
        self.best.load_state_dict(state["best"])
        self.validation_step = state.get("validated", 0)
        self.closing_step = state.get("closed")
        self.first_generators = state["generators"]
        ranks: Sequence[Mapping[str, Any]] = state["ranks"]
        own, size = rank(self.group), world_size(self.group)
        mine = ranks[own if size == len(ranks) else 0]
        self.generators.restore(mine)
        self.after_validation = mine.get("after validation")
        names = load_callbacks(self.callbacks, mine.get("callbacks", []))
        notices = [
            f"the checkpoint has a state of {name}, but no callback of that class takes it; pass "
            "one in callbacks to resume it."
            for name in names
        ]
        self.parts.step.memory.fits = mine.get("fits")
        self._padding |= {name: Padding.of(sums) for name, sums in mine.get("padding", {}).items()}
        if size == len(ranks):
            statistics = self.parts.statistics()
            for name, value in mine["statistics"].items():
                statistics[name].copy_(value)
            return mine["walk"], notices
        return mine["walk"], [*notices, self._deal_again(len(ranks), size)]

    def _deal_again(self, before: int, now: int) -> str:
        seed_everything(int(torch.randint(2**31, ())) + rank(self.group))
        again = f", and epoch {self.position.epoch + 1} from its beginning"
        again = again if self.position.batch else ""
        self.position.batch = 0
        self._reset_sums()
        return (
            f"{before} ranks made the checkpoint and {now} resume it: with generators seeded again"
            f"{again}."
        )
