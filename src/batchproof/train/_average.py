"""An exponential moving average of the weights, by torch.optim.swa_utils."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from batchproof._errors import SettingError


class NoAverage:
    """The model's own weights."""

    kept = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def update(self) -> None:
        """Do nothing."""


class MovingAverage:
    """average <- decay * average + (1 - decay) * weights, after every optimiser step.

    The first step copies the weights. Buffers (running statistics) are the model's latest.

    Raises:
        SettingError: if the decay is not between 0 and 1, or the model is no torch.nn.Module.
    """

    kept = True

    def __init__(self, model: Any, decay: float) -> None:
        if not 0 < decay < 1:
            raise SettingError(f"ema is {decay}; expected a decay between 0 and 1, such as 0.999.")
        if not isinstance(model, nn.Module):
            raise SettingError(
                f"ema needs a torch.nn.Module, not {type(model).__name__}; leave ema out."
            )
        self._source = model
        of_decay: Callable[[float], Any] = get_ema_multi_avg_fn
        self.averaged = AveragedModel(model, multi_avg_fn=of_decay(decay))

    @property
    def model(self) -> nn.Module:
        """The averaged model."""
        module = self.averaged.module
        assert isinstance(module, nn.Module)
        return module

    def update(self) -> None:
        """Take the model's weights into the average."""
        self.averaged.update_parameters(self._source)


def average_of(model: Any, decay: float | None) -> NoAverage | MovingAverage:
    """Return the moving average with a decay, or the model's own weights where it is None."""
    return NoAverage(model) if decay is None else MovingAverage(model, decay)
