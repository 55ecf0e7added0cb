"""A batchproof.Mean as a metric of torchmetrics, usable wherever one of its metrics is.

Its states are the sums of totals and of weights, in float64; torchmetrics adds them over batches
and over ranks, and the one division is in compute. So `self.log("val_loss", metric)` of Lightning,
a MetricCollection, arithmetic of metrics and `sync` all give the mean over all samples.
"""

from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor

from batchproof.integrations._given import framework, sums_of
from batchproof.mean import exact_dtype


class MeanStates:
    """The states and what is done with them; comes before torchmetrics' Metric among the bases."""

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("total", "weight"):
            zero = torch.zeros((), dtype=exact_dtype(torch.device("cpu")))
            self.add_state(name, zero, dist_reduce_fx="sum")  # type: ignore[attr-defined]

    def update(self, mean: Any) -> None:
        """Add the pairs of a batch.

        Args:
            mean: a batchproof.Mean.

        Raises:
            SettingError: if it is not a Mean.
        """
        total, weight = sums_of(mean, self.total.dtype)
        self.total += total
        self.weight += weight

    def compute(self) -> Tensor:
        """Return the mean over all that was added; NaN of nothing."""
        return self.total / self.weight


def __getattr__(name: str) -> Any:
    if name != "ExactMean":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    metric = framework("torchmetrics", "torchmetrics").Metric
    globals()[name] = type(name, (MeanStates, metric), {"__module__": __name__})
    return globals()[name]
