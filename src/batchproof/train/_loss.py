"""The one function that gives a batch's Mean, in training and in evaluation alike.

`fit` hands it to Step and `evaluate` calls it itself, so that what is reported is what is
optimised. It adds autocast around the user's loss and nothing else.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch.amp.autocast_mode import autocast

from batchproof._errors import SettingError
from batchproof.mean import Mean, Outcome

Loss = Callable[[Any, Any], Any]
Returned = Mean | Mapping[str, Mean] | Outcome
Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def under_precision(loss: Loss, precision: Precision, device: torch.device) -> Loss:
    """Return the loss as it is called under a precision.

    Args:
        loss: called as loss(model, batch).
        precision: "fp32" leaves it as it is; "bf16" and "fp16" wrap it in autocast.
        device: where it runs.

    Raises:
        SettingError: if the precision is unknown, or float16 was asked for on the CPU, whose
            operations lack it.
    """
    if precision not in get_args(Precision):
        raise SettingError(
            f"precision is {precision!r}; it is one of {', '.join(map(repr, get_args(Precision)))}."
        )
    if precision == "fp32":
        return loss
    if precision == "fp16" and device.type == "cpu":
        msg = "precision is 'fp16' on the CPU, which trains in 'bf16' or 'fp32' only; choose one."
        raise SettingError(msg)

    dtype = _DTYPES[precision]

    def autocast_loss(model: Any, batch: Any) -> Any:
        with autocast(device.type, dtype=dtype):
            return loss(model, batch)

    return autocast_loss
