"""Clipping in a step: it is found, and left out of later measurements.

Torch's clipping is watched. Clipping by code of the step's own is found by making every gradient
smaller by a power of two before it reaches the parameters. What only scales and adds then gives as
much less, exactly. Where it does not, and two such powers agree with each other, it is a limit that
is now not reached: clipping. Where they disagree too, gradients are normalised, rounded or decayed
by hand: nothing is then concluded from their not adding up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._runner import Runner

_POWERS = (40, 47)


@dataclass(frozen=True)
class Clipping:
    """The changes that a step makes to gradients besides adding them.

    Attributes:
        controls: what is switched off from now on, so that no clipping acts.
        before: what was switched off while clipping acted; None where none acts.
        own: whether the step's own code clips, not torch's.
        scales: whether the step otherwise only scales and adds gradients.
    """

    controls: Controls
    before: Controls | None = None
    own: bool = False
    scales: bool = True


def measure_clipping(runner: Runner, cuts: Sequence[Cut]) -> Clipping:
    """Return whether clipping acts, and how to leave it out.

    Args:
        runner: runs the step as it is.
        cuts: cuts that gave a result.
    """
    results = [runner.observe(cut) for cut in cuts]
    if not any(result.clamps or result.clips for result in results):
        return _own(runner, [cut for cut in cuts if len(cut.ranks) == 1])
    controls = replace(runner.controls, clip=True)
    acts = any(
        result.clamps or any(clip.factor < 1.0 for clip in result.clips) for result in results
    )
    # where it acts under no cut, it may still on single samples, whose gradients are larger
    return Clipping(controls, runner.controls if acts else None)


def _own(runner: Runner, cuts: Sequence[Cut]) -> Clipping:
    as_it_is = Clipping(runner.controls)
    alone = [runner.piece(i) for i in range(runner.count)]
    largest = max([*cuts, *alone], key=lambda cut: _norm(runner, cut))
    if _norm(runner, largest) <= 0 or runner.subject.dtype == torch.float16:
        return as_it_is
    # what clips the sum of earlier micro-batches never clips one alone
    many = max(cuts, key=lambda cut: len(cut.pieces))
    for cut in dict.fromkeys((largest, many)):
        gradient, free = runner.vector(cut), []
        for power in _POWERS:
            free.append(_vector(runner.under(replace(runner.controls, shrink=power)), cut))
            if relative(free[0], gradient) <= runner.fit:
                break
        else:
            if relative(free[1], free[0]) > runner.fit or free[0].norm() <= gradient.norm():
                return replace(as_it_is, scales=False)
            return Clipping(replace(runner.controls, shrink=_POWERS[0]), runner.controls, own=True)
    return as_it_is


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
