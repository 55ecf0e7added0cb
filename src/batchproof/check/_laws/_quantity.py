"""A quantity that every run gives: the gradient, an evaluation's number, or the reported loss.

Its measurements for laws are here: samples alone, neighbours in pairs, and counts in the samples'
batches, one of which the weights of a mean may be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof._trees import leaves
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, Facts, MicroBatch
from batchproof.check._measure._run import make_batch
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._samples import counts, outermost


@dataclass
class Quantity:
    """One quantity, under any cut, as a vector.

    Attributes:
        runner: runs the step.
        facts: what is known about the samples.
        loss: take the reported number in place of the gradient.
        undo: the function that makes a mean of the number, such as the logarithm of a perplexity.
    """

    runner: Runner
    facts: Facts
    loss: bool = False
    undo: Callable[[Tensor], Tensor] | None = None

    def of(self, cut: Cut) -> Tensor:
        """Return the quantity under a cut."""
        if self.loss:
            value = self.runner.observe(cut).loss
            return torch.tensor([float("nan") if value is None else value], dtype=torch.float64)
        vector = self.runner.vector(cut)
        return vector if self.undo is None else self.undo(vector)

    def rows(self, cuts: Sequence[Cut]) -> Tensor:
        """Return the quantity under many cuts, one per row."""
        return torch.stack([self.of(cut) for cut in cuts])

    def finite(self, cuts: Sequence[Cut]) -> list[Cut]:
        """Return the cuts under which it is finite."""
        return [cut for cut in cuts if bool(torch.isfinite(self.of(cut)).all())]

    def alone(self, cut: Cut) -> Tensor:
        """Return the quantity of one micro-batch alone; zero where nothing in it counts."""
        try:
            vector = self.of(cut)
        except ProbeError:
            return torch.zeros_like(self.of(self.runner.whole()))
        return vector if bool(torch.isfinite(vector).all()) else torch.zeros_like(vector)

    def change(self, cuts: Sequence[Cut]) -> float:
        """Return the largest relative change that any of these cuts makes."""
        pairs = ((self.of(cut), self.of(self.runner.reference(cut))) for cut in cuts)
        return max((relative(cut, whole) for cut, whole in pairs), default=0.0)

    @cached_property
    def singles(self) -> Tensor:
        """The quantity of every sample alone; zero for one with nothing that counts."""
        every = range(self.facts.count + self.facts.masked)
        return torch.stack([self.alone(self.runner.piece(i)) for i in every])

    @cached_property
    def subsets(self) -> list[Cut]:
        """Neighbours in pairs, and all: the subsets that weights are recovered from."""
        n = self.facts.count
        pairs = [self.runner.piece(i, i + 1) for i in range(n - 1)] if n > 2 else []
        cuts = [*pairs, self.runner.whole()]
        if self.facts.masked:
            cuts += [self.runner.piece(0, n), self.runner.whole(masked=True)]
        return self.finite(cuts)

    @cached_property
    def counted(self) -> dict[str, Tensor]:
        """The counts in the samples' batches, one number per sample, by what is counted."""
        batches = self._batches
        ignored = outermost(batches)
        tables = [counts(batch, ignored) for batch in batches]
        return {
            phrase: torch.tensor([t.get(phrase, 0.0) for t in tables], dtype=torch.float64)
            for phrase in tables[0]
        }

    @cached_property
    def _batches(self) -> list[Any]:
        total = self.facts.count + self.facts.masked
        return [make_batch(self.runner.subject, MicroBatch((i,))) for i in range(total)]

    @cached_property
    def classes(self) -> dict[str, Tensor]:
        """The tensors of one whole number per sample, some of which are the same, by path."""
        values: dict[str, list[float]] = {}
        for path, leaf in chain.from_iterable(map(leaves, self._batches)):
            values.setdefault(path, []).extend(leaf.flatten().tolist() if leaf.numel() == 1 else ())
        n = len(self._batches)
        return {
            path: torch.tensor(numbers, dtype=torch.float64)
            for path, numbers in values.items()
            if len(numbers) == n and 1 < len({*numbers}) < n and all(v == v // 1 for v in numbers)
        }

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """The candidates for weights in the samples' batches: 1 each, and counts."""
        features = {"samples": torch.ones(len(self.singles), dtype=torch.float64)}
        if self.facts.masked:
            features["samples"][-1] = float(self.singles[-1].norm() > 0)
        for phrase, values in self.counted.items():
            if bool((values >= 0).all()) and float(values.sum()) > 0:
                shares = values / values.mean()
                if not any(torch.allclose(shares, other) for other in features.values()):
                    features[phrase] = shares
        return features
