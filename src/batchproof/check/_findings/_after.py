"""Settings after the fix: what keeps training as it was once a constant factor is gone.

Two equal micro-batches give twice the gradient, or half of it; the same path then needs other
settings, which torch's optimisers share with watch.
"""

from dataclasses import replace

import torch

from batchproof.check._findings._evidence import Evidence
from batchproof.check._measure._run import build_model
from batchproof.check._report._results import Diagnosis
from batchproof.page import fraction, number
from batchproof.step import keeps_trajectory, settings_of

# the factor on a gradient of two equal micro-batches
_CONSTANT = {"not-divided": 2.0, "divided-twice": 0.5}
# by how much that of two halves may differ from it, which need not be equal
_NEAR = 0.25


def with_settings(diagnoses: list[Diagnosis], evidence: Evidence) -> list[Diagnosis]:
    """Return the diagnoses with the settings that keep the path added to their remedies.

    Args:
        diagnoses: what was found.
        evidence: what it was found from.
    """
    factor_of_halves = next((r.scale for r in evidence.clean if r.name == "halves"), 1.0)
    factors = _CONSTANT | {"wrong-divisor": factor_of_halves}
    if evidence.evaluation or {d.name for d in diagnoses} - {"reported-loss"} - set(factors):
        return diagnoses
    return [
        replace(one, remedy=f"{one.remedy} {_settings(evidence, factors[one.name])}")
        # the factor is as the mistake says
        if one.name in factors and abs(factor_of_halves / factors[one.name] - 1) <= _NEAR
        else one
        for one in diagnoses
    ]


def _settings(evidence: Evidence, factor: float) -> str:
    """Return the settings that keep the path once a factor on the gradient is gone."""
    result = f"Two equal micro-batches gave {fraction(factor)} times the right gradient"
    optimizer = build_model(evidence.runner.subject)[1]
    is_torch = isinstance(optimizer, torch.optim.Optimizer)
    changes = keeps_trajectory(settings_of(optimizer), factor, None) if is_torch else []
    whole = evidence.runner.observe(evidence.runner.whole())
    if whole.clamps:
        limit = whole.clamps[0]
        changes.append(f"clip_value={number(limit / factor)} (now {number(limit)})")
    elif whole.clips:
        changes.append(f"max_norm to {number(1 / factor)} of what it is")
    if not changes:
        return f"{result}; nothing needs to change with it." if is_torch else f"{result}."
    return f"{result}; to train on as with two, set {', '.join(changes)}."
