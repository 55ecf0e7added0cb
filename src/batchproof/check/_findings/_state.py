"""What differs although nothing was cut: draws, and state that outlives a call."""

import math

import torch

from batchproof._errors import ProbeError
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._run import SEED, RunOptions, run_once
from batchproof.check._measure._runner import Runner, relative
from batchproof.check._report._remedies import diagnosis
from batchproof.check._report._report import Diagnosis


class Steadiness:
    """Looks for what is not steady, and holds still what can be.

    Args:
        runner: runs the step.

    Attributes:
        notes: what was held still.
        noise: relative error between two runs of the same cut.
        erratic: whether runs differ so that nothing can be compared.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.notes: list[str] = []
        self.noise = 0.0
        self.erratic = False

    def look(self) -> list[Diagnosis]:
        """Return what makes runs differ that cannot be held still."""
        runner = self.runner
        runner.look()
        draws = list(runner.trace.draws)
        if draws:
            runner.controls = Controls(dropout=True)
            runner.look()
            left = runner.trace.draws
            stilled = [where for where in draws if where not in left]
            if stilled:
                self.notes.append(f"random draws held still: {', '.join(stilled[:6])}{self._mode}")
            draws = list(left)
        self._finite()
        self._precision()
        found = self._unseeded(draws)
        return found or self._second_call()

    @property
    def _mode(self) -> str:
        evaluation = self.runner.subject.kind == "evaluate"
        return "; an evaluation should call model.eval() first" if evaluation else ""

    def _finite(self) -> None:
        vector = self.runner.vector(self.runner.whole())
        if not bool(vector.isfinite().all()):
            msg = (
                "the uncut step gives NaN or infinite gradients; give samples and a build on "
                "which it is finite."
            )
            raise ProbeError(msg)

    def _precision(self) -> None:
        narrow = self.runner.trace.narrowest
        if narrow.itemsize < self.runner.subject.dtype.itemsize:
            self.notes.append(
                f"computes in {narrow} somewhere: errors below {self.runner.tolerance:.0e} are "
                "not seen"
            )

    def _unseeded(self, draws: list[str]) -> list[Diagnosis]:
        runner, whole = self.runner, self.runner.whole()
        first = runner.vector(whole)
        result = runner.repeat(whole)
        self.noise = relative(runner.vector_of(result), first)
        other = relative(runner.vector(whole, seed=SEED + 1), first) if draws else 0.0
        if max(self.noise, other) <= runner.tolerance:
            return []
        self.erratic = True
        if draws:
            text = (
                f"Random numbers are drawn in {', '.join(draws[:4])}: the same cut under another "
                f"seed is {max(self.noise, other):.1%} away, so cuts cannot be compared."
            )
            return [diagnosis("random-draws", text)]
        text = (
            "The same cut of the same samples gives another result in the next call "
            f"({self.noise:.1%} away), though model and seeds are the same: something outlives "
            "the call."
        )
        return [diagnosis("leaking-state", text)]

    def _second_call(self) -> list[Diagnosis]:
        """Call run twice on one model, put back in between."""
        runner, whole = self.runner, self.runner.whole()
        first = runner.vector(whole)
        try:
            second = runner.vector(whole, again="kept")
            if relative(second, 2 * first) <= runner.fit and runner.subject.kind == "step":
                self.notes.append(
                    "run leaves its gradients behind for the next call; the loop around it must "
                    "call optimizer.zero_grad()"
                )
                second = runner.vector(whole, again="cleared")
        except ProbeError:
            self.notes.append("run cannot be called twice on the same model; not tried further")
            return []
        gap = relative(second, first)
        if gap <= max(runner.tolerance, 10 * self.noise):
            return []
        text = (
            f"A second call on the same model, put back as it was, is {gap:.1%} away from the "
            "first: something outlives the call."
        )
        return [diagnosis("leaking-state", text)]


def look_for_carried(runner: Runner) -> list[Diagnosis]:
    """Return a diagnosis if state goes from one micro-batch to the next.

    Whatever a stateless window makes of micro-batches A and B, it is a sum alpha m(A) + beta m(B).
    Where it is none, and changes with their order, what B gives depends on A having come before.

    Args:
        runner: runs the step.
    """
    n = runner.count
    # of one size, so that a loader of one batch size can give them in either order
    pieces = MicroBatch(tuple(range(n // 2))), MicroBatch(tuple(range(n // 2, n // 2 * 2)))
    alone = torch.stack([runner.vector(Cut("piece", ((piece,),))) for piece in pieces])
    orders = (pieces, pieces[::-1])
    both = torch.stack([runner.vector(Cut("in order", (order,))) for order in orders])
    if not bool(torch.isfinite(torch.cat([alone, both])).all()) or alone.shape[1] < 4:
        return []
    gap = relative(both[1], both[0])
    parts = torch.linalg.lstsq(alone.T, both.T).solution.T
    outside = max(relative(parts[i] @ alone, both[i]) for i in range(2))
    if gap <= runner.tolerance or outside <= runner.fit:
        return []
    text = (
        "What one micro-batch leaves behind changes the next: two micro-batches give a result "
        f"{outside:.1%} away from any sum of what they give alone, and in the other order "
        f"another one, {gap:.1%} away."
    )
    return [diagnosis("leaking-state", text)]


def look_for_nan_dropped(runner: Runner, notes: list[str]) -> list[Diagnosis]:
    """Return a diagnosis if a batch on which the model gives NaN is left out silently.

    Args:
        runner: runs the step.
        notes: told where it could not be tried.
    """
    singles = tuple(MicroBatch((i,)) for i in range(runner.count))
    cut = Cut("nan", (singles,))
    # the mean without one of them may by chance be the same, not without either of two
    for poison in (runner.count // 2, 0):
        try:
            value = run_once(
                runner.subject, singles, RunOptions(controls=runner.controls, poison=poison)
            ).loss
        except Exception:
            return []
        runner.runs += 1
        if value is None or not math.isfinite(value):
            return []
        if abs(value - (runner.observe(cut).loss or 0.0)) > runner.tolerance * abs(value):
            break
    else:
        notes.append("a batch of NaN could not be tried: the model is not called once a batch")
        return []
    others = Cut("others", (tuple(p for p in singles if poison not in p.samples),))
    left = runner.observe(others).loss or 0.0
    gap = abs(value - left)
    if gap > runner.fit * abs(value):
        notes.append(
            f"a batch on which the model gives NaN makes the number {value:.6g}, not NaN, as a "
            "share of hits does, which takes NaN for a miss or for the first class"
        )
        return []
    text = (
        f"A batch on which the model gives NaN is dropped silently: the number is {value:.6g}, "
        "of the other batches."
    )
    residual = gap / abs(value) if value else 0.0
    return [diagnosis("nan-batch-dropped", text, residual, evaluation=True)]
