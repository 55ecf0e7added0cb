"""The pass of a transformers Trainer over an evaluation's data, as one mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from batchproof._errors import CriterionError, NonFiniteError
from batchproof.integrations._loss_calls import LossCall
from batchproof.integrations._trainer_losses import ROUTER
from batchproof.meter import Meter
from batchproof.meter._meter import sync_all
from batchproof.ranks import device_of, in_a_group


@dataclass(slots=True)
class Evaluation:
    """The pairs of a pass over an evaluation's data.

    Attributes:
        coefficients: c_k of each call.
        meters: of the calls that enter the loss, by their number.
        routed: of the router's term, the sums of all batches.
        router: the number of its call.
    """

    coefficients: Sequence[float] = ()
    meters: dict[str, Meter] = field(default_factory=dict)
    routed: Tensor | None = None
    router: int = 0
    finite: list[Tensor] = field(default_factory=list)

    def add(
        self, calls: Sequence[LossCall], routed: Sequence[Tensor], rows: int, width: int
    ) -> None:
        """Add a batch of so many rows, whose labels have so many positions per row."""
        if len(calls) != len(self.coefficients):
            raise CriterionError(
                f"a batch called {len(calls)} losses of torch and the first one "
                f"{len(self.coefficients)}; expected the same losses in every batch."
            )
        for k, call in enumerate(calls):
            if self.coefficients[k]:
                pairs = call.by_sample(rows, width)
                self.meters.setdefault(f"{k}", Meter()).add(pairs)
                self.finite.append(pairs.total.sum().isfinite())
            if call.name == ROUTER:
                self.router = k
        for sums in routed:
            self.routed = sums if self.routed is None else self.routed + sums

    def result(self, prefix: str) -> dict[str, float]:
        """Return the mean over all samples of all ranks, with its standard error where known.

        Raises:
            NonFiniteError: if it is NaN or infinite.
        """
        sync_all(self.meters)
        if self.routed is not None and in_a_group():
            self.routed = self.routed.to(device_of())
            distributed.all_reduce(self.routed)
        estimates = {int(k): meter.estimate() for k, meter in self.meters.items()}
        values = {k: estimate.value for k, estimate in estimates.items()}
        if self.routed is not None:
            counts, probability = self.routed[:-1].chunk(2)
            count = self.routed[-1]
            values[self.router] = float(len(counts) * (counts * probability).sum() / count**2)
        loss = math.fsum(self.coefficients[k] * value for k, value in values.items())
        if not math.isfinite(loss):
            self._refuse(prefix, loss)
        result = {f"{prefix}_loss": loss}
        if len(estimates) == 1:
            ((k, estimate),) = estimates.items()
            if estimate.standard_error is not None:
                error = abs(self.coefficients[k]) * estimate.standard_error
                result[f"{prefix}_loss_standard_error"] = error
        return result

    def _refuse(self, prefix: str, loss: float) -> None:
        finite = torch.stack(self.finite).tolist() if self.finite else []
        bad = [i for i, each in enumerate(finite) if not each]
        terms = max(1, sum(map(bool, self.coefficients)))
        place = f"batch {bad[0] // terms + 1} of {len(finite) // terms}" if bad else "another rank"
        raise NonFiniteError(
            f"{prefix}_loss is {loss}, first in {place}; a mean that leaves it out would be that "
            "of other data. Fix the data or the model."
        )
