"""Topic momentum: the learning rate inside the velocity, or outside it.

    inside     v ← μ v + lr g        w ← w - v          (Sutskever et al. 2013)
    outside    v ← μ v + g           w ← w - lr v       (torch.optim.SGD)

Under a constant rate the inside velocity is lr times the outside one, and w is the same. When the
rate falls, the inside form still holds the steps of the old rate in v.
"""

import itertools
import math
from typing import Annotated

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, finite, positive, share
from batchproof.page import Curves, Formula, Part, Series, Table, Text, number


def momentum(
    lr: Annotated[float, "learning rate at the start"] = 0.1,
    gamma: Annotated[float, "what the rate is multiplied by when it changes"] = 0.1,
    change_at: Annotated[int, "step at which it changes"] = 8,
    momentum: Annotated[float, "share of the velocity that is kept, 0 to 1"] = 0.9,
    curvature: Annotated[float, "c of the loss c w² / 2"] = 1.0,
    start: Annotated[float, "w at the start"] = 1.0,
    steps: Annotated[int, "optimiser steps"] = 24,
) -> Explanation:
    """Set the learning rate inside the velocity, or outside.

    Examples:
        >>> round(momentum().numbers["apart_schedule"], 4)
        0.528
    """
    positive("lr", lr), positive("gamma", gamma), positive("curvature", curvature)
    share("momentum", momentum)
    finite("start", (start,))
    count("steps", steps, most=200)
    count("change_at", change_at, least=0, most=steps)
    constant = [lr] * steps
    schedule = [lr if step < change_at else lr * gamma for step in range(steps)]
    paths = {
        (place, name): _path(rates, momentum, curvature, start, inside=place == "inside")
        for name, rates in (("constant", constant), ("schedule", schedule))
        for place in ("inside", "outside")
    }
    is_bounded = lr * curvature <= 2 * (1 + momentum)
    if not is_bounded or not all(map(math.isfinite, itertools.chain(*paths.values()))):
        raise SettingError(
            f"with lr {lr:g} and curvature {curvature:g} w grows without bound; expected lr times "
            f"curvature below 2 (1 + momentum) = {2 * (1 + momentum):g}. Choose a smaller lr."
        )
    apart = {
        name: max(
            abs(a - b) for a, b in zip(paths["inside", name], paths["outside", name], strict=True)
        )
        for name in ("constant", "schedule")
    }
    inside, outside = paths["inside", "schedule"], paths["outside", "schedule"]
    return Explanation(
        "momentum",
        "Momentum: is the learning rate inside the velocity?",
        f"Under a constant rate the two forms differ by {number(apart['constant'], 2)}; when the "
        f"rate is multiplied by {number(gamma)} at step {change_at} they differ by "
        f"{number(apart['schedule'], 3)}. torch has it outside.",
        _parts(inside, outside, schedule, change_at),
        {
            "apart_constant": apart["constant"],
            "apart_schedule": apart["schedule"],
            "inside": inside[-1],
            "outside": outside[-1],
        },
    )


def _parts(
    inside: list[float], outside: list[float], schedule: list[float], change_at: int
) -> tuple[Part, ...]:
    indices = range(max(0, change_at - 2), min(len(schedule), change_at + 6) + 1)
    rows = tuple(
        (str(i), number([*schedule, schedule[-1]][i]), number(inside[i]), number(outside[i]))
        for i in indices
    )
    axis = tuple(float(i) for i in range(len(inside)))
    return (
        Formula(
            "inside     v ← μ v + lr g     w ← w - v\n"
            "outside    v ← μ v + g        w ← w - lr v      torch.optim.SGD"
        ),
        Curves(
            f"w, when the rate changes at step {change_at}",
            "step",
            "w",
            (
                Series("outside (torch)", axis, tuple(outside), tone="exact"),
                Series("inside", axis, tuple(inside), tone="amber"),
            ),
        ),
        Table(("step", "rate", "w, inside", "w, outside"), rows),
        Text(
            "Inside, the velocity still holds the old rate: the next steps are too long, by a "
            "factor that fades as μ, μ², μ³ ... Outside, a new rate acts at once on the whole "
            "velocity. A schedule tuned with one form is another schedule under the other."
        ),
        Text(
            "torch takes the first gradient as it is, v = g, also where dampening is "
            "set. Nesterov's form uses g + μ v in place of v, in both."
        ),
    )


def _path(
    rates: list[float], mu: float, curvature: float, w: float, *, inside: bool
) -> list[float]:
    """Return w before each step and after the last."""
    path, velocity = [w], 0.0
    for rate in rates:
        gradient = curvature * w
        velocity = mu * velocity + (rate * gradient if inside else gradient)
        w -= velocity if inside else rate * velocity
        path.append(w)
    return path
