"""What differs although nothing was cut: draws, and state that outlives a call."""

import math

import torch

from batchproof._errors import ProbeError
from batchproof.check._cuts import Cut, Piece
from batchproof.check._lab import Laboratory, relative
from batchproof.check._report import Diagnosis
from batchproof.check._sentences import diagnosis
from batchproof.check._shot import SEED, Order, shoot
from batchproof.check._still import Still


class Steadiness:
    """Looks for what is not steady, and holds still what can be.

    Args:
        lab: takes the shots.

    Attributes:
        notes: what was held still.
        noise: relative error between two runs of the same cut.
        erratic: whether runs differ so that nothing can be compared.
    """

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab
        self.notes: list[str] = []
        self.noise = 0.0
        self.erratic = False

    def look(self) -> list[Diagnosis]:
        """Return what makes runs differ that cannot be held still."""
        lab = self.lab
        lab.look()
        draws = list(lab.trace.draws)
        if draws:
            lab.still = Still(dropout=True)
            lab.look()
            left = lab.trace.draws
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
        evaluation = self.lab.kit.kind == "evaluate"
        return "; an evaluation should call model.eval() first" if evaluation else ""

    def _finite(self) -> None:
        vector = self.lab.vector(self.lab.whole())
        if not bool(vector.isfinite().all()):
            msg = (
                "the uncut step gives NaN or infinite gradients; give samples and a build on "
                "which it is finite."
            )
            raise ProbeError(msg)

    def _precision(self) -> None:
        narrow = self.lab.trace.narrowest
        if narrow.itemsize < self.lab.kit.dtype.itemsize:
            self.notes.append(
                f"computes in {narrow} somewhere: errors below {self.lab.tolerance:.0e} are "
                "not seen"
            )

    def _unseeded(self, draws: list[str]) -> list[Diagnosis]:
        lab, whole = self.lab, self.lab.whole()
        first = lab.vector(whole)
        shot = lab.repeat(whole)
        self.noise = relative(lab.vector_of(shot), first)
        other = relative(lab.vector(whole, seed=SEED + 1), first) if draws else 0.0
        if max(self.noise, other) <= lab.tolerance:
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
        lab, whole = self.lab, self.lab.whole()
        first = lab.vector(whole)
        try:
            second = lab.vector(whole, again="kept")
            if relative(second, 2 * first) <= lab.fit and lab.kit.kind == "step":
                self.notes.append(
                    "run leaves its gradients behind for the next call; the loop around it must "
                    "call optimizer.zero_grad()"
                )
                second = lab.vector(whole, again="cleared")
        except ProbeError:
            self.notes.append("run cannot be called twice on the same model; not tried further")
            return []
        gap = relative(second, first)
        if gap <= max(lab.tolerance, 10 * self.noise):
            return []
        text = (
            f"A second call on the same model, put back as it was, is {gap:.1%} away from the "
            "first: something outlives the call."
        )
        return [diagnosis("leaking-state", text)]


def look_for_carried(lab: Laboratory) -> list[Diagnosis]:
    """Return a diagnosis if state goes from one micro-batch to the next.

    Whatever a stateless window makes of micro-batches A and B, it is a sum alpha m(A) + beta m(B).
    Where it is none, and changes with their order, what B gives depends on A having come before.

    Args:
        lab: takes the shots.
    """
    n = lab.count
    # of one size, so that a loader of one batch size can give them in either order
    pieces = Piece(tuple(range(n // 2))), Piece(tuple(range(n // 2, n // 2 * 2)))
    alone = torch.stack([lab.vector(Cut("piece", ((piece,),))) for piece in pieces])
    orders = (pieces, pieces[::-1])
    both = torch.stack([lab.vector(Cut("in order", (order,))) for order in orders])
    if not bool(torch.isfinite(torch.cat([alone, both])).all()) or alone.shape[1] < 4:
        return []
    gap = relative(both[1], both[0])
    parts = torch.linalg.lstsq(alone.T, both.T).solution.T
    outside = max(relative(parts[i] @ alone, both[i]) for i in range(2))
    if gap <= lab.tolerance or outside <= lab.fit:
        return []
    text = (
        "What one micro-batch leaves behind changes the next: two micro-batches give a result "
        f"{outside:.1%} away from any sum of what they give alone, and in the other order "
        f"another one, {gap:.1%} away."
    )
    return [diagnosis("leaking-state", text)]


def look_for_nan_dropped(lab: Laboratory, notes: list[str]) -> list[Diagnosis]:
    """Return a diagnosis if a batch on which the model gives NaN is left out silently.

    Args:
        lab: takes the shots.
        notes: told where it could not be tried.
    """
    singles = tuple(Piece((i,)) for i in range(lab.count))
    cut = Cut("nan", (singles,))
    # the mean without one of them may by chance be the same, not without either of two
    for poison in (lab.count // 2, 0):
        try:
            value = shoot(lab.kit, singles, Order(still=lab.still, poison=poison)).loss
        except Exception:
            return []
        lab.runs += 1
        if value is None or not math.isfinite(value):
            return []
        if abs(value - (lab.shot(cut).loss or 0.0)) > lab.tolerance * abs(value):
            break
    else:
        notes.append("a batch of NaN could not be tried: the model is not called once a batch")
        return []
    others = Cut("others", (tuple(p for p in singles if poison not in p.samples),))
    left = lab.shot(others).loss or 0.0
    gap = abs(value - left)
    if gap > lab.fit * abs(value):
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
