"""The weights of a window before its backward pass.

An objective of several terms, sum_t c_t X_t / W_t, has a gradient that sums over micro-batches
only once each term is divided by its own weight. Those weights must be known before the first
backward pass: from a callable, or from one extra forward pass without gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import SettingError, shown
from batchproof.mean import LOSS, Pairs
from batchproof.step._number import Number
from batchproof.step._snapshot import leaving_no_trace

Weights = Mapping[str, Number | int] | Number | int
Count = Callable[[Any], Weights]


def refuse_count(count: Any) -> None:
    """Refuse what gives no weights of a batch.

    Raises:
        SettingError: if it is neither a function, "forward" nor None.
    """
    if not (callable(count) or count in ("forward", None)):
        raise SettingError(
            f'count is {shown(count)}; expected a function count(batch), "forward", or None.'
        )


def count_window(
    count: "Count | str",
    window: Sequence[Any],
    model: Any,
    loss: Callable[[Any, Any], Any],
    *,
    further: Sequence[Any] = (),
) -> dict[str, Number]:
    """Return each term's weight over the window.

    Args:
        count: a callable that gives a batch's weights, or "forward".
        window: the micro-batches.
        model: handed to loss.
        loss: called without gradient, and without lasting effect on buffers and random
            generators, where count is "forward".
        further: micro-batches that the model runs over uncounted, so that it runs as often on
            every rank.
    """
    if callable(count):
        parts = [_by_term(count(batch)) for batch in window]
    else:
        with torch.no_grad(), leaving_no_trace(model):
            parts = [
                {name: mean.weight for name, mean in Pairs.of(loss(model, b)).terms.items()}
                for b in window
            ]
            for batch in further:
                loss(model, batch)
    sums: dict[str, Number] = {}
    for part in parts:
        for name, weight in part.items():
            waits = isinstance(weight, Tensor) and weight.device.type != "cpu"
            number = weight if waits else float(weight)
            sums[name] = sums.get(name, 0.0) + number
    return sums


def _by_term(weights: Weights) -> Mapping[str, Number | int]:
    return weights if isinstance(weights, Mapping) else {LOSS: weights}
