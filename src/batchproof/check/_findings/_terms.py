"""Terms: an objective of several terms, of which one at least is scaled wrongly."""

from collections.abc import Sequence

from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._windows import window_of
from batchproof.check._laws._laws import Micro
from batchproof.check._laws._rules import SUM, Rule
from batchproof.check._laws._search import Search
from batchproof.check._laws._several_terms import Split, counted_terms, find_coupled_split
from batchproof.check._laws._units import phrase_of, unit_of, weights_of
from batchproof.check._report._results import Diagnosis, diagnosis

# what explains the cuts without a second term
_SIMPLER = {"duplicated-samples", "wrong-divisor"}
# weights shown
_SHOWN = 6
_NUMBERS = {2: "two", 3: "three"}


def terms(evidence: Evidence) -> list[Diagnosis]:
    """Return the mistakes of several terms, where their laws together predict every cut."""
    split, search = evidence.laws.split, evidence.laws.search
    if split is None:
        return []
    mistakes = []
    if split.terms[0][1].kind == "rows":
        text = (
            "Padding counts in one term of the objective: what it gives for a sample changes with "
            "the padding beside it."
        )
        mistakes.append(("padding-counted", text))
    kinds = [micro.kind for _, micro in split.terms]
    beside = kinds.count("sum") == 1 and "times" not in kinds
    alike = len({rule for rule, _ in split.terms}) == 1 and not beside
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
    """Return the names and sentences of the mistakes in one rule for all terms."""
    sides = zip(split.terms, split.right, strict=True)
    rule = split.terms[0][0]
    wrong = [micro for (_, micro), right in sides if not right]
    pairs = [(_named(search, rule, micro, window), micro) for micro in wrong]
    mistakes = []
    for name in sorted({name for name, _ in pairs}):
        over = [_over(search, micro) for other, micro in pairs if other == name]
        many = "A term of the objective is" if len(over) == 1 else "Terms of the objective are"
        text = f"{many} {rule}, and not pooled first: {'; '.join(over)}."
        mistakes.append((name, text))
    return mistakes


def _apart(search: Search, split: Split) -> tuple[str, str]:
    """Return the name and sentence of the mistake in unlike rules of several terms."""
    clauses = []
    for place, (rule, micro) in enumerate(split.terms):
        right = rule.pools or (micro.kind == "sum" and rule == SUM)
        how = "right" if right else str(rule)
        over = f" ({_over(search, micro)})" if micro.label else ""
        clauses.append(f"the term{_where(search, split.parts, place)}{over} is {how}")
    many = _NUMBERS.get(len(clauses), str(len(clauses)))
    text = f"The objective has {many} terms that are scaled differently: {', '.join(clauses)}."
    if [micro.kind for _, micro in split.terms].count("sum") == 1:
        text += " A mean is added to a sum, so their ratio changes with the size of the batch."
    return "term-scaled-apart", text


def coupled_terms(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if one term, whose samples are coupled, is scaled unlike a mean."""
    laws, search = evidence.laws, evidence.laws.search
    if evidence.evaluation or laws.doubtful or not evidence.clipping.scales:
        return []
    if laws.over(search.as_measured(), laws.single) is not None:
        return []
    split = find_coupled_split(search, evidence.laws.finite)
    if split is None:
        return []
    (rule, _), (mean, micro) = split.terms
    how = "right" if mean.pools else str(mean)
    text = (
        "The objective has two terms that are scaled differently: one, which is not a mean over "
        f"samples (as of a router, or of samples that are compared), is {rule}; the other, "
        f"{_over(search, micro)}, is {how}."
    )
    return [diagnosis("term-scaled-apart", text, split.residual)]


def follows_terms(evidence: Evidence) -> bool:
    """Return whether two terms, and nothing simpler, are why the cuts differ."""
    simpler = any(one.name in _SIMPLER for one in evidence.cause)
    return bool(evidence.off) and not simpler and evidence.laws.split is not None


def words_of(search: Search, micros: Sequence[Micro]) -> str:
    """Return in words what the terms of an objective are means over.

    Args:
        search: holds what could be counted.
        micros: the law of each term in a micro-batch.
    """
    each = [_over(search, micro) for micro in micros]
    many = f"{_NUMBERS.get(len(each), len(each))} terms"
    return f"{many}, each {each[0]}" if len(set(each)) == 1 else f"{many}: {', '.join(each)}"


def words_of_terms(search: Search) -> str | None:
    """Return the same of a right objective, by what micro-batches alone give; None if unknown.

    Args:
        search: measures what is needed.
    """
    micros = counted_terms(search)
    return None if micros is None else words_of(search, micros)


def _over(search: Search, micro: Micro) -> str:
    if micro.kind == "sum":
        return "a sum over samples"
    if micro.kind == "times":
        return f"a mean over {micro.label}, times the number of samples"
    label: str | None = micro.label
    if label == "recovered":
        label = phrase_of(search, micro)
    if label is not None:
        return f"a mean over {label}"
    weights = weights_of(search, micro).tolist()
    few = ", ".join(f"{value:.3g}" for value in weights[:_SHOWN])
    more = ", ..." if len(weights) > _SHOWN else ""
    return f"a mean over weights that match no count in the batches ({few}{more})"


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


def _where(search: Search, parts: Sequence[Tensor], place: int) -> str:
    """Name the parameters that only this term reaches.

    What is the same for every sample may be of any term, so it is of none.
    """
    share, *others = [part - part.mean(0) for part in (parts[place], *_but(parts, place))]
    names = []
    for name, span in search.quantity.runner.record.sketch.spans.items():
        here = float(share[:, span].norm())
        there = max(float(other[:, span].norm()) for other in others)
        if here > 0 and there <= 1e-6 * here:
            names.append(name)
    if not names:
        if len(others) > 1:
            return ""
        smaller = float(parts[place].norm()) < float(_but(parts, place)[0].norm())
        return " of the smaller gradient" if smaller else " of the larger gradient"
    listing = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f" that alone reaches {listing}"


def _but(parts: Sequence[Tensor], place: int) -> list[Tensor]:
    return [part for at, part in enumerate(parts) if at != place]
