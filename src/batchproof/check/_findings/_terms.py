"""Terms: an objective of two terms, of which one at least is scaled wrongly."""

from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._windows import window_of
from batchproof.check._laws._laws import Micro
from batchproof.check._laws._rules import SUM, Rule
from batchproof.check._laws._search import Search
from batchproof.check._laws._two_terms import Split
from batchproof.check._laws._units import phrase_of, unit_of
from batchproof.check._report._results import Diagnosis, diagnosis


def terms(evidence: Evidence) -> list[Diagnosis]:
    """Return the mistakes of two terms, where two laws together predict every cut."""
    split, search = evidence.laws.split, evidence.laws.search
    if split is None:
        return []
    mistakes = []
    if split.first[1].kind == "rows":
        text = (
            "Padding counts in one term of the objective: what it gives for a sample changes with "
            "the padding beside it."
        )
        mistakes.append(("padding-counted", text))
    kinds = [micro.kind for _, micro in (split.first, split.second)]
    beside = kinds.count("sum") == 1 and "times" not in kinds
    alike = split.first[0] == split.second[0] and not beside
    mistakes += _alike(search, split, window_of(evidence)) if alike else [_apart(search, split)]
    return [
        diagnosis(
            name,
            text.replace("micro-batch", "batch") if evidence.evaluation else text,
            split.residual,
            evaluation=evidence.evaluation,
        )
        for name, text in mistakes
    ]


def _alike(search: Search, split: Split, window: int | None) -> list[tuple[str, str]]:
    """Return the names and sentences of the mistakes in one rule for both terms."""
    rule = split.first[0]
    sides = zip((split.first[1], split.second[1]), split.right, strict=True)
    wrong = [(_named(search, rule, micro, window), micro) for micro, right in sides if not right]
    mistakes = []
    for name in sorted({name for name, _ in wrong}):
        over = "; ".join(_over(search, micro) for other, micro in wrong if other == name)
        text = f"A term of the objective ({over}) is {rule}, and not pooled first."
        mistakes.append((name, text))
    return mistakes


def _apart(search: Search, split: Split) -> tuple[str, str]:
    """Return the name and sentence of the mistake in unlike rules of two terms."""
    second = split.part
    first = search.quantity.singles[: len(second)] - second
    clauses = []
    for (rule, micro), share in ((split.first, first), (split.second, second)):
        right = rule.pools or (micro.kind == "sum" and rule == SUM)
        how = "right" if right else str(rule)
        over = f" ({_over(search, micro)})" if micro.label else ""
        clauses.append(f"the term{_where(search, share, first, second)}{over} is {how}")
    text = f"The objective has two terms that are scaled differently: {clauses[0]}, {clauses[1]}."
    if (split.first[1].kind == "sum") != (split.second[1].kind == "sum"):
        text += " A mean beside a sum: their balance follows the size of the batch."
    return "term-scaled-apart", text


def follows_terms(evidence: Evidence) -> bool:
    """Return whether two terms, and nothing simpler, are why the cuts differ."""
    repeated = any(one.name == "duplicated-samples" for one in evidence.cause)
    return bool(evidence.off) and not repeated and evidence.laws.split is not None


def words_of(search: Search, split: Split) -> str:
    """Return in words what the two terms of an objective are means over.

    Args:
        search: holds what could be counted.
        split: the objective.
    """
    first, second = (_over(search, micro) for _, micro in (split.first, split.second))
    return f"two terms, each {first}" if first == second else f"two terms, {first} and {second}"


def _over(search: Search, micro: Micro) -> str:
    if micro.kind == "sum":
        return "a sum over samples"
    if micro.kind == "times":
        return f"a mean over {micro.label}, times the number of samples"
    label: str | None = micro.label
    if label == "recovered":
        label = phrase_of(search, micro)
    return f"a mean over {label or 'weights that match no count in the batches'}"


def _named(search: Search, rule: Rule, micro: Micro, window: int | None) -> str:
    """Name what a rule does to a term."""
    if micro.kind == "times":
        return "mean-of-micro-batch-means"
    if rule == SUM:
        return "fixed-window-size" if window is not None and window > 1 else "not-divided"
    if rule.enters != "all":
        return "one-micro-batch-only"
    weighted = micro.kind == "ratio" and unit_of(search, micro, None)[0] == "weighted"
    return "weight-per-micro-batch" if weighted else "mean-of-micro-batch-means"


def _where(search: Search, share: Tensor, first: Tensor, second: Tensor) -> str:
    """Name the parameters that only this term reaches."""
    names = []
    other = second if share is first else first
    for name, span in search.quantity.runner.record.sketch.spans.items():
        here, there = float(share[:, span].norm()), float(other[:, span].norm())
        if here > 0 and there <= 1e-6 * here:
            names.append(name)
    if not names:
        smaller = float(share.norm()) < float(other.norm())
        return " of the smaller gradient" if smaller else " of the larger gradient"
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f" that alone reaches {shown}"
