"""A Keras metric that is the weighted mean of a loss, with torch as backend.

Keras reports as `loss` the mean over batches of what its loss returns, weighed by rows, so that
with sample weights, or a mask, the number depends on the batches. The metric keeps the sums of
weighted losses and of weights, in float64, and divides once.
"""

import os
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor

from batchproof._errors import SettingError
from batchproof.integrations._given import framework
from batchproof.mean import exact_dtype, reduce


class LossSums:
    """The sums; comes before Keras' Metric among the bases of `ExactLoss`.

    Args:
        loss: a loss of Keras, its name, or a function of (y_true, y_pred) that returns one loss for
            each sample or position.
        name: under which the metric is shown.

    Raises:
        SettingError: if Keras has another backend than torch.
    """

    def __init__(self, loss: Any, *, name: str = "exact_loss") -> None:
        keras = framework("keras", "keras")
        if keras.config.backend() != "torch":
            raise SettingError(
                f"Keras runs on {keras.config.backend()}; expected torch. Set KERAS_BACKEND=torch "
                f"before keras is imported; it is {os.environ.get('KERAS_BACKEND', 'unset')}."
            )
        super().__init__(name=name)  # type: ignore[call-arg]
        known = keras.losses.get(loss)
        # a class of Keras, or a function of (y_true, y_pred)
        self._loss = getattr(known, "call", known)
        self.reset_state()

    def reset_state(self) -> None:
        """Begin with no losses."""
        self._total = self._weight = torch.zeros((), dtype=exact_dtype(torch.device("cpu")))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the losses of a batch.

        Args:
            y_true: targets.
            y_pred: outputs, with the mask of Keras where they have one.
            sample_weight: of each sample, or of each of its losses.
        """
        with torch.no_grad():
            losses = self._loss(_tensor(y_true), _tensor(y_pred))
        losses = losses[None] if losses.ndim == 0 else losses
        mask = getattr(y_pred, "_keras_mask", None)
        weight = None if sample_weight is None else _spread(_tensor(sample_weight), losses)
        mean = reduce(
            losses.double(),
            weight=weight,
            mask=None if mask is None else _spread(_tensor(mask).bool(), losses),
        ).pool()
        self._total = self._total + mean.total.to(self._total)
        self._weight = self._weight + mean.weight.to(self._weight)

    def result(self) -> Tensor:
        """Return the mean over all that was added; 0 of nothing, as Keras has it."""
        return self._total / torch.where(self._weight == 0, 1, self._weight)


def _tensor(value: Any) -> Tensor:
    value = getattr(value, "value", value)
    return value if isinstance(value, Tensor) else torch.as_tensor(value)


def _spread(values: Tensor, losses: Tensor) -> Tensor:
    """Return weights of samples as weights of each of their losses."""
    if values.ndim == losses.ndim + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    return values.reshape(*values.shape, *[1] * (losses.ndim - values.ndim)).expand_as(losses)


def __getattr__(name: str) -> Any:
    if name != "ExactLoss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    metric = framework("keras", "keras").metrics.Metric
    globals()[name] = type(name, (LossSums, metric), {"__module__": __name__})
    return globals()[name]
