"""Steadiness of a step that is not cut: whether runs differ by draws or by state that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchproof._errors import ProbeError
from batchproof.check._measure._compare import relative
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._run import SEED
from batchproof.check._measure._runner import Runner


@dataclass(frozen=True)
class Steadiness:
    """The differences between runs of the uncut step.

    Attributes:
        controls: what must be switched off.
        draws: where random numbers are drawn that cannot be switched off.
        noise: relative error between two runs of the same cut.
        apart: the same between two runs of which the second has another seed.
        second: relative error of a second call on the same model, restored in between.
        erratic: whether runs differ so that nothing can be compared.
        notes: what was switched off, and what could not be tried.
    """

    controls: Controls
    draws: tuple[str, ...]
    noise: float
    apart: float
    second: float
    erratic: bool
    notes: tuple[str, ...]

    def kept(self, tolerance: float) -> bool:
        """Return whether something outlives the first of two calls."""
        return self.second > max(tolerance, 10 * self.noise)


def measure_steadiness(runner: Runner) -> Steadiness:
    """Run the uncut step several times and return the differences of the results.

    Args:
        runner: runs the step as it is.

    Raises:
        ProbeError: if its gradient or number is not finite.
    """
    runner.trace()
    controls, draws, notes = _without_dropout(runner, runner.record.trace.draws)
    runner, whole = runner.under(controls), runner.whole()
    first = runner.vector(whole)
    if not bool(first.isfinite().all()):
        raise ProbeError(
            "the uncut step gives NaN or infinite gradients; give samples and a build on "
            "which it is finite."
        )
    narrow = runner.record.trace.narrowest
    if narrow.itemsize < runner.subject.dtype.itemsize:
        notes.append(f"computes in {narrow}: errors below {runner.tolerance:.0e} are not seen")
    noise = relative(runner.vector_of(runner.repeat(whole)), first)
    other = relative(runner.vector(whole, seed=SEED + 1), first) if draws else 0.0
    apart = max(noise, other)
    if apart > runner.tolerance:
        return Steadiness(controls, draws, noise, apart, 0.0, erratic=True, notes=tuple(notes))
    second = _second_call(runner, notes)
    return Steadiness(controls, draws, noise, apart, second, erratic=False, notes=tuple(notes))


def _without_dropout(
    runner: Runner, draws: Sequence[str]
) -> tuple[Controls, tuple[str, ...], list[str]]:
    """Switch dropout off where something draws; return also the draws that are left."""
    if not draws:
        return Controls(), (), []
    controls = Controls(dropout=True)
    runner.under(controls).trace()
    rest = runner.record.trace.draws
    dropout = [where for where in draws if where not in rest]
    if not dropout:
        return controls, tuple(rest), []
    evaluation = runner.subject.kind == "evaluate"
    advice = "; an evaluation should call model.eval() first" if evaluation else ""
    return controls, tuple(rest), [f"random draws switched off: {', '.join(dropout[:6])}{advice}"]


def _second_call(runner: Runner, notes: list[str]) -> float:
    """Return the distance of a second call, with the model restored, from the first."""
    whole = runner.whole()
    first = runner.vector(whole)
    try:
        second = runner.vector(whole, again="kept")
        if relative(second, 2 * first) <= runner.fit and runner.subject.kind == "step":
            notes.append(
                "run leaves its gradients behind for the next call; the loop around it must "
                "call optimizer.zero_grad()"
            )
            second = runner.vector(whole, again="cleared")
    except ProbeError:
        notes.append("run cannot be called twice on the same model; not tried further")
        return 0.0
    return relative(second, first)
