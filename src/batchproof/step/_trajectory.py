"""The settings that keep a run's trajectory when the constant factor before its loss is fixed.

A gradient whose shares add up to s in every step is s times that of the mean. Once that is fixed,
the loss is 1/s of what it was, and the same path needs the settings of `equivalent_settings`.
"""

from typing import Any

from torch.optim import SGD, Adam, AdamW, Optimizer

from batchproof.mistakes import OptimizerName, equivalent_settings

SHOWN = ("lr", "weight_decay", "eps")


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of an optimiser that scaling the loss affects, for each distinct group.

    Args:
        optimizer: any; one whose answer to a scaled loss is not known has no settings here.
    """
    distinct: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        name = _name_of(optimizer, group)
        if name is None:
            return []
        # a schedule multiplies the rate that was set
        settings = {"optimizer": name, "lr": float(group.get("initial_lr", group["lr"]))}
        settings |= {key: float(group[key]) for key in SHOWN[1:] if group.get(key)}
        if settings not in distinct:
            distinct.append(settings)
    return distinct


def _name_of(optimizer: Optimizer, group: dict[str, Any]) -> OptimizerName | None:
    if type(optimizer) is SGD:
        return "momentum" if group.get("momentum") else "sgd"
    if type(optimizer) is AdamW or (type(optimizer) is Adam and group["decoupled_weight_decay"]):
        return "adamw"
    return "adam" if type(optimizer) is Adam else None


def keeps_trajectory(
    settings: list[dict[str, Any]], factor: float, max_grad_norm: float | None
) -> list[str]:
    """Return the settings to change, such as "lr=0.4 (now 0.1)", after the factor is fixed.

    Args:
        settings: of the optimiser, as `settings_of` returns them.
        factor: what the shares of every step add up to.
        max_grad_norm: the norm at which the gradient is clipped; None for no clipping.
    """
    changes: list[str] = []
    for now in settings:
        try:
            after = equivalent_settings(factor=1 / factor, max_grad_norm=max_grad_norm, **now)
        except ValueError:
            return []
        before = {**now, "max_grad_norm": max_grad_norm}
        changes += [
            f"{key}={value:.6g} (now {before[key]:.6g})"
            for key in (*SHOWN, "max_grad_norm")
            if before.get(key) and (value := getattr(after, key)) != before[key]
        ]
    return list(dict.fromkeys(changes))
