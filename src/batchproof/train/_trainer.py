"""The trainer: model, loss and optimiser put together once, then fitted and evaluated."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parameter import is_lazy

from batchproof._errors import SettingError
from batchproof.mean import refuse_criterion
from batchproof.meter import Estimate
from batchproof.ranks import unwrapped
from batchproof.runs import History, RunFolder
from batchproof.step import Step
from batchproof.train._average import average_of
from batchproof.train._batches import Epochs, find_device
from batchproof.train._evaluate import By, evaluate
from batchproof.train._fingerprint import fingerprint_of
from batchproof.train._load import Which, load_weights
from batchproof.train._loop import Ends
from batchproof.train._loss import Loss, under_precision
from batchproof.train._options import (
    Breakdown,
    Compute,
    Keywords,
    Limits,
    Options,
    Reporting,
    Saving,
    Steps,
    Stopping,
    Validation,
    options_of,
)
from batchproof.train._pass_means import Groups
from batchproof.train._predict import Forward, call_on_first, predict
from batchproof.train._schedule import schedule_of
from batchproof.train._start import Resume, Setup, ValidationData, duration, running
from batchproof.train._state import Parts
from batchproof.train._trials import LrSweep, sweep, try_everything


class Trainer:
    """Trains a model so that neither gradient nor number depends on how the data is cut.

    Options are given by their own names, or as values that hold those that belong together, which
    say what each means: Trainer(..., patience=3) is Trainer(..., stopping=Stopping(patience=3)).

    Args:
        model: moved to the device at once.
        loss: called as loss(model, batch); returns a Mean, a dict of Means or an Outcome.
        optimizer: any torch optimiser, or a callable updater(batch_weight).
        steps: how optimiser steps are taken: accumulate, tokens, pack, max_grad_norm,
            max_grad_value, coefficients, count, nonfinite, out_of_memory, scheduler,
            scheduler_per, ema.
        compute: where and how numbers are computed: precision, device, compile, seed,
            deterministic.
        stopping: which epoch is the best, and when to stop: monitor, mode, patience, min_delta.
        limits: how much of the data is used: limit_train_batches, limit_val_batches,
            overfit_batches.
        saving: what is kept on disk: run_dir, checkpoint_every_steps, keep_best, keep_every_steps,
            config, info.
        reporting: what is notified of a run: log_every, loggers, callbacks, progress, plot,
            summary.
        breakdown: the groups whose means a validation gives as well: by, groups.
        validation: when to validate, and what else to measure: validate_every_steps, metrics.
        group: the process group whose ranks train together.
        **options: single options by their own names.

    Raises:
        SettingError: if an option is invalid, or given twice.
        TypeError: if there is no option of a name.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = Trainer(model, bp.supervised(torch.nn.MSELoss()), optimizer, progress=False)
        >>> x = torch.linspace(-1, 1, 8)[:, None]
        >>> history = trainer.fit([(x[:5], 2 * x[:5]), (x[5:], 2 * x[5:])], max_epochs=20)
        >>> history.values("train_loss")[-1] < 0.1
        True
        >>> trainer
        Trainer(Linear, supervised(MSELoss()), SGD, progress=False)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: Any,
        *,
        steps: Steps | None = None,
        compute: Compute | None = None,
        stopping: Stopping | None = None,
        limits: Limits | None = None,
        saving: Saving | None = None,
        reporting: Reporting | None = None,
        breakdown: Breakdown | None = None,
        validation: Validation | None = None,
        group: Any = None,
        **options: Unpack[Keywords],
    ) -> None:
        self.options = options_of(
            options,
            group,
            steps=steps,
            compute=compute,
            stopping=stopping,
            limits=limits,
            saving=saving,
            reporting=reporting,
            breakdown=breakdown,
            validation=validation,
        )
        self.device = find_device(self.options.compute.device)
        self._parts = _assembled(model, loss, optimizer, self.options, self.device)
        made_with = fingerprint_of(self._parts, self.options)
        self._setup = Setup(self._parts, self.options, self.device, made_with, loss)
        if self.options.compute.compile:
            _compile(model)

    def __repr__(self) -> str:
        made_of = (unwrapped(self.model), self._parts.optimizer)
        model, optimizer = (getattr(each, "__name__", type(each).__name__) for each in made_of)
        loss = self._setup.criterion
        name_of_loss = getattr(loss, "__name__", None) or repr(loss)
        options = [f"{name}={value!r}" for name, value in self.options.changed().items()]
        return f"Trainer({', '.join([model, name_of_loss, optimizer, *options])})"

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return self._parts.model

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Load weights into the model, as evaluate then measures them; an average starts again.

        Args:
            weights: such as History.best_state() or RunFolder.weights() return.
        """
        self._parts.average.restart()
        load_weights(self.model, weights, "the state")

    def load(self, run: str | PathLike[str], which: Which = "best") -> None:
        """Load a run's weights into the model, which evaluate and predict then use.

        Args:
            run: the run folder.
            which: "best", "last", or the step after which weights were kept.

        Raises:
            RunFolderError: if there is no run in the folder.
            CheckpointError: if the weights are damaged or missing, or those of another model.
        """
        self._parts.average.restart()
        load_weights(self.model, RunFolder(Path(run)).weights(which), f"{run}")

    def fit(
        self,
        train: Iterable[Any],
        val: ValidationData = None,
        *,
        max_epochs: int | None = None,
        max_steps: int | None = None,
        max_time: float | timedelta | None = None,
        resume: Resume = None,
    ) -> History:
        """Train, and validate after every epoch, or every validate_every_steps.

        Args:
            train: any iterable of batches that restarts each epoch.
            val: the same for validation, or several by name: {"clean": loader, "noisy": loader}
                give val_clean_loss and val_noisy_loss, of which monitor names one.
            max_epochs: epochs to train in all.
            max_steps: optimiser steps to take in all; the epoch under way is then closed early.
            max_time: how long to train, from this call, in seconds or as a timedelta; the epoch
                under way is then closed early.
            resume: True to resume run_dir, which is begun where it is not there yet; or the
                folder of a run to resume.

        Returns:
            What was measured, and the best epoch.

        Raises:
            SettingError: if no end is given, an option is invalid, a callback or metric raises, or
                the data could not be drawn again for a run in run_dir.
            DataError: if there is no batch, or one has labels out of range or values that are not
                finite.
            NonFiniteError: if a loss or gradient is NaN or infinite.
            RunFolderError: if the run folder exists already, or cannot be written.
            CheckpointError: if the run to resume is damaged, or is another run's.
            RunStoppedError: if the disk is full, or the folder is altered, within the run.
            RunInterruptedError: if SIGINT or SIGTERM ended the run between two steps or within a
                validation.
            RankError: if another rank failed, or did not join.
        """
        ends = Ends(max_epochs, max_steps, duration(max_time))
        with running(self._setup, train, val, ends, resume) as loop:
            return loop.run()

    def dry_run(self, train: Iterable[Any], val: ValidationData = None) -> str:
        """Try one step, one batch of validation, saving and loading; keep nothing.

        Weights, states, random generators and training flags are restored.

        Args:
            train: as for fit.
            val: as for fit.

        Returns:
            What was done, as one line.

        Raises:
            BatchproofError: what fit would raise.
        """
        return try_everything(self._setup, train, val)

    def find_lr(
        self, train: Iterable[Any], *, low: float = 1e-6, high: float = 10.0, steps: int = 100
    ) -> LrSweep:
        """Raise the learning rate step by step, and see what the loss does.

        Weights, states, random generators and training flags are restored.

        Args:
            train: any iterable of batches that restarts each epoch.
            low: the first learning rate.
            high: the last one; steps end early where the loss blows up.
            steps: optimiser steps at most.

        Returns:
            Losses by learning rate, and a suggestion.

        Raises:
            SettingError: if the rates do not rise, or the loss blows up at once.
            DataError: if there is no batch.

        Examples:
            >>> import torch
            >>> import batchproof as bp
            >>> model = torch.nn.Linear(1, 1)
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            >>> loss = bp.supervised(torch.nn.MSELoss())
            >>> trainer = Trainer(model, loss, optimizer, progress=False)
            >>> x = torch.linspace(-1, 1, 8)[:, None]
            >>> sweep = trainer.find_lr([(x, 2 * x + 1)], low=1e-4)
            >>> 1e-4 < sweep.suggestion < 10
            True
            >>> optimizer.param_groups[0]["lr"]
            0.1
        """
        return sweep(self._setup, Epochs(train), low=low, high=high, steps=steps)

    def evaluate(
        self,
        loader: Iterable[Any],
        *,
        by: By | None = None,
        groups: Groups | None = None,
    ) -> Estimate:
        """Return the mean loss over a data set, with all metrics, as fit's validation computes it.

        Args:
            loader: any iterable of batches.
            by: called as by(batch): the group of each sample; without it, the Trainer's own.
            groups: the number of groups, or their names.

        Raises:
            DataError: if there is no batch.
            NonFiniteError: if the loss is NaN or infinite; it names the batch.
            SettingError: if a metric raises.
        """
        with self._parts.average.in_place():
            return evaluate(
                self._parts.model,
                loader,
                self._parts.loss,
                by=by or self.options.breakdown.by,
                groups=groups or self.options.breakdown.groups,
                coefficients=self.options.steps.coefficients,
                metrics=self.options.validation.metrics,
                group=self.options.group,
            )

    def predict(self, loader: Iterable[Any], forward: Forward | None = None) -> Any:
        """Return the model's outputs over a data set, on the host, in the order of the data.

        Args:
            loader: any iterable of batches, not shuffled; of ranks, each with its share.
            forward: called as forward(model, batch); by default the model is called on a batch
                that is a tensor, and on the first part of a tuple or list.

        Returns:
            What forward returns, each tensor over all samples: shape (samples, ...).

        Raises:
            SettingError: if the loader shuffles, or forward is needed.
            ShapeError: if outputs of batches cannot be joined, or ranks do not share the data in
                turn.
            DataError: if there is no batch.
        """
        precision = self.options.compute.precision
        call = under_precision(forward or call_on_first, precision, self.device)
        with self._parts.average.in_place():
            return predict(self.model, loader, call, group=self.options.group)


def _assembled(
    model: nn.Module, loss: Loss, optimizer: Any, options: Options, device: torch.device
) -> Parts:
    if not isinstance(model, nn.Module):
        raise SettingError(
            f"model is {type(model).__name__}; expected a torch.nn.Module, which can hold "
            "parameters made by hand as well."
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise SettingError(
            f"{type(model).__name__} has parameters without a shape yet; call it on one batch "
            "before its optimiser is made."
        )
    refuse_criterion(loss)
    _refuse_stranger(model, optimizer)
    model.to(device)
    steps, precision = options.steps, options.compute.precision
    scaler = GradScaler(device.type) if precision == "fp16" else None
    if steps.max_grad_value is not None:
        _clip_by_value(optimizer, steps.max_grad_value)
    return Parts(
        model,
        under_precision(loss, precision, device),
        optimizer,
        Step(
            model,
            optimizer,
            coefficients=steps.coefficients,
            max_grad_norm=steps.max_grad_norm,
            scaler=scaler,
            group=options.group,
            count=steps.count,
            nonfinite=steps.nonfinite,
            out_of_memory=steps.out_of_memory,
        ),
        schedule_of(steps.scheduler, steps.scheduler_per, optimizer),
        average_of(model, optimizer, steps.ema),
        scaler,
    )


def _refuse_stranger(model: nn.Module, optimizer: Any) -> None:
    """Refuse an optimiser that has no parameter of the model, which it would leave untrained."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    numbers = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if numbers.isdisjoint(map(id, model.parameters())):
        raise SettingError(
            f"{type(optimizer).__name__} holds no parameter of the model, so the model would stay "
            "as it is; make it from this model's parameters()."
        )


def _clip_by_value(optimizer: Any, most: float) -> None:
    """Clip each element of the mean's gradient before the optimiser steps.

    Gradients are divided before a hook sees them: step/_update says how.
    """
    if not isinstance(optimizer, torch.optim.Optimizer) or isinstance(optimizer, torch.optim.LBFGS):
        raise SettingError(
            f"max_grad_value is given beside {type(optimizer).__name__}, whose gradients are not "
            "all seen before it steps; expected an optimiser of torch without a closure."
        )

    def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_value_(parameters, most)

    optimizer.register_step_pre_hook(clip)


def _compile(model: nn.Module) -> None:
    """Compile a model's call; Module.compile leaves the containers of torch, such as Sequential."""
    plain: Any = model._call_impl  # noqa: SLF001

    def call(*inputs: Any, **options: Any) -> Any:
        return plain(*inputs, **options)

    model._compiled_call_impl = torch.compile(call)  # noqa: SLF001
