"""Divisors: results that are right but for a factor, and totals weighted by their count once more.

Where every cut gives the uncut gradient times a factor f, its divisor has changed alone. One that
grows with the number k of micro-batches gives

    1 / f = 1 + (k - 1) / D        D: the uncut divisor, in units of what each micro-batch adds

An evaluation that weighs totals, not means, gives the same under every cut, and yet is not a mean.
With a model whose output is the same for every element, a mean is equal for all samples, and a
total grows with the count that it is then weighed by.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from batchproof._errors import ProbeError
from batchproof._trees import tree_map
from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._windows import words
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._report._results import Diagnosis, diagnosis
from batchproof.mistakes import mistake

# different numbers of micro-batches by which a line through their factors is proved
_FEWEST = 4
# the least that a divisor changes from one micro-batch to many, relative
_LEAST = 1e-4


def divisor(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if the divisor alone changes, by as much with every micro-batch."""
    cuts = [cut for cut in evidence.laws.single if cut.reference == "whole" and not cut.before]
    factors = factors_of(evidence, cuts)
    numbers = sorted({len(cut.pieces) for cut in factors})
    if len(numbers) < _FEWEST or not all(factors.values()):
        return []
    by_number = _of_one_size(evidence, factors) or _of_a_power(evidence, factors)
    if by_number:
        return by_number
    k = torch.tensor([[1.0, len(cut.pieces) - 1.0] for cut in factors], dtype=torch.float64)
    inverse = torch.tensor([[1 / f] for f in factors.values()], dtype=torch.float64)
    fit = torch.linalg.lstsq(k, inverse).solution
    residual = float((k @ fit - inverse).abs().max())
    slope = float(fit[1])
    if residual > evidence.laws.search.limit or abs(slope) < max(_LEAST, 100 * residual):
        return []
    what, part = words(evidence)
    grows, uncut = "grows" if slope > 0 else "shrinks", f"{1 / abs(slope):.6g}"
    text = (
        f"The {what} is right but for its divisor, which {grows} by one with every {part}: if it "
        f"is {uncut} uncut, k {part}es make it {uncut} {'+' if slope > 0 else '-'} (k - 1)."
    )
    return _wrong(evidence, text, residual)


def _wrong(evidence: Evidence, text: str, residual: float) -> list[Diagnosis]:
    """Return the diagnosis, with the remedy for a window where it is of a gradient."""
    one = diagnosis("wrong-divisor", text, residual, evaluation=evidence.evaluation)
    if evidence.evaluation:
        return [one]
    remedy = mistake("not-divided").remedy
    return [replace(one, remedy=remedy.sentence, code=remedy.code)]


# which micro-batch a loop takes its batch size from
_SIZES: dict[str, Callable[[list[int]], int]] = {
    "the first": lambda sizes: sizes[0],
    "the largest": max,
    "the last": lambda sizes: sizes[-1],
}


def _of_one_size(evidence: Evidence, factors: dict[Cut, float]) -> list[Diagnosis]:
    """Return a diagnosis if all are divided by their number times the size of one of them."""
    what, part = words(evidence)
    for which, size in _SIZES.items():
        residual = 0.0
        for cut, factor in factors.items():
            sizes = [len(piece.samples) for piece in cut.pieces]
            residual = max(residual, abs(factor * len(sizes) * size(sizes) / sum(sizes) - 1))
        if residual <= evidence.laws.search.limit:
            text = (
                f"The {what} is divided by the number of {part}es times the size of {which}, "
                f"as if every {part} had that size."
            )
            return _wrong(evidence, text, residual)
    return []


def _of_a_power(evidence: Evidence, factors: dict[Cut, float]) -> list[Diagnosis]:
    """Return a diagnosis if the factor is a power of the number of micro-batches."""
    most = max(factors, key=lambda cut: len(cut.pieces))
    power = math.log(abs(factors[most])) / math.log(len(most.pieces))
    residual = max(abs(f / len(cut.pieces) ** power - 1) for cut, f in factors.items())
    if abs(power) < _LEAST or residual > evidence.laws.search.limit:
        return []
    what, part = words(evidence)
    times = f"k to the power of {power:.3g}" if abs(power - 1) > _LEAST else "k"
    text = f"The {what} is right but for a factor: k {part}es make it {times} times what it is."
    return _wrong(evidence, text, residual)


def fixed_count(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if an evaluation's hits are divided by a number that is not theirs."""
    law, n = evidence.laws.law, evidence.facts.count
    if not evidence.evaluation or law is None or not law.exact or law.micro.kind != "sum":
        return []
    values = evidence.laws.search.quantity.singles[:n, 0]
    hit, near = float(values.max()), evidence.runner.fit
    hits = values > near
    if not 0 < hit < 1 or int(hits.sum()) < 2 or not bool((values[~hits] == 0).all()):
        return []
    count = round(1 / hit)
    if count == n or abs(hit * count - 1) > near or float(values[hits].min()) < hit * (1 - near):
        return []
    try:
        twice = float(evidence.runner.vector(_twice(n)))
    except ProbeError:
        return []
    residual = abs(twice / (2 * float(values.sum())) - 1)
    if residual > near:
        return []
    text = (
        f"Each hit counts 1/{count}, however many samples there are ({n} here): the number is "
        "divided by a count that is not theirs, and the same samples twice make it twice as large."
    )
    return [diagnosis("wrong-divisor", text, residual, evaluation=True)]


def notes_on_twice(evidence: Evidence) -> list[str]:
    """Return whether a number of no known mean changes where every sample is given twice."""
    runner, n = evidence.runner, evidence.facts.count
    if not evidence.evaluation or evidence.cause or evidence.laws.law is not None:
        return []
    try:
        whole = float(runner.vector(runner.whole()))
        twice = float(runner.vector(_twice(n)))
    except ProbeError:
        return []
    if abs(twice - whole) <= runner.fit * abs(whole):
        return []
    note = (
        f"with every sample given twice the number is {twice:.6g} instead of {whole:.6g}, so it is "
        "not a mean over samples"
    )
    return [note]


def _twice(n: int) -> Cut:
    return Cut("every sample twice", ((MicroBatch((*range(n), *range(n))),),))


def factors_of(evidence: Evidence, cuts: list[Cut]) -> dict[Cut, float]:
    """Return by cut the factor on the uncut gradient, or number; empty if that is not all."""
    quantity = evidence.laws.search.quantity
    whole = quantity.of(evidence.runner.whole())
    size, factors = float(whole @ whole), {}
    for cut in cuts:
        here = quantity.of(cut)
        factors[cut] = float(here @ whole) / size if size else 0.0
        if relative(here, factors[cut] * whole) > evidence.laws.search.limit:
            return {}
    return factors


def weighed_twice(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if an evaluation weighs totals by the count that they are totals over."""
    search, n = evidence.laws.search, evidence.facts.count
    micro = search.plain
    if not evidence.evaluation or evidence.off or micro is None or micro.kind != "ratio":
        return []
    weights = torch.tensor([micro.weigh(MicroBatch((i,))) for i in range(n)], dtype=torch.float64)
    if len(set(weights.tolist())) < 3 or not bool((weights > 0).all()):
        return []
    try:
        same = torch.cat([_flat(evidence, i) for i in range(n)])
    except ProbeError:
        return []
    each = same / weights
    spread = float((each.max() - each.min()) / each.abs().max().clamp_min(1e-300))
    if not spread <= evidence.runner.tolerance or float(same.abs().min()) == 0:
        return []
    text = (
        f"Each sample's total over {micro.label or 'its weight'} is weighted by that count once "
        "more: with a model whose output is the same for every element, the number of a sample "
        "grows with its length, which a mean does not. It is the same under every cut."
    )
    return [diagnosis("wrong-divisor", text, spread, evaluation=True)]


def _flat(evidence: Evidence, sample: int) -> Tensor:
    """Return the number of one sample where the model gives the same output for every element."""
    runner, undo = evidence.runner, evidence.laws.search.quantity.undo
    vector = runner.vector(runner.piece(sample), touch=_silenced)
    return vector if undo is None else undo(vector)


@contextmanager
def _silenced(model: nn.Module) -> Iterator[None]:
    def hook(_module: nn.Module, _args: object, output: object) -> object:
        return tree_map(lambda leaf: leaf * 0 if leaf.is_floating_point() else leaf, output)

    handle = model.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
