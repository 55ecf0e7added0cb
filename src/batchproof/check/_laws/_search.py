"""The search for a law that predicts every cut: see _laws.py for what a law is.

It works on any quantity that a result gives, the gradient as well as the reported number, and
measures what it needs: samples alone, neighbours in pairs, samples padded as in a micro-batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._laws._laws import (
    ACROSS,
    WITHIN,
    Micro,
    Rule,
    clamped,
    design,
    divided,
    misfit,
    ratio,
    recover_weights,
    summed,
)
from batchproof.check._measure._cuts import Cut, Facts, MicroBatch
from batchproof.check._measure._run import make_batch
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._samples import counts, leaves


@dataclass(frozen=True)
class Law:
    """A law that was found, and how well it predicts.

    Attributes:
        micro: what a micro-batch gives.
        rule: what a window makes of them.
        residual: the largest relative distance over the cuts.
    """

    micro: Micro
    rule: Rule
    residual: float

    @property
    def exact(self) -> bool:
        """Tell whether the law does not depend on the cut."""
        plain = self.micro.kind in {"ratio", "sum"} and "padded" not in self.micro.label
        return (
            plain
            and self.rule.within == "exact"
            and self.rule.across == "pooled"
            and (not self.rule.factor)
        )


@dataclass
class Search:
    """Finds the law of one quantity.

    Attributes:
        runner: runs the step.
        facts: what is known about the samples.
        loss: look at the reported number in place of the gradient.
        undo: what makes a mean of the number, such as the logarithm of a perplexity.
        atoms: measured so far, by what they are of.
    """

    runner: Runner
    facts: Facts
    loss: bool = False
    undo: Callable[[Tensor], Tensor] | None = None
    atoms: dict[object, Tensor] = field(default_factory=dict)

    def of(self, cut: Cut) -> Tensor:
        """Return the quantity under a cut, as a vector."""
        if self.loss:
            value = self.runner.observe(cut).loss
            return torch.tensor([float("nan") if value is None else value], dtype=torch.float64)
        vector = self.runner.vector(cut)
        return vector if self.undo is None else self.undo(vector)

    def rows(self, cuts: Sequence[Cut]) -> Tensor:
        """Return the quantity under many cuts, one a row."""
        return torch.stack([self.of(cut) for cut in cuts])

    @cached_property
    def singles(self) -> Tensor:
        """The quantity of every sample alone; zero for one with nothing that counts."""
        found = [self._single(i) for i in range(self.facts.count + self.facts.masked)]
        return torch.stack(found)

    def _single(self, index: int) -> Tensor:
        return self._alone(self.runner.piece(index))

    def _alone(self, cut: Cut) -> Tensor:
        """Return the quantity of one micro-batch alone; zero where nothing in it counts."""
        try:
            vector = self.of(cut)
        except ProbeError:
            vector = torch.full_like(self.of(self.runner.whole()), float("nan"))
        return vector if bool(torch.isfinite(vector).all()) else torch.zeros_like(vector)

    @cached_property
    def subsets(self) -> list[Cut]:
        """Neighbours in pairs, and all: what weights are recovered from."""
        n = self.facts.count
        pairs = [self.runner.piece(i, i + 1) for i in range(n - 1)] if n > 2 else []
        cuts = [*pairs, self.runner.whole()]
        if self.facts.masked:
            cuts += [self.runner.piece(0, n), self.runner.whole(masked=True)]
        return [cut for cut in cuts if bool(torch.isfinite(self.of(cut)).all())]

    @cached_property
    def plain(self) -> Micro | None:
        """The law of a micro-batch where padding does not matter and samples are not coupled."""
        seen = self.rows(self.subsets)
        total = summed()
        if self._meets(total, self.subsets, seen):
            return total
        means = (ratio(weights, label) for label, weights in self._weights(seen))
        some = (clamped(n, label) for label, n in self.counted.items() if bool((n == 0).any()))
        return next((m for m in chain(means, some) if self._meets(m, self.subsets, seen)), None)

    @cached_property
    def divided(self) -> Micro | None:
        """The law of a micro-batch whose mean is divided by its number of samples once more."""
        seen = self.rows(self.subsets)
        sizes = torch.tensor([[len(cut.pieces[0].samples)] for cut in self.subsets])
        shrunk = (divided(weights, label) for label, weights in self._weights(seen * sizes))
        return next((m for m in shrunk if self._meets(m, self.subsets, seen)), None)

    def _weights(self, means: Tensor) -> Iterator[tuple[str, Tensor]]:
        recovered = recover_weights(
            self.singles,
            [(c.pieces[0].samples, row) for c, row in zip(self.subsets, means, strict=True)],
        )
        if recovered is not None:
            yield "recovered", recovered.clamp(min=0)
        yield from self.features.items()

    @cached_property
    def counted(self) -> dict[str, Tensor]:
        """What was counted in the samples' batches, one number a sample, by what it is."""
        total = self.facts.count + self.facts.masked
        tables = [counts(make_batch(self.runner.subject, MicroBatch((i,)))) for i in range(total)]
        return {
            phrase: torch.tensor([t.get(phrase, 0.0) for t in tables], dtype=torch.float64)
            for phrase in tables[0]
        }

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """What the samples' batches hold that weights could be: 1 each, and counts."""
        found = {"samples": torch.ones(len(self.singles), dtype=torch.float64)}
        if self.facts.masked:
            found["samples"][-1] = float(self.singles[-1].norm() > 0)
        for phrase, values in self.counted.items():
            if bool((values >= 0).all()) and float(values.sum()) > 0:
                shares = values / values.mean()
                if not any(torch.allclose(shares, other) for other in found.values()):
                    found[phrase] = shares
        return found

    def _meets(self, micro: Micro, cuts: Sequence[Cut], seen: Tensor) -> bool:
        exact = Rule("exact", "pooled")
        predicted = design(micro, exact, cuts, len(self.singles)) @ self.singles
        return misfit(predicted, seen) <= self.runner.fit

    @cached_property
    def sizes(self) -> dict[MicroBatch, float]:
        """Elements of a micro-batch with its padding, by micro-batch."""
        return {}

    def padded_size(self, piece: MicroBatch) -> float:
        """Return the elements of the largest tensor of a micro-batch, padding counted."""
        if piece not in self.sizes:
            batch = make_batch(self.runner.subject, piece)
            self.sizes[piece] = float(max((leaf.numel() for _, leaf in leaves(batch)), default=0))
        return self.sizes[piece]

    def _atom(self, key: object, cut: Cut) -> int:
        if key not in self.atoms:
            self.atoms[key] = self._alone(cut)
        return list(self.atoms).index(key)

    def by_rows(self, weights: Tensor, label: str) -> Micro:
        """Return the law in which a sample's part is measured with the padding that it has."""
        values = weights.tolist()

        def weigh(piece: MicroBatch) -> float:
            return float(sum(values[i] for i in piece.samples))

        def shares(piece: MicroBatch) -> list[tuple[int, float]]:
            shape = self.runner.shape(piece)
            found = []
            for i in piece.samples:
                rest = tuple(j for j in (*piece.samples, *piece.beside) if j != i)
                alone = Cut("row", ((MicroBatch((i,), rest, padded=piece.padded),),))
                atom = self._atom((i, shape), alone)
                found.append((atom, values[i] / max(weigh(piece), 1e-300)))
            return found

        return Micro("rows", shares, weigh, label)

    def as_measured(self) -> Micro:
        """Return the law in which every micro-batch is measured as a window of its own."""

        def shares(piece: MicroBatch) -> list[tuple[int, float]]:
            return [(self._atom(piece, Cut("piece", ((piece,),))), 1.0)]

        return Micro("measured", shares, lambda piece: float(len(piece.samples)), "measured")

    @cached_property
    def padding(self) -> Micro | None:
        """The law of a micro-batch whose padding counts."""
        if self.facts.beside is None and not self.facts.padding:
            return None
        cuts = [cut for cut in self.subsets if self.facts.count not in cut.pieces[0].samples]
        seen = self.rows(cuts)
        for label, weights in self.features.items():
            micro = self.by_rows(weights, label)
            try:
                matrix = self.design(micro, Rule("exact", "pooled"), cuts)
            except ProbeError:
                return None
            if misfit(matrix @ self.table(micro), seen) <= self.runner.fit:
                return micro
        return None

    def design(self, micro: Micro, rule: Rule, cuts: Sequence[Cut]) -> Tensor:
        """Return the matrix of a law: one row a cut, one column an atom of its table.

        Args:
            micro: what a micro-batch gives.
            rule: what a window makes of them.
            cuts: the cuts.
        """
        if micro.of_samples:
            return design(micro, rule, cuts, len(self.singles))
        for cut in cuts:
            for piece in cut.pieces:
                micro.shares(piece)
        return design(micro, rule, cuts, len(self.atoms))

    def table(self, micro: Micro) -> Tensor:
        """Return the atoms of a law, one a row."""
        if micro.of_samples:
            return self.singles
        return torch.stack(list(self.atoms.values()))

    def law(self, micro: Micro, cuts: Sequence[Cut]) -> Law | None:
        """Return the first rule under which the micro-batch law predicts every cut.

        Args:
            micro: what a micro-batch gives.
            cuts: cuts whose quantity is finite.
        """
        seen = self.rows(cuts)
        variants = [micro]
        if micro.kind in {"ratio", "rows"} and self.facts.beside is not None:
            label = f"{micro.label}, padded elements a micro-batch"
            variants.append(Micro(micro.kind, micro.shares, self.padded_size, label))
        across = ACROSS if any(len(cut.ranks) > 1 for cut in cuts) else ACROSS[:1]
        for within in WITHIN:
            for variant in variants:
                for share, factor in across:
                    rule = Rule(within, share, factor)
                    matrix = self.design(variant, rule, cuts)
                    residual = misfit(matrix @ self.table(variant), seen)
                    if residual <= self.runner.fit:
                        return Law(variant, rule, residual)
        return None


def search_for_number(
    runner: Runner, facts: Facts, finite: Callable[[Search], list[Cut]], notes: list[str]
) -> Search:
    """Return the search for the law of an evaluation's number, or of the mean that it is made of.

    Args:
        runner: runs the step.
        facts: what is known about the samples.
        finite: gives the cuts whose number is finite.
        notes: told of a number that is the exponential or the root of a mean.
    """
    search = Search(runner, facts)
    if search.plain is not None or search.padding is not None:
        return search
    for undo, words in ((torch.log, "exponential"), (torch.square, "square root")):
        of_mean = Search(runner, facts, undo=undo)
        cuts = [cut for cut in finite(of_mean) if len(cut.ranks) == 1]
        if cuts and of_mean.plain is not None and of_mean.law(of_mean.plain, cuts) is not None:
            notes.append(f"the number is the {words} of a mean, and judged as that mean")
            return of_mean
    return search
