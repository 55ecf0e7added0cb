"""The best epoch so far, and when to stop waiting for a better one."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from batchproof._errors import SettingError


class Best:
    """Follows one monitored mean over the epochs.

    An epoch is better when it beats the best by more than min_delta. Training stops once
    `patience` epochs in a row were not better.

    Args:
        mode: "min" or "max": which is better.
        patience: epochs to wait for a better one, or None to wait for ever.
        min_delta: how much better it must be; 0 or more.

    Attributes:
        value: the best mean so far, None before the first epoch.
        epoch: the epoch it was reached in, from 1.
        waited: epochs since.

    Raises:
        SettingError: if a setting cannot be meant.
    """

    def __init__(
        self,
        mode: Literal["min", "max"] = "min",
        *,
        patience: int | None = None,
        min_delta: float = 0.0,
    ) -> None:
        if mode not in ("min", "max"):
            raise SettingError(f"mode is {mode!r}; expected 'min' or 'max'.")
        if patience is not None and patience < 1:
            raise SettingError(f"patience is {patience}; expected 1 epoch or more, or None.")
        if not min_delta >= 0:
            raise SettingError(f"min_delta is {min_delta}; expected 0 or more.")
        self._sign = 1.0 if mode == "min" else -1.0
        self._patience = patience
        self._min_delta = min_delta
        self.value: float | None = None
        self.epoch = 0
        self.waited = 0

    def update(self, value: float, epoch: int) -> bool:
        """Take an epoch's mean; return whether it is the best so far."""
        best = math.inf if self.value is None else self._sign * self.value
        if self._sign * value < best - self._min_delta:
            self.value, self.epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self.waited >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen, for a checkpoint."""
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what a checkpoint had seen."""
        self.value, self.epoch, self.waited = state["value"], state["epoch"], state["waited"]
