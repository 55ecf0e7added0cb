"""The position of a run: epochs, steps and batches done."""

from dataclasses import dataclass


@dataclass(slots=True)
class Position:
    """A position between two optimiser steps.

    Attributes:
        epoch: epochs completed.
        step: windows done in all.
        batch: micro-batches of the present epoch that are done.

    Examples:
        >>> position = Position()
        >>> position.advance(micro_batches=4)
        >>> position
        Position(epoch=0, step=1, batch=4)
    """

    epoch: int = 0
    step: int = 0
    batch: int = 0

    def advance(self, micro_batches: int) -> None:
        """Count one window."""
        self.step += 1
        self.batch += micro_batches

    def next_epoch(self) -> None:
        """Count one epoch."""
        self.epoch += 1
        self.batch = 0
