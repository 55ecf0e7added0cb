"""The runner of a check: it runs the user's code under cuts, and caches and compares the results.

Every run starts from a fresh build under the same seed, so that two runs differ by their cut alone.
"""

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._measure._compare import differences
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._determinism import Controls, Trace
from batchproof.check._measure._run import Observation, RunOptions, Subject, one_line, run_once
from batchproof.check._measure._sketch import Sketch

# relative error that arithmetic alone can make, by the narrowest type that the step computes in
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
_NARROW = 5e-2
_TYPES = {"double", "float", "half", "bfloat"}


class MixedTypesError(ProbeError):
    """The step's own tensors are of another floating-point type than the check's."""


@dataclass
class Record:
    """All runs so far, shared by runners under unlike controls.

    Attributes:
        runs: how often the user's code was run.
        trace: of the first run: what it draws and what it computes in.
        results: by cut and options.
        references: names of the cuts that are compared with an uncut one, and of which.
        sketch: makes sketches of gradients, of one layout.
        state_sketch: makes sketches of what steps leave behind.
        start: a fingerprint of the parameters as first built.
        rounding: relative error that was measured to be rounding, where the type does not say so.
    """

    runs: int = 0
    trace: Trace = field(default_factory=Trace)
    results: dict[tuple[object, ...], Observation] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    sketch: Sketch = field(default_factory=Sketch)
    state_sketch: Sketch = field(default_factory=Sketch)
    start: tuple[float, ...] | None = None
    rounding: float = 0.0


class Runner:
    """Runs one subject under cuts.

    Args:
        subject: the user's parts; a masked sample, if there is one, last among its samples.
        count: number of samples, without the masked one.
        ranks: runs it over several processes.

    Attributes:
        controls: what is switched off in every run.
        record: what was run so far.
    """

    def __init__(
        self,
        subject: Subject,
        count: int,
        ranks: Callable[[Cut, RunOptions], Observation] | None = None,
    ) -> None:
        self.subject, self.count, self.ranks = subject, count, ranks
        self.controls = Controls()
        self.record = Record()

    def under(self, controls: Controls) -> "Runner":
        """Return a runner under other controls, which shares the record of this one."""
        other = copy.copy(self)
        other.controls = controls
        return other

    @property
    def tolerance(self) -> float:
        """Return the relative error that arithmetic alone can make."""
        usual = _TOLERANCE.get(self.record.trace.narrowest, _NARROW)
        return max(usual, self.record.rounding)

    @property
    def fit(self) -> float:
        """Return the relative distance below which two results count as equal."""
        return min(0.2, 100 * self.tolerance)

    def whole(self, *, masked: bool = False) -> Cut:
        """Return the cut of one micro-batch."""
        order = tuple(range(self.count + masked))
        return Cut("whole+masked" if masked else "whole", ((MicroBatch(order),),))

    def piece(self, *samples: int) -> Cut:
        """Return the window of one micro-batch that holds these samples."""
        return Cut(f"samples {samples}", ((MicroBatch(samples),),))

    def reference(self, cut: Cut) -> Cut:
        """Return the cut of one micro-batch that a cut is compared with."""
        return self.whole(masked=cut.reference == "whole+masked")

    def observe(self, cut: Cut, **changes: object) -> Observation:
        """Return the observation of a run under a cut.

        Args:
            cut: the cut.
            changes: fields of the run's options that differ from the usual ones.
        """
        options = replace(RunOptions(controls=self.controls), **changes)  # type: ignore[arg-type]
        key = (cut.ranks, cut.before, options)
        results = self.record.results
        if key not in results:
            result = self._run(cut, options, None)
            result.norm = _norm(result)
            if self.subject.kind == "step":
                self._reduce(cut, result, changes)
            results[key] = result
        return results[key]

    def _reduce(self, cut: Cut, result: Observation, changes: dict[str, object]) -> None:
        """Compare a result and replace its gradients by a sketch; those of the whole stay."""
        result.sketch = self.record.sketch(result.gradients)
        result.state_sketch = self.record.state_sketch(result.state) if result.state else None
        result.state = {}
        if cut.name in self.record.references:
            with_masked = self.record.references[cut.name] == "whole+masked"
            plain = cut.ranks == self.whole(masked=with_masked).ranks
            whole = result if plain else self.observe(self.whole(masked=with_masked), **changes)
            floor = min(1.0, 1e3 * self.tolerance)
            result.differences = tuple(differences(result.gradients, whole.gradients, floor))
            result.change_error = differences(result.change, whole.change, floor)[0].error
        if not cut.name.startswith("whole"):
            result.gradients, result.change = {}, {}

    def trace(self) -> Observation:
        """Run the uncut step while random draws and narrow numbers are recorded."""
        self.record.trace = Trace(narrowest=self.subject.dtype)
        return self._run(self.whole(), RunOptions(controls=self.controls), self.record.trace)

    def repeat(self, cut: Cut) -> Observation:
        """Run a cut again that has been run before."""
        return self._run(cut, RunOptions(controls=self.controls), None)

    def vector(self, cut: Cut, **changes: object) -> Tensor:
        """Return a cut's gradient as a sketch, or an evaluation's number as a vector of one."""
        return self.vector_of(self.observe(cut, **changes))

    def vector_of(self, result: Observation) -> Tensor:
        """Return a result's gradient as a sketch, or its number as a vector of one."""
        if self.subject.kind == "evaluate":
            return torch.tensor([result.loss], dtype=torch.float64)
        return self.record.sketch(result.gradients) if result.sketch is None else result.sketch

    def _run(self, cut: Cut, options: RunOptions, trace: Trace | None) -> Observation:
        self.record.runs += 1
        try:
            if len(cut.ranks) > 1 and self.ranks is not None:
                result = self.ranks(cut, options)
            else:
                (pieces,) = cut.ranks
                result = run_once(self.subject, pieces, options, before=cut.before, trace=trace)
        except ProbeError as error:
            raise ProbeError(f"under cut {cut.name!r}: {error}") from error
        except (Exception, SystemExit) as error:
            raise _failure(cut, error, self.subject.dtype) from error
        if self.record.start is None:
            self.record.start = result.start
        if result.start != self.record.start and not _close(result.start, self.record.start):
            raise ProbeError(
                "build() gives other parameters each time, under the same seed; "
                "make the model in it, and seed whatever it draws from, or load the same weights."
            )
        _expect(self.subject, cut, result)
        return result


def _norm(result: Observation) -> float:
    return math.sqrt(sum(float(g.double().norm()) ** 2 for g in result.gradients.values()))


def _expect(subject: Subject, cut: Cut, result: Observation) -> None:
    """Refuse a run that reports no number, or does not take as many steps as it should."""
    if subject.kind == "evaluate":
        if result.loss is None:
            raise ProbeError("run returned None; expected the number that it evaluates to.")
        return
    window, pieces = subject.window, len(cut.before) + max(map(len, cut.ranks))
    target = math.ceil(pieces / window) if window else 1
    if result.steps == target and not (result.gradients or cut.name.endswith("empty")):
        raise ProbeError(
            f"run stepped under cut {cut.name!r} without any gradient, expected {target} "
            "with a gradient; let it call backward() on a loss of the model that build() returns."
        )
    if result.steps < target:
        raise ProbeError(
            f"run took {result.steps} optimiser steps under cut {cut.name!r}, expected "
            f"{target}; let it end with optimizer.step() on the optimizer "
            "of the model that build() returns."
        )
    if result.steps > target:
        raise ProbeError(
            f"run took {result.steps} optimiser steps over {pieces} micro-batches, expected "
            f"{target}: one call is one step. Take optimizer.step() out of the loop over "
            "micro-batches, or pass window=k for a loop that takes a loader and steps every k."
        )


def _close(left: Sequence[float], right: Sequence[float]) -> bool:
    return len(left) == len(right) and all(
        math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) for a, b in zip(left, right, strict=True)
    )


def _failure(cut: Cut, error: BaseException, dtype: torch.dtype) -> ProbeError:
    """Return the error of a run that failed: out of memory, tensors of two types, or its own."""
    no_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if no_memory or "allocate memory" in str(error):
        return ProbeError(
            f"out of memory under cut {cut.name!r}; give fewer or shorter samples, a smaller model "
            "of the same kind, or dtype=torch.float32."
        )
    text = f"run failed under cut {cut.name!r} ({cut.describe()}): {one_line(error)}."
    words = set(re.findall(r"[a-z]+", str(error).lower()))
    if not isinstance(error, RuntimeError) or len(words & _TYPES) < 2:
        return ProbeError(text)
    return MixedTypesError(
        f"{text} The check computes in {dtype}: make tensors of the step's own in the type of the "
        "model, or give the check their type, as dtype=torch.float32."
    )
