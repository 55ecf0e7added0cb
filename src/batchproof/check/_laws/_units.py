"""Units: what the mean of a law is a mean over, and how that is said.

Sample and sample-sum weigh every sample the same, so weights cannot tell them apart. Masking part
of a sample's elements can: for parts of c1 and c2 elements with gradients g1 and g2,

    sum    g = g1 + g2            mean    g = (c1 g1 + c2 g2) / (c1 + c2)
"""

from dataclasses import replace

import torch
from torch import Tensor

from batchproof.check._laws._laws import Micro
from batchproof.check._laws._quantity import Quantity
from batchproof.check._laws._search import Search
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import MicroBatch
from batchproof.check._measure._run import RunOptions, run_once
from batchproof.check._measure._runner import Runner

_BY_KIND = {
    "sum": ("sum", "a sum over samples"),
    "measured": ("coupled", "samples that are coupled, which is not a mean over samples"),
    "longest": ("sample", "samples, each over the longest of its micro-batch"),
    "classes": ("weighted", "classes, each over its samples in a micro-batch"),
    "rows": ("sample", "samples, each with the padding that it happens to have"),
}


def unit_of(search: Search, micro: Micro | None, edit: str | None) -> tuple[str, str]:
    """Name the mean that a micro-batch law is: a unit, and the same in words.

    Args:
        search: holds what could be counted.
        micro: the law, or None where none was found.
        edit: "sample" or "sample-sum" where masking half a sample told them apart.
    """
    if micro is None:
        return "unknown", ""
    unit_in_words = _BY_KIND.get(micro.kind)
    if unit_in_words is not None:
        return unit_in_words
    if micro.kind in {"clamped", "raised"}:
        unit = "weighted" if micro.label.startswith("sum of") else "element"
        rest = ", taken for 1 where there is none" if micro.kind == "clamped" else ""
        return unit, f"{micro.label}{rest}"
    phrase = phrase_of(search, micro)
    if phrase == "samples":
        return _equal_weights(search, edit)
    if phrase is not None and not phrase.startswith("sum of"):
        return "element", phrase
    weights = phrase or ", ".join(f"{value:.3g}" for value in weights_of(search, micro).tolist())
    return "weighted", f"samples with weights {weights}"


def phrase_of(search: Search, micro: Micro) -> str | None:
    """Return the count in the batches that the weights are, if any; "samples" if equal.

    Args:
        search: holds what could be counted.
        micro: the law.
    """
    weights = weights_of(search, micro)
    if _same(weights, torch.ones(len(weights))):
        return "samples"
    if micro.label in search.quantity.features:
        return micro.label
    # weights recovered from a step that computes in float32 are known no better than that
    near = max(1e-5, search.limit)
    counts = search.quantity.features.items()
    return next((name for name, n in counts if _same(weights, n[: len(weights)], near)), None)


def weights_of(search: Search, micro: Micro) -> Tensor:
    """Return the weight of each sample under a law.

    Args:
        search: knows the samples.
        micro: the law.
    """
    every = range(search.quantity.facts.count)
    return torch.tensor([micro.weigh(MicroBatch((i,))) for i in every])


def _same(left: Tensor, right: Tensor, near: float = 1e-5) -> bool:
    if not bool((right >= 0).all()) or float(right.sum()) == 0:
        return False
    left, right = left.double() / left.double().mean(), right.double() / right.double().mean()
    return bool(torch.allclose(left, right, rtol=near, atol=near / 10))


def _equal_weights(search: Search, edit: str | None) -> tuple[str, str]:
    if edit == "sample-sum":
        return "sample-sum", "samples, each the sum over its elements"
    if edit == "sample":
        return "sample", "samples, each the mean over its elements"
    count = search.quantity.facts.count
    features = [values[:count] for values in search.quantity.features.values()]
    if all(_same(values, torch.ones(len(values))) for values in features):
        return "sample", "samples, each with as many elements as the others"
    return "sample", "samples, each of the same weight"


def tell_sum_from_mean(quantity: Quantity) -> str | None:
    """Return "sample-sum" or "sample" by masking parts of one sample; None where that is open.

    Args:
        quantity: the gradient.
    """
    runner, facts = quantity.runner, quantity.facts
    mask, samples = facts.mask, runner.subject.samples[: facts.count]
    if mask is None or not mask.parts:
        return None
    sizes = [mask.count(sample) for sample in samples]
    index = max(range(facts.count), key=sizes.__getitem__)
    size = sizes[index]
    if size < 3:
        return None
    first = size // 3
    head = mask.narrowed(samples[index], lambda m: m & (m.cumsum(-1) <= first))
    tail = mask.narrowed(samples[index], lambda m: m & (m.cumsum(-1) > first))
    one, other = _gradient(runner, head), _gradient(runner, tail)
    if one is None or other is None:
        return None
    whole = runner.vector(runner.piece(index))
    if relative(one + other, whole) <= runner.fit:
        return "sample-sum"
    mean = (first * one + (size - first) * other) / size
    return "sample" if relative(mean, whole) <= runner.fit else None


def _gradient(runner: Runner, sample: object) -> Tensor | None:
    """Return the gradient of a sample from outside the subject; None where it has none."""
    subject = replace(runner.subject, samples=(sample,))
    runner.record.runs += 1
    try:
        result = run_once(subject, (MicroBatch((0,)),), RunOptions(controls=runner.controls))
    except (RuntimeError, ValueError, IndexError):
        return None
    return runner.vector_of(result)
