"""Runs made of numbers: batches with losses, and lines that show something of them."""

import itertools
from dataclasses import dataclass, field

import numpy as np

from batchproof.watch import LossEvent
from batchproof.watch._loaders import LoaderPass, Loaders
from batchproof.watch._numbers._slots import Slots


@dataclass
class Run:
    """A run in which losses are computed and lines are written, without torch."""

    losses: list = field(default_factory=list)
    slots: Slots = field(default_factory=Slots)

    def __post_init__(self):
        self._clock = itertools.count(1)
        self.loaders = Loaders(lambda: next(self._clock))

    def batch(self, mean, samples, *, weight=None, site="train.py:10", training=True, hits=None):
        weight = float(samples if weight is None else weight)
        event = LossEvent(
            index=next(self._clock),
            site=site,
            kind="cross_entropy",
            reduction="mean",
            training=training,
            value=mean,
            total=mean * weight,
            weight=weight,
            elements=float(samples),
            samples=samples,
            hits=hits,
        )
        self.losses.append(event)
        return event

    def one_pass(self, means, sizes, **kwargs):
        """A pass over a loader; returns its events."""
        return list(self.batches(means, sizes, **kwargs))

    def batches(self, means, sizes, **kwargs):
        """A pass over a loader, one event after the other."""
        number = len(self.loaders.passes)
        self.loaders.passes.append(
            LoaderPass(max(sizes), len(sizes), sum(sizes), sum(sizes), drop_last=False, copies=0)
        )
        for mean, size in zip(means, sizes, strict=True):
            self.loaders.stamps.append(next(self._clock))
            self.loaders.numbers.append(number)
            yield self.batch(mean, size, **kwargs)
        self.loaders.passes[number].batches_read = len(sizes)
        self.loaders.passes[number].whole = True

    def show(self, text, place="train.py:20"):
        self.slots.add_line(text, next(self._clock), place, "stdout")


def decaying(generator, count, start=2.0):
    """Losses as training has them: falling, and noisy."""
    trend = start * np.exp(-np.arange(count) / max(4, count / 2))
    return (trend * generator.uniform(0.6, 1.4, count)).tolist()
