"""Settings after the fix: what keeps training as it was once a constant factor is gone.

Two equal micro-batches show the factor that a gradient of k of them has; where that is 2 or a half,
and so on, the same path needs other settings, which torch's optimisers share with watch.
"""

from dataclasses import replace

import torch

from batchproof.check._findings._evidence import Evidence
from batchproof.check._measure._run import build_model
from batchproof.check._report._results import Diagnosis
from batchproof.page import fraction, number
from batchproof.step import keeps_trajectory, settings_of

_CONSTANT = {"not-divided", "divided-twice"}
_NEAR = 1e-3


def with_settings(diagnoses: list[Diagnosis], evidence: Evidence) -> list[Diagnosis]:
    """Return the diagnoses with the settings that keep the path added to their remedies.

    Args:
        diagnoses: what was found.
        evidence: what it was found from.
    """
    if evidence.evaluation or {d.name for d in diagnoses} - {"reported-loss"} - _CONSTANT:
        return diagnoses
    settings = _settings(evidence)
    return [
        replace(one, remedy=f"{one.remedy} {settings}") if one.name in _CONSTANT else one
        for one in diagnoses
    ]


def _settings(evidence: Evidence) -> str:
    factor = next((r.scale for r in evidence.held if r.name == "halves"), 1.0)
    if abs(factor - 1) <= _NEAR or not factor > 0:
        return ""
    result = f"Two equal micro-batches gave {fraction(factor)} times the right gradient"
    optimizer = build_model(evidence.runner.subject)[1]
    is_torch = isinstance(optimizer, torch.optim.Optimizer)
    changes = keeps_trajectory(settings_of(optimizer), factor, None) if is_torch else []
    if evidence.runner.observe(evidence.runner.whole()).clips:
        changes.append(f"the clipping limit times {number(1 / factor)}")
    if not changes:
        return f"{result}; nothing needs to change with it." if is_torch else f"{result}."
    return f"{result}; to train on as with two, set {', '.join(changes)}."
