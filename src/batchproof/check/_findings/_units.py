"""The unit of the uncut step: what its gradient, or an evaluation's number, is a mean over."""

import math

from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._terms import follows_terms, words_of


def unit_of_gradient(evidence: Evidence) -> tuple[str, str]:
    """Return the unit, and the same in words."""
    laws = evidence.laws
    if follows_terms(evidence) and laws.split is not None:
        return "several terms", words_of(laws.search, [micro for _, micro in laws.split.terms])
    if laws.search.plain or laws.search.padding or _depends(evidence):
        return laws.unit
    if evidence.evaluation:
        return "unknown", "unknown, but the same under every cut"
    if _alike(evidence):
        return "unknown", ""
    return "several terms", "several terms over different weights"


def notes_on_unit(evidence: Evidence) -> list[str]:
    """Return why the unit of a right step could not be seen, where it could not."""
    laws = evidence.laws
    if evidence.evaluation or laws.search.plain or laws.search.padding or _depends(evidence):
        return []
    if not _alike(evidence):
        return []
    norm = max(_norms(evidence))
    if not math.isfinite(norm):
        return []
    if norm == 0:
        note = (
            "no sample has a gradient alone, as in losses that compare samples with each other; "
            "what the step is a mean over cannot be told from single samples"
        )
    else:
        note = (
            f"every sample's gradient has the norm {norm:.3g}, as after clipping or normalisation "
            "by the step's own code, behind which errors of scale cannot be seen; raise its limit "
            "for the check"
        )
    return [note]


def _depends(evidence: Evidence) -> bool:
    tolerance = evidence.runner.tolerance
    return any(r.error > tolerance for r in evidence.clean if not r.failure)


def _alike(evidence: Evidence) -> bool:
    norms = _norms(evidence)
    return max(norms) - min(norms) <= evidence.runner.fit * max(norms)


def _norms(evidence: Evidence) -> list[float]:
    """Return the norms of the samples' gradients."""
    runner = evidence.runner
    return [runner.observe(runner.piece(i)).norm for i in range(evidence.facts.count)]
