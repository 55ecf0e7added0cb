"""The reported loss: whether it follows the law of the gradient, and which law if it does not."""

from collections.abc import Sequence

import torch

from batchproof.check._findings._windows import reported_cause
from batchproof.check._laws._search import Law, Search
from batchproof.check._laws._two_terms import Split, follows
from batchproof.check._measure._cuts import Cut
from batchproof.check._measure._run import Observation
from batchproof.check._measure._runner import relative
from batchproof.check._report._remedies import diagnosis
from batchproof.check._report._report import Diagnosis

_LIKEWISE = "the reported loss makes the same mistake as the gradient"


def judge_reported(
    search: Search,
    cuts: Sequence[Cut],
    off: Sequence[Cut],
    *,
    gradient: Law | Split | None,
    named: bool,
) -> Diagnosis | str:
    """Return what is wrong with a reported loss that depends on the cut, or a note on it.

    Args:
        search: of the reported loss.
        cuts: cuts under which it is finite.
        off: those under which it is not what the uncut step reports.
        gradient: what the gradient follows, where that was found.
        named: whether the gradient has a mistake of its own, also one that is not understood.
    """
    if isinstance(gradient, Split):
        if follows(search, cuts, gradient):
            return _LIKEWISE
        gradient = None
    law = _law(search, cuts)
    if law is not None and gradient is not None and law.rule == gradient.rule and named:
        return _LIKEWISE
    if law is not None:
        right = not named and (gradient is None or gradient.exact)
        return reported_cause(law, gradient=right)
    names = ", ".join(cut.name for cut in off)
    if named:
        return f"the reported loss depends on the cut too ({names})"
    text = f"The reported loss differs under {names}, and no known mistake predicts how."
    return diagnosis("unknown", text)


def reported_error(result: Observation, reference: Observation) -> float | None:
    """Return how far what is reported, on any rank, is from what the reference reports, relative.

    Args:
        result: of a cut.
        reference: of the cut that it is compared with.
    """
    if result.loss is None or reference.loss is None:
        return None
    values = [loss for loss in (result.loss, *result.losses) if loss is not None]
    want = torch.tensor(reference.loss, dtype=torch.float64)
    return max(relative(torch.tensor(v, dtype=torch.float64), want) for v in values)


def _law(search: Search, cuts: Sequence[Cut]) -> Law | None:
    shrunk = search.divided if search.plain is None else None
    for micro in (search.plain, search.padding, shrunk, search.as_measured()):
        law = search.law(micro, cuts) if micro is not None else None
        if law is not None:
            return law
    return None
