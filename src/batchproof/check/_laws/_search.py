"""The search for a law that predicts every cut: see _laws.py for what a law is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof._trees import leaves
from batchproof.check._laws._laws import (
    Micro,
    by_class,
    clamped,
    design,
    misfit,
    over_longest,
    raised,
    ratio,
    recover_constant,
    recover_weights,
    scaled,
    summed,
)
from batchproof.check._laws._quantity import Quantity
from batchproof.check._laws._rules import ACROSS, BY_SAMPLES, EXACT, PADDED, Count, Rule, rules
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._run import make_batch
from batchproof.check._measure._samples import shape_of

# the relative distance that arithmetic can leave between a true law and what was measured
_LIMIT = {torch.float64: 1e-7, torch.float32: 1e-4}
# the most of what the cuts change that a law may leave unpredicted
_SHARE = 0.05
# predictions that are nearer to each other than this are the same
_SAME = 1e-9
# of float64, in which laws are never confused
_EXACT = 1e-9
# counts that a window may be weighted by
_MOST_COUNTS = 4


@dataclass(frozen=True)
class Law:
    """A law that was found, and how well it predicts.

    Attributes:
        micro: the law of a micro-batch.
        rule: of a window over them.
        residual: the largest relative distance over the cuts.
    """

    micro: Micro
    rule: Rule
    residual: float

    @property
    def exact(self) -> bool:
        """Return whether the law does not depend on the cut."""
        return self.micro.kind in {"ratio", "sum"} and self.rule == EXACT

    @property
    def how(self) -> str:
        """Return in words how the whole comes from its micro-batches."""
        of_size = self.micro.kind in {"measured", "classes"} and self.rule.within == EXACT
        return str(BY_SAMPLES if of_size else self.rule)

    @property
    def of_padding(self) -> bool:
        """Return whether padding counts."""
        return self.micro.kind in {"rows", "longest"} or self.rule.part.label == PADDED


@dataclass
class Search:
    """A search for the law of one quantity.

    Attributes:
        quantity: what the law is of.
        limit: the relative distance from what was measured that a law may have.
        noise: the distance that rounding may make between laws; 0 in float64, where it is none.
        atoms: measured so far, by what they are of.
        doubtful: whether several laws were as near as rounding allows.
    """

    quantity: Quantity
    limit: float
    noise: float = 0.0
    doubtful: bool = False
    atoms: dict[object, Tensor] = field(default_factory=dict)
    _sizes: dict[MicroBatch, float] = field(default_factory=dict)
    _places: dict[object, int] = field(default_factory=dict)
    _rows: dict[MicroBatch, list[int]] = field(default_factory=dict)

    @cached_property
    def plain(self) -> Micro | None:
        """The law of a micro-batch where padding does not matter and samples are not coupled."""
        subsets, counts = self.quantity.subsets, self.quantity.counted
        if not subsets:
            return None
        rows = self.quantity.rows(subsets)
        means = (ratio(weights, label) for label, weights in self._weights(rows))
        some = (clamped(n, label) for label, n in counts.items() if bool((n == 0).any()))
        micros = chain(
            [summed()],
            means,
            some,
            _raised_laws(self.quantity, rows),
            _laws_of_a_batch(self.quantity),
        )
        micro = next((m for m in micros if _meets(self, m, subsets, rows)), None)
        return self._as_counted(micro, rows) if micro and micro.label == "recovered" else micro

    def _as_counted(self, solution: Micro, rows: Tensor) -> Micro:
        """Return the law whose weights are a count in the batches, if one predicts as well."""
        singles, subsets = self.quantity.singles, self.quantity.subsets

        def residual(micro: Micro) -> float:
            return misfit(design(micro, EXACT, subsets, len(singles)) @ singles, rows)

        nearest, least = solution, 3 * max(10 * residual(solution), self.limit / 100)
        for label, weights in self.quantity.features.items():
            micro = ratio(weights, label)
            if residual(micro) < least / 3:
                nearest, least = micro, residual(micro)
        return nearest

    @cached_property
    def scaled(self) -> Micro | None:
        """The law of a micro-batch whose mean is divided by, or times, its number of samples."""
        subsets = self.quantity.subsets
        if not subsets:
            return None
        rows = self.quantity.rows(subsets)
        sizes = torch.tensor([[len(cut.pieces[0].samples)] for cut in subsets])
        for power in (-1, 1):
            means = rows / sizes.double() ** power
            each = (scaled(weights, label, power) for label, weights in self._weights(means))
            micro = next((m for m in each if _meets(self, m, subsets, rows)), None)
            if micro is not None:
                return micro
        return None

    def _weights(self, means: Tensor) -> Iterator[tuple[str, Tensor]]:
        samples = [cut.pieces[0].samples for cut in self.quantity.subsets]
        pairs = list(zip(samples, means, strict=True))
        solution = recover_weights(self.quantity.singles, pairs)
        if solution is not None:
            yield "recovered", solution.clamp(min=0)
        yield from self.quantity.features.items()

    def padded_size(self, piece: MicroBatch) -> float:
        """Return the elements of the largest tensor of a micro-batch, padding counted."""
        if piece not in self._sizes:
            batch = make_batch(self.quantity.runner.subject, piece)
            self._sizes[piece] = float(max((leaf.numel() for _, leaf in leaves(batch)), default=0))
        return self._sizes[piece]

    def _atom(self, key: object, cut: Cut) -> int:
        """Return the place of an atom in the table; it is measured when it is first asked for."""
        if key not in self.atoms:
            self.atoms[key] = self.quantity.alone(cut)
            self._places[key] = len(self._places)
        return self._places[key]

    def _rows_of(self, piece: MicroBatch) -> list[int]:
        """Return the atoms of a micro-batch's samples, each with the padding that it has there."""
        if piece not in self._rows:
            shape = shape_of(make_batch(self.quantity.runner.subject, piece))
            atoms = []
            for i in piece.samples:
                rest = tuple(j for j in (*piece.samples, *piece.beside) if j != i)
                alone = Cut("row", ((MicroBatch((i,), rest, padded=piece.padded),),))
                atoms.append(self._atom((i, shape), alone))
            self._rows[piece] = atoms
        return self._rows[piece]

    def by_rows(self, weights: Tensor, label: str) -> Micro:
        """Return the law in which a sample's part is measured with the padding that it has."""
        values = weights.tolist()

        def weigh(piece: MicroBatch) -> float:
            return float(sum(values[i] for i in piece.samples))

        def shares(piece: MicroBatch) -> list[tuple[int, float]]:
            whole = max(weigh(piece), 1e-300)
            return [
                (atom, values[i] / whole)
                for i, atom in zip(piece.samples, self._rows_of(piece), strict=True)
            ]

        return Micro("rows", shares, weigh, label)

    def as_measured(self) -> Micro:
        """Return the law in which every micro-batch is measured as a window of its own."""

        def shares(piece: MicroBatch) -> list[tuple[int, float]]:
            return [(self._atom(piece, Cut("piece", ((piece,),))), 1.0)]

        return Micro("measured", shares, lambda piece: float(len(piece.samples)), "measured")

    @cached_property
    def padding(self) -> Micro | None:
        """The law of a micro-batch whose padding counts."""
        facts = self.quantity.facts
        if facts.beside is None and not facts.padding:
            return None
        cuts = [c for c in self.quantity.subsets if facts.count not in c.pieces[0].samples]
        measurements = self.quantity.rows(cuts)
        for label, weights in self.quantity.features.items():
            micro = self.by_rows(weights, label)
            try:
                matrix = self.design(micro, EXACT, cuts)
            except ProbeError:
                return None
            if misfit(matrix @ self.table(micro), measurements) <= self.limit:
                moves = self._padding_moves() > 10 * self.noise
                self.doubtful = not moves and self.noise > 0
                return micro if moves else None
        return None

    def _padding_moves(self) -> float:
        """Return the relative change of a sample's gradient by the padding beside it."""
        singles = self.quantity.singles
        rows = [key for key in self.atoms if isinstance(key, tuple)]
        return max(relative(self.atoms[key], singles[key[0]]) for key in rows)

    def design(self, micro: Micro, rule: Rule, cuts: Sequence[Cut]) -> Tensor:
        """Return the matrix of a law: one row per cut, one column per atom of its table.

        Args:
            micro: the law of a micro-batch.
            rule: of a window over them.
            cuts: the cuts.
        """
        if micro.of_samples:
            return design(micro, rule, cuts, len(self.quantity.singles))
        for cut in cuts:
            for piece in cut.pieces:
                micro.shares(piece)
        return design(micro, rule, cuts, len(self.atoms))

    def table(self, micro: Micro) -> Tensor:
        """Return the atoms of a law, one per row."""
        if micro.of_samples:
            return self.quantity.singles
        return torch.stack(list(self.atoms.values()))

    def law(self, micro: Micro, cuts: Sequence[Cut], rows: Tensor | None = None) -> Law | None:
        """Return the rule under which the micro-batch law predicts every cut.

        The first that is as near as arithmetic allows is taken; of those that are only within the
        limit, the nearest, unless rounding alone may be why it is nearer than another.

        Args:
            micro: the law of a micro-batch.
            cuts: cuts whose quantity is finite.
            rows: what they gave, one per row; None to take the quantity under them.
        """
        rows = self.quantity.rows(cuts) if rows is None else rows
        every = []
        for rule in self._rules(micro, cuts):
            prediction = self.design(micro, rule, cuts) @ self.table(micro)
            law = Law(micro, rule, misfit(prediction, rows))
            if law.residual <= self.limit:
                every.append((law, prediction))
            if law.residual <= self.limit / 100 and self.noise == 0:
                break
        nearest = min(every, key=lambda one: one[0].residual, default=None)
        if nearest is None:
            return None
        near = max(10 * nearest[0].residual, self.limit / 100, self.noise)
        alike = [one for one in every if one[0].residual <= near]
        first, as_first = alike[0]
        others = (p for law, p in alike if law.rule.mistake != first.rule.mistake)
        if self.noise and any(misfit(prediction, as_first) > _SAME for prediction in others):
            self.doubtful = True
            return None
        return first

    def _rules(self, micro: Micro, cuts: Sequence[Cut]) -> Iterator[Rule]:
        features = self.quantity.features
        labels = [label for label in features if label not in {"samples", micro.label}]
        counts = [_count_of(label, features[label]) for label in labels[:_MOST_COUNTS]]
        if micro.kind in {"ratio", "rows"} and self.quantity.facts.beside is not None:
            counts.append(Count(PADDED, self.padded_size))
        across = ACROSS if any(len(cut.ranks) > 1 for cut in cuts) else ACROSS[:1]
        for rule in rules(counts):
            yield from (rule.over(*one) for one in across)


def _raised_laws(quantity: Quantity, means: Tensor) -> Iterator[Micro]:
    """Yield laws of sums that are divided by a count and a constant."""
    subsets = [cut.pieces[0].samples for cut in quantity.subsets]
    samples = {"samples": torch.ones(len(quantity.singles), dtype=torch.float64)}
    for label, counts in (samples | quantity.counted).items():
        if bool((counts >= 0).all()) and float(counts.sum()) > 0:
            pairs = list(zip(subsets, means, strict=True))
            constant = recover_constant(counts, quantity.singles, pairs)
            if constant is not None:
                yield raised(counts, constant, label)


def _laws_of_a_batch(quantity: Quantity) -> Iterator[Micro]:
    """Yield laws whose divisors are of one batch: its longest sample, its number of each class."""
    for label, counts in quantity.counted.items():
        if bool((counts >= 0).all()) and float(counts.max()) > float(counts.min()):
            yield over_longest(counts, label)
    for label, classes in quantity.classes.items():
        yield by_class(classes, label, mean=False)
        yield by_class(classes, label, mean=True)


def _meets(search: Search, micro: Micro, cuts: Sequence[Cut], rows: Tensor) -> bool:
    """Return whether the law of a micro-batch predicts the rows of these micro-batches."""
    singles = search.quantity.singles
    return misfit(design(micro, EXACT, cuts, len(singles)) @ singles, rows) <= search.limit


def _count_of(label: str, values: Tensor) -> Count:
    each = values.tolist()
    return Count(label, lambda piece: sum(each[i] for i in piece.samples))


def search_for(quantity: Quantity, cuts: Sequence[Cut]) -> Search:
    """Return the search for a quantity's law, as sharp as the differences between cuts allow.

    A law has to predict what a cut changes, not the whole: where a cut changes little, a law that
    is near to the whole may still be the wrong one.

    Args:
        quantity: what the law is of.
        cuts: cuts that gave a result.
    """
    runner, change = quantity.runner, quantity.change(quantity.finite(cuts))
    usual = _LIMIT.get(runner.record.trace.narrowest, 0.0)
    limit = usual if usual > runner.record.rounding else 2 * runner.tolerance
    noise = 0.0 if runner.tolerance <= _EXACT else runner.tolerance / 10
    if change > runner.tolerance:
        limit = min(limit, max(runner.tolerance / 10, _SHARE * change))
    return Search(quantity, limit, noise)
