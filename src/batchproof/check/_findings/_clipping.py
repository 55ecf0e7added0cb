"""Clipping: once a window it is a function of the mean; once a micro-batch it depends on the cut.

Torch's clipping is watched, so the factor f_j (or the limit, for clipping by value) of every call
is known, and with it what the call does to a gradient, c_j. Calls that clip one tensor or layer
each, in a row, are one round. With a_j what micro-batch j adds, a round after every one
predicts

    G_0 = 0,   G_j = c_j(G_(j-1) + a_j)       or, clipped apart,   G = sum_j c_j(a_j)

and clipping before every backward pass G_j = c_j(G_(j-1)) + a_j, whose last part is never clipped.

Clipping by value is looked at in the small tensors alone, whose gradients are kept as they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._laws._laws import misfit, parts_of
from batchproof.check._laws._search import Law, Search
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut
from batchproof.check._measure._recorder import Clip
from batchproof.check._measure._runner import Runner
from batchproof.check._report._results import Diagnosis, diagnosis

# what code adds to a norm before it divides by it
_ADDED = (1e-6, 0.0, 1e-8)
# relative; norms that are nearer are those of one gradient
_SAME = 1e-9
_EACH = (
    "The gradient is clipped after every micro-batch, so how much is cut off depends on how many "
    "there are."
)
_BEFORE = (
    "The gradient is clipped before every backward pass: the sum of the earlier micro-batches is "
    "cut, the last one never is, and with one micro-batch nothing is clipped at all."
)
# what is clipped: the sum so far, each micro-batch's own part, or the sum before it is added to
_ORDERS = {"sum": _EACH, "part": _EACH, "before": _BEFORE}


def clipping(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if clipping that is not done once, at the end, makes cuts differ."""
    before = evidence.clipping.before
    if before is None:
        return []
    clipping_runner = evidence.runner.under(before)
    return (_own if evidence.clipping.own else _of_torch)(evidence, clipping_runner)


def notes_on_clipping(evidence: Evidence) -> list[str]:
    """Return whether the gradients that are shown are those before clipping."""
    if evidence.clipping.before is None:
        return []
    who = " by code of its own" if evidence.clipping.own else ""
    how = "as clipped: before clipping they are the same under every cut"
    if evidence.shows_clean:
        how = "and compared before clipping, which would hide their scale"
    return [f"the step clips gradients{who}; they are shown {how}"]


@dataclass(frozen=True)
class Clipped:
    """A cut's gradient as it was clipped.

    Attributes:
        cut: the cut.
        gradient: its sketch, only entries that clipping can be followed in.
        rounds: factors on a sketch's entries of every round of calls, or the limit of each call.
        by_value: whether calls clip by value.
    """

    cut: Cut
    gradient: Tensor
    rounds: tuple[Tensor, ...]
    by_value: bool

    def apply(self, place: int, gradient: Tensor) -> Tensor:
        """Return the gradient after one of the rounds."""
        amount = self.rounds[min(place, len(self.rounds) - 1)]
        return gradient.clamp(-amount, amount) if self.by_value else amount * gradient


def _of_torch(evidence: Evidence, clipping_runner: Runner) -> list[Diagnosis]:
    """Judge torch's clipping, whose factors are known."""
    runner, law = evidence.runner, evidence.laws.law
    own = [cut for cut in evidence.cuts if len(cut.ranks) == 1 and not cut.before]
    results = [_clipped(clipping_runner, cut) for cut in own]
    many = [one for one in results if 1 < len(one.cut.pieces) <= len(one.rounds)]
    many = [one for one in many if bool(torch.isfinite(one.gradient).all())]
    keep = _followed(runner, by_value=any(one.by_value for one in many))
    last = [one.apply(len(one.rounds), runner.vector(one.cut)[keep]) for one in many]
    gaps = [relative(one.gradient, want) for one, want in zip(many, last, strict=True)]
    if max(gaps, default=0.0) <= runner.tolerance:
        return []
    if law is None:
        text = "Gradients are clipped once a micro-batch, and more is wrong that is not understood."
        return [diagnosis("unknown", text)]
    for order, text in _ORDERS.items():
        predictions = [
            predict_clipped(evidence.laws.search, law, one.cut, one.apply, order)[keep]
            for one in many
        ]
        residual = misfit(torch.stack(predictions), torch.stack([one.gradient for one in many]))
        if residual <= runner.fit:
            return [diagnosis("clipped-per-micro-batch", text, residual)]
    text = "Gradients are clipped once a micro-batch, in a way that is not understood."
    return [diagnosis("unknown", text)]


def _clipped(runner: Runner, cut: Cut) -> Clipped:
    result = runner.observe(cut)
    by_value = bool(result.clamps) and not result.clips
    gradient = runner.vector(cut)[_followed(runner, by_value=by_value)]
    limits = tuple(torch.tensor(limit, dtype=torch.float64) for limit in result.clamps)
    return Clipped(cut, gradient, limits if by_value else _rounds(runner, result.clips), by_value)


def _rounds(runner: Runner, clips: Sequence[Clip]) -> tuple[Tensor, ...]:
    """Return the factors on a sketch's entries, in rounds that clip no parameter twice."""
    sketch, rounds, before = runner.record.sketch, list[Tensor](), set[str]()
    for clip in clips:
        if not rounds or before & set(clip.names):
            rounds.append(torch.ones(len(sketch.exact), dtype=torch.float64))
            before.clear()
        before |= set(clip.names)
        for name in clip.names:
            if name in sketch.spans:
                rounds[-1][sketch.spans[name]] = clip.factor
    return tuple(rounds)


def _followed(runner: Runner, *, by_value: bool) -> Tensor:
    exact = runner.record.sketch.exact
    return exact if by_value else torch.ones_like(exact)


def predict_clipped(
    search: Search, law: Law, cut: Cut, apply: Callable[[int, Tensor], Tensor], order: str
) -> Tensor:
    """Return the gradient of a window that is clipped with every micro-batch.

    Args:
        search: what was measured without clipping.
        law: the law without clipping.
        cut: the window.
        apply: what one of the rounds, by number, does to a gradient.
        order: what is clipped: "sum" so far, each "part" alone, or the sum "before" a part.
    """
    parts = _parts(search, law, cut)
    total = torch.zeros_like(parts[0])
    for call, part in enumerate(parts):
        if order == "sum":
            total = apply(call, total + part)
        else:
            total = total + apply(call, part) if order == "part" else apply(call, total) + part
    return total


def _parts(search: Search, law: Law, cut: Cut) -> list[Tensor]:
    """Return what each micro-batch adds to a window's gradient."""
    scales = parts_of(law.micro, law.rule, cut)
    shares = [law.micro.shares(piece) for piece in cut.pieces]
    table = search.table(law.micro)
    return [
        sum((scale * share * table[atom] for atom, share in one), torch.zeros_like(table[0]))
        for scale, one in zip(scales, shares, strict=True)
    ]


@dataclass(frozen=True)
class _Both:
    """A cut's gradient without the step's clipping and with it; sketches, and norms in full."""

    cut: Cut
    free: Tensor
    size: float
    after: Tensor
    size_after: float

    def once(self, limit: float, fit: float) -> bool:
        """Return whether one clipping at the end makes the one of the other."""
        along = self.free * (self.size_after / self.size if self.size else 0.0)
        same = abs(self.size_after - self.size) <= fit * self.size
        return relative(self.after, along) <= fit and (same or self.size_after >= 0.999 * limit)


def _own(evidence: Evidence, clipping_runner: Runner) -> list[Diagnosis]:
    """Judge clipping by code of the step's own: equal gradients stay equal after clipping."""
    runner, law = evidence.runner, evidence.laws.law
    cuts = [cut for cut in evidence.cuts if len(cut.ranks) == 1]
    pairs = [_both(runner, clipping_runner, cut) for cut in cuts]
    both = [b for b in pairs if math.isfinite(b.size) and math.isfinite(b.size_after)]
    limit, whole = max(b.size_after for b in both), both[0]
    if all(b.once(limit, runner.fit) for b in both):
        return []
    if law is not None and bool(runner.record.sketch.exact.all()):
        for order, text in _ORDERS.items():
            residual = _each(runner, evidence.laws.search, law, both, order)
            if residual <= runner.fit:
                return [diagnosis("clipped-per-micro-batch", text, residual)]
    alike = [b for b in both if relative(b.free, whole.free) <= runner.fit]
    if all(relative(b.after, whole.after) <= runner.fit for b in alike):
        return []
    text = "Gradients are limited by code of the step's own, in a way that is not understood."
    return [diagnosis("unknown", text)]


def _each(runner: Runner, search: Search, law: Law, both: Sequence[_Both], order: str) -> float:
    """Return the distance of clipping with every micro-batch from the measurement.

    What is clipped is the whole gradient, or each tensor apart.
    """
    windows = [b for b in both if not b.cut.before]
    gradients = torch.stack([b.after for b in windows])
    residuals = []
    sums = _firsts(search, law, windows) if order == "before" else both
    for spans, epsilon in product(([slice(None)], [*runner.record.sketch.spans.values()]), _ADDED):
        limits = [(span, _limit(sums, span, epsilon)) for span in spans]
        apply = partial(_limited, limits, epsilon)
        rows = [predict_clipped(search, law, b.cut, apply, order) for b in windows]
        residuals.append(misfit(torch.stack(rows), gradients))
    return min(residuals)


def _firsts(search: Search, law: Law, windows: Sequence[_Both]) -> list[_Both]:
    """Return the first of two micro-batches, and what is left of it beside the second."""
    firsts = []
    for window in windows:
        if len(window.cut.pieces) == 2:
            first, second = _parts(search, law, window.cut)
            rest = window.after - second
            cut = Cut("first", ((window.cut.pieces[0],),))
            firsts.append(_Both(cut, first, float(first.norm()), rest, float(rest.norm())))
    return firsts


def _both(runner: Runner, clipping_runner: Runner, cut: Cut) -> _Both:
    return _Both(
        cut,
        runner.vector(cut),
        runner.observe(cut).norm,
        clipping_runner.vector(cut),
        clipping_runner.observe(cut).norm,
    )


def _limit(both: Sequence[_Both], span: slice, epsilon: float) -> float:
    """Return the limit that a cut of one micro-batch was clipped to, or the largest norm."""
    sizes = [(b, float(b.free[span].norm()), float(b.after[span].norm())) for b in both]
    for one, size, after in sizes:
        if len(one.cut.pieces) == 1 and after < (1 - _SAME) * size:
            return after * (size + epsilon) / size
    return max(after for _, _, after in sizes)


def _limited(
    limits: Sequence[tuple[slice, float]], epsilon: float, _call: int, gradient: Tensor
) -> Tensor:
    result = gradient.clone()
    for span, limit in limits:
        size = float(gradient[span].norm()) + epsilon
        if size > limit:
            result[span] *= limit / size
    return result
