"""Clipping: once a window it is a function of the mean; once a micro-batch it depends on the cut.

Torch's clipping is watched, so the factor f_j that each call applied is known. With a_j what
micro-batch j adds to the gradient, clipping after every backward pass predicts

    G_0 = 0,   G_j = f_j (G_(j-1) + a_j)       or, clipped apart,   G = sum_j f_j a_j
"""

import torch
from torch import Tensor

from batchproof.check._cuts import Cut
from batchproof.check._lab import Laboratory, relative
from batchproof.check._laws import misfit, scales
from batchproof.check._report import Diagnosis
from batchproof.check._search import Law, Search
from batchproof.check._sentences import diagnosis
from batchproof.check._still import Still


def clip_cause(
    lab: Laboratory, search: Search, law: Law | None, cuts: list[Cut], how: Still
) -> list[Diagnosis]:
    """Return a diagnosis if clipping each micro-batch is what makes cuts differ.

    Args:
        lab: takes the shots; clipping is off in it.
        search: what was measured without clipping.
        law: the law without clipping.
        cuts: the cuts.
        how: what was held still when clipping was on.
    """
    off = lab.still
    lab.still = how
    own = [cut for cut in cuts if len(cut.ranks) == 1]
    shots = {cut.name: (lab.vector(cut), lab.shot(cut).clips) for cut in own}
    lab.still = off
    usable = [c for c in own if bool(torch.isfinite(shots[c.name][0]).all()) and not c.before]
    many = [c for c in usable if len(c.pieces) > 1 and len(shots[c.name][1]) >= len(c.pieces)]
    if not many:
        return []
    once = [relative(shots[c.name][0], lab.vector(c) * shots[c.name][1][-1]) for c in many]
    if max(once) <= lab.tolerance:
        return []
    if law is None:
        text = "Gradients are clipped once a micro-batch, and more is wrong that is not understood."
        return [diagnosis("unknown", text)]
    for running in (True, False):
        predicted = [_clipped(search, law, c, shots[c.name][1], running=running) for c in many]
        residual = misfit(torch.stack(predicted), torch.stack([shots[c.name][0] for c in many]))
        if residual <= lab.fit:
            text = (
                "The gradient is clipped after every micro-batch, so how much is cut off depends "
                "on how many there are."
            )
            return [diagnosis("clipped-per-micro-batch", text, residual)]
    return []


def _clipped(
    search: Search, law: Law, cut: Cut, factors: tuple[float, ...], *, running: bool
) -> Tensor:
    table = search.table(law.micro)
    total = torch.zeros_like(table[0])
    parts = zip(cut.pieces, scales(law.rule, cut, law.micro.weigh), strict=True)
    for (piece, scale), factor in zip(parts, factors, strict=False):
        part = torch.zeros_like(total)
        for atom, share in law.micro.shares(piece):
            part = part + scale * share * search.table(law.micro)[atom]
        total = factor * (total + part) if running else total + factor * part
    return total
