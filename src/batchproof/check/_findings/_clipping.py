"""Clipping: once a window it is a function of the mean; once a micro-batch it depends on the cut.

Torch's clipping is watched, so the factor f_j (or the limit, for clipping by value) of every call
is known, and with it what the call does to a gradient, c_j. With a_j what micro-batch j adds,
clipping after every backward pass predicts

    G_0 = 0,   G_j = c_j(G_(j-1) + a_j)       or, clipped apart,   G = sum_j c_j(a_j)

Clipping by value is looked at in the small tensors alone, whose gradients are kept as they are.

Clipping by code of the step's own is found by making every gradient smaller by a power of two
before it reaches the parameters. What only scales and adds then gives as much less, exactly. Where
it does not, and two such powers agree with each other, it is a limit that is now not reached:
clipping, left out of what is measured next. Where they disagree too, gradients are normalised,
rounded or decayed by hand: nothing is then concluded from their not adding up.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._laws._laws import misfit, parts_of
from batchproof.check._laws._search import Law, Search
from batchproof.check._measure._cuts import Cut
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._runner import Runner, relative
from batchproof.check._report._remedies import diagnosis
from batchproof.check._report._report import Diagnosis

_POWERS = (40, 47)
# what code adds to a norm before it divides by it
_ADDED = (1e-6, 0.0, 1e-8)

EACH = (
    "The gradient is clipped after every micro-batch, so how much is cut off depends on how many "
    "there are."
)


@dataclass(frozen=True)
class Clipped:
    """A cut's gradient as it was clipped.

    Attributes:
        cut: the cut.
        gradient: its sketch, only entries that clipping can be followed in.
        calls: factor, or limit, of every call.
        by_value: whether calls clip by value.
    """

    cut: Cut
    gradient: Tensor
    calls: tuple[float, ...]
    by_value: bool

    def apply(self, call: int, gradient: Tensor) -> Tensor:
        """Return what one of the calls does to a gradient."""
        amount = self.calls[min(call, len(self.calls) - 1)]
        return gradient.clamp(-amount, amount) if self.by_value else amount * gradient


def clip_cause(
    runner: Runner, search: Search, law: Law | None, cuts: Sequence[Cut], how: Controls
) -> list[Diagnosis]:
    """Return a diagnosis if clipping each micro-batch is what makes cuts differ.

    Args:
        runner: runs the step; clipping is off in it.
        search: what was measured without clipping.
        law: the law without clipping.
        cuts: the cuts.
        how: what was held still when clipping was on.
    """
    off, runner.controls = runner.controls, how
    seen = [_clipped(runner, cut) for cut in cuts if len(cut.ranks) == 1 and not cut.before]
    runner.controls = off
    many = [one for one in seen if 1 < len(one.cut.pieces) <= len(one.calls)]
    many = [one for one in many if bool(torch.isfinite(one.gradient).all())]
    keep = _followed(runner, by_value=any(one.by_value for one in many))
    last = [one.apply(len(one.calls), runner.vector(one.cut)[keep]) for one in many]
    gaps = [relative(one.gradient, want) for one, want in zip(many, last, strict=True)]
    if max(gaps, default=0.0) <= runner.tolerance:
        return []
    if law is None:
        text = "Gradients are clipped once a micro-batch, and more is wrong that is not understood."
        return [diagnosis("unknown", text)]
    for running in (True, False):
        predicted = [
            predict_clipped(search, law, one.cut, one.apply, running=running)[keep] for one in many
        ]
        residual = misfit(torch.stack(predicted), torch.stack([one.gradient for one in many]))
        if residual <= runner.fit:
            return [diagnosis("clipped-per-micro-batch", EACH, residual)]
    text = "Gradients are clipped once a micro-batch, in a way that is not understood."
    return [diagnosis("unknown", text)]


def _clipped(runner: Runner, cut: Cut) -> Clipped:
    result = runner.observe(cut)
    by_value = bool(result.clamps) and not result.clips
    gradient = runner.vector(cut)[_followed(runner, by_value=by_value)]
    return Clipped(cut, gradient, result.clamps if by_value else result.clips, by_value)


def _followed(runner: Runner, *, by_value: bool) -> Tensor:
    kept = runner.kept()
    return kept if by_value else torch.ones_like(kept)


def predict_clipped(
    search: Search, law: Law, cut: Cut, apply: Callable[[int, Tensor], Tensor], *, running: bool
) -> Tensor:
    """Return the gradient of a window that is clipped after every micro-batch.

    Args:
        search: what was measured without clipping.
        law: the law without clipping.
        cut: the window.
        apply: what one of the calls, by number, does to a gradient.
        running: whether the sum so far is clipped, or each micro-batch's own part.
    """
    total = torch.zeros_like(search.table(law.micro)[0])
    scales = parts_of(law.micro, law.rule, cut)
    for call, (piece, scale) in enumerate(zip(cut.pieces, scales, strict=True)):
        shares = law.micro.shares(piece)
        table = search.table(law.micro)
        part = sum((scale * share * table[atom] for atom, share in shares), torch.zeros_like(total))
        total = apply(call, total + part) if running else total + apply(call, part)
    return total


@dataclass(frozen=True)
class Clipping:
    """What a step does to gradients besides adding them.

    Attributes:
        how: what was held still while clipping acted; None where none acts.
        own: whether the step's own code clips, not torch's.
        scales: whether the step otherwise only scales and adds gradients.
    """

    how: Controls | None = None
    own: bool = False
    scales: bool = True


def settle_clipping(runner: Runner, cuts: Sequence[Cut], notes: list[str]) -> Clipping:
    """Leave clipping out of what is measured next.

    Args:
        runner: runs the step.
        cuts: cuts that gave a result.
        notes: told of clipping that acts.
    """
    results = [runner.observe(cut) for cut in cuts]
    if not any(result.clamps or result.clips for result in results):
        return _own(runner, [cut for cut in cuts if len(cut.ranks) == 1], notes)
    clipped = runner.controls
    runner.controls = replace(clipped, clip=True)
    if not any(result.clamps or any(f < 1.0 for f in result.clips) for result in results):
        # it acts under no cut, but may on single samples, whose gradients are larger
        return Clipping()
    notes.append("gradients are compared before clipping, which would hide their scale")
    return Clipping(clipped)


def _own(runner: Runner, cuts: Sequence[Cut], notes: list[str]) -> Clipping:
    alone = [runner.piece(i) for i in range(runner.count)]
    largest = max([*cuts, *alone], key=lambda cut: _norm(runner, cut))
    if _norm(runner, largest) <= 0 or runner.subject.dtype == torch.float16:
        return Clipping()
    clipped, seen, found = runner.controls, runner.vector(largest), []
    for power in _POWERS:
        runner.controls = replace(clipped, shrink=power)
        found.append(_vector(runner, largest))
        runner.controls = clipped
        if relative(found[0], seen) <= runner.fit:
            return Clipping()
    if relative(found[1], found[0]) > runner.fit or found[0].norm() <= seen.norm():
        return Clipping(scales=False)
    runner.controls = replace(clipped, shrink=_POWERS[0])
    notes.append(
        "the step clips gradients by code of its own; they are compared before that, which would "
        "hide their scale"
    )
    return Clipping(clipped, own=True)


def _norm(runner: Runner, cut: Cut) -> float:
    try:
        norm = runner.observe(cut).norm
    except ProbeError:
        return 0.0
    return norm if math.isfinite(norm) else 0.0


def _vector(runner: Runner, cut: Cut) -> Tensor:
    try:
        return runner.vector(cut)
    except ProbeError:
        return torch.full((1,), math.nan)


@dataclass(frozen=True)
class _Both:
    """A cut's gradient without the step's clipping and with it; sketches, and norms in full."""

    cut: Cut
    free: Tensor
    size: float
    seen: Tensor
    left: float

    def once(self, limit: float, fit: float) -> bool:
        """Tell whether one clipping at the end makes the one of the other."""
        along = self.free * (self.left / self.size if self.size else 0.0)
        kept = abs(self.left - self.size) <= fit * self.size
        return relative(self.seen, along) <= fit and (kept or self.left >= 0.999 * limit)


def own_clip_cause(
    runner: Runner, search: Search, law: Law | None, cuts: Sequence[Cut], how: Controls
) -> list[Diagnosis]:
    """Return a diagnosis if the step's own clipping is not done once, at the end.

    Clipping once is a function of the gradient: what is the same before it is the same behind it.

    Args:
        runner: runs the step; no limit is reached in it.
        search: what was measured without clipping.
        law: the law without clipping.
        cuts: the cuts.
        how: what was held still when clipping was on.
    """
    both = [
        b for b in _compared(runner, cuts, how) if math.isfinite(b.size) and math.isfinite(b.left)
    ]
    limit, whole = max(b.left for b in both), both[0]
    if all(b.once(limit, runner.fit) for b in both):
        return []
    if law is not None and bool(runner.kept().all()):
        each = [b for b in both if not b.cut.before]
        seen = torch.stack([b.seen for b in each])
        for added in _ADDED:
            for running in (True, False):
                apply = partial(_limited, _limit(both, added), added)
                rows = [predict_clipped(search, law, b.cut, apply, running=running) for b in each]
                residual = misfit(torch.stack(rows), seen)
                if residual <= runner.fit:
                    return [diagnosis("clipped-per-micro-batch", EACH, residual)]
    alike = [b for b in both if relative(b.free, whole.free) <= runner.fit]
    if all(relative(b.seen, whole.seen) <= runner.fit for b in alike):
        return []
    text = "Gradients are limited by code of the step's own, in a way that is not understood."
    return [diagnosis("unknown", text)]


def _compared(runner: Runner, cuts: Sequence[Cut], how: Controls) -> list[_Both]:
    cuts = [cut for cut in cuts if len(cut.ranks) == 1]
    free = [(runner.vector(cut), runner.observe(cut).norm) for cut in cuts]
    off, runner.controls = runner.controls, how
    seen = [(runner.vector(cut), runner.observe(cut).norm) for cut in cuts]
    runner.controls = off
    return [_Both(c, *f, *s) for c, f, s in zip(cuts, free, seen, strict=True)]


def _limit(both: Sequence[_Both], added: float) -> float:
    """Return the limit that a cut of one micro-batch was clipped to, or the largest norm seen."""
    for one in both:
        if len(one.cut.pieces) == 1 and one.left < one.size:
            return one.left * (one.size + added) / one.size
    return max(one.left for one in both)


def _limited(limit: float, added: float, _call: int, gradient: Tensor) -> Tensor:
    size = float(gradient.norm()) + added
    return gradient * (limit / size) if size > limit else gradient
