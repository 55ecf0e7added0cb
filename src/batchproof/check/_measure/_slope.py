"""The slope of the reported loss in two directions, compared with the gradient of the step.

The slope is a central difference: the reported loss of the uncut step, with the parameters moved a
little to either side. Where the gradient G is that of the reported loss, its slope in a direction v
is G . v. Where the two differ by one factor in both directions, the gradient is a multiple.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._measure._runner import Runner

Gradients = dict[str, Tensor]
# how far parameters are moved
_STEP = 1e-5
# the noise of arithmetic up to which a slope is known to so many digits
_SHARP, _ALIKE = 1e-9, 1e-4


@dataclass(frozen=True, eq=False)
class Slope:
    """The slopes of the reported loss, and the gradient of the step, which they do not fit.

    Attributes:
        gradients: of the uncut step.
        directions: two, the gradient and the gradient with noise, each of length 1.
        slopes: of the reported loss along each.
    """

    gradients: Gradients
    directions: tuple[Gradients, ...]
    slopes: tuple[float, ...]

    def factors(self, gradients: Gradients) -> tuple[float, ...]:
        """Return by what each slope is larger than that of these gradients."""
        own = [dot(gradients, way) for way in self.directions]
        return tuple(
            slope / size if size else math.inf for slope, size in zip(self.slopes, own, strict=True)
        )

    def misfit(self, gradients: Gradients) -> float:
        """Return the relative distance of these gradients from a multiple of the reported loss's.

        Infinite where there is nothing to compare.
        """
        factors = self.factors(gradients)
        size = max(map(abs, factors))
        usable = math.isfinite(size) and size > _ALIKE
        return abs(factors[1] - factors[0]) / size if usable else math.inf

    def fits(self, gradients: Gradients) -> bool:
        """Return whether these gradients are the reported loss's, or a multiple of them."""
        return self.misfit(gradients) <= _ALIKE


def measure_slope(runner: Runner) -> Slope | None:
    """Return the slope where the gradient is neither the reported loss's nor a multiple of it.

    Args:
        runner: runs the step.
    """
    result = runner.observe(runner.whole())
    if result.loss is None or runner.tolerance > _SHARP or not 0 < result.norm < math.inf:
        return None
    gradients = {name: gradient.double() for name, gradient in result.gradients.items()}
    draw = torch.Generator().manual_seed(0)
    other = {name: gradient + _noise(gradient, draw) for name, gradient in gradients.items()}
    directions, slopes = [], []
    for way in (gradients, other):
        size = dot(way, way) ** 0.5
        slope = slope_along(runner, way, size)
        if slope is None:
            return None
        directions.append({name: part / size for name, part in way.items()})
        slopes.append(slope)
        if abs(slopes[0] / result.norm - 1) <= _ALIKE:
            return None
    slope_of_loss = Slope(gradients, tuple(directions), tuple(slopes))
    factors = slope_of_loss.factors(gradients)
    alike = abs(factors[1] - factors[0]) <= _ALIKE * max(map(abs, factors))
    return None if alike else slope_of_loss


def slope_along(runner: Runner, way: Gradients, size: float) -> float | None:
    """Return the slope of the reported loss along a direction; None where it cannot be run.

    Args:
        runner: runs the step.
        way: the direction, by parameter name.
        size: its length.
    """
    ends = []
    for sign in (1, -1):
        nudge = tuple((name, sign * _STEP / size * move) for name, move in way.items())
        try:
            ends.append(runner.observe(runner.whole(), nudge=nudge).loss)
        except ProbeError:
            return None
    if ends[0] is None or ends[1] is None:
        return None
    return (ends[0] - ends[1]) / (2 * _STEP)


def dot(left: Gradients, right: Gradients) -> float:
    """Return the inner product over the parameters that both have."""
    both = set(left) & set(right)
    return sum((float((left[n].double() * right[n].double()).sum()) for n in both), 0.0)


def add(parts: Iterable[Gradients]) -> Gradients:
    """Return the sum of gradients; one that lacks a parameter adds nothing to it."""
    total: Gradients = {}
    for part in parts:
        for name, gradient in part.items():
            total[name] = total[name] + gradient if name in total else gradient
    return total


def scaled(gradients: Gradients, factor: float) -> Gradients:
    """Return the gradients times a factor."""
    return {name: factor * gradient for name, gradient in gradients.items()}


def _noise(gradient: Tensor, draw: torch.Generator) -> Tensor:
    size = float(gradient.norm()) / max(1, gradient.numel()) ** 0.5
    noise: Tensor = torch.randn(gradient.shape, generator=draw, dtype=torch.float64) * size
    return noise.to(gradient.device)
