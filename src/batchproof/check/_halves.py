"""Sample or sample-sum: whether a sample is the mean or the sum over its elements.

Both weigh every sample the same, so weights cannot tell them apart. Masking part of a sample's
elements can: for parts of c1 and c2 elements with gradients g1 and g2,

    sum    g = g1 + g2            mean    g = (c1 g1 + c2 g2) / (c1 + c2)
"""

from dataclasses import replace

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._cuts import Facts, Piece
from batchproof.check._lab import Laboratory, relative
from batchproof.check._shot import Order, shoot


def tell_sum_from_mean(lab: Laboratory, facts: Facts) -> str | None:
    """Return "sample-sum" or "sample" by masking parts of one sample; None where that is open.

    Args:
        lab: takes the shots.
        facts: what is known about the samples.
    """
    mask = facts.mask
    if mask is None or not mask.parts:
        return None
    sizes = [mask.count(sample) for sample in lab.kit.samples[: facts.count]]
    index = max(range(facts.count), key=sizes.__getitem__)
    size = sizes[index]
    if size < 3:
        return None
    first = size // 3
    counts = (first, size - first)
    try:
        parts = [
            _gradient(lab, mask.narrowed(lab.kit.samples[index], keep))
            for keep in (
                lambda m: m & (m.cumsum(-1) <= first),
                lambda m: m & (m.cumsum(-1) > first),
            )
        ]
    except ProbeError:
        return None
    lab.runs += 2
    whole = lab.sketch(lab.shot(lab.piece(index)))
    mean = (counts[0] * parts[0] + counts[1] * parts[1]) / size
    if relative(parts[0] + parts[1], whole) <= lab.fit:
        return "sample-sum"
    return "sample" if relative(mean, whole) <= lab.fit else None


def _gradient(lab: Laboratory, sample: object) -> Tensor:
    kit = replace(lab.kit, samples=(sample,))
    try:
        shot = shoot(kit, (Piece((0,)),), Order(still=lab.still))
    except (RuntimeError, ValueError, IndexError, torch.OutOfMemoryError) as error:
        raise ProbeError(str(error)) from error
    return lab.sketch(shot)
