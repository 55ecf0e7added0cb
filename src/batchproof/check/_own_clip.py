"""Clipping that a step does itself, and what else it does to gradients besides adding them.

Every gradient is made smaller by a power of two before it reaches the parameters. What only scales
and adds then gives as much less, exactly. Where it does not, and two such powers agree with each
other, it is a limit that is now not reached: clipping, left out of what is measured next. Where
they disagree too, gradients are normalised, rounded, decayed by hand: nothing is then concluded
from their not adding up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._clip import EACH, predict_clipped
from batchproof.check._cuts import Cut
from batchproof.check._lab import Laboratory, relative
from batchproof.check._laws import misfit
from batchproof.check._report import Diagnosis
from batchproof.check._search import Law, Search
from batchproof.check._sentences import diagnosis
from batchproof.check._still import Still

_POWERS = (40, 47)
# what code adds to a norm before it divides by it
_ADDED = (1e-6, 0.0, 1e-8)


@dataclass(frozen=True)
class Clipping:
    """What a step does to gradients besides adding them.

    Attributes:
        how: what was held still while clipping acted; None where none acts.
        own: whether the step's own code clips, not torch's.
        scales: whether the step otherwise only scales and adds gradients.
    """

    how: Still | None = None
    own: bool = False
    scales: bool = True


def settle_clipping(lab: Laboratory, cuts: Sequence[Cut], notes: list[str]) -> Clipping:
    """Leave clipping out of what is measured next.

    Args:
        lab: takes the shots.
        cuts: cuts that gave a result.
        notes: told of clipping that acts.
    """
    shots = [lab.shot(cut) for cut in cuts]
    if not any(shot.clamps or shot.clips for shot in shots):
        return _own(lab, [cut for cut in cuts if len(cut.ranks) == 1], notes)
    clipped = lab.still
    lab.still = replace(clipped, clip=True)
    if not any(shot.clamps or any(f < 1.0 for f in shot.clips) for shot in shots):
        # it acts under no cut, but may on single samples, whose gradients are larger
        return Clipping()
    notes.append("gradients are compared before clipping, which would hide their scale")
    return Clipping(clipped)


def _own(lab: Laboratory, cuts: Sequence[Cut], notes: list[str]) -> Clipping:
    alone = [lab.piece(i) for i in range(lab.count)]
    largest = max([*cuts, *alone], key=lambda cut: _norm(lab, cut))
    if _norm(lab, largest) <= 0 or lab.kit.dtype == torch.float16:
        return Clipping()
    clipped, seen, found = lab.still, lab.vector(largest), []
    for power in _POWERS:
        lab.still = replace(clipped, shrink=power)
        found.append(_vector(lab, largest))
        lab.still = clipped
        if relative(found[0], seen) <= lab.fit:
            return Clipping()
    if relative(found[1], found[0]) > lab.fit or found[0].norm() <= seen.norm():
        return Clipping(scales=False)
    lab.still = replace(clipped, shrink=_POWERS[0])
    notes.append(
        "the step clips gradients by code of its own; they are compared before that, which would "
        "hide their scale"
    )
    return Clipping(clipped, own=True)


def _norm(lab: Laboratory, cut: Cut) -> float:
    try:
        norm = lab.shot(cut).norm
    except ProbeError:
        return 0.0
    return norm if math.isfinite(norm) else 0.0


def _vector(lab: Laboratory, cut: Cut) -> Tensor:
    try:
        return lab.vector(cut)
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
    lab: Laboratory, search: Search, law: Law | None, cuts: Sequence[Cut], how: Still
) -> list[Diagnosis]:
    """Return a diagnosis if the step's own clipping is not done once, at the end.

    Clipping once is a function of the gradient: what is the same before it is the same behind it.

    Args:
        lab: takes the shots; no limit is reached in it.
        search: what was measured without clipping.
        law: the law without clipping.
        cuts: the cuts.
        how: what was held still when clipping was on.
    """
    both = [b for b in _compared(lab, cuts, how) if math.isfinite(b.size) and math.isfinite(b.left)]
    limit, whole = max(b.left for b in both), both[0]
    if all(b.once(limit, lab.fit) for b in both):
        return []
    if law is not None and bool(lab.kept().all()):
        each = [b for b in both if not b.cut.before]
        seen = torch.stack([b.seen for b in each])
        for added in _ADDED:
            for running in (True, False):
                apply = partial(_limited, _limit(both, added), added)
                rows = [predict_clipped(search, law, b.cut, apply, running=running) for b in each]
                residual = misfit(torch.stack(rows), seen)
                if residual <= lab.fit:
                    return [diagnosis("clipped-per-micro-batch", EACH, residual)]
    alike = [b for b in both if relative(b.free, whole.free) <= lab.fit]
    if all(relative(b.seen, whole.seen) <= lab.fit for b in alike):
        return []
    text = "Gradients are limited by code of the step's own, in a way that is not understood."
    return [diagnosis("unknown", text)]


def _compared(lab: Laboratory, cuts: Sequence[Cut], how: Still) -> list[_Both]:
    cuts = [cut for cut in cuts if len(cut.ranks) == 1]
    free = [(lab.vector(cut), lab.shot(cut).norm) for cut in cuts]
    off, lab.still = lab.still, how
    seen = [(lab.vector(cut), lab.shot(cut).norm) for cut in cuts]
    lab.still = off
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
