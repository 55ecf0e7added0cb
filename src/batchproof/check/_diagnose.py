"""The inquiry: in which order things are measured, and what is concluded.

First what differs without any cut (draws, narrow numbers, state that outlives a call), so that it
is held still or named. Then every cut. Only where something depends on the cut are samples
measured alone and laws tried; a law that does not predict every cut is never stated.
"""

import math
from dataclasses import replace
from functools import cached_property

import torch

from batchproof._errors import ProbeError
from batchproof.check._findings._clipping import (
    Clipping,
    clip_cause,
    own_clip_cause,
    settle_clipping,
)
from batchproof.check._findings._coupling import interaction
from batchproof.check._findings._repeats import duplicates
from batchproof.check._findings._reported import judge_reported, reported_error
from batchproof.check._findings._state import Steadiness, look_for_carried, look_for_nan_dropped
from batchproof.check._findings._units import tell_sum_from_mean
from batchproof.check._findings._windows import (
    causes,
    split_cause,
    terms_in_words,
    unit_of,
    window_size,
)
from batchproof.check._laws._search import Law, Search, search_for_number
from batchproof.check._laws._two_terms import Split, find_split
from batchproof.check._measure._cuts import Cut, Facts, MicroBatch
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._runner import Runner, relative
from batchproof.check._report._remedies import diagnosis
from batchproof.check._report._report import CutResult, Diagnosis, Report, merge

_NO_MASK = (
    "cut 'masked' was not run: nothing in the samples shows which elements count; hand it in as "
    "mask=, a function that returns a sample in which none does"
)


class Inquiry:
    """One inquiry, from the first result to the report.

    Args:
        runner: runs the step.
        facts: what is known about the samples.
        cuts: the cuts to try, the whole first.
        name: what is checked, for the report.
    """

    def __init__(self, runner: Runner, facts: Facts, cuts: list[Cut], name: str) -> None:
        self.runner, self.facts, self.cuts, self.name = runner, facts, cuts, name
        self.evaluation = runner.subject.kind == "evaluate"
        self.notes: list[str] = []
        self.found: list[Diagnosis] = []
        self.failures: dict[str, str] = {}
        runner.compare(cuts)
        self.unit, self.unit_text = "unknown", ""
        self.reported_unit: str | None = None
        self.clipping = Clipping()
        self.unexplained = False
        if facts.unmasked:
            self.notes.append(_NO_MASK)

    def report(self) -> Report:
        """Measure, conclude, and write it down.

        Raises:
            ProbeError: if the user's code cannot be run.
        """
        steady = Steadiness(self.runner)
        self.found += steady.look()
        self.notes += steady.notes
        if steady.erratic:
            results = [self._result(cut) for cut in self.cuts]
            return self._report(results, steady.noise)
        for cut in self.cuts:
            self._try(cut)
        as_it_is = [self._result(cut) for cut in self.cuts]
        if self.runner.trace.norms:
            self._settle_norms()
        if not self.evaluation:
            self.clipping = settle_clipping(self.runner, self.run_cuts, self.notes)
        results = [
            max(pair, key=_severity)
            for pair in zip(as_it_is, [self._result(cut) for cut in self.cuts], strict=True)
        ]
        self._name_unit()
        self._gradient()
        self._empty_micro_batches()
        if self.clipping.how is not None:
            self._clip(self.clipping.how)
        if not self.evaluation:
            self._reported()
        else:
            self.found += look_for_nan_dropped(self.runner, self.notes)
        self._unknown(results)
        return self._report(results, steady.noise)

    def _report(self, results: list[CutResult], noise: float) -> Report:
        merged = merge(self.found)
        return Report(
            self.runner.subject.kind,
            tuple(results),
            tuple(merged),
            self.unit,
            self.unit_text,
            self.reported_unit,
            tuple(self.notes),
            self.runner.tolerance,
            noise,
            self.facts.count,
            self.runner.runs,
            self.name,
        )

    def _try(self, cut: Cut) -> None:
        """Run a cut; one that cannot be run where it could not be expected to is noted."""
        if cut.reference == "whole+masked" and not self._masks(cut):
            return
        try:
            self.runner.observe(cut)
        except ProbeError as error:
            normed = bool(self.runner.trace.norms) and "more than 1 value per channel" in str(error)
            if not cut.name.endswith("-empty") and not normed:
                raise
            self._skip(cut, error)

    def _masks(self, cut: Cut) -> bool:
        """Tell whether the step takes the fully masked sample beside the others."""
        try:
            self.runner.observe(self._reference(cut))
        except ProbeError as error:
            self.facts = replace(self.facts, masked=False)
            self._skip(cut, error)
            return False
        return True

    def _skip(self, cut: Cut, error: ProbeError) -> None:
        why = str(error).removeprefix(f"under cut {cut.name!r}: ")
        self.failures[cut.name] = why
        self.notes.append(f"cut {cut.name!r} was not run: {why}")

    @property
    def run_cuts(self) -> list[Cut]:
        """Return the cuts that gave a result."""
        return [cut for cut in self.cuts if cut.name not in self.failures]

    def _reference(self, cut: Cut) -> Cut:
        return self.runner.whole(masked=cut.reference == "whole+masked")

    def _error(self, cut: Cut) -> float:
        return relative(self.runner.vector(cut), self.runner.vector(self._reference(cut)))

    def _dependent(self) -> list[Cut]:
        return [cut for cut in self.run_cuts if self._worst(cut)[0] > self.runner.tolerance]

    def _worst(self, cut: Cut) -> tuple[float, str]:
        if self.evaluation:
            return self._error(cut), ""
        worst = max(self.runner.difference(cut)[0], key=lambda d: d.error)
        return worst.error, worst.name

    def _result(self, cut: Cut) -> CutResult:
        if cut.name in self.failures:
            why = self.failures[cut.name]
            return CutResult.not_run(cut.name, cut.describe(), len(cut.ranks), why)
        result, reference = self.runner.observe(cut), self.runner.observe(self._reference(cut))
        error, worst = self._worst(cut)
        loss_error = reported_error(result, reference)
        scale = cosine = 1.0
        change = 0.0
        if not self.evaluation:
            found, change = self.runner.difference(cut)
            scale, cosine = found[0].scale, found[0].cosine
        elif reference.loss:
            scale = (result.loss or 0.0) / reference.loss
        dependent = max(error, loss_error or 0.0) > self.runner.tolerance
        return CutResult(
            cut.name, cut.describe(), len(cut.ranks), dependent, error, scale, cosine, change,
            result.loss, loss_error, worst,
        )  # fmt: skip

    def _settle_norms(self) -> None:
        """Put batch normalisation on its running statistics, and say so if that mattered."""
        active = {cut.name: cut for cut in self._dependent()} or dict.fromkeys(self.failures)
        if not active:
            return
        names = ", ".join(self.runner.trace.norms[:5])
        rule = Search(self.runner, self.facts)
        cuts = [c for c in self.run_cuts if c.reference == "whole" and len(c.ranks) == 1]
        law = rule.law(rule.as_measured(), cuts) if cuts else None
        before = {c.name: self.runner.vector(c) for c in self.run_cuts}
        self.runner.controls = replace(self.runner.controls, norm=True)
        for cut in [*self.cuts]:
            if cut.name in self.failures:
                del self.failures[cut.name]
                self._try(cut)
        mattered = any(
            relative(before[c.name], self.runner.vector(c)) > self.runner.tolerance
            for c in self.run_cuts
            if c.name in before
        )
        if mattered and law is not None:
            text = (
                f"Batch normalisation looks at the batch that it is given ({names}), so every cut "
                "has statistics of its own."
            )
            norm = diagnosis("batch-norm", text, law.residual, evaluation=self.evaluation)
            self.found.append(norm)
            self.notes.append(f"measured with batch normalisation held still: {names}")

    @cached_property
    def search(self) -> Search:
        """The search for the law of the gradient, or of the evaluation's number."""
        if not self.evaluation:
            return Search(self.runner, self.facts)
        return search_for_number(self.runner, self.facts, self._finite, self.notes)

    @cached_property
    def law(self) -> Law | None:
        """The law that predicts every cut, if one does."""
        cuts = self._finite(self.search)
        single = [cut for cut in cuts if len(cut.ranks) == 1]
        micros = [m for m in (self.search.plain, self.search.padding) if m is not None]
        for micro in micros:
            law = self.search.law(micro, cuts) or self.search.law(micro, single)
            if law is not None:
                return law
        return None

    @cached_property
    def split(self) -> Split | None:
        """Two laws that share the gradient between them, if those predict every cut."""
        return find_split(self.search, self._finite(self.search))

    def _finite(self, search: Search) -> list[Cut]:
        return [cut for cut in self.run_cuts if bool(torch.isfinite(search.of(cut)).all())]

    def _name_unit(self) -> None:
        micro = self.search.plain or self.search.padding
        edit = None
        if micro is not None and not self.evaluation:
            edit = tell_sum_from_mean(self.runner, self.facts)
        self.unit, self.unit_text = unit_of(self.search, micro, edit)
        if micro is not None or self._dependent():
            return
        self.unit, self.unit_text = "several terms", "several terms over different weights"
        if self.evaluation:
            self.unit, self.unit_text = "unknown", "no mean over samples, but the same always"
            return
        norms = [self.runner.observe(self.runner.piece(i)).norm for i in range(self.facts.count)]
        if max(norms) - min(norms) <= self.runner.fit * max(norms):
            self.unit, self.unit_text = "unknown", ""
            self.notes.append(
                f"every gradient has the norm {norms[0]:.3g}: the step clips by code of its own, "
                "behind which errors of scale cannot be seen; raise its limit for the check"
            )

    def _empty_micro_batches(self) -> None:
        for cut in self.run_cuts:
            if self._finite_at(self._reference(cut)) and not self._finite_at(cut):
                vector = bool(torch.isfinite(self.runner.vector(cut)).all())
                what = "number" if self.evaluation else ("loss" if vector else "gradient")
                text = (
                    f"A micro-batch in which nothing counts makes the whole {what} NaN: 0 / 0 is "
                    "taken for it before sums are pooled."
                )
                empty = diagnosis("empty-micro-batch-nan", text, evaluation=self.evaluation)
                self.found.append(empty)
                return

    def _finite_at(self, cut: Cut) -> bool:
        loss = self.runner.observe(cut).loss
        whole = bool(torch.isfinite(self.runner.vector(cut)).all())
        return whole and (loss is None or math.isfinite(loss))

    def _gradient(self) -> None:
        dependent = [c for c in self._dependent() if c in self._finite(self.search)]
        if not dependent:
            return
        law = self.law
        known = len(self.found)
        if law is None or law.exact:
            law = self._further(law)
        if law is None:
            self.unexplained = len(self.found) == known
            return
        window = self.runner.subject.window
        if law.rule.within == "sum" and window is None and not self.evaluation:
            window = window_size(self.runner)
        self.found += causes(law, self.unit, evaluation=self.evaluation, window=window)
        if self.evaluation:
            return
        self._left_over(law, dependent)

    def _left_over(self, law: Law, dependent: list[Cut]) -> None:
        """Say so where ranks depend in a way that the law of one process does not predict."""
        over = [cut for cut in dependent if len(cut.ranks) > 1]
        if over and self.search.law(law.micro, over) is None:
            names = ", ".join(cut.name for cut in over)
            text = f"Over ranks ({names}) something else is wrong, cause unknown."
            self.found.append(diagnosis("unknown", text))

    def _further(self, law: Law | None) -> Law | None:
        """Try what is no law of one term: duplicates, two terms, coupling, state."""
        if self.evaluation:
            self.found += duplicates(self.search, self._finite(self.search))
        cuts = self._finite(self.search)
        single = [cut for cut in cuts if len(cut.ranks) == 1]
        if self.found and self.found[-1].name == "duplicated-samples":
            return None
        # what one law predicts on one process is wrong over ranks alone, of which terms say nothing
        if law is None and self.split is not None:
            window = self.runner.subject.window
            if window is None and not self.evaluation:
                window = window_size(self.runner)
            self.found += split_cause(
                self.search, self.split, evaluation=self.evaluation, window=window
            )
            self.unit, self.unit_text = "several terms", terms_in_words(self.search, self.split)
            return None
        shrunk = self.search.divided if self.search.plain is None else None
        law = self.search.law(shrunk, single) if shrunk is not None else None
        if law is not None and law.rule.within == "exact":
            return law
        if self.search.plain is None and self._comparable():
            coupled = self.search.as_measured()
            law = self.search.law(coupled, cuts) or self.search.law(coupled, single)
            if (
                law is not None
                and self.clipping.scales
                and interaction(self.runner) > self.runner.fit
            ):
                return law
        self.found += look_for_carried(self.runner)
        return None

    def _comparable(self) -> bool:
        """Tell whether padding cannot be what makes a micro-batch no mean of its samples."""
        shapes = {self.runner.shape(MicroBatch((i,))) for i in range(self.facts.count)}
        return len(shapes) == 1 or self.facts.beside is not None

    def _clip(self, how: Controls) -> None:
        cause = own_clip_cause if self.clipping.own else clip_cause
        self.found += cause(self.runner, self.search, self.law, self.run_cuts, how)

    def _reported(self) -> None:
        search = Search(self.runner, self.facts, loss=True)
        whole = self.runner.observe(self.runner.whole()).loss
        if whole is None:
            return
        cuts = [cut for cut in self._finite(search) if cut in self._finite(self.search)]
        self.reported_unit = unit_of(search, search.plain, None)[0]
        if search.plain is not None and self.reported_unit != self.unit:
            self._compare_units()
        off = [c for c in cuts if self._loss_off(c)]
        if not off:
            return
        named = {d.name for d in self.found}
        if named & {"coupled-samples", "leaking-state"}:
            return
        split = self.__dict__.get("split")
        wrong = bool(named) or self.unexplained
        said = judge_reported(search, cuts, off, gradient=split or self.law, named=wrong)
        if isinstance(said, Diagnosis):
            self.found.append(said)
        else:
            self.notes.append(said)

    def _compare_units(self) -> None:
        if not {"unknown", "several terms"} & {self.unit, self.reported_unit}:
            self.notes.append(
                f"the reported loss is a mean over {self.reported_unit!r}, "
                f"the optimised one over {self.unit!r}"
            )

    def _loss_off(self, cut: Cut) -> bool:
        error = reported_error(self.runner.observe(cut), self.runner.observe(self._reference(cut)))
        return error is not None and error > self.runner.tolerance

    def _unknown(self, results: list[CutResult]) -> None:
        """Say what is left: cuts that differ, and nothing found that could be why."""
        named = {d.name for d in self.found} - {"empty-micro-batch-nan", "nan-batch-dropped"}
        unsteady = named & {"leaking-state", "random-draws", "unknown"}
        if named and (unsteady or not self.unexplained):
            return
        off = [r for r in results if r.dependent and math.isfinite(_severity(r))]
        if not off:
            return
        worst = max(off, key=lambda r: r.error)
        text = (
            f"Under {worst.name!r} the relative error is {worst.error:.2g}, and no known mistake "
            "predicts it."
        )
        self.found.append(diagnosis("unknown", text))


def _severity(result: CutResult) -> float:
    """Rank two results of one cut: with nothing held still, and with clipping and norms so."""
    return -1.0 if result.failure else max(result.error, result.loss_error or 0.0)
