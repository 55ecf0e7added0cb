"""A validation of a run: the pass over each of its validation data, which a signal may leave early.

There is one after every epoch, or after every so many steps, and then one at the end of training.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchproof._errors import SettingError
from batchproof.ranks import is_sharded
from batchproof.runs import Record
from batchproof.train._batches import Epochs
from batchproof.train._evaluate import measure
from batchproof.train._options import Options
from batchproof.train._outputs._callback import Outputs
from batchproof.train._pass_means import PassMeans
from batchproof.train._signals import Signals
from batchproof.train._state import State


class LeftError(Exception):
    """A validation was left for a signal, on all ranks.

    Attributes:
        number: the signal's.
        generators: the states of all random generators before the validation.
    """

    def __init__(self, number: int, generators: Mapping[str, Any]) -> None:
        super().__init__(number)
        self.number, self.generators = number, generators


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
        return self.state.validated != step and (step % every == 0 or training_ends)

    def measure(self) -> list[Record]:
        """Return the records of a validation, all ranks the same.

        Raises:
            LeftError: if a signal came; it has the generators as they were before.
        """
        generators = self.state.generators()
        try:
            records = [record for name in self.state.vals for record in self._records(name)]
        except LeftError as error:
            raise LeftError(error.number, generators) from None
        self.state.validated = self.state.position.step
        self.outputs.on_validation(self.state.position, records)
        return records

    def _records(self, name: str) -> Iterator[Record]:
        epochs = self.state.vals[name]
        self.outputs.on_validation_begin(None if epochs.gives_windows else epochs.batches)
        self.signals.ask_next()
        sums = self._sums(epochs)
        sums.estimate()
        yield from self.state.records(sums, f"val_{name}" if name else "val", "epoch")

    def _sums(self, epochs: Epochs) -> PassMeans:
        parts, options, signals = self.state.parts, self.options, self.signals
        together = is_sharded(parts.model)

        def left(counts: bool) -> bool:  # noqa: FBT001
            if counts:
                self.outputs.on_validation_batch()
            # a rank leaves by itself, unless others would wait for it in their next pass
            return (signals.heeded() if together else signals.caught) is not None

        def over() -> None:
            if (number := signals.agreed()) is not None:
                raise LeftError(number, {})

        with parts.average.in_place():
            return measure(
                parts.model,
                epochs.begin(self.state.position.epoch),
                parts.loss,
                by=options.breakdown.by,
                groups=options.breakdown.groups,
                coefficients=options.steps.coefficients,
                metrics=options.validation.metrics,
                group=options.group,
                stop_after=left,
                over=over,
            )


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
