"""Topic sgd: zero, backward, step, on numbers; and what happens where one of them is missing.

model  y = w x + b     loss  L = 1/n sum_i (w x_i + b - y_i)^2
dL/dw = 2/n sum_i (w x_i + b - y_i) x_i     dL/db = 2/n sum_i (w x_i + b - y_i)
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, finite, positive, same_length
from batchproof.page import Code, Curves, Formula, Series, Table, Text, number

Point = tuple[float, float, float, float, float]
_FAR = 1e100


def sgd(
    inputs: Annotated[Sequence[float], "x of each sample"] = (1.0, 2.0, 3.0),
    targets: Annotated[Sequence[float], "y of each sample"] = (3.0, 5.0, 7.0),
    weight: Annotated[float, "w at the start"] = 0.0,
    bias: Annotated[float, "b at the start"] = 0.0,
    lr: Annotated[float, "learning rate"] = 0.05,
    steps: Annotated[int, "optimiser steps"] = 12,
) -> Explanation:
    """Take SGD step by step: zero, backward, step.

    Examples:
        >>> round(sgd().numbers["last_loss"], 4)
        0.0011
    """
    data = list(zip(finite("inputs", inputs), finite("targets", targets), strict=False))
    same_length(inputs=inputs, targets=targets)
    finite("weight and bias", (weight, bias))
    positive("lr", lr)
    count("steps", steps, most=200)
    right = _descend(data, weight, bias, lr, steps, zero=True)
    never = _descend(data, weight, bias, lr, steps, zero=False)
    first, last = right[0][0], right[-1][0]
    rows = tuple((str(index), *(number(v) for v in point)) for index, point in enumerate(right[:8]))
    return Explanation(
        "sgd",
        "One optimiser step: zero, backward, step",
        f"{steps} steps take the loss from {number(first)} to {number(last)}; without zero_grad, "
        f"which adds all gradients up, it ends at {number(never[-1][0])}.",
        (
            Formula(
                "L = 1/n Σ (w x_i + b - y_i)²\n"
                "g_w = 2/n Σ (w x_i + b - y_i) x_i      g_b = 2/n Σ (w x_i + b - y_i)\n"
                "w ← w - lr g_w                         b ← b - lr g_b"
            ),
            Code(
                "optimizer.zero_grad()   # g ← 0\n"
                "loss.backward()         # g ← g + dL/dw: backward adds, it does not set\n"
                "optimizer.step()        # w ← w - lr g"
            ),
            Table(("step", "loss", "g_w", "g_b", "w", "b"), rows),
            Text("Each row: loss and gradient at its w and b; from them come those of the next."),
            _picture(right, never),
            Text(
                "zero_grad may come before the forward pass or after the step. Between backward "
                "and step it removes the gradient, and nothing is learnt."
            ),
        ),
        {
            "first_loss": first,
            "last_loss": last,
            "last_loss_without_zero": never[-1][0],
            "weight": right[-1][3],
            "bias": right[-1][4],
        },
    )


def _descend(
    data: list[tuple[float, float]], w: float, b: float, lr: float, steps: int, *, zero: bool
) -> list[Point]:
    """Return (loss, g_w, g_b, w, b) before each step and after the last."""
    path, g_w, g_b = [], 0.0, 0.0
    for _ in range(steps + 1):
        g_w, g_b = (0.0, 0.0) if zero else (g_w, g_b)
        residuals = [w * x + b - y for x, y in data]
        g_w += 2 * math.fsum(r * x for r, (x, _) in zip(residuals, data, strict=True)) / len(data)
        g_b += 2 * math.fsum(residuals) / len(data)
        loss = math.fsum(r * r for r in residuals) / len(data)
        path.append((loss, g_w, g_b, w, b))
        w, b = w - lr * g_w, b - lr * g_b
        if not max(abs(w), abs(b)) < _FAR:
            raise SettingError(
                f"with lr {lr:g} w and b grow without bound, past {_FAR:g} in step {len(path)}; "
                "expected a rate at which they stay. Choose a smaller lr."
            )
    return path


def _picture(right: list[Point], never: list[Point]) -> Curves:
    steps = tuple(float(index) for index in range(len(right)))
    ceiling = 3 * right[0][0] or math.inf
    return Curves(
        "loss after each step",
        "step",
        "loss",
        (
            Series("zero, backward, step", steps, tuple(p[0] for p in right), tone="exact"),
            Series(
                "zero_grad forgotten",
                steps,
                tuple(p[0] if p[0] <= ceiling else math.nan for p in never),
                tone="wrong",
            ),
        ),
    )
