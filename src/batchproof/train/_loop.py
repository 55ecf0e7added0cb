"""The life of a run: epochs of optimiser steps, a validation after each, and the reasons to stop.

What a step changes is in State, and all of it is in a checkpoint, so a resumed run writes what a
run that was never stopped writes.
"""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from batchproof._errors import DataError, NonFiniteError, RunInterruptedError, SettingError
from batchproof._random import capture
from batchproof._trees import first_nonfinite
from batchproof.ranks import is_sharded, of_all
from batchproof.runs import History, Record
from batchproof.step import StepResult
from batchproof.train._batches import placed, windows_from
from batchproof.train._checkpoints._folder import Checkpoints
from batchproof.train._evaluate import measure
from batchproof.train._options import Options
from batchproof.train._outputs._callback import Outputs
from batchproof.train._pass_means import PADDING, PassMeans, setting
from batchproof.train._signals import Signals
from batchproof.train._state import State

Windows = Iterator[list[Any]]


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of training: the first that is reached.

    Attributes:
        max_epochs: epochs to train in all, or None.
        max_steps: optimiser steps to take in all, or None.
    """

    max_epochs: int | None
    max_steps: int | None


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
        signals: SIGINT and SIGTERM, looked at between steps.
        history: what was measured so far.
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
    first: Windows | None = None

    def run(self) -> History:
        """Train to the end.

        Raises:
            DataError: if the training data give no batch.
        """
        state = self.state
        self.outputs.on_begin(state.parts.model, self.history)
        while not (reason := self._reason_to_stop()):
            drawn = self.first or self.windows(state.train.begin(state.position.epoch))
            self.first = None
            self._epoch(drawn)
        self.history.stopped = reason
        self.outputs.on_end(self.history)
        return self.history

    def _reason_to_stop(self) -> str:
        ends, position, best = self.ends, self.state.position, self.state.best
        if ends.max_steps is not None and position.step >= ends.max_steps:
            return f"max_steps reached ({ends.max_steps})"
        if ends.max_epochs is not None and position.epoch >= ends.max_epochs:
            return f"max_epochs reached ({ends.max_epochs})"
        if best.exhausted:
            monitor = self.options.stopping.monitor
            return f"no better {monitor} for {best.waited} epochs (best in epoch {best.epoch})"
        return ""

    def windows(self, batches: Iterator[Any], start: int = 0) -> Windows:
        """Return the windows of an epoch, of whose batches so many are done."""
        steps = self.options.steps
        drawn = windows_from(
            self.state.train,
            batches,
            steps.accumulate,
            tokens=steps.tokens,
            pack=steps.pack,
            group=self.options.group,
            start=start,
        )
        return iter(placed(drawn, self.device))

    def _epoch(self, drawn: Windows) -> None:
        state, most, clock = self.state, self.ends.max_steps, time.perf_counter
        position, step, loss = state.position, state.parts.step, state.parts.loss
        self.outputs.on_epoch_begin(position.epoch + 1, self.ends.max_epochs, state.train.batches)
        began = asked = clock()
        waited = stepped = 0.0
        complete, resumed = True, position.batch > 0
        for window in drawn:
            got = clock()
            try:
                result = step(window, loss)
            except NonFiniteError as error:
                raise NonFiniteError(f"{error}{_blame(window)}") from None
            except DataError as error:
                raise DataError(f"in step {position.step + 1}, {error}") from None
            state.add(result, window)
            self._after_step(result)
            waited, stepped, asked = waited + got - asked, stepped + clock() - got, clock()
            if position.step == most:
                complete = self._is_last(position.batch)
                break
        if not position.batch:
            raise DataError(
                f"the training loader gave no batch in epoch {position.epoch + 1}; expected an "
                "iterable that restarts each epoch, such as a list or a DataLoader."
            )
        times = {"data_seconds": waited, "step_seconds": stepped}
        # of an epoch that was resumed, only the seconds since then are known
        self._end_epoch(began, times, complete=complete, timed=not resumed)

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
        every = self.options.saving.checkpoint_every_steps
        if every is not None and position.step % every == 0:
            parts.step.check()
            self.checkpoints.save_last(self.state.checkpoint())
        if (number := self.signals.heeded()) is not None:
            self._interrupt(number)

    def _notify_of_splits(self) -> None:
        """Notify the user of micro-batches that did not fit in this step, and log them."""
        step, log = self.state.parts.step, self.checkpoints.log
        for split in step.memory.splits:
            if split.step == step.steps:
                self.history.notices.append(str(split))
                self.outputs.on_notice(str(split))
                if log is not None:
                    log.on_times({"split in step": split.step, **split.to_json()})

    def _is_last(self, batch: int) -> bool:
        """Return whether an epoch of so many batches is complete; every rank calls it at once."""
        # ranks may draw unequal numbers of batches; an epoch is over when the longest is
        lengths = of_all(self.state.train.batches, self.options.group)
        known = [length for length in lengths if length is not None]
        return len(known) == len(lengths) and batch == max(known)

    def _end_epoch(
        self, began: float, times: dict[str, float], *, complete: bool, timed: bool
    ) -> None:
        state, clock = self.state, time.perf_counter
        state.parts.step.check()
        records = state.epoch_records()
        validating = clock()
        records += self._validate()
        validated = clock()
        monitored = self._monitored(records)
        state.parts.schedule.after_epoch(None if monitored is None else monitored.value)
        improved = monitored is not None and state.best.update(monitored.value, monitored.epoch)
        if complete:
            state.next_epoch()
        self._record(records)
        if improved and monitored is not None:
            self.checkpoints.save_best(state.parts.weights_to_evaluate(), monitored)
        self.checkpoints.save_last(state.checkpoint())
        at = {"step": records[0].step, "epoch": records[0].epoch} if records else {}
        parts = {
            **times,
            **(_throughput(records, sum(times.values())) if timed else {}),
            "validation_seconds": validated - validating,
            "checkpoint_seconds": clock() - validated,
        }
        self.outputs.on_times({**at, "seconds": clock() - began, **parts})
        self.outputs.on_epoch(state.position, self.history)

    def _validate(self) -> list[Record]:
        state, signals = self.state, self.signals
        if state.val is None:
            return []
        random, together = capture(), is_sharded(state.parts.model)

        def left(counts: bool) -> bool:  # noqa: FBT001
            if counts:
                self.outputs.on_validation_batch()
            # a rank leaves by itself, unless others would wait for it in their next pass
            return (signals.heeded() if together else signals.caught) is not None

        def over() -> None:
            if (number := signals.agreed()) is not None:
                raise _LeftError(number)

        self.outputs.on_validation_begin(None if state.val.gives_windows else state.val.batches)
        signals.ask_next()
        try:
            sums = self._measured(left, over)
        except _LeftError as error:
            self._interrupt(error.number, random)
        sums.estimate()
        return state.records(sums, "val", "epoch")

    def _measured(self, left: Any, over: Any) -> PassMeans:
        state, options = self.state, self.options
        assert state.val is not None
        with state.parts.average.in_place():
            return measure(
                state.parts.model,
                state.val.begin(state.position.epoch),
                state.parts.loss,
                by=options.breakdown.by,
                groups=options.breakdown.groups,
                coefficients=options.steps.coefficients,
                metrics=options.validation.metrics,
                group=options.group,
                left=left,
                over=over,
            )

    def _monitored(self, records: Sequence[Record]) -> Record | None:
        name = self.options.stopping.monitor
        monitored = next((record for record in records if record.name == name), None)
        if monitored is None and (self.state.val is not None or not name.startswith("val_")):
            names = ", ".join(record.name for record in records if record.unit != "step")
            raise SettingError(f"monitor is {name!r} but the run measures {names}; choose one.")
        return monitored

    def _record(self, records: Sequence[Record]) -> None:
        self.history.records += records
        self.outputs.on_records(records)

    def _interrupt(self, number: int, random: Mapping[str, Any] | None = None) -> NoReturn:
        run_dir = self.checkpoints.run_dir
        self.checkpoints.save_last(self.state.checkpoint(random))
        at = f"interrupted by {signal.Signals(number).name} after step {self.state.position.step}"
        if run_dir is None:
            raise RunInterruptedError(f"{at}; nothing was saved, for no run_dir was given.", number)
        raise RunInterruptedError(f"{at}; saved in {run_dir}; resume with resume=True.", number)


def _throughput(records: Sequence[Record], seconds: float) -> dict[str, float]:
    """Return the positions a second of an epoch whose windows were cut by plan."""
    positions = [record.weight for record in records if record.name == f"train_{PADDING}"]
    return {"positions_per_second": sum(positions) / seconds} if positions and seconds else {}


class _LeftError(Exception):
    """A validation was left for a signal, on all ranks."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _blame(window: Sequence[Any]) -> str:
    """Return a sentence that names the sample to blame, if the input itself is not finite."""
    for index, batch in enumerate(window, 1):
        nonfinite = first_nonfinite(batch)
        if nonfinite is not None:
            return f" In micro-batch {index}, sample {nonfinite[0]} (from 0) holds NaN or infinity."
    return ""
