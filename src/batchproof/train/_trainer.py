"""The trainer: model, loss and optimiser put together once, then fitted and evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from typing import Any, Literal

import torch
from rich.console import Console
from torch import nn
from torch.amp.grad_scaler import GradScaler

from batchproof._errors import SettingError
from batchproof.meter import Estimate
from batchproof.ranks import unwrapped
from batchproof.runs import History
from batchproof.step import Step
from batchproof.train._average import average_of
from batchproof.train._callback import Callback
from batchproof.train._dry_run import try_everything
from batchproof.train._evaluate import By, evaluate
from batchproof.train._identity import identity_of
from batchproof.train._loss import Loss, Precision, under_precision
from batchproof.train._lr_finder import LrSweep, sweep
from batchproof.train._parts import Parts
from batchproof.train._place import find_device
from batchproof.train._progress import Progress
from batchproof.train._scheduling import schedule_of
from batchproof.train._session import Outlets, Resume, Session
from batchproof.train._settings import Settings
from batchproof.train._sums import Groups
from batchproof.train._supervised import refuse_criterion
from batchproof.train._walk import Walk


class Trainer:
    """Trains a model so that neither gradient nor number depends on how the data is cut.

    Args:
        model: moved to the device at once.
        loss: called as loss(model, batch); returns a Mean, a dict of Means or an Outcome.
        optimizer: any torch optimiser, or a callable updater(batch_weight).
        scheduler: one of torch's learning rate schedules, or None.
        scheduler_per: "epoch" or "step": when the schedule moves on. ReduceLROnPlateau gets the
            monitored mean.
        accumulate: micro-batches an optimiser step.
        max_grad_norm: the norm that gradients are clipped to, or None.
        coefficients: what each term of an objective is multiplied by; 1 where not given.
        count: for several terms over several micro-batches: weights before the backward pass.
        nonfinite: "raise", or "skip" for steps whose loss or gradient is not finite.
        precision: "fp32", or autocast in "bf16" or "fp16".
        device: "auto" is the machine's accelerator, else the CPU.
        compile: whether the model's forward is compiled.
        ema: decay of a moving average of the weights, which is then what is evaluated and kept as
            the best.
        by: called as by(batch): the group of each sample, for a breakdown of validations.
        groups: the number of groups, or their names.
        run_dir: a folder to make for records and checkpoints; None writes nothing.
        monitor: the mean that chooses the best epoch.
        mode: "min" or "max": which is better.
        patience: epochs to wait for a better one before stopping, or None.
        min_delta: how much better it must be.
        seed: of every random generator when training begins, or None to leave them.
        deterministic: whether operations that vary from run to run are refused.
        limit_train_batches: batches an epoch at most, or None.
        limit_val_batches: batches of a validation at most, or None.
        overfit_batches: train and validate on the first few batches, or None.
        log_every: optimiser steps between two records of the training loss.
        checkpoint_every_steps: steps between checkpoints within an epoch, besides the one at its
            end; None for that one only.
        loggers: objects with .log(dict, step=), such as a W&B run; or "tensorboard".
        callbacks: told of everything, in order.
        progress: True to show it on the standard error, a rich Console to show it there, False
            for none.
        plot: True to draw curves in a notebook, a window or RUN/curves.png; or the PNG's path.
        config: further settings, recorded in config.json and compared on resume.
        info: recorded in config.json only.
        group: the process group whose ranks train together.

    Raises:
        SettingError: if a setting cannot be meant.

    Example:
        >>> import torch
        >>> import batchproof as bp
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = Trainer(model, bp.supervised(torch.nn.MSELoss()), optimizer, progress=False)
        >>> x = torch.linspace(-1, 1, 8)[:, None]
        >>> history = trainer.fit([(x[:5], 2 * x[:5]), (x[5:], 2 * x[5:])], max_epochs=20)
        >>> history.values("train_loss")[-1] < 0.1
        True
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: Any,
        *,
        scheduler: Any = None,
        scheduler_per: Literal["epoch", "step"] = "epoch",
        accumulate: int = 1,
        max_grad_norm: float | None = None,
        coefficients: Mapping[str, float] | None = None,
        count: Any = None,
        nonfinite: Literal["raise", "skip"] = "raise",
        precision: Precision = "fp32",
        device: str | torch.device = "auto",
        compile: bool = False,  # noqa: A002
        ema: float | None = None,
        by: By | None = None,
        groups: Groups | None = None,
        run_dir: str | PathLike[str] | None = None,
        monitor: str = "val_loss",
        mode: Literal["min", "max"] = "min",
        patience: int | None = None,
        min_delta: float = 0.0,
        seed: int | None = None,
        deterministic: bool = False,
        limit_train_batches: int | None = None,
        limit_val_batches: int | None = None,
        overfit_batches: int | None = None,
        log_every: int = 100,
        checkpoint_every_steps: int | None = None,
        loggers: Sequence[Any] = (),
        callbacks: Sequence[Callback] = (),
        progress: bool | Console | Progress = True,
        plot: bool | str | PathLike[str] = False,
        config: Mapping[str, Any] | None = None,
        info: Mapping[str, Any] | None = None,
        group: Any = None,
    ) -> None:
        given = locals()
        # every option is named after the field it fills
        self.settings = Settings(**{field.name: given[field.name] for field in fields(Settings)})
        self._outlets = Outlets(**{field.name: given[field.name] for field in fields(Outlets)})
        self.device = find_device(device)
        self._loss = loss
        self._parts = self._assemble(model, loss, optimizer, scheduler, count)
        self._made_with = identity_of(self._parts, self.settings, config)
        if compile:
            _compile(model)

    def _assemble(
        self, model: nn.Module, loss: Loss, optimizer: Any, scheduler: Any, count: Any
    ) -> Parts:
        settings = self.settings
        if not isinstance(model, nn.Module):
            raise SettingError(
                f"model is {type(model).__name__}; expected a torch.nn.Module, which can hold "
                "parameters made by hand as well."
            )
        refuse_criterion(loss)
        _refuse_stranger(model, optimizer)
        model.to(self.device)
        scaler = GradScaler(self.device.type) if settings.precision == "fp16" else None
        return Parts(
            model,
            under_precision(loss, settings.precision, self.device),
            optimizer,
            Step(
                model,
                optimizer,
                coefficients=settings.coefficients,
                max_grad_norm=settings.max_grad_norm,
                scaler=scaler,
                group=self._outlets.group,
                count=count,
                nonfinite=settings.nonfinite,
            ),
            schedule_of(scheduler, settings.scheduler_per, optimizer),
            average_of(model, settings.ema),
            scaler,
        )

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return self._parts.model

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take weights into the model, as evaluate then measures them; an average begins anew.

        Args:
            weights: such as History.best_state() or RunFolder.weights() give.
        """
        unwrapped(self.model).load_state_dict(self._parts.as_in_model(weights))
        self._parts.average.restart()

    def fit(
        self,
        train: Iterable[Any],
        val: Iterable[Any] | None = None,
        *,
        max_epochs: int | None = None,
        max_steps: int | None = None,
        resume: Resume = None,
    ) -> History:
        """Train, and validate after every epoch.

        Args:
            train: any iterable of batches that starts anew each epoch.
            val: the same for validation, or None.
            max_epochs: epochs to train in all.
            max_steps: optimiser steps to take in all; the epoch under way is then closed early.
            resume: True to go on with run_dir, which is begun where it is not there yet; or the
                folder of a run to go on with.

        Returns:
            What was measured, and the best epoch.

        Raises:
            SettingError: if neither end is given, or a setting cannot be meant.
            DataError: if the first batch has labels out of range or values that are not finite.
            NonFiniteError: if a loss or gradient is NaN or infinite.
            RunFolderError: if the run folder exists already, or cannot be written.
            CheckpointError: if the run to go on with is damaged, or was made otherwise.
            RunInterruptedError: if SIGINT or SIGTERM ended the run between two steps.
        """
        return self._session().run(
            train, val, max_epochs=max_epochs, max_steps=max_steps, resume=resume
        )

    def dry_run(self, train: Iterable[Any], val: Iterable[Any] | None = None) -> str:
        """Try one step, one batch of validation, saving and loading; keep nothing.

        Weights, states, random generators and training flags are put back as they were.

        Args:
            train: as for fit.
            val: as for fit.

        Returns:
            What was done, as one line.
        """
        return try_everything(self._session(), train, val)

    def find_lr(
        self, train: Iterable[Any], *, low: float = 1e-6, high: float = 10.0, steps: int = 100
    ) -> LrSweep:
        """Raise the learning rate step by step, and see what the loss does.

        Weights, states, random generators and training flags are put back as they were.

        Args:
            train: any iterable of batches that starts anew each epoch.
            low: the first learning rate.
            high: the last one; steps end early where the loss blows up.
            steps: optimiser steps at most.

        Returns:
            Losses by learning rate, and a suggestion.
        """
        return sweep(
            self._parts,
            Walk(train),
            self.device,
            self.settings.accumulate,
            low=low,
            high=high,
            steps=steps,
        )

    def _session(self) -> Session:
        return Session(
            self._parts, self.settings, self._outlets, self.device, self._made_with, self._loss
        )

    def evaluate(
        self,
        loader: Iterable[Any],
        *,
        by: By | None = None,
        groups: Groups | None = None,
    ) -> Estimate:
        """Return the mean loss over a data set, as fit's validation computes it.

        Args:
            loader: any iterable of batches.
            by: called as by(batch): the group of each sample; without it, the Trainer's own.
            groups: the number of groups, or their names.
        """
        with self._parts.average.in_place():
            return evaluate(
                self._parts.model,
                loader,
                self._parts.loss,
                by=by or self._outlets.by,
                groups=groups or self._outlets.groups,
                coefficients=self.settings.coefficients,
                group=self._outlets.group,
            )


def _refuse_stranger(model: nn.Module, optimizer: Any) -> None:
    """Refuse an optimiser that has no parameter of the model, which it would leave untrained."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        raise SettingError(
            f"{type(optimizer).__name__} holds no parameter of the model, so the model would stay "
            "as it is; make it from this model's parameters()."
        )


def _compile(model: nn.Module) -> None:
    """Compile a model's call; Module.compile leaves the containers of torch, such as Sequential."""
    plain: Any = model._call_impl  # noqa: SLF001

    def call(*inputs: Any, **named: Any) -> Any:
        return plain(*inputs, **named)

    model._compiled_call_impl = torch.compile(call)  # noqa: SLF001
