"""The options of a Trainer, each written once with its meaning and its check.

What belongs together is one frozen value, as a user may hold and share it:

    Trainer(model, loss, optimizer, stopping=Stopping(patience=3), saving=Saving(run_dir="run"))

Each option may as well be given to Trainer by its own name: Trainer(..., patience=3). An invalid
value raises a SettingError at once.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any, Literal, TypedDict, get_args

import torch
from rich.console import Console

from batchproof._errors import SettingError, shown
from batchproof.data import Pack
from batchproof.mean import expect_coefficients
from batchproof.meter import Metric
from batchproof.meter._score import expect_metrics
from batchproof.step._count import refuse_count
from batchproof.train._evaluate import By, expect_grouped
from batchproof.train._loss import Precision
from batchproof.train._outputs._callback import Callback
from batchproof.train._outputs._loggers import expect_logger
from batchproof.train._outputs._progress import Progress
from batchproof.train._pass_means import Groups

# an option that the numbers of a run depend on; a run is resumed with the same
_COMPARED = {"compared": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The options of an optimiser step.

    Attributes:
        accumulate: the loader's batches an optimiser step.
        tokens: the most positions of a micro-batch, its rows times its longest sample; the samples
            of each step are then recut into the cheapest micro-batches, as batchproof.data.recut
            does it, with the same gradient. None takes the batches as they come.
        pack: whether a micro-batch is then put in one row, as recut does it.
        max_grad_norm: the norm that gradients are clipped to, or None.
        max_grad_value: the largest magnitude of an element of the mean's gradient, which is clipped
            to it, after max_grad_norm; or None.
        coefficients: what each term of an objective is multiplied by; 1 where not given.
        count: for several terms over several micro-batches: called as count(batch), the weights
            of a batch's terms before the backward pass; or "forward".
        nonfinite: "raise", or "skip" for steps whose loss or gradient is not finite.
        out_of_memory: "raise", or "split" to halve micro-batches that do not fit in memory, as Step
            does it. A resumed run knows what fits.
        scheduler: one of torch's learning rate schedules, or None.
        scheduler_per: "epoch" or "step": when the schedule moves. ReduceLROnPlateau gets the
            monitored mean.
        ema: decay of a moving average of the weights, which is then what is evaluated and kept as
            the best; or None.

    Examples:
        >>> Steps(accumulate=4, max_grad_norm=1.0).accumulate
        4
        >>> Steps(accumulate=0)
        Traceback (most recent call last):
        batchproof._errors.SettingError: accumulate is 0; expected a whole number, 1 or more.
    """

    accumulate: int = field(default=1, metadata=_COMPARED)
    tokens: int | None = None
    pack: Pack = False
    max_grad_norm: float | None = field(default=None, metadata=_COMPARED)
    max_grad_value: float | None = None
    coefficients: Mapping[str, float] | None = field(default=None, metadata=_COMPARED)
    count: Any = None
    nonfinite: Literal["raise", "skip"] = field(default="raise", metadata=_COMPARED)
    out_of_memory: Literal["raise", "split"] = "raise"
    scheduler: Any = None
    scheduler_per: Literal["epoch", "step"] = field(default="epoch", metadata=_COMPARED)
    ema: float | None = field(default=None, metadata=_COMPARED)

    def __post_init__(self) -> None:
        expect_positive("accumulate", self.accumulate)
        expect_coefficients(self.coefficients)
        if self.max_grad_value is not None and not (
            _is_number(self.max_grad_value) and self.max_grad_value > 0
        ):
            raise SettingError(
                f"max_grad_value is {self.max_grad_value!r}; expected a positive number, or None."
            )
        if self.tokens is not None:
            expect_positive("tokens", self.tokens)
        elif self.pack:
            raise SettingError("pack was given without tokens; give the budget, too.")
        if self.pack and self.out_of_memory == "split":
            raise SettingError(
                "out_of_memory is 'split', but a packed micro-batch is one row, which cannot be "
                "halved; give a smaller budget of tokens, or leave pack out."
            )
        if self.ema is not None and not (_is_number(self.ema) and 0 < self.ema < 1):
            raise SettingError(
                f"ema is {self.ema!r}; expected a decay between 0 and 1, such as 0.999."
            )
        refuse_count(self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The device, the number format and the seed of a run.

    Attributes:
        precision: "fp32", or autocast in "bf16" or "fp16".
        device: "auto" is the machine's accelerator, else the CPU.
        compile: whether the model's forward is compiled.
        seed: of every random generator when training begins, or None to leave them.
        deterministic: whether operations that vary from run to run are refused.

    Examples:
        >>> Compute(precision="bf16", seed=0).device
        'auto'
    """

    precision: Precision = field(default="fp32", metadata=_COMPARED)
    device: str | torch.device = "auto"
    compile: bool = False
    seed: int | None = field(default=None, metadata=_COMPARED)
    deterministic: bool = field(default=False, metadata=_COMPARED)

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            choices = ", ".join(map(repr, get_args(Precision)))
            raise SettingError(f"precision is {self.precision!r}; it is one of {choices}.")
        if self.seed is not None and not _is_integer(self.seed):
            raise SettingError(f"seed is {self.seed!r}; expected a whole number, or None.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The choice of the best epoch, and the wait for a better one.

    Attributes:
        monitor: the mean that chooses the best epoch, or the best of the validations within epochs.
        mode: "min" or "max": which is better.
        patience: epochs to wait for a better one before stopping, or None; validations to wait
            where there is one every validate_every_steps.
        min_delta: how much better it must be.

    Examples:
        >>> Stopping(patience=3).monitor
        'val_loss'
    """

    monitor: str = field(default="val_loss", metadata=_COMPARED)
    mode: Literal["min", "max"] = field(default="min", metadata=_COMPARED)
    patience: int | None = field(default=None, metadata=_COMPARED)
    min_delta: float = field(default=0.0, metadata=_COMPARED)

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise SettingError(f"mode is {self.mode!r}; expected 'min' or 'max'.")
        if self.patience is not None and not (_is_integer(self.patience) and self.patience >= 1):
            raise SettingError(f"patience is {self.patience!r}; expected 1 epoch or more, or None.")
        if not (_is_number(self.min_delta) and self.min_delta >= 0):
            raise SettingError(f"min_delta is {self.min_delta!r}; expected 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of the data that are used.

    Attributes:
        limit_train_batches: batches per epoch at most, or None.
        limit_val_batches: batches of a validation at most, or None.
        overfit_batches: train and validate on the first few batches, or None.

    Examples:
        >>> Limits(overfit_batches=1).limit_val_batches is None
        True
    """

    limit_train_batches: int | None = field(default=None, metadata=_COMPARED)
    limit_val_batches: int | None = field(default=None, metadata=_COMPARED)
    overfit_batches: int | None = field(default=None, metadata=_COMPARED)

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) is not None:
                expect_positive(each.name, getattr(self, each.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """The run folder and what it holds.

    Attributes:
        run_dir: a folder to make for records and checkpoints; None writes nothing.
        checkpoint_every_steps: steps between checkpoints within an epoch, besides the one at its
            end; None for that one only.
        keep_best: how many of the best weights, by the monitored mean, are kept in RUN/kept; 0 for
            those in RUN/best alone.
        keep_every_steps: steps between weights that stay in RUN/kept, or None.
        config: further settings, recorded in config.json and compared on resume.
        info: recorded in config.json only.

    Examples:
        >>> Saving(run_dir="runs/first", checkpoint_every_steps=100).keep_best
        0
    """

    run_dir: str | PathLike[str] | None = None
    checkpoint_every_steps: int | None = None
    keep_best: int = 0
    keep_every_steps: int | None = None
    config: Mapping[str, Any] | None = None
    info: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("checkpoint_every_steps", "keep_every_steps"):
            if getattr(self, name) is not None:
                expect_positive(name, getattr(self, name))
        if not _is_integer(self.keep_best) or self.keep_best < 0:
            raise SettingError(
                f"keep_best is {self.keep_best!r}; expected a whole number, 0 or more."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """The outputs of a run: logs, callbacks, progress, curves.

    Attributes:
        log_every: optimiser steps between two records of the training loss.
        loggers: objects with .log(dict, step=), such as a W&B run; or names: "tensorboard",
            "wandb", "mlflow", "trackio", "aim" or "comet", which get the run's settings as well.
        callbacks: notified of every event, in order.
        progress: True to show it on the standard error, a rich Console to show it there, False
            for none.
        plot: True to draw curves in a notebook, a window or RUN/curves.png; or the PNG's path.
        summary: whether the layers are shown with their shapes before training.

    Examples:
        >>> Reporting(progress=False).log_every
        100
    """

    log_every: int = field(default=100, metadata=_COMPARED)
    loggers: Sequence[Any] = ()
    callbacks: Sequence[Callback] = ()
    progress: bool | Console | Progress = True
    plot: bool | str | PathLike[str] = False
    summary: bool = False

    def __post_init__(self) -> None:
        expect_positive("log_every", self.log_every)
        for name in ("loggers", "callbacks"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple):
                example = "[]" if value is None else f"[{shown(value)}]"
                raise SettingError(f"{name} is {shown(value)}; expected a list, such as {example}.")
        # an object with the methods of Progress shows it as well
        if not isinstance(self.progress, bool | Console) and not hasattr(self.progress, "tick"):
            raise SettingError(
                f"progress is {shown(self.progress)}; expected True, False, a rich Console, or an "
                "object of batchproof.train.Progress."
            )
        if not isinstance(self.plot, bool | str | PathLike):
            raise SettingError(
                f"plot is {shown(self.plot)}; expected True, False, or the path of a PNG."
            )
        for logger in self.loggers:
            expect_logger(logger)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise SettingError(
                    f"callbacks holds {shown(callback)}; expected objects of "
                    "batchproof.train.Callback. Derive a class from it and override what you need."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The groups of samples whose means a validation gives as well.

    Attributes:
        by: called as by(batch): the group of each sample, shape (samples,).
        groups: the number of groups, or their names.

    Examples:
        >>> breakdown = Breakdown(by=lambda batch: batch[1], groups=["cat", "dog"])
        >>> breakdown.groups
        ['cat', 'dog']
    """

    by: By | None = None
    groups: Groups | None = None

    def __post_init__(self) -> None:
        expect_grouped(self.by, self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The moments of a validation, and its metrics that are not means.

    Attributes:
        validate_every_steps: optimiser steps between two validations, also within an epoch, and
            once more when training ends; patience then counts validations. None validates at the
            end of each epoch.
        metrics: by name, such as {"f1": batchproof.meter.F1()}, or those of torchmetrics and
            torcheval; each validation starts with a copy. They get the outputs and targets of the
            Outcome that the loss function returns, as supervised's does.

    Examples:
        >>> from batchproof.meter import F1
        >>> list(Validation(validate_every_steps=500, metrics={"f1": F1()}).metrics)
        ['f1']
    """

    validate_every_steps: int | None = None
    metrics: Mapping[str, Metric] | None = None

    def __post_init__(self) -> None:
        if self.validate_every_steps is not None:
            expect_positive("validate_every_steps", self.validate_every_steps)
        expect_metrics(self.metrics)


class Keywords(TypedDict, total=False):
    """The options that Trainer takes by their own names; their meaning is in the values above."""

    accumulate: int
    tokens: int | None
    pack: Pack
    max_grad_norm: float | None
    max_grad_value: float | None
    coefficients: Mapping[str, float] | None
    count: Any
    nonfinite: Literal["raise", "skip"]
    out_of_memory: Literal["raise", "split"]
    scheduler: Any
    scheduler_per: Literal["epoch", "step"]
    ema: float | None
    precision: Precision
    device: str | torch.device
    compile: bool
    seed: int | None
    deterministic: bool
    monitor: str
    mode: Literal["min", "max"]
    patience: int | None
    min_delta: float
    limit_train_batches: int | None
    limit_val_batches: int | None
    overfit_batches: int | None
    run_dir: str | PathLike[str] | None
    checkpoint_every_steps: int | None
    keep_best: int
    keep_every_steps: int | None
    config: Mapping[str, Any] | None
    info: Mapping[str, Any] | None
    log_every: int
    loggers: Sequence[Any]
    callbacks: Sequence[Callback]
    progress: bool | Console | Progress
    plot: bool | str | PathLike[str]
    summary: bool
    by: By | None
    groups: Groups | None
    validate_every_steps: int | None
    metrics: Mapping[str, Metric] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All options of a Trainer, in their values, and its process group."""

    steps: Steps = field(default_factory=Steps)
    compute: Compute = field(default_factory=Compute)
    stopping: Stopping = field(default_factory=Stopping)
    limits: Limits = field(default_factory=Limits)
    saving: Saving = field(default_factory=Saving)
    reporting: Reporting = field(default_factory=Reporting)
    breakdown: Breakdown = field(default_factory=Breakdown)
    validation: Validation = field(default_factory=Validation)
    group: Any = None

    def compared(self) -> dict[str, Any]:
        """Return the options that a run's numbers depend on, as plain values."""
        values = {
            each.name: getattr(value, each.name)
            for value in self._values()
            for each in fields(value)
            if each.metadata == _COMPARED
        }
        values["coefficients"] = dict(self.steps.coefficients or {}) or None
        # an older run has none of these on record
        further = {
            "tokens": self.steps.tokens,
            "pack": self.steps.pack,
            "max_grad_value": self.steps.max_grad_value,
            "validate_every_steps": self.validation.validate_every_steps,
            "metrics": {n: type(m).__name__ for n, m in (self.validation.metrics or {}).items()},
        }
        return values | {name: value for name, value in further.items() if value}

    def changed(self) -> dict[str, Any]:
        """Return the options that are not at their defaults, by name."""
        return {
            each.name: getattr(value, each.name)
            for value in self._values()
            for each in fields(value)
            if getattr(value, each.name) != each.default
        }

    def _values(self) -> list[Any]:
        return [getattr(self, name) for name in VALUES]


VALUES: Mapping[str, Any] = {
    each.name: each.default_factory for each in fields(Options) if each.name != "group"
}
_HOME = {each.name: name for name, kind in VALUES.items() for each in fields(kind)}


def options_of(keywords: Mapping[str, Any], group: Any, **values: Any) -> Options:
    """Return the options that are given as values, by their own names, or not at all.

    Args:
        keywords: single options by name.
        group: the process group.
        **values: Steps, Compute and so on by the name of Options' field; None where not given.

    Raises:
        SettingError: if an option is given twice, or is invalid.
        TypeError: if there is no option of a name.
    """
    single: dict[str, dict[str, Any]] = {name: {} for name in VALUES}
    for name, value in keywords.items():
        if name not in _HOME:
            raise TypeError(f"Trainer has no option {name!r}{_nearest(name)}")
        single[_HOME[name]][name] = value
    groups = {name: _value(name, values.get(name), single[name]) for name in VALUES}
    return Options(**groups, group=group)


def _value(name: str, value: Any, single: Mapping[str, Any]) -> Any:
    kind = VALUES[name]
    if value is None:
        return kind(**single)
    if not isinstance(value, kind):
        raise SettingError(
            f"{name} is {shown(value)}; expected a batchproof.train.{kind.__name__}."
        )
    if single:
        raise SettingError(
            f"{next(iter(single))} is given beside {name}={kind.__name__}(...); give it in there."
        )
    return value


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, [*_HOME, *VALUES], n=1)
    return f"; did you mean {near[0]}?" if near else "; help(batchproof.Trainer) lists them."


def expect_positive(name: str, value: Any) -> None:
    """Refuse a count that is not an int of 1 or more.

    It is stricter than expect_count, since JSON, in which a run is recorded, has no numpy integers.

    Raises:
        SettingError: if it is not.
    """
    if not _is_integer(value) or value < 1:
        raise SettingError(f"{name} is {shown(value)}; expected a whole number, 1 or more.")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)
