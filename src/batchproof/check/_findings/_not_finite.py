"""Values that are not finite: of micro-batches in which nothing counts, and of batches of NaN."""

import math

import torch

from batchproof.check._findings._evidence import Evidence
from batchproof.check._measure._cuts import Cut
from batchproof.check._measure._poisoned import Poisoned
from batchproof.check._report._results import Diagnosis, diagnosis


def empty(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if a micro-batch in which nothing counts makes the whole NaN."""
    runner = evidence.runner
    for cut in evidence.cuts:
        if _finite(evidence, runner.reference(cut)) and not _finite(evidence, cut):
            gradient = bool(torch.isfinite(runner.vector(cut)).all())
            what = "number" if evidence.evaluation else ("loss" if gradient else "gradient")
            text = (
                f"A micro-batch in which nothing counts makes the whole {what} NaN: 0 / 0 is "
                "taken for it before sums are pooled."
            )
            return [diagnosis("empty-micro-batch-nan", text, evaluation=evidence.evaluation)]
    return []


def _finite(evidence: Evidence, cut: Cut) -> bool:
    loss = evidence.runner.observe(cut).loss
    whole = bool(torch.isfinite(evidence.runner.vector(cut)).all())
    return whole and (loss is None or math.isfinite(loss))


def nan_dropped(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if a batch on which the model gives NaN is left out silently."""
    trial = evidence.poisoned
    if not isinstance(trial, Poisoned) or not trial.dropped(evidence.runner.tolerance):
        return []
    text = (
        "A batch on which the model gives NaN is dropped silently: the number is "
        f"{trial.value:.6g}, of the other batches."
    )
    gap = abs(trial.value - trial.others)
    residual = gap / abs(trial.value) if trial.value else 0.0
    return [diagnosis("nan-batch-dropped", text, residual, evaluation=True)]


def notes_on_nan(evidence: Evidence) -> list[str]:
    """Return a note on a batch of NaN, or on why none could be tried."""
    trial = evidence.poisoned
    if isinstance(trial, str):
        return [trial]
    if trial is None or trial.dropped(evidence.runner.tolerance):
        return []
    note = (
        f"a batch on which the model gives NaN makes the number {trial.value:.6g}, not NaN, as "
        "a share of hits does, which takes NaN for a miss or for the first class"
    )
    return [note]
