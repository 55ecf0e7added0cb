"""The training loop: windows, epochs, validation, and what is kept at the end of each.

A run is a function of its Position, its Parts, its running sums and its random generators. All of
them are in a checkpoint, so a run that goes on from one writes what the run never stopped writes.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NoReturn

import torch

from batchproof._errors import (
    DataError,
    NonFiniteError,
    RunInterruptedError,
    SettingError,
)
from batchproof.ranks import in_a_group, is_sharded, of_all, rank, world_size
from batchproof.runs import History, Record, Span
from batchproof.step import StepResult, windows
from batchproof.train._best import Best
from batchproof.train._callback import listens
from batchproof.train._evaluate import measure, nonfinite_sample
from batchproof.train._keeper import Checkpoint
from batchproof.train._parts import Parts
from batchproof.train._place import Sized, placed
from batchproof.train._position import Position
from batchproof.train._randomness import capture, restore, seed_everything
from batchproof.train._records import records_of, setting
from batchproof.train._settings import Settings
from batchproof.train._sums import Sums
from batchproof.train._surroundings import Surroundings
from batchproof.train._walk import Walk, digest

Windows = Iterator[list[Any]]


class Fit:
    """One run of training."""

    def __init__(
        self,
        parts: Parts,
        settings: Settings,
        train: Walk,
        val: Walk | None,
        around: Surroundings,
    ) -> None:
        self._parts, self._settings, self._around = parts, settings, around
        self._train, self._val = train, val
        self.position = Position()
        self._sums = Sums(coefficients=settings.coefficients)
        self._recent = Sums(coefficients=settings.coefficients)
        self._best = Best(settings.mode, patience=settings.patience, min_delta=settings.min_delta)
        self._generators: Mapping[str, Any] = {}
        self._seconds = {"data_seconds": 0.0, "step_seconds": 0.0}
        self.history = around.history
        self._after_step = self._compose()
        # ranks may draw unequal numbers of batches; an epoch is over when the longest is
        lengths = of_all(train.batches, around.group)
        self._batches = None if None in lengths else max(n for n in lengths if n is not None)

    def _compose(self) -> list[Callable[[StepResult], None]]:
        """Return what is done after each optimiser step, and nothing that has nothing to do."""
        parts, around = self._parts, self._around
        done: list[Callable[[StepResult], None]] = []
        if parts.average.kept:
            done.append(lambda _: parts.average.update())
        done.append(lambda _: around.progress.tick(self.position, self._running_means))
        done.append(self._log_when_due)
        if parts.schedule.per_step:
            done.append(lambda _: parts.schedule.after_step())
        done += [
            lambda result, tell=callback.on_step: tell(self.position, result)  # type: ignore[misc]
            for callback in around.callbacks
            if listens(callback, "on_step")
        ]
        if around.checkpoint_every_steps is not None:
            done.append(self._save_when_due)
        done.append(self._interrupt_when_asked)
        return done

    def run(self, checkpoint: Checkpoint | None = None) -> History:
        """Train to the end, from the beginning or from a checkpoint.

        Raises:
            DataError: if the training data give no batch.
        """
        first = self._begin() if checkpoint is None else self._go_on(checkpoint)
        for callback in self._around.callbacks:
            callback.on_begin(self._parts.model, self.history)
        while not (reason := self._reason_to_stop()):
            self._epoch(first or self._windows(self._train.begin(self.position.epoch), 0))
            first = None
        self.history.stopped = reason
        for callback in self._around.callbacks:
            callback.on_end(self.history)
        return self.history

    def _begin(self) -> Windows:
        checkpoint = self.checkpoint()
        self._generators = checkpoint.rest["generators"] = self._train.generators()
        drawn = self._windows(self._train.begin(0), 0)
        first = next(drawn, None)
        if first is None:
            msg = "the training loader gave no batch; expected one or more."
            raise DataError(msg)
        if first:
            # of several ranks one may have no data
            self._around.identity["first batch"] = digest(first[0])
            self._around.look(first[0])
        self._around.keeper.begin(checkpoint)
        return chain([first], drawn)

    def _go_on(self, checkpoint: Checkpoint) -> Windows | None:
        state = checkpoint.rest
        self._parts.load(checkpoint)
        self.position.load_state_dict(state["position"])
        self._sums.load_state_dict(state["sums"])
        self._recent.load_state_dict(state["recent"])
        self._best.load_state_dict(state["best"])
        self._generators = state["generators"]
        mine = self._own_of(state["ranks"])
        if not self.position.batch:
            return None
        at = self.position
        return self._windows(self._train.resume(at.epoch, at.batch, mine["walk"]), at.batch)

    def _own_of(self, ranks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what of a checkpoint is this rank's own, with its generators put back.

        Where another number of ranks made it, samples are dealt out anew: generators are drawn
        from the first rank's, apart for each rank, and an epoch that was under way begins again.
        """
        own, size = rank(self._around.group), world_size(self._around.group)
        mine = ranks[own if size == len(ranks) else 0]
        restore(mine["random"])
        self._train.restore(mine["own"])
        if size == len(ranks):
            statistics = self._parts.statistics()
            for name, value in mine["statistics"].items():
                statistics[name].copy_(value)
            return mine
        seed_everything(int(torch.randint(2**31, ())) + own)
        again = f", and epoch {self.position.epoch + 1} from its beginning"
        self._notice(
            f"{len(ranks)} ranks made the checkpoint and {size} go on: with generators drawn anew"
            f"{again if self.position.batch else ''}."
        )
        self.position.batch = 0
        self._sums.reset()
        self._recent.reset()
        return mine

    def _notice(self, text: str) -> None:
        self.history.notices.append(text)
        self._around.progress.notice(text)

    def _own(self, random: Mapping[str, Any] | None) -> dict[str, Any]:
        statistics = {} if self._around.signals.alone else self._parts.statistics()
        return {
            "statistics": {name: value.cpu() for name, value in statistics.items()},
            "random": capture() if random is None else random,
            "own": self._train.own_states(),
            "walk": self._train.state_dict(),
        }

    def checkpoint(self, random: Mapping[str, Any] | None = None) -> Checkpoint:
        """Return all that the run needs to go on, sharing tensors with it; every rank calls it.

        Args:
            random: the random generators' states, where they are not those of now.
        """
        group = self._around.group
        rest = {
            "position": self.position.state_dict(),
            "parts": self._parts.state_dict(),
            "sums": self._sums.state_dict(),
            "recent": self._recent.state_dict(),
            "best": self._best.state_dict(),
            "ranks": of_all(self._own(random), group),
            "generators": self._generators,
            "identity": self._around.identity,
        }
        return Checkpoint(self._parts.weights(), self._parts.average.state_dict(), rest)

    def _windows(self, batches: Iterator[Any], start: int) -> Windows:
        around, left = self._around, self._train.batches
        drawn = placed(batches, around.device)
        if left is not None and in_a_group(around.group):
            drawn = Sized(drawn, max(left - start, 0))
        return iter(windows(drawn, self._settings.accumulate, group=around.group))

    def _reason_to_stop(self) -> str:
        around, position = self._around, self.position
        if around.max_steps is not None and position.step >= around.max_steps:
            return f"max_steps reached ({around.max_steps})"
        if around.max_epochs is not None and position.epoch >= around.max_epochs:
            return f"max_epochs reached ({around.max_epochs})"
        if self._best.exhausted:
            monitor, waited = self._settings.monitor, self._best.waited
            return f"no better {monitor} for {waited} epochs (best in epoch {self._best.epoch})"
        return ""

    def _epoch(self, drawn: Windows) -> None:
        position, around, began = self.position, self._around, time.perf_counter()
        around.progress.begin_epoch(position.epoch + 1, around.max_epochs, self._train.batches)
        self._seconds = {"data_seconds": 0.0, "step_seconds": 0.0}
        complete = self._steps(drawn)
        if not position.batch:
            raise DataError(
                f"the training loader gave no batch in epoch {position.epoch + 1}; expected an "
                "iterable that starts anew each epoch, such as a list or a DataLoader."
            )
        self._end_epoch(began, complete=complete)

    def _steps(self, drawn: Windows) -> bool:
        """Take the epoch's steps; return whether it was drawn to its end."""
        recent, position, after_step = self._recent, self.position, self._after_step
        most, clock = self._around.max_steps, time.perf_counter
        waited = stepped = 0.0
        asked = clock()
        for window in drawn:
            got = clock()
            result = self._step(window)
            recent.add(result.terms, result.metrics)
            position.advance(getattr(window, "longest", len(window)))
            for act in after_step:
                act(result)
            waited, stepped, asked = waited + got - asked, stepped + clock() - got, clock()
            if position.step == most:
                break
        else:
            most = None
        self._seconds["data_seconds"] += waited
        self._seconds["step_seconds"] += stepped
        return most is None or position.batch == self._batches

    def _step(self, window: list[Any]) -> StepResult:
        try:
            return self._parts.step(window, self._parts.loss)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}{_blame(window)}") from None
        except DataError as error:
            raise DataError(f"in step {self.position.step + 1}, {error}") from None

    def _end_epoch(self, began: float, *, complete: bool) -> None:
        around, position, clock = self._around, self.position, time.perf_counter
        self._parts.step.check()
        self._sums.merge(self._recent)
        self._recent.reset()
        records = self._records(self._sums, "train", "epoch")
        validating = clock()
        records += self._validate()
        validated = clock()
        monitored = self._monitored(records)
        self._parts.schedule.after_epoch(None if monitored is None else monitored.value)
        improved = monitored is not None and self._best.update(monitored.value, monitored.epoch)
        if complete:
            position.next_epoch()
            self._sums.reset()
        self._keep(records)
        if improved and monitored is not None:
            around.keeper.save_best(self._parts.weights_to_evaluate(), monitored)
        around.keeper.save_last(self.checkpoint())
        seconds = clock() - began
        parts = {
            **self._seconds,
            "validation_seconds": validated - validating,
            "checkpoint_seconds": clock() - validated,
        }
        around.keeper.time({**_at(records), "seconds": seconds, **parts})
        around.progress.end_epoch([r for r in records if r.unit != "step"], seconds)
        for callback in around.callbacks:
            callback.on_epoch(position, self.history)

    def _validate(self) -> list[Record]:
        if self._val is None:
            return []
        around, random = self._around, capture()
        signals, together = around.signals, is_sharded(self._parts.model)

        def left(counts: bool) -> bool:  # noqa: FBT001
            if counts:
                around.progress.tick_validation()
            # a rank leaves by itself, unless others would wait for it in their next pass
            return (signals.heeded() if together else signals.caught) is not None

        def over() -> None:
            if (number := signals.agreed()) is not None:
                raise _LeftError(number)

        around.progress.begin_validation(self._val.batches)
        signals.ask_next()
        try:
            with self._parts.average.in_place():
                sums = measure(
                    self._parts.model,
                    self._val.begin(self.position.epoch),
                    self._parts.loss,
                    by=around.by,
                    groups=around.groups,
                    coefficients=self._settings.coefficients,
                    group=around.group,
                    left=left,
                    over=over,
                )
        except _LeftError as error:
            self._interrupt(error.number, random)
        sums.estimate()
        return self._records(sums, "val", "epoch")

    def _monitored(self, records: Sequence[Record]) -> Record | None:
        name = self._settings.monitor
        found = next((record for record in records if record.name == name), None)
        if found is None and (self._val is not None or not name.startswith("val_")):
            names = ", ".join(record.name for record in records if record.unit != "step")
            raise SettingError(f"monitor is {name!r} but the run measures {names}; choose one.")
        return found

    def _records(self, sums: Sums, prefix: str, span: Span) -> list[Record]:
        found = records_of(sums, prefix, self.position, span)
        if prefix == "train":
            rates = self._parts.learning_rates()
            names = ["lr", *(f"lr/{index}" for index in range(1, len(rates)))]
            found += [
                setting(name, rate, self.position, span)
                for name, rate in zip(names, rates, strict=False)
            ]
        return found

    def _keep(self, records: Sequence[Record]) -> None:
        self.history.records += records
        self._around.keeper.log(records)
        for callback in self._around.callbacks:
            callback.on_records(records)

    def _running_means(self) -> dict[str, float]:
        means = self._recent.means()
        return {f"train_{name}": float(mean.value()) for name, mean in means.items()}

    def _log_when_due(self, result: StepResult) -> None:
        if self.position.step % self._settings.log_every:
            return
        self._parts.step.check()
        records = self._records(self._recent, "train", "steps")
        norm = setting("grad_norm", float(result.grad_norm), self.position, "steps")
        self._sums.merge(self._recent)
        self._recent.reset()
        self._keep([*records, norm])
        self._around.progress.records(records)

    def _save_when_due(self, result: StepResult) -> None:
        del result
        if self.position.step % (self._around.checkpoint_every_steps or 1) == 0:
            self._parts.step.check()
            self._around.keeper.save_last(self.checkpoint())

    def _interrupt_when_asked(self, result: StepResult) -> None:
        del result
        if (number := self._around.signals.heeded()) is not None:
            self._interrupt(number)

    def _interrupt(self, number: int, random: Mapping[str, Any] | None = None) -> NoReturn:
        run_dir = self._around.keeper.run_dir
        self._around.keeper.save_last(self.checkpoint(random))
        at = f"interrupted by {signal.Signals(number).name} after step {self.position.step}"
        if run_dir is None:
            raise RunInterruptedError(f"{at}; nothing was saved, for no run_dir was given.", number)
        raise RunInterruptedError(f"{at}; saved in {run_dir}; go on with resume=True.", number)


class _LeftError(Exception):
    """A validation was left for a signal, on all ranks."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _blame(window: Sequence[Any]) -> str:
    """Return a sentence that names the sample to blame, if the input itself is not finite."""
    for index, batch in enumerate(window, 1):
        sample = nonfinite_sample(batch)
        if sample is not None:
            return f" In micro-batch {index}, sample {sample} (from 0) holds NaN or infinity."
    return ""


def _at(records: Sequence[Record]) -> dict[str, Any]:
    return {"step": records[0].step, "epoch": records[0].epoch} if records else {}
