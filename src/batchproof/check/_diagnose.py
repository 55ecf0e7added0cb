"""The diagnosis: measurements are settled first, then every finding says what it proves."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from batchproof.check._findings._after import with_settings
from batchproof.check._findings._another_loss import another_loss
from batchproof.check._findings._averages import averages
from batchproof.check._findings._clipping import clipping, notes_on_clipping
from batchproof.check._findings._coupling import coupling
from batchproof.check._findings._detached import detached_term, notes_on_detached
from batchproof.check._findings._divisor import divisor, fixed_count, notes_on_twice, weighed_twice
from batchproof.check._findings._entering import entering
from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._not_finite import empty, nan_dropped, notes_on_nan
from batchproof.check._findings._proof import notes_on_proof, proof_of
from batchproof.check._findings._ratios import ratios
from batchproof.check._findings._repeats import repeats
from batchproof.check._findings._reported import notes_on_reported, reported, reported_unit
from batchproof.check._findings._state import (
    batch_norm,
    carried,
    moved,
    notes_on_norms,
    notes_on_state,
    unsteady,
)
from batchproof.check._findings._terms import coupled_terms, terms
from batchproof.check._findings._units import notes_on_unit, unit_of_gradient
from batchproof.check._findings._windows import windows, words
from batchproof.check._report._report import Report
from batchproof.check._report._results import CutResult, Diagnosis, diagnosis, merge

Find = Callable[[Evidence], list[Diagnosis]]

# why the gradient, or an evaluation's number, depends on the cut: the first that predicts every cut
CAUSES: tuple[Find, ...] = (
    ratios,
    windows,
    divisor,
    averages,
    entering,
    terms,
    coupling,
    coupled_terms,
    carried,
)
_NO_MASK = (
    "cut 'masked' was not run: nothing in the samples shows which elements count; give "
    "mask=, a function that returns a sample in which none does"
)


def diagnose(evidence: Evidence, *, name: str = "", notes: Sequence[str] = ()) -> Report:
    """Conclude from what was measured what is wrong with a step or an evaluation.

    Args:
        evidence: what was measured, under every cut.
        name: what is checked, for the report.
        notes: what is to be said of how it is run.
    """
    runner, facts = evidence.runner, evidence.facts
    if evidence.steadiness.erratic:
        diagnoses, unit, reported_as = unsteady(evidence), ("unknown", ""), None
    else:
        evidence = replace(evidence, cause=tuple(_cause(evidence)))
        diagnoses = with_settings(merge([d for find in FINDINGS for d in find(evidence)]), evidence)
        unit, reported_as = unit_of_gradient(evidence), reported_unit(evidence)
    return Report(
        runner.subject.kind,
        _with_shares(evidence),
        tuple(diagnoses),
        *unit,
        reported_as,
        (*notes, *_notes(evidence)),
        runner.tolerance,
        evidence.steadiness.noise,
        facts.count,
        runner.record.runs,
        name,
        "" if diagnoses else proof_of(evidence),
    )


def _with_shares(evidence: Evidence) -> tuple[CutResult, ...]:
    """Return the results of every cut as shown, with the share of each micro-batch."""
    if evidence.evaluation or evidence.steadiness.erratic:
        return evidence.results
    cuts = {cut.name: cut for cut in evidence.laws.single if not cut.before}
    results = []
    for result in evidence.results:
        shares = evidence.laws.shares(cuts[result.name]) if result.name in cuts else None
        if shares is None:
            results.append(result)
            continue
        fields = {"shares": shares.values, "wanted": shares.targets}
        results.append(replace(result, **fields, share_residual=shares.residual))  # type: ignore[arg-type]
    return tuple(results)


def _cause(evidence: Evidence) -> list[Diagnosis]:
    if not evidence.off:
        return []
    if evidence.laws.doubtful:
        return []
    # samples that are repeated over ranks say nothing of what is wrong on one process
    again = repeats(evidence)
    chain = (windows,) if again else CAUSES
    return [*again, *next((causes for find in chain if (causes := find(evidence))), [])]


def _notes(evidence: Evidence) -> list[str]:
    notes = [_NO_MASK] if evidence.facts.unmasked else []
    notes += evidence.steadiness.notes
    if evidence.steadiness.erratic:
        return notes
    notes += [f"cut {r.name!r} was not run: {r.failure}" for r in evidence.results if r.failure]
    return [*notes, *(note for find in NOTES for note in find(evidence))]


def cause(evidence: Evidence) -> list[Diagnosis]:
    """Return why the gradient, or an evaluation's number, depends on the cut."""
    return list(evidence.cause)


def unexplained(evidence: Evidence) -> list[Diagnosis]:
    """Return "unknown" where cuts differ, and no finding explains it."""
    if evidence.unsteady or any(one.name == "unknown" for one in evidence.cause):
        return []
    if evidence.off and evidence.cause:
        return []
    off = [r for r in evidence.results if r.dependent and math.isfinite(r.largest)]
    if not evidence.off:
        has_reason = evidence.norms is not None or bool(clipping(evidence))
        # a reported loss that is off by itself is judged where the loss is
        off = [] if has_reason else [r for r in off if r.error > evidence.runner.tolerance]
    if not off:
        return []
    return [diagnosis("unknown", _nothing_predicts(evidence, off), evaluation=evidence.evaluation)]


def _nothing_predicts(evidence: Evidence, off: Sequence[CutResult]) -> str:
    worst = max(off, key=lambda r: r.error)
    what = "the number" if evidence.evaluation else "the gradient"
    error = worst.error
    if error <= evidence.runner.tolerance:
        worst = max(off, key=lambda r: r.largest)
        what, error = ("the number of another rank" if worst.ranks > 1 else what), worst.largest
    text = f"Under {worst.name!r} {what} is {error:.2g} away (relative), and no known mistake"
    if error < _PLAIN * evidence.runner.tolerance:
        narrow = str(evidence.runner.record.trace.narrowest).removeprefix("torch.")
        return (
            f"{text} could be told from another: that is too near to the noise of {narrow} "
            f"({evidence.runner.tolerance:.0e}). Compute in float64, or give samples of which "
            "cuts differ more."
        )
    laws = evidence.laws
    law = None if laws.doubtful else laws.over(laws.search.as_measured(), laws.finite, laws.single)
    if law is None:
        return f"{text} predicts it."
    part = words(evidence)[1]
    how = law.how.replace("micro-batch", part)
    return f"{text} predicts it: what each {part} gives alone is {how}."


# below so many times the noise of arithmetic, the errors of several causes look alike
_PLAIN = 10.0
FINDINGS: tuple[Find, ...] = (
    unsteady,
    batch_norm,
    cause,
    empty,
    clipping,
    moved,
    another_loss,
    detached_term,
    weighed_twice,
    fixed_count,
    unexplained,
    reported,
    nan_dropped,
)
NOTES: tuple[Callable[[Evidence], list[str]], ...] = (
    notes_on_norms,
    notes_on_state,
    notes_on_clipping,
    lambda evidence: evidence.laws.notes,
    notes_on_unit,
    notes_on_reported,
    notes_on_detached,
    notes_on_twice,
    notes_on_nan,
    notes_on_proof,
)
