"""Objectives of several terms: which mean each of them is, and how a window scales it.

With b_i the unknown gradient of the second term for sample i, and m_i what sample i gives alone,

    G = C1 (M - B) + C2 B        so        (C2 - C1) B = G - C1 M

for matrices C of one row per cut: known weights and a known rule each. A third term adds a block:

    (C2 - C1) B2 + (C3 - C1) B3 = G - C1 M

Where padding counts in the first term, its rows R are measured with the padding that they have, and

    G = D1 R + (C2 - C1) B       C1: D1 with the rows of one sample added up

and where samples are coupled in the first term, whole micro-batches are measured in place of R.
B has one row per sample, and there are more equations than samples: the residual is a proof.

Micro-batches alone come first and say what the weights are (a count in the batches, or, where none
fits, weights recovered by _least_squares.py). Whole windows then say the rule of each term.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, islice, permutations, product

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._laws._laws import (
    Micro,
    compress,
    design,
    misfit,
    ratio,
    recover_weights,
    scaled,
    summed,
)
from batchproof.check._laws._least_squares import free_weights
from batchproof.check._laws._rules import BY_SAMPLES, EXACT, FIRST, LAST, MEAN, SUM, Rule
from batchproof.check._laws._search import Search
from batchproof.check._measure._cuts import Cut, extra_cuts

RULES = (EXACT, MEAN, BY_SAMPLES, SUM, LAST, FIRST)
_MOST_COUNTS = 8
# equations beyond the unknowns before a fit is called a proof
_SPARE = 3
# of a search for weights that are not counts, and a few where the other term is a less likely one
_STARTS = 24


Term = tuple[Rule, Micro]


@dataclass(frozen=True)
class Split:
    """An objective of several terms, each under its own law.

    Attributes:
        terms: rule and micro-batch law of each term.
        parts: for each term its gradients for each sample, one per row.
        residual: of the prediction.
        right: for each term, whether its rule is right for these weights.
    """

    terms: tuple[Term, ...]
    parts: tuple[Tensor, ...]
    residual: float
    right: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Equations:
    """Cuts, their results, and the matrices that laws make of them."""

    search: Search
    cuts: tuple[Cut, ...]
    rows: Tensor

    @property
    def single(self) -> Tensor:
        """The results of samples alone."""
        return self.search.quantity.singles[: self.search.quantity.facts.count]

    def shares(self, micro: Micro, rule: Rule) -> tuple[Tensor, Tensor]:
        """Return the known part of a term's prediction, and its matrix on samples."""
        count = len(self.single)
        if micro.kind != "rows":
            matrix = design(micro, rule, self.cuts, count)
            return matrix @ self.single, matrix
        matrix = self.search.design(micro, rule, self.cuts)
        owner = torch.zeros(matrix.shape[1], count, dtype=torch.float64)
        for row, key in enumerate(self.search.atoms):
            if isinstance(key, tuple) and key[0] < count:
                owner[row, key[0]] = 1.0
        return matrix @ self.search.table(micro), matrix @ owner


def find_split(search: Search, cuts: Sequence[Cut]) -> Split | None:
    """Return two laws that share the objective between them, where that predicts every cut.

    Args:
        search: measures what is needed.
        cuts: cuts whose quantity is finite.
    """
    n = search.quantity.facts.count
    micro = _equations(search, _alone(search)) if n > 2 else None
    whole = _equations(search, _windows(search, cuts)) if n > 2 else None
    if micro is None or whole is None or _counts_only(micro.rows):
        return None
    split = next(_splits(whole, chain(_pairs(micro), _triples(micro)), search.limit), None)
    facts = search.quantity.facts
    if split is None and (facts.beside is not None or facts.padding):
        split = _padded_split(search, _own(cuts))
    if split is None and search.plain is None and search.padding is None:
        split = next(_splits(whole, _recovered(micro), search.limit), None)
    return split


def counted_terms(search: Search) -> tuple[Micro, ...] | None:
    """Return the laws of two or three terms that every micro-batch alone is as predicted by.

    Args:
        search: measures what is needed.
    """
    enough = search.quantity.facts.count > 2 and search.plain is None
    micro = _equations(search, _alone(search)) if enough else None
    return next(chain(_pairs(micro), _triples(micro)), None) if micro is not None else None


def _counts_only(rows: Tensor) -> bool:
    """Return whether single numbers repeat, as shares of hits do: too little to tell terms by."""
    return rows.shape[1] == 1 and len(set(rows.flatten().tolist())) < 0.75 * len(rows)


def follows(search: Search, cuts: Sequence[Cut], split: Split) -> bool:
    """Return whether a quantity, such as the reported loss, has the scaled terms of another.

    Args:
        search: of the quantity.
        cuts: cuts under which it is finite.
        split: of the other.
    """
    whole = _equations(search, _windows(search, cuts))
    if whole is None:
        return False
    (rule, micro), *rest = split.terms
    if micro.kind == "rows":
        micro = search.by_rows(search.quantity.features[micro.label], micro.label)
    return _solve(whole, (rule, micro), *rest)[0] <= search.limit


def _own(cuts: Sequence[Cut]) -> list[Cut]:
    return [c for c in cuts if c.reference == "whole" and len(c.ranks) == 1 and not c.before]


def _alone(search: Search) -> list[Cut]:
    return [*_plain_subsets(search), *more_subsets(search)]


def _windows(search: Search, cuts: Sequence[Cut]) -> list[Cut]:
    """Return micro-batches alone, cuts that pad nothing for its own sake, and random ones."""
    plain = [c for c in _own(cuts) if not any(p.beside or p.padded for p in c.pieces)]
    n = search.quantity.facts.count
    return [*_alone(search), *plain, *extra_cuts(n, n + 4, search.quantity.facts.window)]


def _padded_split(search: Search, own: Sequence[Cut]) -> Split | None:
    """Return a term in which padding counts, and one in which it does not."""
    more = extra_cuts(search.quantity.facts.count, 4, search.quantity.facts.window)
    alone = _alone(search)
    micro, whole = _equations(search, alone), _equations(search, [*alone, *own, *more])
    if micro is None or whole is None:
        return None
    try:
        return next(_splits(whole, _padded_pairs(micro), search.limit), None)
    except ProbeError:
        return None


def _plain_subsets(search: Search) -> list[Cut]:
    quantity = search.quantity
    return [c for c in quantity.subsets if quantity.facts.count not in c.pieces[0].samples]


def more_subsets(search: Search) -> list[Cut]:
    """Return micro-batches of two, three and four samples that weights are told apart by.

    Args:
        search: knows the samples.
    """
    n = search.quantity.facts.count
    steps = ((0, 2), (0, 1, 2), (0, 1, 2, 3), (0, 1, 3))
    groups = {tuple(sorted({(i + s) % n for s in step})) for step in steps for i in range(n)}
    return [search.quantity.runner.piece(*group) for group in sorted(groups) if len(group) > 1]


def _equations(search: Search, cuts: Sequence[Cut]) -> Equations | None:
    unlike = tuple({(c.ranks, c.before): c for c in cuts}.values())
    try:
        rows = search.quantity.rows(unlike)
    except ProbeError:
        if search.quantity.runner.subject.kind != "evaluate":
            raise
        # an evaluation whose loader takes one batch size cannot be given ragged batches
        return None
    return Equations(search, unlike, rows) if bool(torch.isfinite(rows).all()) else None


def _counted(search: Search) -> list[Micro]:
    quantity = search.quantity
    counts = list(quantity.features.items())[:_MOST_COUNTS]
    return [ratio(weights[: quantity.facts.count], label) for label, weights in counts]


def _pairs(equations: Equations) -> Iterator[tuple[Micro, Micro]]:
    """Yield weights of two terms that every micro-batch is as predicted by."""
    search = equations.search
    if search.plain is not None:
        yield search.plain, search.plain
        if search.plain.kind != "sum":
            return
    micros = _counted(search)
    count, features = search.quantity.facts.count, search.quantity.features
    times = [scaled(features[m.label][:count], m.label, 1) for m in micros]
    terms = [*micros, summed(), *(m for m in times if m.label != "samples")]
    fit = search.limit
    yield from (p for p in combinations(terms, 2) if _solved(equations, *p) <= fit)


def _triples(equations: Equations) -> Iterator[tuple[Micro, ...]]:
    """Yield weights of three terms, counts or none, where those of two are not enough.

    Two of the terms may have the weights of one, and differ in what windows make of them.
    """
    if equations.search.plain is None:
        fit, terms = equations.search.limit, [*_counted(equations.search), summed()]
        pairs = [pair for pair in combinations(terms, 2) if _solved(equations, *pair) <= fit]
        for one, other in pairs:
            yield from ((one, one, other), (one, other, other))
        every = combinations(terms, 3) if not pairs else ()
        yield from (t for t in every if _solved(equations, *t) <= fit)


def _recovered(equations: Equations) -> Iterator[tuple[Micro, ...]]:
    """Yield terms of which one at least has weights that are no count in the batches.

    Tensors that one term alone reaches show its weights. Where there is no such tensor they are
    searched for, beside one count, beside none, and beside two.
    """
    terms = _unlike(equations, [*_counted(equations.search), summed()])
    groups = list(_beside_counts(equations, terms))
    if not groups:
        sets = [(terms[0],), *((term,) for term in (terms[-1], *terms[1:4])), ()]
        sets += combinations(terms[:3] if len(terms) > 3 else terms, 2)
        trials = (_with_weights(equations, few) for few in sets)
        groups = list(islice((micros for micros in trials if micros is not None), 1))
    for micros in groups:
        yield micros
        if len(micros) == 2:
            one, other = micros
            yield from ((one, one, other), (one, other, other))


def _unlike(equations: Equations, terms: Sequence[Micro]) -> list[Micro]:
    """Return the first of all terms that have the same weights."""
    unlike: dict[tuple[float, ...], Micro] = {}
    for term in terms:
        matrix = rule_matrix(equations, EXACT, term)
        unlike.setdefault(tuple(matrix.flatten().tolist()), term)
    return list(unlike.values())


def _beside_counts(equations: Equations, terms: Sequence[Micro]) -> Iterator[tuple[Micro, ...]]:
    """Yield two or three terms with the weights of tensors that one term alone reaches."""
    subsets, own = [cut.pieces[0].samples for cut in equations.cuts], list[Micro]()
    for span in equations.search.quantity.runner.record.sketch.spans.values():
        single, rows = equations.single[:, span], equations.rows[:, span]
        weights = recover_weights(single, list(zip(subsets, rows, strict=True)))
        if weights is None or not bool(rows.any()):
            continue
        micro = ratio(weights.clamp(min=0), "recovered")
        matrix = equations.shares(micro, EXACT)[1]
        if misfit(matrix @ single, rows) <= equations.search.limit:
            own.append(micro)
    pool = _unlike(equations, [*terms, *own])
    for size in (2, 3):
        for micros in combinations(pool, size):
            no_count = any(micro.label == "recovered" for micro in micros)
            if no_count and _solved(equations, *micros) <= equations.search.limit:
                yield micros


def _with_weights(equations: Equations, counts: Sequence[Micro]) -> tuple[Micro, ...] | None:
    """Return these terms and one of recovered weights (two where none is given), if they fit."""
    subsets = [cut.pieces[0].samples for cut in equations.cuts]
    narrow = compress(torch.cat([equations.rows, equations.single]))
    rows, single = narrow[: len(subsets)], narrow[len(subsets) :]
    unknowns = (len(counts) or 1) * (len(single) - 1)
    if (not counts and rows.shape[1] < 4) or len(rows) < unknowns + _SPARE:
        return None
    shares = [equations.shares(term, EXACT)[1] for term in counts]
    limit = equations.search.limit
    likely = not counts or counts[0].label == "samples"
    starts = _STARTS // 2 if counts[1:] else (_STARTS if likely else _STARTS // 4)
    solutions = free_weights(single, subsets, rows, shares, tolerance=limit, starts=starts)
    if solutions is None:
        return None
    return (*counts, *(ratio(weights, "recovered") for weights in solutions))


def _padded_pairs(equations: Equations) -> Iterator[tuple[Micro, Micro]]:
    search = equations.search
    micros = _counted(search)
    if search.padding is not None:
        yield from ((search.padding, m) for m in micros if m.label == search.padding.label)
        return
    for micro in micros:
        rows = search.by_rows(search.quantity.features[micro.label], micro.label)
        for other in micros:
            if _solved(equations, rows, other) <= search.limit:
                yield rows, other


def _solved(equations: Equations, *micros: Micro) -> float:
    """Return the residual of several terms, each exact, on micro-batches alone."""
    return _solve(equations, *((EXACT, micro) for micro in micros))[0]


def _solve(equations: Equations, *terms: Term) -> tuple[float, tuple[Tensor, ...]]:
    """Return the residual of several terms, and the gradients of all but the first."""
    prediction, shares = equations.shares(terms[0][1], terms[0][0])
    matrices = [equations.shares(micro, rule)[1] - shares for rule, micro in terms[1:]]
    return _fit(equations.rows - prediction, matrices, prediction)


def _fit(
    rest: Tensor, matrices: list[Tensor], prediction: Tensor
) -> tuple[float, tuple[Tensor, ...]]:
    """Return how far the best unknown parts are from what is left to explain, and those parts."""
    matrix = torch.cat(matrices, dim=1)
    rank = int(torch.linalg.matrix_rank(matrix, rtol=1e-9))
    if len(rest) - rank < _SPARE or rank == 0:
        return float("inf"), ()
    part = torch.linalg.pinv(matrix, rtol=1e-9) @ rest
    parts = part.chunk(len(matrices))
    return misfit(prediction + matrix @ part, prediction + rest), parts


def _splits(
    equations: Equations, groups: Iterator[tuple[Micro, ...]], fit: float
) -> Iterator[Split]:
    """Yield rules for terms that every cut is as predicted by; one rule for all first."""
    for micros in groups:
        alike = [(rule,) * len(micros) for rule in RULES]
        apart = permutations(RULES, 2) if len(micros) == 2 else product(RULES[:4], repeat=3)
        for rules in (*alike, *apart):
            terms = tuple(zip(rules, micros, strict=True))
            if len(set(zip(rules, micros, strict=True))) < len(micros):
                continue
            residual, parts = _solve(equations, *terms)
            if residual <= fit:
                first = equations.single - torch.stack(parts).sum(0)
                good = tuple(_is_exact(equations, *term) for term in terms)
                yield Split(terms, (first, *parts), residual, good)


def find_coupled_split(search: Search, cuts: Sequence[Cut]) -> Split | None:
    """Return a term whose samples are coupled and one that is a mean, if they predict every cut.

    Args:
        search: measures what is needed.
        cuts: cuts whose quantity is finite.
    """
    facts, joint = search.quantity.facts, search.as_measured()
    if search.plain is not None or facts.count < 3 or search.quantity.singles.shape[1] < 4:
        return None
    own = [cut for cut in _own(cuts) if not any(p.beside or p.padded for p in cut.pieces)]
    equations = _equations(search, [*own, *extra_cuts(facts.count, facts.count + 4, facts.window)])
    if equations is None:
        return None
    for rule, mean in permutations((EXACT, MEAN, SUM), 2):
        prediction = search.design(joint, rule, equations.cuts) @ search.table(joint)
        for micro in _counted(search):
            # the mean's own part of what each micro-batch gives, which is scaled by its own rule
            beside = replace(micro, weigh=joint.weigh)
            matrix = _matrix(equations, micro, mean) - _matrix(equations, beside, rule)
            residual, parts = _fit(equations.rows - prediction, [matrix], prediction)
            if residual <= search.limit:
                first = equations.single - parts[0]
                terms = ((rule, joint), (mean, micro))
                return Split(terms, (first, *parts), residual, (False, mean == EXACT))
    return None


def _matrix(equations: Equations, micro: Micro, rule: Rule) -> Tensor:
    """Return the matrix of a law on single samples."""
    return design(micro, rule, equations.cuts, len(equations.single))


def _is_exact(equations: Equations, rule: Rule, micro: Micro) -> bool:
    if micro.kind == "times":
        return False
    return torch.equal(rule_matrix(equations, rule, micro), rule_matrix(equations, EXACT, micro))


def rule_matrix(equations: Equations, rule: Rule, micro: Micro) -> Tensor:
    """Return a law's matrix, rounded so that laws that are the same are equal.

    Args:
        equations: the cuts.
        rule: the rule.
        micro: the micro-batch law.
    """
    return equations.shares(micro, rule)[1].mul(1e9).round()
