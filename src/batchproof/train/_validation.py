"""A validation of a run: the pass over each of its validation data, which a signal may leave early.

There is one after every epoch, or after every so many steps, and then one at the end of training.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from batchproof._errors import DataError, NonFiniteError, SettingError
from batchproof.ranks import is_sharded
from batchproof.runs import Record
from batchproof.train._evaluate import measure
from batchproof.train._options import Options
from batchproof.train._outputs._callback import Outputs
from batchproof.train._signals import Signals
from batchproof.train._state import State


class LeftError(Exception):
    """A validation was left for a signal, on all ranks.

    Attributes:
        number: the signal's.
        states: what the validation changes, as it was before.
    """

    def __init__(self, number: int, states: Mapping[str, Any]) -> None:
        super().__init__(number)
        self.number, self.states = number, states


@dataclass(frozen=True, slots=True)
class Validator:
    """Measures the validation data of a run.

    Attributes:
        state: of the run.
        options: of the trainer.
        outputs: notified of batches and results.
        signals: for which a validation is left.
    """

    state: State
    options: Options
    outputs: Outputs
    signals: Signals

    def is_due(self, *, epoch_ends: bool = False, training_ends: bool = False) -> bool:
        """Return whether to validate after the present step.

        Args:
            epoch_ends: whether an epoch ends with it.
            training_ends: whether training does.
        """
        every, step = self.options.validation.validate_every_steps, self.state.position.step
        if not self.state.vals or every is None:
            return bool(self.state.vals) and epoch_ends
        return self.state.validation_step != step and (step % every == 0 or training_ends)

    def is_extra(self, *, complete: bool) -> bool:
        """Return whether the present validation comes only because training ends.

        A run that does not end here goes without it, so it leaves generators as they were, and
        neither patience nor a schedule that waits for a plateau counts it.

        Args:
            complete: whether the epoch is, as far as its length is known.
        """
        every = self.options.validation.validate_every_steps
        return not complete if every is None else self.state.position.step % every != 0

    def measure(self, *, is_extra: bool = False) -> list[Record]:
        """Return the records of a validation, all ranks the same.

        Args:
            is_extra: whether it leaves the random generators as they were.

        Raises:
            LeftError: if a signal came; it has the states as they were before.
        """
        state, parts, options = self.state, self.state.parts, self.options
        states, records = state.changed_by_validation(), list[Record]()
        is_left = partial(self._is_left, together=is_sharded(parts.model))
        over = partial(self._expect_no_signal, states)
        for name, epochs in state.vals.items():
            self.outputs.on_validation_begin(None if epochs.gives_windows else epochs.batches)
            self.signals.ask_next()
            with _naming(name), parts.average.in_place():
                sums = measure(
                    parts.model,
                    epochs.begin(state.position.epoch),
                    parts.loss,
                    by=options.breakdown.by,
                    groups=options.breakdown.groups,
                    coefficients=options.steps.coefficients,
                    metrics=options.validation.metrics,
                    group=options.group,
                    stop_after=is_left,
                    over=over,
                )
                sums.estimate()
            records += state.records(sums, f"val_{name}" if name else "val", "epoch")
        state.validation_step = state.position.step
        state.after_validation = None
        if is_extra:
            state.after_validation = state.generators.states()
            state.generators.restore(states)
        self.outputs.on_validation(state.position, records)
        return records

    def judge(self, records: Sequence[Record], *, complete: bool = False) -> Record | None:
        """Return the monitored mean if it is the best so far.

        Args:
            records: of a validation, or of an epoch that is complete or ended early.
            complete: which of the two.
        """
        record = monitored_of(records, self.options.stopping.monitor)
        if record is None:
            return None
        counts = complete
        if record.name.startswith("val_"):
            counts = not self.is_extra(complete=complete)
        if counts:
            self.state.parts.schedule.after_validation(record.value)
        return record if self.state.best.update(record, counts=counts) else None

    def _is_left(self, counts: bool, *, together: bool) -> bool:  # noqa: FBT001
        if counts:
            self.outputs.on_validation_batch()
        # a rank leaves by itself, unless others would wait for it in their next pass
        return (self.signals.ask() if together else self.signals.number) is not None

    def _expect_no_signal(self, states: Mapping[str, Any]) -> None:
        if (number := self.signals.agreed()) is not None:
            raise LeftError(number, states)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the validation data in what is wrong with them."""
    try:
        yield
    except (DataError, NonFiniteError) as error:
        data = f"validation data {name}" if name else "validation data"
        raise type(error)(f"in the {data}, {error}") from None


def monitored_of(records: Sequence[Record], name: str) -> Record | None:
    """Return the record of the monitored mean; None where these records cannot hold it.

    Raises:
        SettingError: if they are of the pass that should, but nothing has the name.
    """
    result = next((record for record in records if record.name == name), None)
    pass_of = "val_" if name.startswith("val_") else "train_"
    if result is None and any(record.name.startswith(pass_of) for record in records):
        names = ", ".join(record.name for record in records if record.unit != "step")
        raise SettingError(f"monitor is {name!r} but the run measures {names}; choose one.")
    return result
