"""The runner of a check: runs the user's code under cuts, caches and compares what that gave.

Every run starts from a fresh build under the same seed, so that two runs differ by their cut alone.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._determinism import Controls, Trace
from batchproof.check._measure._run import (
    WIDTH,
    Observation,
    RunOptions,
    Sketch,
    Subject,
    make_batch,
    one_line,
    run_once,
)
from batchproof.check._measure._samples import shape_of

# relative error that arithmetic alone can make, by the narrowest type that the step computes in
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
_NARROW = 5e-2
_TYPES = {"double", "float", "half", "bfloat"}


@dataclass(frozen=True)
class Difference:
    """How far a parameter tensor's gradient is from the uncut one's.

    Attributes:
        name: the parameter.
        error: |g - g0| / |g0|.
        scale: the number s that makes s * g0 closest to g.
        cosine: of the angle between the two.
    """

    name: str
    error: float
    scale: float
    cosine: float


def relative(found: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """Return |found - expected| / max(|expected|, floor); inf where either is not finite."""
    if not (torch.isfinite(found).all() and torch.isfinite(expected).all()):
        return math.inf
    size = max(float(expected.norm()), floor)
    gap = float((found - expected).norm())
    return 0.0 if gap == 0 else (gap / size if size > 0 else math.inf)


def differences(
    found: dict[str, Tensor], expected: dict[str, Tensor], floor: float
) -> list[Difference]:
    """Compare gradients tensor by tensor; the first entry, "all", is of all of them together.

    Args:
        found: gradients by name.
        expected: the gradients they should be.
        floor: tensors smaller than this share of the whole are compared with that share.
    """
    names = list(dict.fromkeys([*expected, *found]))
    pairs = []
    for name in names:
        like = expected.get(name, found.get(name))
        assert like is not None
        zero = torch.zeros_like(like)
        pairs.append((name, found.get(name, zero).double(), expected.get(name, zero).double()))
    norm = math.sqrt(sum(float(e.norm()) ** 2 for _, _, e in pairs))
    dots = [(float((f * e).sum()), float((f * f).sum()), float((e * e).sum())) for _, f, e in pairs]
    fe, ff, ee = (sum(column) for column in zip(*dots, strict=True)) if dots else (0.0, 0.0, 0.0)
    gap = math.sqrt(sum(float((f - e).norm()) ** 2 for _, f, e in pairs))
    result = [_difference("all", gap if math.isfinite(ff) else math.inf, norm, (fe, ff, ee))]
    for (name, f, e), dot in zip(pairs, dots, strict=True):
        size = max(math.sqrt(dot[2]), floor * norm)
        gap = float((f - e).norm()) if math.isfinite(dot[1]) else math.inf
        result.append(_difference(name, gap, size, dot))
    return result


def _difference(name: str, gap: float, size: float, dot: tuple[float, float, float]) -> Difference:
    fe, ff, ee = dot
    error = 0.0 if gap == 0 else (gap / size if size > 0 else math.inf)
    scale = fe / ee if ee > 0 else (1.0 if ff == 0 else math.inf)
    product = math.sqrt(ff) * math.sqrt(ee)
    cosine = fe / product if product > 0 else (1.0 if ff == ee else 0.0)
    return Difference(
        name, error, scale, max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else 0.0
    )


class Runner:
    """Takes results of one probe.

    Args:
        subject: the user's parts; a masked sample, if there is one, last among its samples.
        count: number of samples, without the masked one.
        ranks: takes a result over several processes.
        mask: makes a fully masked sample.
    """

    def __init__(
        self,
        subject: Subject,
        count: int,
        ranks: Callable[[Cut, RunOptions], Observation] | None = None,
    ) -> None:
        self.subject, self.count, self.ranks = subject, count, ranks
        self.controls = Controls()
        self.trace = Trace()
        self.runs = 0
        self.compared: dict[str, str] = {}
        self.errors: dict[int, tuple[list[Difference], float]] = {}
        self._shots: dict[tuple[object, ...], Observation] = {}
        self._sketch: Sketch | None = None
        self._sketches: dict[int, Tensor] = {}
        self._start: tuple[float, ...] | None = None

    @property
    def tolerance(self) -> float:
        """Return the relative error that arithmetic alone can make."""
        return _TOLERANCE.get(self.trace.narrowest, _NARROW)

    @property
    def fit(self) -> float:
        """Return the residual below which a prediction counts as met."""
        return min(0.2, 100 * self.tolerance)

    @property
    def floor(self) -> float:
        """Return the share of the whole gradient below which a tensor is not looked at alone."""
        return min(1.0, 1e3 * self.tolerance)

    def whole(self, *, masked: bool = False) -> Cut:
        """Return the cut of one micro-batch."""
        options = tuple(range(self.count + masked))
        return Cut("whole+masked" if masked else "whole", ((MicroBatch(options),),))

    def observe(self, cut: Cut, **changes: object) -> Observation:
        """Return what the user's code does under a cut.

        Args:
            cut: the cut.
            changes: fields of the options that differ from the usual one.
        """
        options = RunOptions(controls=self.controls)
        if changes:
            options = replace(options, **changes)  # type: ignore[arg-type]
        key = (cut.ranks, cut.before, options)
        if key not in self._shots:
            self._shots[key] = self._digest(cut, self._take(cut, options, None), changes)
        return self._shots[key]

    def compare(self, cuts: Sequence[Cut]) -> None:
        """Have these cuts compared with the uncut step, tensor by tensor, when they are run."""
        self.compared = {cut.name: cut.reference for cut in cuts}

    def _digest(self, cut: Cut, result: Observation, changes: dict[str, object]) -> Observation:
        """Keep of a result its sketch and how it differs; full gradients of the whole only."""
        result.norm = math.sqrt(
            sum(float(g.double().norm()) ** 2 for g in result.gradients.values())
        )
        if self.subject.kind == "evaluate":
            return result
        sketch = self._sketched(result)
        if cut.name in self.compared:
            masked = self.compared[cut.name] == "whole+masked"
            plain = cut.ranks == self.whole(masked=masked).ranks
            reference = result if plain else self.observe(self.whole(masked=masked), **changes)
            found = differences(result.gradients, reference.gradients, self.floor)
            change = differences(result.change, reference.change, self.floor)[0].error
            self.errors[id(result)] = (found, change)
        if not cut.name.startswith("whole"):
            result.gradients, result.change = {}, {}
        self._sketches[id(result)] = sketch
        return result

    def difference(self, cut: Cut) -> tuple[list[Difference], float]:
        """Return how a compared cut's gradients, and the parameters' change, differ."""
        return self.errors[id(self.observe(cut))]

    def look(self) -> Observation:
        """Take the uncut result while random draws and narrow numbers are watched for."""
        self.trace = Trace(narrowest=self.subject.dtype)
        return self._take(self.whole(), RunOptions(controls=self.controls), self.trace)

    def _take(self, cut: Cut, options: RunOptions, trace: Trace | None) -> Observation:
        self.runs += 1
        try:
            if len(cut.ranks) > 1 and self.ranks is not None:
                result = self.ranks(cut, options)
            else:
                (pieces,) = cut.ranks
                result = run_once(self.subject, pieces, options, before=cut.before, trace=trace)
        except ProbeError as error:
            raise ProbeError(f"under cut {cut.name!r}: {error}") from error
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ProbeError(_out_of_memory(cut)) from error
        except (Exception, SystemExit) as error:
            if "allocate memory" in str(error):
                raise ProbeError(_out_of_memory(cut)) from error
            raise ProbeError(
                f"run failed under cut {cut.name!r} ({cut.describe()}): {one_line(error)}."
                f"{_of_types(error, self.subject.dtype)}"
            ) from error
        self._expect(cut, result)
        return result

    def _expect(self, cut: Cut, result: Observation) -> None:
        if self._start is None:
            self._start = result.start
        if result.start != self._start and not _close(result.start, self._start):
            msg = (
                "build() gives other parameters each time, under the same seed; "
                "make the model in it, and seed whatever it draws from, or load the same weights."
            )
            raise ProbeError(msg)
        if self.subject.kind == "evaluate":
            if result.loss is None:
                raise ProbeError("run returned None; expected the number that it evaluates to.")
            return
        window, pieces = self.subject.window, len(cut.before) + max(map(len, cut.ranks))
        expected = math.ceil(pieces / window) if window else 1
        if result.steps == expected and not (result.gradients or cut.name.endswith("empty")):
            raise ProbeError(
                f"run stepped under cut {cut.name!r} without any gradient, expected {expected} "
                "with a gradient; let it call backward() on a loss of the model that build() "
                "returns."
            )
        if result.steps < expected:
            raise ProbeError(
                f"run took {result.steps} optimiser steps under cut {cut.name!r}, expected "
                f"{expected}; let it end with optimizer.step() on the optimizer "
                "of the model that build() returns."
            )
        if result.steps > expected:
            raise ProbeError(
                f"run took {result.steps} optimiser steps over {pieces} micro-batches, expected "
                f"{expected}: one call is one step. Take optimizer.step() out of the loop over "
                "micro-batches, or pass window=k for a loop that takes a loader and steps every k."
            )

    def vector(self, cut: Cut, **changes: object) -> Tensor:
        """Return a cut's gradient as a sketch, or an evaluation's number as a vector of one."""
        return self.vector_of(self.observe(cut, **changes))

    def vector_of(self, result: Observation) -> Tensor:
        """Return a result's gradient as a sketch, or its number as a vector of one."""
        if self.subject.kind == "evaluate":
            return torch.tensor([result.loss], dtype=torch.float64)
        return self.sketch(result)

    def repeat(self, cut: Cut) -> Observation:
        """Take a result again that has been taken before."""
        return self._take(cut, RunOptions(controls=self.controls), None)

    def sketch(self, result: Observation) -> Tensor:
        """Return the sketch of a result's gradients."""
        kept = self._sketches.get(id(result))
        return self._sketched(result) if kept is None else kept

    def _sketched(self, result: Observation) -> Tensor:
        if self._sketch is None:
            self._sketch = Sketch(result.gradients)
        return self._sketch(result.gradients)

    def spans(self) -> dict[str, slice]:
        """Return where each parameter's gradient lies in a sketch."""
        return {} if self._sketch is None else self._sketch.spans

    def kept(self) -> Tensor:
        """Return which entries of a sketch are entries of a gradient, not sums of many."""
        if self._sketch is None:
            return torch.zeros(0, dtype=torch.bool)
        mask = torch.zeros(self._sketch.width, dtype=torch.bool)
        for name, span in self._sketch.spans.items():
            mask[span] = self._sketch.shapes[name] <= WIDTH
        return mask

    def piece(self, *samples: int) -> Cut:
        """Return the window of one micro-batch that holds these samples."""
        return Cut(f"samples {samples}", ((MicroBatch(samples),),))

    def shape(self, piece: MicroBatch) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of a micro-batch without the sample dimension."""
        return shape_of(make_batch(self.subject, piece))


def _close(left: Sequence[float], right: Sequence[float]) -> bool:
    return len(left) == len(right) and all(
        math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) for a, b in zip(left, right, strict=True)
    )


def _of_types(error: BaseException, dtype: torch.dtype) -> str:
    """Return what to do where tensors of two types have met: the check's, and one of the step's."""
    words = set(re.findall(r"[a-z]+", str(error).lower()))
    if not isinstance(error, RuntimeError) or len(words & _TYPES) < 2:
        return ""
    return (
        f" The check computes in {dtype}: make tensors of the step's own in the type of the model, "
        "or give the check their type, as dtype=torch.float32."
    )


def _out_of_memory(cut: Cut) -> str:
    return (
        f"out of memory under cut {cut.name!r}; give fewer or shorter samples, a smaller model "
        "of the same kind, or dtype=torch.float32."
    )
