"""Measurement of a step or an evaluation, in its order, settled into one evidence.

First what differs without any cut (draws, state that outlives a call), so that it is switched off
or named. Then every cut, as the step is, and again without batch statistics and clipping.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from batchproof._errors import ProbeError
from batchproof.check._findings._evidence import Evidence, Norms
from batchproof.check._laws._fitted import Laws
from batchproof.check._laws._quantity import Quantity
from batchproof.check._laws._search import search_for
from batchproof.check._measure._clipping import Clipping, measure_clipping
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, Facts
from batchproof.check._measure._poisoned import measure_poisoned
from batchproof.check._measure._rounding import measure_rounding
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._steadiness import Steadiness, measure_steadiness
from batchproof.check._report._results import CutResult

# errors up to which all that cuts change may be the noise of arithmetic
_LITTLE = 0.05


@dataclass(frozen=True)
class _Run:
    """The runs so far.

    Attributes:
        runner: runs the step.
        facts: what is known about the samples.
        failures: cuts that gave no result, and why.
    """

    runner: Runner
    facts: Facts
    failures: dict[str, str]

    def cuts(self, cuts: Iterable[Cut]) -> tuple[Cut, ...]:
        """Return the cuts that gave a result."""
        return tuple(cut for cut in cuts if cut.name not in self.failures)

    def results(self, cuts: Iterable[Cut]) -> tuple[CutResult, ...]:
        """Return the result of each cut."""
        return tuple(
            CutResult.not_run(cut.name, cut.describe(), len(cut.ranks), self.failures[cut.name])
            if cut.name in self.failures
            else _result(self.runner, cut)
            for cut in cuts
        )


def settle(runner: Runner, facts: Facts, cuts: Sequence[Cut]) -> Evidence:
    """Measure everything that findings use.

    Args:
        runner: runs the step as it is.
        facts: what is known about the samples.
        cuts: the cuts to try, the whole first.

    Raises:
        ProbeError: if the user's code cannot be run.
    """
    runner.record.references = {cut.name: cut.reference for cut in cuts}
    steadiness = measure_steadiness(runner)
    plain = steady = _try(_Run(runner.under(steadiness.controls), facts, {}), cuts)
    steadiness = _with_rounding(plain, cuts, steadiness)
    norms, clipping = None, Clipping(steadiness.controls)
    if not steadiness.erratic:
        if steady.runner.record.trace.norms:
            steady, norms = _fix_norms(plain, cuts)
        if runner.subject.kind == "step":
            clipping = measure_clipping(steady.runner, steady.cuts(cuts))
            steady = replace(steady, runner=steady.runner.under(clipping.controls))
    ran = steady.cuts(cuts)
    evaluation = runner.subject.kind == "evaluate" and not steadiness.erratic
    return Evidence(
        steady.runner,
        steady.facts,
        ran,
        steadiness,
        norms,
        clipping,
        plain.results(cuts),
        steady.results(cuts),
        Laws(steady.runner, steady.facts, ran),
        measure_poisoned(steady.runner) if evaluation else None,
    )


def _with_rounding(run: _Run, cuts: Sequence[Cut], steadiness: Steadiness) -> Steadiness:
    """Measure the noise of arithmetic where it may be all that cuts differ by, or hide why."""
    errors = [_error(run.runner, cut)[0] for cut in run.cuts(cuts)]
    worst = max((error for error in errors if math.isfinite(error)), default=0.0)
    narrow = run.runner.record.trace.narrowest != torch.float64
    if steadiness.erratic or worst <= run.runner.tolerance or (worst > _LITTLE and not narrow):
        return steadiness
    run.runner.record.rounding = noise = measure_rounding(run.runner)
    note = f"rounds to fewer digits than its type has: errors below {noise:.0e} are not seen"
    return replace(steadiness, notes=(*steadiness.notes, note)) if noise else steadiness


def _try(run: _Run, cuts: Iterable[Cut]) -> _Run:
    """Run the cuts, and record one that fails where failure is expected.

    Raises:
        ProbeError: if another one fails.
    """
    facts, failures, runner = run.facts, dict(run.failures), run.runner
    for cut in cuts:
        if cut.reference == "whole+masked":
            reason = _unmasked(runner, cut)
            if reason:
                facts = replace(facts, masked=False)
                failures[cut.name] = reason
                continue
        try:
            runner.observe(cut)
        except ProbeError as error:
            by_norm = runner.record.trace.norms and "more than 1 value per channel" in str(error)
            if not cut.name.endswith("-empty") and not by_norm:
                raise
            failures[cut.name] = _reason(cut, error)
    return _Run(runner, facts, failures)


def _unmasked(runner: Runner, cut: Cut) -> str:
    """Return why a fully masked sample cannot stand beside the others; "" where it can."""
    try:
        beside = runner.vector(runner.reference(cut))
    except ProbeError as error:
        return _reason(cut, error)
    finite = bool(beside.isfinite().all())
    return "" if finite else "a fully masked sample makes the uncut step NaN, 0 / 0 of its own"


def _reason(cut: Cut, error: ProbeError) -> str:
    return str(error).removeprefix(f"under cut {cut.name!r}: ")


def _fix_norms(run: _Run, cuts: Sequence[Cut]) -> tuple[_Run, Norms | None]:
    """Put batch normalisation on its running statistics where cuts depend or failed."""
    runner, facts = run.runner, run.facts
    ran = run.cuts(cuts)
    if not run.failures and not any(_error(runner, c)[0] > runner.tolerance for c in ran):
        return run, None
    own = [cut for cut in ran if cut.reference == "whole" and len(cut.ranks) == 1]
    search = search_for(Quantity(runner, facts), own)
    law = search.law(search.as_measured(), own) if own else None
    fixed = runner.under(replace(runner.controls, norm=True))
    steady = _try(_Run(fixed, facts, {}), cuts)
    both = [cut for cut in steady.cuts(cuts) if cut in ran]
    gaps = (relative(runner.vector(cut), fixed.vector(cut)) for cut in both)
    if law is None or max(gaps, default=0.0) <= runner.tolerance:
        return steady, None
    return steady, Norms(tuple(runner.record.trace.norms[:5]), law.residual)


def _error(runner: Runner, cut: Cut) -> tuple[float, str]:
    """Return the largest relative error of a tensor's gradient and its name, or a number's."""
    if runner.subject.kind == "evaluate":
        return relative(runner.vector(cut), runner.vector(runner.reference(cut))), ""
    worst = max(runner.observe(cut).differences, key=lambda d: d.error)
    return worst.error, worst.name


def _result(runner: Runner, cut: Cut) -> CutResult:
    result, reference = runner.observe(cut), runner.observe(runner.reference(cut))
    error, worst = _error(runner, cut)
    loss_error = result.loss_error(reference)
    scale, cosine = 1.0, 1.0
    if runner.subject.kind == "step":
        scale, cosine = result.differences[0].scale, result.differences[0].cosine
    elif reference.loss:
        scale = (result.loss or 0.0) / reference.loss
    return CutResult(
        cut.name,
        cut.describe(),
        len(cut.ranks),
        dependent=max(error, loss_error or 0.0) > runner.tolerance,
        error=error,
        scale=scale,
        cosine=cosine,
        change=result.change_error,
        loss=result.loss,
        loss_error=loss_error,
        worst=worst,
    )
