"""Sample or sample-sum: whether a sample is the mean or the sum over its elements.

Both weigh every sample the same, so weights cannot tell them apart. Masking part of a sample's
elements can: for parts of c1 and c2 elements with gradients g1 and g2,

    sum    g = g1 + g2            mean    g = (c1 g1 + c2 g2) / (c1 + c2)
"""

from dataclasses import replace

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._measure._cuts import Facts, MicroBatch
from batchproof.check._measure._run import RunOptions, run_once
from batchproof.check._measure._runner import Runner, relative


def tell_sum_from_mean(runner: Runner, facts: Facts) -> str | None:
    """Return "sample-sum" or "sample" by masking parts of one sample; None where that is open.

    Args:
        runner: runs the step.
        facts: what is known about the samples.
    """
    mask = facts.mask
    if mask is None or not mask.parts:
        return None
    sizes = [mask.count(sample) for sample in runner.subject.samples[: facts.count]]
    index = max(range(facts.count), key=sizes.__getitem__)
    size = sizes[index]
    if size < 3:
        return None
    first = size // 3
    counts = (first, size - first)
    try:
        parts = [
            _gradient(runner, mask.narrowed(runner.subject.samples[index], keep))
            for keep in (
                lambda m: m & (m.cumsum(-1) <= first),
                lambda m: m & (m.cumsum(-1) > first),
            )
        ]
    except ProbeError:
        return None
    runner.runs += 2
    whole = runner.sketch(runner.observe(runner.piece(index)))
    mean = (counts[0] * parts[0] + counts[1] * parts[1]) / size
    if relative(parts[0] + parts[1], whole) <= runner.fit:
        return "sample-sum"
    return "sample" if relative(mean, whole) <= runner.fit else None


def _gradient(runner: Runner, sample: object) -> Tensor:
    subject = replace(runner.subject, samples=(sample,))
    try:
        result = run_once(subject, (MicroBatch((0,)),), RunOptions(controls=runner.controls))
    except (RuntimeError, ValueError, IndexError, torch.OutOfMemoryError) as error:
        raise ProbeError(str(error)) from error
    return runner.sketch(result)
