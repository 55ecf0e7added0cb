"""The life of a run: epochs of optimiser steps, a validation after each, and the reasons to stop.

What a step changes is in State, and all of it is in a checkpoint, so a resumed run writes what a
run that was never stopped writes.
"""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch

from batchproof._errors import DataError, NonFiniteError, RunInterruptedError
from batchproof._trees import first_nonfinite
from batchproof.ranks import of_all
from batchproof.runs import BEST, LAST, History, Record
from batchproof.step import StepResult
from batchproof.train._batches import placed, windows_from
from batchproof.train._checkpoints._folder import Checkpoints
from batchproof.train._options import Options
from batchproof.train._outputs._callback import Outputs
from batchproof.train._pass_means import PADDING, setting
from batchproof.train._signals import Signals
from batchproof.train._state import State
from batchproof.train._validation import LeftError, Validator

Windows = Iterator[list[Any]]


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of training: the first that is reached.

    Attributes:
        max_epochs: epochs to train in all, or None.
        max_steps: optimiser steps to take in all, or None.
        max_time: how long to train this time, or None.
    """

    max_epochs: int | None
    max_steps: int | None
    max_time: timedelta | None = None

    def reached(self, epoch: int, step: int) -> bool:
        """Return whether training ends after these numbers of epochs and steps."""
        ends = ((self.max_epochs, epoch), (self.max_steps, step))
        return any(end is not None and count >= end for end, count in ends)


@dataclass(slots=True)
class Loop:
    """One run of training, from its first windows to its end.

    Attributes:
        state: what changes from step to step.
        options: of the trainer.
        ends: where training ends.
        device: where batches are moved to.
        outputs: notified of the run.
        checkpoints: where its states are kept.
        signals: SIGINT, SIGTERM and requests to stop, looked at between steps.
        history: what was measured so far.
        validator: measures the validation data.
        first: the windows of the epoch under way, which are drawn already; None to begin one.
    """

    state: State
    options: Options
    ends: Ends
    device: torch.device
    outputs: Outputs
    checkpoints: Checkpoints
    signals: Signals
    history: History
    validator: Validator
    first: Windows | None = None

    def run(self) -> History:
        """Train to the end.

        Raises:
            DataError: if the training data give no batch.
        """
        state = self.state
        self.outputs.on_begin(state.parts.model, self.history)
        # a run that was left between the last step of an epoch and its end closes that epoch
        closes = self._takes_no_step() and _is_open(state, self.ends.max_epochs)
        while closes or not (reason := self._reason_to_stop()):
            closes = False
            windows = self.first or self.windows(state.train.begin(state.position.epoch))
            self.first = None
            try:
                self._epoch(windows)
            except LeftError as error:
                self._interrupt(error.number, error.states)
        self.history.stopped = reason
        self.outputs.on_end(self.history)
        return self.history

    def _takes_no_step(self) -> bool:
        """Return whether the epoch under way takes no further step, however long it is."""
        ends_here = self.state.position.step == self.ends.max_steps
        return ends_here or bool(self.signals.stop) or self.state.best.exhausted

    def _reason_to_stop(self) -> str:
        ends, position, best = self.ends, self.state.position, self.state.best
        if ends.max_steps is not None and position.step >= ends.max_steps:
            return f"max_steps reached ({ends.max_steps})"
        if ends.max_epochs is not None and position.epoch >= ends.max_epochs:
            return f"max_epochs reached ({ends.max_epochs})"
        if best.exhausted:
            name, waits = self.options.stopping.monitor, best.waits
            if self.options.validation.validate_every_steps is None:
                return f"no better {name} for {waits} epochs (best in epoch {best.epoch})"
            return f"no better {name} for {waits} validations (best after step {best.step})"
        self.signals.agree_to_stop(self.outputs.stop)
        return self.signals.stop

    def windows(self, batches: Iterator[Any], start: int = 0) -> Windows:
        """Return the windows of an epoch from the batch numbered start on."""
        steps = self.options.steps
        stream = windows_from(
            self.state.train,
            batches,
            steps.accumulate,
            tokens=steps.tokens,
            pack=steps.pack,
            group=self.options.group,
            start=start,
        )
        return iter(placed(stream, self.device))

    def _epoch(self, windows: Windows) -> None:
        state, clock = self.state, time.perf_counter
        position, step, loss = state.position, state.parts.step, state.parts.loss
        self.outputs.on_epoch_begin(position.epoch + 1, self.ends.max_epochs, state.train.batches)
        began, resumes = clock(), position.batch > 0
        first_step, skips_before = position.step, step.skipped
        data_seconds = step_seconds = 0.0
        # a run that was left within a validation makes it again
        validation_seconds = self._validate_within() if resumes else 0.0
        over = resumes and self._takes_no_step()
        request = clock()
        for window in () if over else windows:
            arrival = clock()
            self.outputs.on_window(position, window)
            try:
                result = step(window, loss)
            except NonFiniteError as error:
                raise NonFiniteError(f"{error}{_blame(window)}") from None
            except DataError as error:
                raise DataError(f"in step {position.step + 1}, {error}") from None
            state.add(result, window)
            self._after_step(result)
            data_seconds += arrival - request
            step_seconds += clock() - arrival
            validation_seconds += self._validate_within()
            self._between_steps()
            request = clock()
            if over := self._takes_no_step():
                break
        if not position.batch:
            raise DataError(
                f"the training loader gave no batch in epoch {position.epoch + 1}; expected an "
                "iterable that restarts each epoch, such as a list or a DataLoader."
            )
        if 0 < position.step - first_step == step.skipped - skips_before:
            notify(self, _without_a_step(position.epoch + 1, self.options.steps.nonfinite))
        times = {
            "data_seconds": data_seconds,
            "step_seconds": step_seconds,
            "validation_seconds": validation_seconds,
        }
        complete = not over or _is_last(position.batch, state.train.batches, self.options.group)
        if complete and state.closing_step == position.step:
            self._complete_epoch()
            return
        # of an epoch that was resumed, only the seconds since then are known
        self._end_epoch(began, times, complete=complete, with_rates=not resumes)

    def _after_step(self, result: StepResult) -> None:
        parts, position = self.state.parts, self.state.position
        parts.average.update()
        self._notify_of_splits()
        if position.step % self.options.reporting.log_every == 0:
            parts.step.check()
            records = self.state.recent_records()
            norm = setting("grad_norm", float(result.grad_norm), position, "steps")
            self._record([*records, norm])
        parts.schedule.after_step()
        self.outputs.on_step(position, result)

    def _validate_within(self) -> float:
        """Validate within an epoch, where it is time to; return the seconds that it took."""
        if not self.validator.is_due():
            return 0.0
        began = time.perf_counter()
        self.state.parts.step.check()
        records = self.validator.measure()
        best = self.validator.judge(records)
        self._record(records)
        self._save(best, after_validation=True)
        return time.perf_counter() - began

    def _between_steps(self) -> None:
        saving, step = self.options.saving, self.state.position.step
        if saving.keep_every_steps is not None and step % saving.keep_every_steps == 0:
            self._keep(None)
        if saving.checkpoint_every_steps is not None and step % saving.checkpoint_every_steps == 0:
            self.state.parts.step.check()
            self._save()
        if (number := self.signals.ask(self.outputs.stop)) is not None:
            self._interrupt(number)

    def _notify_of_splits(self) -> None:
        """Notify the user of micro-batches that did not fit in this step, and log them."""
        step, log = self.state.parts.step, self.checkpoints.log
        for split in step.memory.splits:
            if split.step == step.steps:
                notify(self, str(split))
                if log is not None:
                    log.on_times({"split in step": split.step, **split.to_json()})

    def _complete_epoch(self) -> None:
        """Count an epoch that was ended early, and recorded, at what turns out to be its end."""
        state, at = self.state, self.state.position
        records = [r for r in self.history.records if r.step == at.step and r.span == "epoch"]
        if self.options.validation.validate_every_steps is None:
            if state.after_validation is not None:
                state.generators.restore(state.after_validation)
        else:
            records = [record for record in records if record.name.startswith("train_")]
        self.validator.judge(records, complete=True)
        state.close_epoch(complete=True)
        self._save()

    def _end_epoch(
        self, began: float, times: dict[str, float], *, complete: bool, with_rates: bool
    ) -> None:
        state, clock = self.state, time.perf_counter
        state.parts.step.check()
        records = state.epoch_records()
        validating = clock()
        over = not complete or bool(self.signals.stop)
        over = over or self.ends.reached(state.position.epoch + 1, state.position.step)
        if self.validator.is_due(epoch_ends=True, training_ends=over):
            records += self.validator.measure(is_extra=self.validator.is_extra(complete=complete))
        saving = clock()
        best = self.validator.judge(records, complete=complete)
        state.close_epoch(complete=complete)
        self._record(records)
        self.outputs.on_epoch(state.position, self.history)
        self._save(best, after_validation=True)
        at = {"step": records[0].step, "epoch": records[0].epoch} if records else {}
        seconds = times["data_seconds"] + times["step_seconds"]
        parts = {
            **times,
            **(_throughput(records, seconds) if with_rates else {}),
            "validation_seconds": times["validation_seconds"] + saving - validating,
            "checkpoint_seconds": clock() - saving,
        }
        self.outputs.on_times({**at, "seconds": clock() - began, **parts})

    def _record(self, records: Sequence[Record]) -> None:
        self.history.records += records
        self.outputs.on_records(records)

    def _save(self, best: Record | None = None, *, after_validation: bool = False) -> None:
        """Save the state, and the weights to evaluate where they are among the best so far."""
        state, names = self.state, [LAST]
        if best is not None:
            self.checkpoints.save_best(state.parts.weights_to_evaluate(), best)
            names = [BEST, LAST]
        if after_validation and self.options.saving.keep_best:
            self._keep(self.history.best_of(self.options.saving.keep_best))
        self.checkpoints.save_last(state.checkpoint())
        if (run_dir := self.checkpoints.run_dir) is not None:
            for name in names:
                self.outputs.on_checkpoint(state.position, run_dir / name)

    def _keep(self, best: Sequence[Record] | None) -> None:
        """Keep the present weights, of several best ones if they are among them, and no others."""
        position, every = self.state.position, self.options.saving.keep_every_steps
        steps = [position.step] if best is None else [record.step for record in best]
        if position.step in steps:
            weights = self.state.parts.weights_to_evaluate()
            record = next((r for r in best or () if r.step == position.step), None)
            folder = self.checkpoints.keep(position.step, weights, record)
            self.outputs.on_checkpoint(position, folder)
        if best is not None:
            self.checkpoints.drop_kept(lambda at: at not in steps and (not every or at % every))

    def _interrupt(self, number: int, states: Mapping[str, Any] | None = None) -> NoReturn:
        run_dir = self.checkpoints.run_dir
        self.checkpoints.save_last(self.state.checkpoint(states))
        at = f"interrupted by {signal.Signals(number).name} after step {self.state.position.step}"
        if run_dir is None:
            raise RunInterruptedError(f"{at}; nothing was saved, for no run_dir was given.", number)
        raise RunInterruptedError(f"{at}; saved in {run_dir}; resume with resume=True.", number)


def notify(loop: Loop, text: str) -> None:
    """Notify the user of something that the history keeps as well."""
    loop.history.notices.append(text)
    loop.outputs.on_notice(text)


def _without_a_step(epoch: int, nonfinite: str) -> str:
    finite = " and was finite" if nonfinite == "skip" else ""
    return (
        f"epoch {epoch}: no step was taken, because nothing in any window counted{finite}. "
        "Look for labels that are all ignored, or a mask that keeps nothing."
    )


def _is_open(state: State, max_epochs: int | None) -> bool:
    """Return whether an epoch within the end is under way, and was not closed at its last step."""
    at = state.position
    within = max_epochs is None or at.epoch < max_epochs
    return within and at.batch > 0 and state.closing_step not in (None, at.step)


def _is_last(batch: int, length: int | None, group: Any) -> bool:
    """Return whether an epoch is over after these batches; every rank calls it at once."""
    # ranks may draw unequal numbers of batches; an epoch is over when the longest is
    lengths = of_all(length, group)
    numbers = [each for each in lengths if each is not None]
    return len(numbers) == len(lengths) and batch == max(numbers)


def _throughput(records: Sequence[Record], seconds: float) -> dict[str, float]:
    """Return the positions per second of an epoch whose windows were cut by plan."""
    positions = [record.weight for record in records if record.name == f"train_{PADDING}"]
    return {"positions_per_second": sum(positions) / seconds} if positions and seconds else {}


def _blame(window: Sequence[Any]) -> str:
    """Return a sentence that names the sample to blame, if the input itself is not finite."""
    for index, batch in enumerate(window, 1):
        nonfinite = first_nonfinite(batch)
        if nonfinite is not None:
            return f" In micro-batch {index}, sample {nonfinite[0]} (from 0) holds NaN or infinity."
    return ""
