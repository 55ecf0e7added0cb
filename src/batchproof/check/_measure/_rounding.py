"""The noise of arithmetic that is narrower than its type says, as TensorFloat-32 is: measured.

Parameters are moved by h and by -h along one direction. What is smooth then changes by the same
amount each way, up to h squared; what is left over,

    D(h) = |g(h) + g(-h) - 2 g(0)| / (sqrt(6) |g(0)|)

falls to a 64th with an eighth of h, and to an eighth where a kink is passed. Rounding to a few
digits is drawn again by every move, so there it hardly falls: that much is noise.
"""

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._measure._run import build_model
from batchproof.check._measure._runner import Runner

_FAR, _NEAR = 2.0**-10, 2.0**-13
# D falls to this share at most where it is noise, and a kink leaves an eighth
_LEFT = 0.2
# a single number may by chance not move along one direction
_DIRECTIONS = 3
# how far two cuts may differ that each have this noise
_APART = 5.0


def measure_rounding(runner: Runner) -> float:
    """Return the relative error that rounding makes between cuts; 0 where it is as its type says.

    Args:
        runner: runs the step.
    """
    whole = runner.whole()
    try:
        middle = runner.vector(whole)
        far, near = (_left_over(runner, middle, h) for h in (_FAR, _NEAR))
    except ProbeError:
        return 0.0
    noisy = near > runner.tolerance and near > _LEFT * far
    return _APART * max(far, near) if noisy else 0.0


def _left_over(runner: Runner, middle: Tensor, h: float) -> float:
    whole, gap = runner.whole(), 0.0
    for seed in range(_DIRECTIONS if len(middle) == 1 else 1):
        way = _direction(runner, h, seed)
        back = tuple((name, -move) for name, move in way)
        ends = runner.vector(whole, nudge=way) + runner.vector(whole, nudge=back)
        gap = max(gap, float((ends - 2 * middle).norm()))
    return gap / float(middle.norm()) / 6**0.5


def _direction(runner: Runner, h: float, seed: int) -> tuple[tuple[str, Tensor], ...]:
    """Return moves of all parameters by a share h of their size, of random signs."""
    draw = torch.Generator().manual_seed(seed)
    moves = []
    for name, param in build_model(runner.subject)[0].named_parameters():
        signs = torch.randint(2, param.shape, generator=draw) * 2.0 - 1.0
        moves.append((name, signs * (h * float(param.detach().abs().mean()))))
    return tuple(moves)
