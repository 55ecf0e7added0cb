"""The settings of a Trainer, as one value that is checked, recorded and compared on resume."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from batchproof._errors import SettingError
from batchproof.train._loss import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run's numbers depend on, besides model, optimiser, schedule and data.

    Attributes:
        accumulate: micro-batches an optimiser step.
        max_grad_norm: the norm that gradients are clipped to, or None.
        precision: "fp32", "bf16" or "fp16".
        coefficients: what each term of the objective is multiplied by.
        nonfinite: "raise", or "skip" for steps whose loss or gradient is not finite.
        scheduler_per: whether the schedule counts "epoch" or "step".
        monitor: the mean that chooses the best epoch.
        mode: "min" or "max": which is better.
        patience: epochs to wait for a better one before stopping, or None.
        min_delta: how much better it must be.
        ema: decay of the moving average of weights, or None.
        seed: of every random generator when training begins, or None to leave them.
        deterministic: whether operations that vary from run to run are refused.
        limit_train_batches: batches an epoch at most, or None.
        limit_val_batches: batches of a validation at most, or None.
        overfit_batches: train and validate on the first few batches, or None.
        log_every: optimiser steps between two records of the training loss.
    """

    accumulate: int = 1
    max_grad_norm: float | None = None
    precision: Precision = "fp32"
    coefficients: Mapping[str, float] | None = None
    nonfinite: Literal["raise", "skip"] = "raise"
    scheduler_per: Literal["epoch", "step"] = "epoch"
    monitor: str = "val_loss"
    mode: Literal["min", "max"] = "min"
    patience: int | None = None
    min_delta: float = 0.0
    ema: float | None = None
    seed: int | None = None
    deterministic: bool = False
    limit_train_batches: int | None = None
    limit_val_batches: int | None = None
    overfit_batches: int | None = None
    log_every: int = 100

    def __post_init__(self) -> None:
        for name in ("accumulate", "log_every"):
            expect_positive(name, getattr(self, name))
        for name in ("limit_train_batches", "limit_val_batches", "overfit_batches"):
            if getattr(self, name) is not None:
                expect_positive(name, getattr(self, name))
        if self.seed is not None and (
            isinstance(self.seed, bool) or not isinstance(self.seed, int)
        ):
            raise SettingError(f"seed is {self.seed!r}; expected a whole number, or None.")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        values = asdict(self)
        values["coefficients"] = dict(self.coefficients or {}) or None
        return values


def expect_positive(name: str, value: int) -> None:
    """Refuse a count that is less than 1.

    Raises:
        SettingError: if it is.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingError(f"{name} is {value!r}; expected a whole number, 1 or more.")
