"""The pairs of a window so far: of each term and metric, by micro-batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from batchproof._errors import UnitError
from batchproof.mean import Mean, Pairs, exact_dtype
from batchproof.step._number import Number


@dataclass(slots=True)
class Tally:
    """The pairs of one window.

    Attributes:
        pairs: the pairs of each micro-batch, detached.
        weights: each term's weight over the window, where it is known before the backward pass;
            totals are then divided by it on the way.
        provisional: else the divisor of all totals on the way, to keep float16 in range, or None.
    """

    pairs: list[Pairs] = field(default_factory=list)
    weights: Mapping[str, Number] | None = None
    provisional: Number | None = None

    def add(self, pairs: Pairs) -> None:
        """Keep a micro-batch's pairs, without their graphs."""
        self.pairs.append(pairs.detach())

    def terms(self) -> Mapping[str, Mean]:
        """Return the pair of each term over the window."""
        if len(self.pairs) == 1:
            return self.pairs[0].terms
        return _sums([part.terms for part in self.pairs])

    def metrics(self) -> Mapping[str, Mean]:
        """Return the pair of each metric over the window."""
        if len(self.pairs) == 1:
            return self.pairs[0].metrics
        return _sums([part.metrics for part in self.pairs])

    def totals(self) -> list[dict[str, Tensor]]:
        """Return each micro-batch's totals by term, in which to find a non-finite loss."""
        return [{name: mean.total for name, mean in part.terms.items()} for part in self.pairs]


def _sums(parts: Sequence[Mapping[str, Mean]]) -> dict[str, Mean]:
    by_name: dict[str, list[Mean]] = {}
    for part in parts:
        for name, mean in part.items():
            by_name.setdefault(name, []).append(mean)
    return {name: _sum(name, means) for name, means in by_name.items()}


def _sum(name: str, means: list[Mean]) -> Mean:
    first = means[0]
    if len(means) == 1:
        return first
    units = {mean.unit for mean in means}
    if len(units) > 1:
        raise UnitError(
            f"term {name!r} has units {sorted(units)} within one window; reduce it with one unit."
        )
    total = _sum_of([mean.total for mean in means])
    return Mean(total, _sum_of([mean.weight for mean in means]), first.unit)


def _sum_of(numbers: list[Tensor]) -> Tensor:
    device = numbers[0].device
    dtype = exact_dtype(device)
    if device.type == "cpu":
        # a few floats are added sooner than a few tensors
        return torch.tensor(sum(n.item() for n in numbers), dtype=dtype)
    return torch.stack([n.to(dtype) for n in numbers]).sum()
