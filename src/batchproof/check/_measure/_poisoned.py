"""Evaluations of a batch of NaN, which must not be dropped silently."""

import math
from dataclasses import dataclass

from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._run import RunOptions, run_once
from batchproof.check._measure._runner import Runner

_UNTRIED = (
    "a batch of NaN could not be tried: the model is not called once a batch, or what it gives for "
    "one batch does not show in the number"
)


@dataclass(frozen=True)
class Poisoned:
    """An evaluation in which the model gave NaN for one batch.

    Attributes:
        value: its number.
        others: the number of the other batches.
        full: the number of all batches, none of NaN.
    """

    value: float
    others: float
    full: float

    def dropped(self, tolerance: float) -> bool:
        """Return whether the number is that of the other batches, up to a small distance."""
        near = max(tolerance * abs(self.value), 1e-2 * abs(self.others - self.full))
        return abs(self.value - self.others) <= near


def measure_poisoned(runner: Runner) -> Poisoned | str | None:
    """Run an evaluation with a batch on which the model gives NaN.

    Args:
        runner: runs the evaluation.

    Returns:
        What it gave; the reason where it could not be tried; None where its number is not finite,
        as it should be.
    """
    singles = tuple(MicroBatch((i,)) for i in range(runner.count))
    trial = None
    try:
        full = runner.observe(Cut("nan", (singles,))).loss or 0.0
        # without one of them the number may by chance be what it is, not without any of them
        for poison in range(runner.count):
            options = RunOptions(controls=runner.controls, poison=poison)
            value = run_once(runner.subject, singles, options).loss
            runner.record.runs += 1
            if value is None or not math.isfinite(value):
                return None
            others = tuple(piece for piece in singles if poison not in piece.samples)
            run = Poisoned(value, runner.observe(Cut("others", (others,))).loss or 0.0, full)
            moves = abs(value - full) > runner.tolerance * abs(value)
            if not run.dropped(runner.tolerance):
                return run if moves else _UNTRIED
            trial = trial or (run if moves else None)
    except Exception:
        return None
    return trial or _UNTRIED
