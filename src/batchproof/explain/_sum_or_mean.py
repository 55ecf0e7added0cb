"""Topic sum-or-mean: what must change in the optimiser when the loss is multiplied by a constant.

Three runs are taken, in plain Python: the loss as it is; c times the loss under the old settings;
c times the loss under equivalent_settings. The first and the last take the same path.
"""

import math
from typing import Annotated

from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, share
from batchproof.mistakes import OptimizerName, Settings, equivalent_settings
from batchproof.page import Code, Curves, Formula, Part, Series, Table, Text, number

_BETAS = (0.9, 0.999)
_START = (2.0, -1.0)

Point = tuple[float, ...]


def sum_or_mean(
    optimizer: Annotated[OptimizerName, "sgd, momentum, adam or adamw"] = "momentum",
    factor: Annotated[float, "what the loss is multiplied by: n samples, k, 1/world"] = 32.0,
    lr: Annotated[float, "learning rate so far"] = 0.1,
    weight_decay: Annotated[float, "weight decay so far"] = 0.01,
    eps: Annotated[float, "Adam's epsilon so far"] = 1e-8,
    max_grad_norm: Annotated[float | None, "norm that the gradient is clipped at so far"] = None,
    momentum: Annotated[float, "momentum of SGD, for optimizer momentum"] = 0.9,
    steps: Annotated[int, "optimiser steps"] = 30,
) -> Explanation:
    """Find the settings that undo a factor on the loss.

    Examples:
        >>> round(sum_or_mean().numbers["lr"], 6)
        0.003125
    """
    share("momentum", momentum)
    count("steps", steps, most=500)
    new = equivalent_settings(
        optimizer,
        factor=factor,
        lr=lr,
        weight_decay=weight_decay,
        eps=eps,
        max_grad_norm=max_grad_norm,
    )
    old = Settings(lr, weight_decay, eps if "adam" in optimizer else None, max_grad_norm)
    mu = momentum if optimizer == "momentum" else 0.0
    paths = [
        _run(optimizer, settings, scale, mu, steps)
        for settings, scale in ((old, 1.0), (old, factor), (new, factor))
    ]
    equivalent, unchanged = _apart(paths[0], paths[2]), _apart(paths[0], paths[1])
    return Explanation(
        "sum-or-mean",
        "From mean to sum: which settings keep the run",
        f"{factor:g} times the loss under {optimizer} takes the same path with "
        f"{_changes(old, new)}; with the old settings w differs by {number(unchanged, 3)}.",
        (
            _settings_table(old, new, factor),
            _picture(paths, factor, steps),
            Text(
                f"Over {steps} steps the run under equivalent settings stays within "
                f"{number(equivalent, 2)} of the first."
            ),
            Code(
                "batchproof.equivalent_settings(\n"
                f'    "{optimizer}", factor={factor:g}, lr={lr:g}, weight_decay={weight_decay:g}\n'
                ")"
            ),
            *_law(),
        ),
        {
            "lr": new.lr,
            "weight_decay": new.weight_decay,
            "kept": equivalent,
            "lost": unchanged,
            **({} if new.eps is None else {"eps": new.eps}),
            **({} if new.max_grad_norm is None else {"max_grad_norm": new.max_grad_norm}),
        },
    )


def _gradient(w: tuple[float, ...]) -> list[float]:
    """Return the gradient of sum_i a_i sqrt(1 + w_i²), which never grows large."""
    return [a * x / math.sqrt(1 + x * x) for a, x in zip((1.0, 0.3), w, strict=True)]


def _run(
    optimizer: str, settings: Settings, scale: float, momentum: float, steps: int
) -> list[Point]:
    w: Point = _START
    path = [w]
    state = [(0.0, 0.0)] * len(w)
    for step in range(1, steps + 1):
        gradient = _clipped([scale * g for g in _gradient(w)], settings.max_grad_norm)
        updates = [
            _update(optimizer, settings, momentum, step, *one)
            for one in zip(w, gradient, state, strict=True)
        ]
        w = tuple(x for x, _ in updates)
        state = [new_state for _, new_state in updates]
        path.append(w)
    return path


def _update(
    optimizer: str,
    settings: Settings,
    momentum: float,
    step: int,
    w: float,
    g: float,
    state: tuple[float, float],
) -> tuple[float, tuple[float, float]]:
    if optimizer == "adamw":
        w -= settings.lr * settings.weight_decay * w
    else:
        g += settings.weight_decay * w
    if settings.eps is None:
        velocity = momentum * state[0] + g
        return w - settings.lr * velocity, (velocity, 0.0)
    first = _BETAS[0] * state[0] + (1 - _BETAS[0]) * g
    second = _BETAS[1] * state[1] + (1 - _BETAS[1]) * g * g
    root = math.sqrt(second / (1 - _BETAS[1] ** step))
    return w - settings.lr * first / (1 - _BETAS[0] ** step) / (root + settings.eps), (
        first,
        second,
    )


def _clipped(gradient: list[float], most: float | None) -> list[float]:
    norm = math.hypot(*gradient)
    if most is None or norm <= most:
        return gradient
    return [g * most / norm for g in gradient]


def _apart(one: list[Point], other: list[Point]) -> float:
    pairs = zip(one, other, strict=True)
    return max(abs(a - b) for p, q in pairs for a, b in zip(p, q, strict=True))


def _changes(old: Settings, new: Settings) -> str:
    changes = [
        f"{words} {number(after)} in place of {number(before)}"
        for words, before, after in (
            ("lr", old.lr, new.lr),
            ("weight decay", old.weight_decay, new.weight_decay),
            ("eps", old.eps, new.eps),
            ("max_grad_norm", old.max_grad_norm, new.max_grad_norm),
        )
        if before is not None and after is not None and before != after
    ]
    return ", ".join(changes) if changes else "the same settings"


def _settings_table(old: Settings, new: Settings, factor: float) -> Table:
    rows = tuple(
        (words, "none" if a is None else number(a), "none" if b is None else number(b))
        for words, a, b in (
            ("learning rate", old.lr, new.lr),
            ("weight decay", old.weight_decay, new.weight_decay),
            ("eps", old.eps, new.eps),
            ("clip at norm", old.max_grad_norm, new.max_grad_norm),
        )
    )
    return Table(("setting", "loss L", f"loss {factor:g} L"), rows)


def _picture(paths: list[list[Point]], factor: float, steps: int) -> Curves:
    axis = tuple(float(step) for step in range(steps + 1))
    same, unchanged, equivalent = (tuple(w[0] for w in path) for path in paths)
    return Curves(
        "w, step by step",
        "step",
        "w",
        (
            Series(f"{factor:g} L, equivalent settings", axis, equivalent, tone="exact"),
            Series("L", axis, same, tone="plain"),
            Series(f"{factor:g} L, settings as they were", axis, unchanged, tone="wrong"),
        ),
    )


def _law() -> tuple[Part, ...]:
    return (
        Formula(
            "L' = c L     g' = c g\n"
            "SGD     w ← w - lr (g + wd w)       lr' = lr / c   wd' = c wd\n"
            "Adam    w ← w - lr m̂ / (√v̂ + eps)   lr' = lr   wd' = c wd   eps' = c eps\n"
            "AdamW   and w ← w - lr wd w         lr' = lr   wd' = wd     eps' = c eps\n"
            "clip    g ← g min(1, norm / |g|)    norm' = c norm"
        ),
        Text(
            "The factor must be the same at every step. A sum over batches of 64 that ends with "
            "3 samples has a factor of 64 and then of 3, and no settings make it the mean: "
            "divide by what was summed over.",
            "Where no settings help",
        ),
    )
