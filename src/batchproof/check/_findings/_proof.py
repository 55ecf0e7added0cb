"""Proof that a step is right: which mean it is, and which factor in it makes it so.

An odd factor is often suspected where it belongs: the number of ranks before an average over ranks,
one over a sample's own length, no division at all where sums are added.
"""

from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._terms import words_of_terms
from batchproof.check._findings._units import unit_of_gradient
from batchproof.page import number, shares_in_words

_FACTORS = {
    "sum": "A sum has no divisor to get wrong: micro-batches are rightly added, not divided.",
    "sample": "Every sample weighs the same, whatever its length.",
    "element": "Every element weighs the same: micro-batches weigh by what they hold.",
    "sample-sum": "Every sample counts with the sum over its elements, divided by samples alone.",
    "weighted": "Weights are pooled over all micro-batches before they divide.",
}
_FIXED = "Twice the samples make it twice as large: it is divided by one fixed number, if by any."


def proof_of(evidence: Evidence) -> str:
    """Return why a step or an evaluation is right; "" where that is not proved.

    Args:
        evidence: of one that nothing was found to be wrong with.
    """
    law = evidence.laws.law
    if law is None:
        return _of_terms(evidence)
    if not law.exact or _says_nothing(evidence):
        return ""
    unit, text = unit_of_gradient(evidence)
    what = "number" if evidence.evaluation else "gradient"
    mean = text if unit == "sum" else f"the mean over {text}"
    sentences = [f"The {what} is {mean}, under every cut to {number(law.residual, 1)}."]
    if evidence.evaluation and unit == "sum":
        sentences.append(_FIXED)
    elif unit in _FACTORS:
        sentences.append(_FACTORS[unit])
    cut = next((cut for cut in evidence.cuts if cut.name == "uneven"), None)
    shares = evidence.laws.shares(cut) if cut is not None and not evidence.evaluation else None
    if cut is not None and shares is not None:
        sentences.append(
            f"Micro-batches of {cut.describe()} samples count {_words(shares.values)}."
        )
    if any(len(cut.ranks) > 1 for cut in evidence.cuts) and evidence.runner.subject.wrap == "ddp":
        sentences.append(
            "Over ranks the wrapper divides by their number, and the step makes up for that: its "
            "factor belongs there."
        )
    return " ".join(sentences)


def notes_on_proof(evidence: Evidence) -> list[str]:
    """Return whether every sample gives the same number, or no gradient, so that nothing shows."""
    if evidence.off or not _says_nothing(evidence):
        return []
    value = "no gradient"
    if evidence.evaluation:
        value = number(float(evidence.laws.search.quantity.singles[0]))
    note = (
        f"every sample alone gives {value}, so a wrong mean of them would not show: give samples, "
        "or a build, of which they give different ones"
    )
    return [note]


def _says_nothing(evidence: Evidence) -> bool:
    rows = evidence.laws.search.quantity.singles[: evidence.facts.count]
    if not evidence.evaluation:
        return not bool(rows.any())
    spread = float((rows - rows[0]).abs().max())
    return spread <= evidence.runner.tolerance * float(rows.abs().max())


def _of_terms(evidence: Evidence) -> str:
    """Return which means the terms of a right objective are; "" where that is not proved."""
    if evidence.evaluation or unit_of_gradient(evidence)[0] != "several terms":
        return ""
    terms = words_of_terms(evidence.laws.search)
    if terms is None:
        return ""
    error = max(result.error for result in evidence.results if not result.failure)
    return (
        f"The objective has {terms}; each is pooled over all micro-batches: the gradient is the "
        f"same under every cut to {number(error, 1)}."
    )


def _words(shares: tuple[float, ...]) -> str:
    words = shares_in_words(shares)
    _, times, share = words.partition(" x ") if "+" not in words else ("", "", "")
    return f"{share} each" if times else words.replace(" + ", " and ")
