"""Ratios and roots of counts: an evaluation's number that no weighting of batches makes right.

The number of one batch is a root, or a logarithm, of a mean where its square, or its exponential,
is one; F1 and the like are ratios of counts, and so a mean whose weights the model's own answers
make. An average of such numbers over batches is neither the ratio nor the root of all.

Where a constant is added above and below, as in a smoothed Dice score, with v_i = u_i + c

    m(S) = (sum_i t_i + b) / (sum_i u_i + c)        m_i = (t_i + b) / (u_i + c)
    sum_{i in S} v_i (m_i - m(S)) + (|S| - 1) (c m(S) - b) = 0

which is linear in v, c and b, and has one solution up to scale.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from batchproof._errors import ProbeError
from batchproof._trees import tree_map
from batchproof.check._findings._evidence import Evidence
from batchproof.check._laws._laws import misfit, ratio, recover_weights
from batchproof.check._laws._quantity import Quantity
from batchproof.check._laws._rules import EXACT, WEIGHT
from batchproof.check._laws._search import Law, Search, search_for
from batchproof.check._laws._several_terms import more_subsets
from batchproof.check._laws._units import unit_of
from batchproof.check._measure._cuts import MicroBatch
from batchproof.check._report._results import Diagnosis, diagnosis

Touch = Callable[[nn.Module], AbstractContextManager[None]]
# the noise of arithmetic up to which weights are compared with each other, and how near they are
_NARROWEST, _APART = 1e-4, 1e-3
# equations beyond the unknowns, and how far the last but one singular value is from 0, relative
_SPARE, _ONE = 3, 1e-7
_DECIBEL = math.log(10) / 10


def _power(decibels: Tensor) -> Tensor:
    return torch.exp(-_DECIBEL * decibels)


# what undoes the function that a batch's number is of its mean
_UNDONE = (
    (torch.square, "the root"),
    (torch.log, "the exponential"),
    (_power, "the logarithm, in decibels,"),
)


def ratios(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if ratios or roots of counts are averaged over batches."""
    if not evidence.evaluation or evidence.runner.tolerance > _NARROWEST:
        return []
    laws = evidence.laws
    if laws.law is not None:
        return _of_answers(evidence, laws.law)
    if laws.search.plain is not None or laws.doubtful:
        return []
    for undo, words in _UNDONE:
        quantity = Quantity(evidence.runner, evidence.facts, undo=undo)
        if not _is_mean(search_for(quantity, evidence.cuts)):
            continue
        law = laws.over(laws.search.as_measured(), laws.finite, laws.single)
        if law is None:
            return []
        text = (
            f"The number of a batch is {words} of a mean, and the whole is "
            f"{law.how.replace('micro-batch', 'batch')}: that is not {words} of the mean "
            "over all, however batches are weighed."
        )
        return [diagnosis("ratio-of-counts", text, law.residual, evaluation=True)]
    weights, law = _weights(evidence, None), None
    if weights is not None:
        weights = torch.cat([weights, torch.zeros(int(evidence.facts.masked)).double()])
        cuts = [cut for cut in laws.single if cut.reference == "whole"]
        law = laws.over(ratio(weights, "recovered"), cuts)
    return _smoothed(evidence) if law is None else _of_answers(evidence, law)


def _is_mean(search: Search) -> bool:
    """Return whether groups of two, three and four samples are as the law of a mean predicts."""
    quantity, micro = search.quantity, search.plain
    groups = more_subsets(search)
    try:
        rows = quantity.rows([*groups, *map(quantity.runner.piece, range(quantity.facts.count))])
    except ProbeError:
        return False
    if micro is None or not bool(rows.isfinite().all()):
        return False
    prediction = search.design(micro, EXACT, groups) @ search.table(micro)
    return misfit(prediction, rows[: len(groups)]) <= search.limit


def _smoothed(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if batches give ratios of counts to which a constant is added."""
    laws = evidence.laws
    law = laws.over(laws.search.as_measured(), laws.finite, laws.single)
    before = None if law is None else _raised_weights(evidence, None)
    after = None if before is None else _raised_weights(evidence, _opposite)
    if law is None or before is None or after is None:
        return []
    if torch.allclose(before, after, atol=_APART):
        return []
    return [_of_counts(law)]


def _raised_weights(evidence: Evidence, touch: Touch | None) -> Tensor | None:
    """Return samples' counts below a ratio, with its constant; None where it is no such ratio."""
    numbers = _groups(evidence, touch)
    if numbers is None:
        return None
    singles, groups = numbers
    n, rows = len(singles), []
    for group, value in groups:
        row = torch.zeros(n + 2, dtype=torch.float64)
        row[list(group)] = singles[list(group), 0] - value
        row[n:] = (len(group) - 1) * torch.stack([value[0], torch.tensor(-1.0)])
        rows.append(row)
    matrix = torch.stack(rows)
    if len(matrix) < n + 2 + _SPARE or not bool(torch.isfinite(matrix).all()):
        return None
    _, values, right = torch.linalg.svd(matrix)
    solution = right[-1] * right[-1][:n].sum().sign()
    unique = float(values[-2]) > _ONE * float(values[0])
    counts = solution[:n] / solution[:n].mean()
    fits = float(values[-1]) <= evidence.laws.search.limit * float(values[-2])
    return counts if unique and fits and bool((counts > 0).all()) else None


def _of_answers(evidence: Evidence, law: Law) -> list[Diagnosis]:
    """Return a diagnosis if weights of a mean change with the model's answers."""
    search = evidence.laws.search
    if law.micro.kind != "ratio" or law.rule.part == WEIGHT:
        return []
    if unit_of(search, law.micro, None)[0] != "weighted":
        return []
    n = evidence.facts.count
    before = torch.tensor([law.micro.weigh(MicroBatch((i,))) for i in range(n)])
    after = _weights(evidence, _opposite)
    if after is None or torch.allclose(before / before.mean(), after.to(before), atol=_APART):
        return []
    return [_of_counts(law)]


def _of_counts(law: Law) -> Diagnosis:
    text = (
        "The number of a batch is a ratio of counts, whose denominator depends on what the model "
        f"answers, and the whole is {law.how.replace('micro-batch', 'batch')}: add the "
        "counts of all batches first."
    )
    return diagnosis("ratio-of-counts", text, law.residual, evaluation=True)


def _weights(evidence: Evidence, touch: Touch | None) -> Tensor | None:
    """Return the weights that samples have; None where they cannot be told."""
    numbers = _groups(evidence, touch)
    weights = None if numbers is None else recover_weights(*numbers)
    return weights if weights is None else weights.clamp(min=0)


def _groups(
    evidence: Evidence, touch: Touch | None
) -> tuple[Tensor, list[tuple[tuple[int, ...], Tensor]]] | None:
    """Return the numbers of samples alone, and of groups of them; None where one cannot be run."""
    runner, n = evidence.runner, evidence.facts.count
    groups = [cut.pieces[0].samples for cut in more_subsets(evidence.laws.search)]
    groups += [*((i, i + 1) for i in range(n - 1)), tuple(range(n))]

    def given(*samples: int) -> Tensor:
        return runner.vector(runner.piece(*samples), touch=touch)

    try:
        singles = torch.stack([given(i) for i in range(n)])
        # where a batch has no count at all, its neighbours may have none, too
        ends = {int(singles[:, 0].argmax()), int(singles[:, 0].argmin())}
        groups += [(i, end) for i in range(n) for end in ends if i != end]
        return singles, [(group, given(*group)) for group in groups]
    except ProbeError:
        return None


@contextmanager
def _opposite(model: nn.Module) -> Iterator[None]:
    def hook(_module: nn.Module, _args: object, output: object) -> object:
        return tree_map(lambda leaf: -leaf if leaf.is_floating_point() else leaf, output)

    handle = model.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
