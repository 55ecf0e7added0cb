"""From a law to the mistakes that it means."""

import torch

from batchproof._errors import ProbeError
from batchproof.check._laws._laws import Micro, Rule
from batchproof.check._laws._search import Law, Search
from batchproof.check._laws._two_terms import Split
from batchproof.check._measure._cuts import MicroBatch
from batchproof.check._measure._runner import Runner
from batchproof.check._report._remedies import diagnosis
from batchproof.check._report._report import Diagnosis

_RULE = {
    "exact": "divided by the weight of all micro-batches",
    "mean": "averaged over micro-batches",
    "samples": "averaged over micro-batches by their numbers of samples",
    "sum": "summed over micro-batches",
    "last": "taken from the last micro-batch alone",
    "first": "taken from the first micro-batch alone",
    "last/k": "taken from the last micro-batch alone, and divided by their number",
    "first/k": "taken from the first micro-batch alone, and divided by their number",
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
    named = _BY_KIND.get(micro.kind)
    if named is not None:
        return named
    if micro.kind == "clamped":
        unit = "weighted" if micro.label.startswith("sum of") else "element"
        return unit, f"{micro.label}, taken for 1 where there is none"
    weights = _weights(search, micro)
    phrase = _phrase(search, weights)
    if phrase == "samples":
        return _equal_weights(search, edit)
    if phrase is not None and not phrase.startswith("sum of"):
        return "element", f"elements: {phrase}"
    shown = phrase or ", ".join(f"{value:.3g}" for value in weights.tolist())
    return "weighted", f"weights: {shown}"


_BY_KIND = {
    "sum": ("sum", "no mean at all: a sum over samples"),
    "measured": ("coupled", "samples that are coupled: no mean over samples"),
    "rows": ("sample", "samples, each with the padding that it happens to have"),
}


def _weights(search: Search, micro: Micro) -> torch.Tensor:
    return torch.tensor([micro.weigh(MicroBatch((i,))) for i in range(search.facts.count)])


def _phrase(search: Search, weights: torch.Tensor) -> str | None:
    """Return which count in the batches the weights are, if they are one; "samples" if equal."""
    # weights recovered from a step that computes in float32 are known no better than that
    near = max(1e-5, search.runner.fit)
    counts = ((name, values[: len(weights)]) for name, values in search.features.items())
    return next((name for name, values in counts if _same(weights, values, near)), None)


def _same(left: torch.Tensor, right: torch.Tensor, near: float = 1e-5) -> bool:
    if not bool((right >= 0).all()) or float(right.sum()) == 0:
        return False
    left, right = left.double() / left.double().mean(), right.double() / right.double().mean()
    return bool(torch.allclose(left, right, rtol=near, atol=near / 10))


def _equal_weights(search: Search, edit: str | None) -> tuple[str, str]:
    if edit == "sample-sum":
        return "sample-sum", "samples, each the sum over its elements"
    if edit == "sample":
        return "sample", "samples, each the mean over its elements"
    counted = [values[: search.facts.count] for values in search.features.values()]
    if all(_same(values, torch.ones(len(values))) for values in counted):
        return "sample", "samples, each with as many elements as the others"
    return "sample", "samples, each of the same weight"


def causes(law: Law, unit: str, *, evaluation: bool, window: int | None) -> list[Diagnosis]:
    """Return the mistakes that a law means.

    Args:
        law: the law of the gradient, or of an evaluation's number.
        unit: what the uncut step is a mean over.
        evaluation: whether it is an evaluation.
        window: the loop's micro-batches a window, where it is known or was measured.
    """
    found: list[Diagnosis] = []

    def add(name: str, sentence: str) -> None:
        found.append(diagnosis(name, sentence, law.residual, evaluation=evaluation))

    what = "number" if evaluation else "gradient"
    part = "batch" if evaluation else "micro-batch"
    if law.micro.kind == "rows" or "padded" in law.micro.label:
        add(
            "padding-counted",
            f"The {what} of a sample changes with the padding beside it: padding enters the "
            "denominator, the loss or the model.",
        )
    if law.micro.kind == "measured":
        add(
            "coupled-samples",
            f"The {what} of a {part} is no one mean over its samples: each sample's share "
            f"depends on the others in the {part}, and the whole is "
            f"{_RULE[law.rule.within].replace('micro-batch', part)}.",
        )
        return found
    if law.micro.kind == "divided":
        add(
            "mean-of-micro-batch-means",
            f"Means of {part}es are added and divided by the number of samples: the {what} "
            f"shrinks as {part}es grow.",
        )
    else:
        for name, sentence in _of_window(law, unit, what, part, window):
            add(name, sentence)
    for name, sentence in _of_ranks(law.rule, what):
        add(name, sentence)
    return found


def _of_window(
    law: Law, unit: str, what: str, part: str, window: int | None
) -> list[tuple[str, str]]:
    within = law.rule.within
    if within == "exact" or (within == "samples" and law.micro.kind == "rows"):
        return []
    if within == "sum":
        return [_undivided(what, part, window)]
    if within not in {"mean", "samples"}:
        which = "last" if within.startswith("last") else "first"
        over = f", divided by the number of {part}es" if within.endswith("/k") else ""
        text = f"Only the {which} {part} counts{over}; what the others gave is dropped."
        return [("one-micro-batch-only", text)]
    return [_mean_of_means(law, unit, what, part)]


def _mean_of_means(law: Law, unit: str, what: str, part: str) -> tuple[str, str]:
    by = " weighted by their numbers of samples" if law.rule.within == "samples" else ""
    name = "mean-of-micro-batch-means"
    if law.micro.kind == "sum":
        text = (
            f"Sums over {part}es are averaged over their number, so the {what} shrinks as 1 over "
            f"the number of {part}es."
        )
    elif unit == "weighted":
        name = "weight-per-micro-batch"
        text = (
            f"Each {part} is divided by the sum of its own weights, and these means are "
            f"averaged{by}; the weights of all should be pooled first."
        )
    else:
        text = (
            f"The {what} is the mean of the {part}es' means{by}, not the mean over all: it is "
            f"right only where all {part}es weigh the same."
        )
    return name, text


def _undivided(what: str, part: str, window: int | None) -> tuple[str, str]:
    if window is not None and window > 1:
        text = (
            f"Every {part} is divided by {window} however many the window holds, so a short "
            f"window's {what} is too small by k/{window}."
        )
        return "fixed-window-size", text
    text = (
        f"The {what} is the sum of the {part}es' means, not divided by what the window holds (by "
        f"one fixed number at most): k {part}es make it k times as large as one."
    )
    return "not-divided", text


def _of_ranks(rule: Rule, what: str) -> list[tuple[str, str]]:
    found = []
    if rule.factor == "/R" and rule.across == "pooled":
        text = (
            f"The {what} is right but divided by the number of ranks: global weights are divided "
            "by, and the wrapper averages once more."
        )
        found.append(("world-size-factor", text))
    if rule.factor == "*R" or rule.across == "sum":
        found.append(("world-size-factor", f"The {what} grows with the number of ranks."))
    if rule.across in {"mean", "sum"} and rule.within not in {"mean", "sum"}:
        text = (
            f"Ranks are averaged as if each held as much: the {what} is the mean of the ranks' "
            "means."
        )
        found.append(("mean-of-micro-batch-means", text))
    if rule.across == "part":
        text = f"The {what} of rank 0 is its part of the whole: parts are not added over ranks."
        found.append(("one-micro-batch-only", text))
    if rule.across == "own":
        text = f"The {what} of rank 0 is its own: nothing crosses ranks."
        found.append(("one-micro-batch-only", text))
    return found


def split_cause(
    search: Search, split: Split, *, evaluation: bool, window: int | None
) -> list[Diagnosis]:
    """Return what an objective of two terms means, of which one at least is scaled wrongly.

    Args:
        search: holds the gradients of single samples.
        split: the two laws and the second term's gradients.
        evaluation: whether it is an evaluation.
        window: the loop's micro-batches a window, where it is known or was measured.
    """

    def add(name: str, text: str) -> None:
        text = text.replace("micro-batch", "batch") if evaluation else text
        found.append(diagnosis(name, text, split.residual, evaluation=evaluation))

    (rule_a, micro_a), (rule_b, micro_b) = split.first, split.second
    found: list[Diagnosis] = []
    if micro_a.kind == "rows":
        text = (
            "Padding counts in one term of the objective: what it gives for a sample changes with "
            "the padding beside it."
        )
        add("padding-counted", text)
    if rule_a == rule_b:
        sides = zip((micro_a, micro_b), split.right, strict=True)
        wrong = [micro for micro, right in sides if not right]
        for name in sorted({_named(search, rule_a, micro, window) for micro in wrong}):
            alike = [m for m in wrong if _named(search, rule_a, m, window) == name]
            over = "; ".join(_over(search, m) for m in alike)
            text = f"A term of the objective ({over}) is {_RULE[rule_a.within]}"
            add(name, f"{text}, and not pooled first.")
        return found
    second = split.part
    first = search.singles[: len(second)] - second
    said = []
    for rule, micro, share in ((rule_a, micro_a, first), (rule_b, micro_b, second)):
        how = _RULE[rule.within] if rule.within != "exact" else "right"
        over = f" ({_over(search, micro)})" if micro.label else ""
        said.append(f"the term{_where(search, share, first, second)}{over} is {how}")
    text = f"The objective has two terms that are scaled otherwise: {said[0]}, {said[1]}."
    add("term-scaled-apart", text)
    return found


def terms_in_words(search: Search, split: Split) -> str:
    """Say what the two terms of an objective are means over.

    Args:
        search: holds what could be counted.
        split: the objective.
    """
    first, second = (_over(search, micro) for _, micro in (split.first, split.second))
    return f"two terms, each {first}" if first == second else f"two terms, {first} and {second}"


def _over(search: Search, micro: Micro) -> str:
    if micro.kind == "sum":
        return "a sum over samples"
    label: str | None = micro.label
    if label == "recovered":
        label = _phrase(search, _weights(search, micro))
    return f"a mean over {label or 'weights that no count in the batches is'}"


def _named(search: Search, rule: Rule, micro: Micro, window: int | None) -> str:
    """Name what a rule does to a term."""
    if rule.within == "sum":
        return "fixed-window-size" if window is not None and window > 1 else "not-divided"
    if rule.within in {"last", "first"}:
        return "one-micro-batch-only"
    weighted = micro.kind == "ratio" and unit_of(search, micro, None)[0] == "weighted"
    return "weight-per-micro-batch" if weighted else "mean-of-micro-batch-means"


def _where(search: Search, share: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> str:
    """Name the parameters that only this term reaches."""
    names = []
    other = second if share is first else first
    for name, span in search.runner.spans().items():
        here, there = float(share[:, span].norm()), float(other[:, span].norm())
        if here > 0 and there <= 1e-6 * here:
            names.append(name)
    if not names:
        smaller = float(share.norm()) < float(other.norm())
        return " of the smaller gradient" if smaller else " of the larger gradient"
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f" that alone reaches {shown}"


def reported_cause(law: Law, *, gradient: bool) -> Diagnosis:
    """Return the diagnosis of a reported loss that follows a wrong law.

    Args:
        law: of the reported loss.
        gradient: whether the gradient itself is right.
    """
    within, micro = law.rule.within, law.micro
    text = f"The reported loss is {_RULE[within]}"
    if micro.kind == "divided":
        text = "The reported loss is the sum of the micro-batches' means over the number of samples"
    if law.rule.across == "part":
        text = "Each rank reports its part of the loss, and parts are not added over ranks"
    elif law.rule.across == "own":
        text += ", and each rank reports its own"
    elif law.rule.across in {"mean", "sum"} and within == "exact":
        text = f"The reported loss is the {law.rule.across} of the ranks' losses"
    if "padded" in micro.label or micro.kind == "rows":
        text += ", padding counted"
    right = "; the gradient is right" if gradient else ""
    return diagnosis("reported-loss", f"{text}, not the mean over all{right}.", law.residual)


def window_size(runner: Runner) -> int | None:
    """Return the fixed number that every micro-batch is divided by, if it is a whole number.

    The reported loss is moved along the gradient g by a small step. An undivided loss L has the
    slope grad L . g; where g = grad L / K, the slope is K |g|^2, which gives K.

    Args:
        runner: runs the step.

    Returns:
        K above 1, or None where the loss is not reported or its slope is the gradient's own.
    """
    whole = runner.whole()
    result = runner.observe(whole)
    if result.loss is None:
        return None
    square = sum(float((g.double() ** 2).sum()) for g in result.gradients.values())
    if square == 0:
        return None
    small = 1e-4 / square**0.5
    try:
        losses = [
            runner.observe(
                whole, nudge=tuple((n, s * small * g) for n, g in result.gradients.items())
            ).loss
            for s in (1.0, -1.0)
        ]
    except ProbeError:
        return None
    if losses[0] is None or losses[1] is None:
        return None
    ratio = (losses[0] - losses[1]) / (2 * small * square)
    near = round(ratio)
    return near if near > 1 and abs(ratio - near) < 0.01 * near else None
