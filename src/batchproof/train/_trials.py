"""Trials before training, of which nothing is kept: one step of everything, and a rising rate.

The learning rates that a model can bear are found by raising the rate step by step. The loss falls
fastest some way before it blows up; a rate about there is a good first choice.

References:
    Smith (2017): Cyclical Learning Rates for Training Neural Networks, section 3.3.
"""

import itertools
import math
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import CheckpointError, DataError, NonFiniteError, SettingError
from batchproof._random import restore
from batchproof.ranks import full, on_first
from batchproof.runs import RunFolder
from batchproof.train._batches import Epochs, placed, windows_from
from batchproof.train._checkpoints._checkpoint import Checkpoint
from batchproof.train._loop import Ends
from batchproof.train._options import Reporting, expect_positive
from batchproof.train._start import Setup, ValidationData, running
from batchproof.train._state import Parts

_SMOOTHING = 0.9
_BLOWN_UP, _BLOWN_UP_AT_ONCE = 4.0, 1000.0
# steps that are not looked at in the beginning, and how far noise carries the smoothed loss
_SKIPPED, _RANGE = 10, 10.0


@contextmanager
def undone(parts: Parts, train: Epochs) -> Iterator[None]:
    """Let the body train, and restore weights, states, generators and training flags."""
    average = parts.average.state_dict()
    before = Checkpoint(
        _copied(parts.weights()),
        None if average is None else _copied(average),
        {"parts": deepcopy(parts.state_dict())},
    )
    generators = train.generators()
    flags = [(module, module.training) for module in parts.model.modules()]
    gradients = [(p, p.grad) for p in parts.model.parameters()]
    try:
        yield
    finally:
        parts.load(before)
        restore(generators["random"])
        train.restore(generators["own"])
        for module, training in flags:
            module.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, Tensor) else deepcopy(v) for k, v in state.items()}


def try_everything(setup: Setup, train: Iterable[Any], val: ValidationData) -> str:
    """Take one step, validate one batch, save and load it; undo everything.

    Returns:
        What was done, as one line.

    Raises:
        CheckpointError: if what is loaded is not what was saved.
    """
    options = setup.options
    few = replace(options.limits, limit_train_batches=options.steps.accumulate, limit_val_batches=1)
    with undone(setup.parts, Epochs(train)), tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        once = replace(
            options,
            limits=few,
            saving=replace(options.saving, run_dir=run_dir),
            reporting=Reporting(log_every=1, progress=False),
        )
        with running(
            replace(setup, options=once, trial=True), train, val, Ends(None, 1), None
        ) as loop:
            history = loop.run()
        weights = {name: full(weight) for name, weight in setup.parts.weights().items()}
        # of several ranks rank 0 has written
        size = on_first(lambda: _compared(run_dir, weights), options.group)
    means = ", ".join(
        f"{record.name} {record.value:.4g}"
        for record in history.records
        if record.span == "epoch" and record.unit != "step" and "/" not in record.name
    )
    return f"dry run: one step, one validation batch ({means}), {size:,} bytes saved and loaded"


def _compared(run_dir: Path, weights: Mapping[str, Any]) -> int:
    """Return the size of the last checkpoint, which holds these weights."""
    copies = RunFolder(run_dir).weights("last")
    for name, weight in weights.items():
        if isinstance(weight, Tensor) and not torch.equal(copies[name], weight.cpu()):
            raise CheckpointError(f"{name} changed between saving and loading.")
    files = (run_dir / "last").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


@dataclass(frozen=True, slots=True, repr=False)
class LrSweep:
    """The loss at each learning rate.

    The first steps say little, for the smoothed loss has hardly any steps to average over; no rate
    among them is suggested. Nor is any where the fall is within the noise from step to step.

    Attributes:
        rates: learning rates, rising.
        losses: the window's mean loss at each.
        smoothed: their exponential moving average, corrected for its start.

    Examples:
        >>> LrSweep((0.1, 0.2, 0.4), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
        3 rates from 0.1 to 0.4; no fall beyond the noise is seen
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest; None where no fall is to be seen."""
        start = min(_SKIPPED, len(self.smoothed) // 4)
        lowest = min(range(start, len(self.smoothed)), key=self.smoothed.__getitem__)
        falls = [(self.smoothed[i + 1] - self.smoothed[i - 1], i) for i in range(start + 1, lowest)]
        if not falls or min(falls)[0] >= 0:
            return None
        is_clear = self._fall(start, lowest) > self._noise(max(start, lowest // 2))
        return self.rates[min(falls)[1]] if is_clear else None

    def _fall(self, start: int, lowest: int) -> float:
        return max(self.smoothed[start : lowest + 1]) - self.smoothed[lowest]

    def _noise(self, stop: int) -> float:
        """Return the largest fall of the smoothed loss that noise alone is likely to give.

        It is that of the steps up to stop; later a high rate makes losses jump.

        Steps' losses that vary by sigma differ from step to step by sqrt(2) sigma, in the root mean
        square, which a slow fall hardly adds to. The median would see too little of the noise of a
        trained model, most of whose losses are small and a few large. The smoothed loss varies by
        sqrt((1 - s) / (1 + s)) sigma = 0.23 sigma, and by 10 times that between two of some 100
        steps in one sweep of 1,000, be the noise normal or lognormal.
        """
        changes = [(b - a) ** 2 for a, b in itertools.pairwise(self.losses[: stop + 1])]
        sigma = math.sqrt(statistics.fmean(changes) / 2)
        return _RANGE * math.sqrt((1 - _SMOOTHING) / (1 + _SMOOTHING)) * sigma

    def __str__(self) -> str:
        low, high = self.rates[0], self.rates[-1]
        rate = self.suggestion
        advice = f"it falls fastest near {rate:.2g}" if rate else "no fall beyond the noise is seen"
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
            raise SettingError(
                "matplotlib is not installed; pip install 'batchproof[plot]'."
            ) from None
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


def sweep(setup: Setup, train: Epochs, *, low: float, high: float, steps: int) -> LrSweep:
    """Take steps with rising learning rates, and undo them."""
    parts = setup.parts
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
    with undone(parts, train):
        parts.model.train()
        parts.average.begin()
        for rate, window in zip(rates, _endless(setup, train), strict=False):
            for group in groups:
                group["lr"] = rate
            try:
                result = parts.step(window, parts.loss)
                result.check()
            except NonFiniteError:
                break
            losses.append(float(result.loss.value()))
            if _blown_up(losses):
                break
    if len(losses) < 3:
        raise SettingError(
            f"the loss blew up after {len(losses)} steps from a learning rate of {low}; "
            "start from a lower one."
        )
    return LrSweep(tuple(rates[: len(losses)]), tuple(losses), tuple(_smoothed(losses)))


def _blown_up(losses: list[float]) -> bool:
    """Return whether the last loss is far above those of the first steps."""
    if len(losses) <= _SKIPPED:
        # of a trained model losses differ by more from batch to batch than by any small factor
        return losses[-1] > _BLOWN_UP_AT_ONCE * max(losses[0], 1e-12)
    return losses[-1] > _BLOWN_UP * max(losses[:_SKIPPED])


def _endless(setup: Setup, train: Epochs) -> Iterator[list[Any]]:
    for epoch in itertools.count():
        count = 0
        windows = windows_from(train, train.begin(epoch), setup.options.steps.accumulate)
        for window in placed(windows, setup.device):
            count += 1
            yield window
        if not count:
            raise DataError("the training loader gave no batch; expected one or more.")


def _smoothed(losses: list[float]) -> Iterator[float]:
    average = 0.0
    for count, loss in enumerate(losses, 1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        yield average / (1 - math.pow(_SMOOTHING, count))
