"""Another loss: a gradient that a backward pass left which was meant for other parameters.

Every backward pass of the uncut step is watched: the value that it starts from, and what it adds to
each gradient. The passes whose values add up to the reported loss are its own. Another pass is one
that also reaches parameters which this step does not move, as the generator's does when it runs
through the discriminator. What it left is proved to be of another loss by the slope: moved along
it, the reported loss changes by what its own passes say, and not by what the step's gradient says.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from batchproof.check._findings._evidence import Evidence
from batchproof.check._measure._slope import Gradients, add, dot, slope_along
from batchproof.check._report._results import Diagnosis, diagnosis

# of a step, more are not told apart
_MOST = 6
_NEAR = 1e-6
# how far a slope may be off
_OFF = 1e-3


@dataclass(eq=False)
class Passes:
    """The backward passes of a step, watched.

    Attributes:
        values: what each started from.
        contributions: what each added to gradients, by name.
    """

    values: list[float] = field(default_factory=list)
    contributions: list[Gradients] = field(default_factory=list)

    @contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        backward = torch.autograd.backward

        def watched(tensors: Any, *args: Any, **kwargs: Any) -> None:
            before = _gradients(model)
            backward(tensors, *args, **kwargs)
            roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
            self.values.append(float(sum(root.detach().double().sum() for root in roots)))
            after = _gradients(model)
            self.contributions.append(
                {n: g - before[n] if n in before else g for n, g in after.items()}
            )

        torch.autograd.backward = watched
        try:
            yield
        finally:
            torch.autograd.backward = backward


def _gradients(model: nn.Module) -> Gradients:
    parameters = model.named_parameters()
    return {n: p.grad.detach().double().clone() for n, p in parameters if p.grad is not None}


def another_loss(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if a pass that was meant for other parameters left its gradient."""
    runner = evidence.runner
    whole = runner.whole()
    result = runner.observe(whole)
    if evidence.evaluation or evidence.clipping.before or not result.loss or evidence.unsteady:
        return []
    passes = Passes()
    runner.observe(whole, touch=passes)
    own = _own(passes.values, result.loss)
    if own is None:
        return []
    names = set(result.gradients)
    at_home = names.union(*(_reached(passes.contributions[i]) for i in own))
    rest = [gradients for i, gradients in enumerate(passes.contributions) if i not in own]
    others = [gradients for gradients in rest if _reached(gradients) - at_home]
    theirs = _within(add(others), names)
    mine = _within(add(passes.contributions[i] for i in own), names)
    size = dot(theirs, theirs) ** 0.5
    if size <= runner.fit * result.norm or not _are(result.gradients, [mine, theirs], runner.fit):
        return []
    slope = slope_along(runner, theirs, size)
    gap = abs(slope - dot(mine, theirs) / size) / size if slope is not None else _OFF
    if gap >= _OFF:
        return []
    beyond = sorted(set().union(*map(_reached, others)) - at_home)
    text = (
        f"A backward pass that was meant for {', '.join(beyond[:3])} also reached the parameters "
        f"of this step and left its gradient there, {size / result.norm:.2g} times as large as the "
        "whole: the gradient is not that of the reported loss, whatever the cut."
    )
    return [diagnosis("gradient-of-another-loss", text, gap)]


def _own(values: list[float], loss: float) -> tuple[int, ...] | None:
    """Return the passes whose values add up to the reported loss, if those are some of them."""
    if not 1 < len(values) <= _MOST:
        return None
    every = range(len(values))
    sets = [some for size in range(1, len(values)) for some in combinations(every, size)]
    near = [s for s in sets if abs(sum(values[i] for i in s) - loss) <= _NEAR * abs(loss)]
    return near[0] if len(near) == 1 else None


def _reached(gradients: Gradients) -> set[str]:
    return {name for name, gradient in gradients.items() if bool(gradient.any())}


def _within(gradients: Gradients, names: set[str]) -> Gradients:
    return {name: gradient for name, gradient in gradients.items() if name in names}


def _are(gradients: Gradients, parts: list[Gradients], near: float) -> bool:
    """Return whether gradients are the sum of these parts, of which none was cleared in between."""
    total = add(parts)
    gap = {name: gradient.double() - total.get(name, 0.0) for name, gradient in gradients.items()}
    return dot(gap, gap) <= near**2 * dot(gradients, gradients)
