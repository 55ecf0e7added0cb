"""The trainer: model, loss and optimiser put together once, then fitted and evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import nn
from torch.amp.grad_scaler import GradScaler

from batchproof._errors import SettingError
from batchproof.meter import Estimate
from batchproof.step import Step
from batchproof.train._average import average_of
from batchproof.train._callback import Callback
from batchproof.train._evaluate import By, evaluate
from batchproof.train._fit import Fit, Surroundings
from batchproof.train._history import History
from batchproof.train._keeper import Keeper, MemoryKeeper, NoKeeper, is_writer
from batchproof.train._loss import Loss, Precision, under_precision
from batchproof.train._parts import Parts
from batchproof.train._place import find_device
from batchproof.train._progress import NoProgress, Progress, progress_on
from batchproof.train._randomness import deterministic, seed_everything
from batchproof.train._scheduling import schedule_of
from batchproof.train._settings import Settings, expect_positive
from batchproof.train._signals import Signals
from batchproof.train._sums import Groups
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
        callbacks: told of everything, in order.
        progress: True to show it on the terminal, a rich Console to show it there, False for none.
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
        callbacks: Sequence[Callback] = (),
        progress: bool | Console | Progress = True,
        group: Any = None,
    ) -> None:
        self.settings = Settings(
            accumulate=accumulate,
            max_grad_norm=max_grad_norm,
            precision=precision,
            coefficients=coefficients,
            nonfinite=nonfinite,
            scheduler_per=scheduler_per,
            monitor=monitor,
            mode=mode,
            patience=patience,
            min_delta=min_delta,
            ema=ema,
            seed=seed,
            deterministic=deterministic,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            overfit_batches=overfit_batches,
            log_every=log_every,
        )
        self.device = find_device(device)
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._callbacks, self._progress = tuple(callbacks), progress
        self._by, self._groups, self._group = by, groups, group
        self._parts = self._assemble(model, loss, optimizer, scheduler, count)
        if compile:
            model.compile()

    def _assemble(
        self, model: nn.Module, loss: Loss, optimizer: Any, scheduler: Any, count: Any
    ) -> Parts:
        settings = self.settings
        if not isinstance(model, nn.Module):
            raise SettingError(
                f"model is {type(model).__name__}; expected a torch.nn.Module, which can hold "
                "parameters made by hand as well."
            )
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
                count=count,
                nonfinite=settings.nonfinite,
            ),
            schedule_of(scheduler, settings.scheduler_per),
            average_of(model, settings.ema),
            scaler,
        )

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return self._parts.model

    def fit(
        self,
        train: Iterable[Any],
        val: Iterable[Any] | None = None,
        *,
        max_epochs: int | None = None,
        max_steps: int | None = None,
    ) -> History:
        """Train, and validate after every epoch.

        Args:
            train: any iterable of batches that starts anew each epoch.
            val: the same for validation, or None.
            max_epochs: epochs to train in all.
            max_steps: optimiser steps to take in all; the epoch under way is then closed early.

        Returns:
            What was measured, and the best epoch.

        Raises:
            SettingError: if neither end is given, or a setting cannot be meant.
            NonFiniteError: if a loss or gradient is NaN or infinite.
            RunInterruptedError: if SIGINT or SIGTERM ended the run between two steps.
        """
        settings = self.settings
        self._expect_an_end(max_epochs, max_steps, val)
        if settings.seed is not None:
            seed_everything(settings.seed)
        train, val = self._loaders(train, val)
        keeper: Keeper = MemoryKeeper() if is_writer() else NoKeeper()
        progress = self._shown()
        if not self.model.training:
            self.model.train()
        with deterministic(asked=settings.deterministic), Signals().watched() as signals:
            around = Surroundings(
                device=self.device,
                keeper=keeper,
                progress=progress,
                callbacks=self._callbacks,
                signals=signals,
                by=self._by,
                groups=self._groups,
                group=self._group,
                max_epochs=max_epochs,
                max_steps=max_steps,
            )
            try:
                return Fit(
                    self._parts,
                    settings,
                    Walk(train, limit=settings.limit_train_batches),
                    None if val is None else Walk(val, limit=settings.limit_val_batches),
                    around,
                ).run()
            finally:
                progress.close()
                keeper.close()

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
        return evaluate(
            self._parts.average.model,
            loader,
            self._parts.loss,
            by=by or self._by,
            groups=groups or self._groups,
            coefficients=self.settings.coefficients,
            group=self._group,
        )

    def _expect_an_end(
        self, max_epochs: int | None, max_steps: int | None, val: Iterable[Any] | None
    ) -> None:
        if max_epochs is None and max_steps is None:
            msg = "fit was given no end; pass max_epochs or max_steps."
            raise SettingError(msg)
        for name, value in {"max_epochs": max_epochs, "max_steps": max_steps}.items():
            if value is not None:
                expect_positive(name, value)
        settings = self.settings
        watches_val = settings.monitor.startswith("val_") and settings.overfit_batches is None
        if settings.patience is not None and val is None and watches_val:
            raise SettingError(
                f"patience waits for {settings.monitor}, but no validation data were given; "
                'pass val, or monitor="train_loss".'
            )

    def _loaders(
        self, train: Iterable[Any], val: Iterable[Any] | None
    ) -> tuple[Iterable[Any], Iterable[Any] | None]:
        if self.settings.overfit_batches is None:
            return train, val
        few = list(islice(iter(train), self.settings.overfit_batches))
        return few, few

    def _shown(self) -> Progress:
        if self._progress is False or not is_writer():
            return NoProgress()
        if self._progress is True:
            return progress_on(Console(stderr=True))
        return (
            progress_on(self._progress) if isinstance(self._progress, Console) else self._progress
        )
