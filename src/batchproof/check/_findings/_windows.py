"""Windows and ranks: what the law of the gradient, or of a number, makes of their micro-batches."""

from batchproof._errors import ProbeError
from batchproof.check._findings._evidence import Evidence
from batchproof.check._laws._laws import misfit
from batchproof.check._laws._rules import BY_SAMPLES, EXACT, ONE, PADDED, SUM, WEIGHT, Rule
from batchproof.check._laws._search import Law
from batchproof.check._measure._cuts import Cut
from batchproof.check._measure._runner import Runner
from batchproof.check._report._results import Diagnosis, diagnosis


def windows(evidence: Evidence) -> list[Diagnosis]:
    """Return the mistakes that the law means, where one predicts every cut on one process."""
    law = evidence.laws.law or evidence.laws.scaled
    if law is None:
        return _not_zeroed(evidence)
    if law.exact:
        return []
    return [*mistakes_of(law, evidence), *_left_over(law, evidence)]


def _not_zeroed(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if a window adds to the gradient that the window before it left."""
    search, single = evidence.laws.search, evidence.laws.single
    first = [cut for cut in single if not cut.before]
    second = [cut for cut in single if cut.before]
    law = evidence.laws.over(search.plain, first) if search.plain else None
    if law is None or not second or law.micro.kind not in {"ratio", "sum"}:
        return []
    atoms = search.table(law.micro)
    before = [Cut("before", (cut.before,)) for cut in second]
    matrices = [search.design(law.micro, law.rule, cuts) for cuts in (before, second)]
    both = (matrices[0] + matrices[1]) @ atoms
    residual = misfit(both, search.quantity.rows(second))
    if residual > search.limit:
        return []
    text = (
        "The gradient of a window is added to that of the window before it, which was never "
        "cleared."
    )
    mistake = diagnosis("gradients-not-zeroed", text, residual)
    return [mistake, *([] if law.exact else mistakes_of(law, evidence))]


def mistakes_of(law: Law, evidence: Evidence) -> list[Diagnosis]:
    """Return the mistakes that a law means.

    Args:
        law: the law of the gradient, or of an evaluation's number.
        evidence: what was measured.
    """
    what, part = words(evidence)
    mistakes = []
    if law.of_padding:
        text = (
            f"The {what} of a sample changes with the padding beside it: padding enters the "
            "denominator, the loss or the model."
        )
        if law.micro.kind == "longest":
            text = (
                f"Each {part} is divided by its number of samples times the longest of them "
                f"({law.micro.label}): padding enters the denominator."
            )
        mistakes.append(("padding-counted", text))
    if law.micro.kind == "classes":
        text = (
            f"What each sample gives is divided by how many of its class ({law.micro.label}) its "
            f"{part} holds, and the whole is {law.how.replace('micro-batch', part)}: count "
            "the classes of all first."
        )
        name = "ratio-of-counts" if evidence.evaluation else "weight-per-micro-batch"
        mistakes.append((name, text))
    elif law.micro.kind == "divided":
        text = (
            f"Means of {part}es are added and divided by the number of samples: the {what} "
            f"shrinks as {part}es grow."
        )
        mistakes.append(("mean-of-micro-batch-means", text))
    elif law.micro.kind == "times":
        text = (
            f"The mean of each {part} over {law.micro.label} is multiplied by its number of "
            f"samples, and these are added: nothing is divided by the {law.micro.label} of all."
        )
        mistakes.append(("mean-of-micro-batch-means", text))
    else:
        unit, window = evidence.laws.unit[0], None
        if law.rule.within == SUM:
            window = window_of(evidence)
        mistakes += _of_window(law, unit, what, part, window)
    mistakes += _of_ranks(law.rule, what)
    evaluation = evidence.evaluation
    return [diagnosis(name, text, law.residual, evaluation=evaluation) for name, text in mistakes]


def words(evidence: Evidence) -> tuple[str, str]:
    """Return the words for the quantity of a law, and for a part of a window."""
    return ("number", "batch") if evidence.evaluation else ("gradient", "micro-batch")


def window_of(evidence: Evidence) -> int | None:
    """Return the loop's micro-batches per window, as given or measured."""
    window = evidence.runner.subject.window
    return window_size(evidence.runner) if window is None and not evidence.evaluation else window


def _left_over(law: Law, evidence: Evidence) -> list[Diagnosis]:
    """Say so where ranks depend in a way that the law of one process does not predict."""
    over = [cut for cut in evidence.off if len(cut.ranks) > 1]
    if evidence.evaluation or not over or evidence.laws.search.law(law.micro, over) is not None:
        return []
    names = ", ".join(cut.name for cut in over)
    return [diagnosis("unknown", f"Over ranks ({names}) something else is wrong, cause unknown.")]


def _of_window(
    law: Law, unit: str, what: str, part: str, window: int | None
) -> list[tuple[str, str]]:
    rule, mistakes = law.rule.within, []
    if rule.part.label == PADDED or (rule in (EXACT, BY_SAMPLES) and law.of_padding):
        return []
    if rule == SUM:
        return [_undivided(what, part, window)]
    if rule.enters != "all":
        text = f"Only the {rule.enters} {part} counts; what the others gave is dropped."
        mistakes.append(("one-micro-batch-only", text))
    elif rule.part != WEIGHT and not rule.again:
        mistakes.append(_mean_of_means(law, unit, what, part))
    if rule.again:
        text = (
            f"The {what} is {str(rule).replace('micro-batch', part)}: k {part}es make it 1/k of "
            "the right one."
        )
        mistakes.append(("divided-twice", text))
    return mistakes


def _mean_of_means(law: Law, unit: str, what: str, part: str) -> tuple[str, str]:
    of = law.rule.part
    by = "" if of == ONE else f" weighted by their numbers of {of.label}"
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
    mistakes = []
    if rule.factor == "/R" and rule.across == "pooled":
        text = (
            f"The {what} is the right one divided by the number of ranks: it is divided by the "
            "weights of all ranks, and the wrapper then averages over ranks."
        )
        mistakes.append(("world-size-factor", text))
    if rule.factor == "*R" or rule.across == "sum":
        mistakes.append(("world-size-factor", f"The {what} grows with the number of ranks."))
    if rule.across in {"mean", "sum"} and (rule.part != ONE or rule.enters != "all"):
        text = (
            f"Ranks are averaged as if each had the same weight: the {what} is the mean of the "
            "ranks' means."
        )
        mistakes.append(("mean-of-micro-batch-means", text))
    if rule.across == "part":
        text = f"The {what} of rank 0 is its part of the whole: parts are not added over ranks."
        mistakes.append(("one-micro-batch-only", text))
    if rule.across == "own":
        text = f"The {what} of rank 0 is that of its own samples: nothing is added over ranks."
        mistakes.append(("one-micro-batch-only", text))
    return mistakes


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
    small = max(1e-4, runner.tolerance**0.5) / square**0.5
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
