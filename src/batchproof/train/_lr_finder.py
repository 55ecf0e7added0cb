"""The learning rates a model can bear, found by raising it step by step.

The loss falls fastest some way before it blows up; a rate about there is a good first choice.

References:
    Smith (2017): Cyclical Learning Rates for Training Neural Networks, section 3.3.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

from batchproof._errors import DataError, NonFiniteError, SettingError
from batchproof.step import windows
from batchproof.train._parts import Parts
from batchproof.train._place import placed
from batchproof.train._settings import expect_positive
from batchproof.train._snapshot import put_back
from batchproof.train._walk import Walk

_SMOOTHING = 0.9
_BLOWN_UP = 4.0


@dataclass(frozen=True, slots=True, repr=False)
class LrSweep:
    """The loss at each learning rate.

    Attributes:
        rates: learning rates, rising.
        losses: the window's mean loss at each.
        smoothed: their exponential moving average, corrected for its start.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest; None where it never falls."""
        lowest = min(range(len(self.smoothed)), key=self.smoothed.__getitem__)
        falls = [(self.smoothed[i + 1] - self.smoothed[i - 1], i) for i in range(1, lowest)]
        if not falls or min(falls)[0] >= 0:
            return None
        return self.rates[min(falls)[1]]

    def __str__(self) -> str:
        low, high = self.rates[0], self.rates[-1]
        found = self.suggestion
        advice = "the loss never fell" if found is None else f"it falls fastest near {found:.2g}"
        return f"{len(self.rates)} rates from {low:.2g} to {high:.2g}; {advice}"

    # a notebook shows what find_lr returns: the line, and not every loss
    __repr__ = __str__

    def plot(self, path: str | PathLike[str]) -> None:
        """Write the curve as a picture.

        Args:
            path: of the file; its ending says which kind.

        Raises:
            SettingError: if matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure  # noqa: PLC0415
        except ImportError:
            msg = "matplotlib is not installed; pip install 'batchproof[plot]'."
            raise SettingError(msg) from None
        figure = Figure(figsize=(6, 3.4), dpi=120)
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, alpha=0.3, label="loss")
        axes.plot(self.rates, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, linestyle=":", label=f"{self.suggestion:.2g}")
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(path)


def sweep(
    parts: Parts, train: Walk, device: Any, accumulate: int, *, low: float, high: float, steps: int
) -> LrSweep:
    """Take steps with rising learning rates, and put everything back."""
    if not 0 < low < high:
        raise SettingError(f"low is {low} and high {high}; expected 0 < low < high.")
    expect_positive("steps", steps)
    groups = getattr(parts.optimizer, "param_groups", None)
    if not groups:
        raise SettingError(
            f"{type(parts.optimizer).__name__} has no param_groups whose lr could be raised; "
            "expected a torch.optim.Optimizer."
        )
    ratio = (high / low) ** (1 / max(steps - 1, 1))
    rates = [low * ratio**index for index in range(steps)]
    losses: list[float] = []
    with put_back(parts, train):
        parts.model.train()
        for rate, window in zip(rates, _endless(train, device, accumulate), strict=False):
            for group in groups:
                group["lr"] = rate
            try:
                result = parts.step(window, parts.loss)
                result.check()
            except NonFiniteError:
                break
            losses.append(float(result.loss.value()))
            if losses[-1] > _BLOWN_UP * max(min(losses), 1e-12):
                break
    if len(losses) < 3:
        raise SettingError(
            f"the loss blew up after {len(losses)} steps from a learning rate of {low}; "
            "start from a lower one."
        )
    return LrSweep(tuple(rates[: len(losses)]), tuple(losses), tuple(_smoothed(losses)))


def _endless(train: Walk, device: Any, accumulate: int) -> Iterator[list[Any]]:
    epoch = 0
    while True:
        drawn = 0
        for window in windows(placed(train.begin(epoch), device), accumulate):
            drawn += 1
            yield window
        if not drawn:
            msg = "the training loader gave no batch; expected one or more."
            raise DataError(msg)
        epoch += 1


def _smoothed(losses: list[float]) -> Iterator[float]:
    average = 0.0
    for count, loss in enumerate(losses, 1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        yield average / (1 - math.pow(_SMOOTHING, count))
