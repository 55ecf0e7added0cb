"""Clipping: once a window it is a function of the mean; once a micro-batch it depends on the cut.

Torch's clipping is watched, so the factor f_j (or the limit, for clipping by value) of every call
is known, and with it what the call does to a gradient, c_j. With a_j what micro-batch j adds,
clipping after every backward pass predicts

    G_0 = 0,   G_j = c_j(G_(j-1) + a_j)       or, clipped apart,   G = sum_j c_j(a_j)

Clipping by value is looked at in the small tensors alone, whose gradients are kept as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batchproof.check._cuts import Cut
from batchproof.check._lab import Laboratory, relative
from batchproof.check._laws import misfit, parts_of
from batchproof.check._report import Diagnosis
from batchproof.check._search import Law, Search
from batchproof.check._sentences import diagnosis
from batchproof.check._still import Still

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
    lab: Laboratory, search: Search, law: Law | None, cuts: Sequence[Cut], how: Still
) -> list[Diagnosis]:
    """Return a diagnosis if clipping each micro-batch is what makes cuts differ.

    Args:
        lab: takes the shots; clipping is off in it.
        search: what was measured without clipping.
        law: the law without clipping.
        cuts: the cuts.
        how: what was held still when clipping was on.
    """
    off, lab.still = lab.still, how
    seen = [_clipped(lab, cut) for cut in cuts if len(cut.ranks) == 1 and not cut.before]
    lab.still = off
    many = [one for one in seen if 1 < len(one.cut.pieces) <= len(one.calls)]
    many = [one for one in many if bool(torch.isfinite(one.gradient).all())]
    keep = _followed(lab, by_value=any(one.by_value for one in many))
    last = [one.apply(len(one.calls), lab.vector(one.cut)[keep]) for one in many]
    gaps = [relative(one.gradient, want) for one, want in zip(many, last, strict=True)]
    if max(gaps, default=0.0) <= lab.tolerance:
        return []
    if law is None:
        text = "Gradients are clipped once a micro-batch, and more is wrong that is not understood."
        return [diagnosis("unknown", text)]
    for running in (True, False):
        predicted = [
            predict_clipped(search, law, one.cut, one.apply, running=running)[keep] for one in many
        ]
        residual = misfit(torch.stack(predicted), torch.stack([one.gradient for one in many]))
        if residual <= lab.fit:
            return [diagnosis("clipped-per-micro-batch", EACH, residual)]
    text = "Gradients are clipped once a micro-batch, in a way that is not understood."
    return [diagnosis("unknown", text)]


def _clipped(lab: Laboratory, cut: Cut) -> Clipped:
    shot = lab.shot(cut)
    by_value = bool(shot.clamps) and not shot.clips
    gradient = lab.vector(cut)[_followed(lab, by_value=by_value)]
    return Clipped(cut, gradient, shot.clamps if by_value else shot.clips, by_value)


def _followed(lab: Laboratory, *, by_value: bool) -> Tensor:
    kept = lab.kept()
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
