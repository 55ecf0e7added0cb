"""The evidence: all measurements, settled before anything is concluded from them."""

import math
from dataclasses import dataclass, field
from functools import cached_property

from batchproof.check._laws._fitted import Laws
from batchproof.check._measure._clipping import Clipping
from batchproof.check._measure._cuts import Cut, Facts
from batchproof.check._measure._detached import DetachWatch, measure_detached
from batchproof.check._measure._poisoned import Poisoned
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._slope import Slope, measure_slope
from batchproof.check._measure._steadiness import Steadiness
from batchproof.check._report._results import CutResult, Diagnosis


@dataclass(frozen=True)
class Norms:
    """Batch normalisation that was put on its running statistics, and that this mattered.

    Attributes:
        names: of the layers.
        residual: of what micro-batches predict that are measured with their own statistics.
    """

    names: tuple[str, ...]
    residual: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measurements of one step, or one evaluation.

    Attributes:
        runner: runs the step without draws, batch statistics and clipping where they matter.
        facts: what is known about the samples.
        cuts: the cuts that gave a result, the whole first.
        steadiness: how far runs of the uncut step differ.
        norms: batch normalisation, where it looked at its batch and that mattered.
        clipping: what the step does to gradients besides adding them.
        plain: what every cut gave as the step is.
        clean: the same without batch statistics and clipping.
        laws: the laws that predict the cuts.
        poisoned: what became of a batch of NaN in an evaluation.
        cause: why the gradient (the number, for an evaluation) depends on the cut.
    """

    runner: Runner
    facts: Facts
    cuts: tuple[Cut, ...]
    steadiness: Steadiness
    norms: Norms | None
    clipping: Clipping
    plain: tuple[CutResult, ...]
    clean: tuple[CutResult, ...]
    laws: Laws = field(repr=False)
    poisoned: Poisoned | str | None = None
    cause: tuple[Diagnosis, ...] = ()

    @property
    def evaluation(self) -> bool:
        """Return whether an evaluation was checked."""
        return self.runner.subject.kind == "evaluate"

    @property
    def unsteady(self) -> bool:
        """Return whether the uncut step gives different results by itself."""
        return self.steadiness.erratic or self.steadiness.kept(self.runner.tolerance)

    @cached_property
    def off(self) -> tuple[Cut, ...]:
        """The cuts under which it depends, nothing being in the way, and is finite."""
        errors = {r.name: r.largest if self.evaluation else r.error for r in self.clean}
        wrong = {name for name, error in errors.items() if error > self.runner.tolerance}
        return tuple(cut for cut in self.laws.finite if cut.name in wrong)

    @cached_property
    def slope(self) -> Slope | None:
        """The slope of the reported loss where no cut shows a mistake and it is another one."""
        plain = not (self.evaluation or self.off or self.unsteady)
        return measure_slope(self.runner) if plain else None

    @cached_property
    def detached(self) -> DetachWatch | None:
        """What the step detaches, where the reported loss has another slope than the gradient."""
        plain = self.slope is not None and self.clipping.before is None
        return measure_detached(self.runner) if plain else None

    @property
    def wrong(self) -> bool:
        """Return whether gradient or evaluated number are wrong in any way."""
        errors = (r.error for r in (*self.plain, *self.clean) if not r.failure)
        return self.unsteady or any(error > self.runner.tolerance for error in errors)

    @property
    def results(self) -> tuple[CutResult, ...]:
        """Return the shown results of every cut: all as the step is, or all of the clean runs.

        Clipping hides errors of scale, so the clean runs are shown wherever they differ.
        """
        return self.clean if self.shows_clean else self.plain

    @property
    def shows_clean(self) -> bool:
        """Return whether the shown results are those without clipping and batch statistics."""
        errors = [r.error for r in self.clean if not r.failure]
        finite = [error for error in errors if math.isfinite(error)]
        return max(finite, default=0.0) > self.runner.tolerance or not any(
            r.error > self.runner.tolerance for r in self.plain if not r.failure
        )
