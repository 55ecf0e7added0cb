"""A batchproof.Mean as a metric of torcheval, usable wherever one of its metrics is.

Its states are the sums of totals and of weights, in float64; torcheval's toolkit adds them over
ranks by merge_state, and the one division is in compute.
"""

from collections.abc import Iterable
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor

from batchproof.integrations._given import framework, sums_of
from batchproof.mean import exact_dtype


class MeanStates:
    """The states and what is done with them; comes before torcheval's Metric among the bases."""

    total: Tensor
    weight: Tensor

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__(device=device)  # type: ignore[call-arg]
        place = torch.device("cpu") if device is None else device
        for name in ("total", "weight"):
            zero = torch.zeros((), dtype=exact_dtype(place), device=place)
            self._add_state(name, zero)  # type: ignore[attr-defined]

    def update(self, mean: Any) -> Any:
        """Add the pairs of a batch, and return the metric.

        Args:
            mean: a batchproof.Mean.

        Raises:
            SettingError: if it is not a Mean.
        """
        total, weight = sums_of(mean, self.total.dtype)
        self.total += total.to(self.total.device)
        self.weight += weight.to(self.total.device)
        return self

    def compute(self) -> Tensor:
        """Return the mean over all that was added; NaN of nothing."""
        return self.total / self.weight

    def merge_state(self, metrics: Iterable[Any]) -> Any:
        """Add what other metrics were given, such as those of other ranks; return the metric."""
        for other in metrics:
            self.total += other.total.to(self.total.device)
            self.weight += other.weight.to(self.weight.device)
        return self


def __getattr__(name: str) -> Any:
    if name != "ExactMean":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    metric = framework("torcheval.metrics", "torcheval").Metric
    globals()[name] = type(name, (MeanStates, metric), {"__module__": __name__})
    return globals()[name]
