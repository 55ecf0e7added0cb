"""The settings that keep a trajectory when the loss is multiplied by a constant c.

With L' = c L every gradient is g' = c g. Then, with torch's optimisers,

                         SGD, momentum      Adam          AdamW
    learning rate        lr / c             lr            lr
    weight decay         c wd               c wd          wd
    epsilon              -                  c eps         c eps
    clip at norm         c norm             c norm        c norm
    momentum, betas      as they are

SGD's and Adam's decay is added to the gradient, so it scales with it; AdamW's is not. Adam divides
by the root of mean squares, which scales with the gradient, so its rate stays and its eps does not.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from batchproof._errors import SettingError

OptimizerName = Literal["sgd", "momentum", "adam", "adamw"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an optimiser, and the norm at which its gradient is clipped.

    Attributes:
        lr: learning rate.
        weight_decay: as torch's optimiser of that name takes it.
        eps: added to the root of mean squares; None for SGD.
        max_grad_norm: the norm that the gradient is clipped at; None for no clipping.
    """

    lr: float
    weight_decay: float
    eps: float | None
    max_grad_norm: float | None


def equivalent_settings(
    optimizer: OptimizerName,
    *,
    factor: float,
    lr: float,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    max_grad_norm: float | None = None,
) -> Settings:
    """Return the settings under which `factor` times the loss takes the same path.

    From a mean to a sum over n samples the factor is n; a forgotten division by k micro-batches
    makes it k; a gradient averaged over ranks that should have been added makes it 1 / world size.
    The factor must be the same at every step: where batches differ in size no settings turn a sum
    into a mean. Momentum and betas stay as they are.

    Args:
        optimizer: of torch.optim; "momentum" is SGD with momentum.
        factor: the factor on the loss, above 0.
        lr: learning rate so far.
        weight_decay: so far.
        eps: so far; of no use to SGD.
        max_grad_norm: so far; None for no clipping. torch's clip_grad_norm_ adds 1e-6 to the norm,
            which does not scale; the paths then agree to about 1e-6 / norm where it clips.

    Returns:
        The Settings for the multiplied loss.

    Raises:
        SettingError: if the optimizer is unknown or a number is invalid.

    Examples:
        >>> import batchproof as bp
        >>> bp.equivalent_settings("sgd", factor=32.0, lr=0.32, weight_decay=0.01)
        Settings(lr=0.01, weight_decay=0.32, eps=None, max_grad_norm=None)
        >>> bp.equivalent_settings("adamw", factor=32.0, lr=0.001, weight_decay=0.01)
        Settings(lr=0.001, weight_decay=0.01, eps=3.2e-07, max_grad_norm=None)
    """
    if optimizer not in OPTIMIZERS:
        raise SettingError(
            f"optimizer is {optimizer!r}; expected one of {', '.join(OPTIMIZERS)}. For another, "
            "see whether its step changes when every gradient is multiplied by a constant."
        )
    _above_zero(factor=factor, lr=lr)
    _above_zero(eps=eps)
    if max_grad_norm is not None:
        _above_zero(max_grad_norm=max_grad_norm)
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise SettingError(f"weight_decay is {weight_decay}; expected 0 or more. Choose one.")
    plain = optimizer in ("sgd", "momentum")
    return Settings(
        lr=lr / factor if plain else lr,
        weight_decay=weight_decay if optimizer == "adamw" else weight_decay * factor,
        eps=None if plain else eps * factor,
        max_grad_norm=None if max_grad_norm is None else max_grad_norm * factor,
    )


def _above_zero(**settings: float) -> None:
    for name, value in settings.items():
        if not (math.isfinite(value) and value > 0):
            raise SettingError(f"{name} is {value}; expected a finite number above 0. Choose one.")
