"""The reported loss: whether it follows the law of the gradient, and which law if it does not."""

from collections.abc import Sequence

from batchproof.check._findings._averages import decay_of
from batchproof.check._findings._entering import left_out, over_all
from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._terms import follows_terms
from batchproof.check._findings._units import unit_of_gradient
from batchproof.check._laws._entered import find_entered
from batchproof.check._laws._rules import PADDED
from batchproof.check._laws._search import Law, Search
from batchproof.check._laws._several_terms import follows
from batchproof.check._laws._units import unit_of
from batchproof.check._measure._cuts import Cut
from batchproof.check._report._results import Diagnosis, diagnosis
from batchproof.page import number

_LIKEWISE = "the reported loss makes the same mistake as the gradient"
# what makes the reported loss depend on the cut as it does the gradient
_ENOUGH = {"coupled-samples", "leaking-state"}


def reported(evidence: Evidence) -> list[Diagnosis]:
    """Return the mistakes in a reported loss that depends on the cut in its own way."""
    judgement = _judge(evidence)
    return [judgement] if isinstance(judgement, Diagnosis) else []


def notes_on_reported(evidence: Evidence) -> list[str]:
    """Return the notes on the reported loss."""
    unit, other = unit_of_gradient(evidence)[0], reported_unit(evidence)
    notes = []
    both = {unit, other}
    # masking parts of a sample tells sums over samples from means where gradients are
    alike = both <= {"sample", "sample-sum"} or {None, "unknown", "several terms"} & both
    if other != unit and not alike:
        notes.append(f"the reported loss is a mean over {other!r}, the optimised one over {unit!r}")
    judgement = _judge(evidence)
    return [*notes, judgement] if isinstance(judgement, str) else notes


def reported_unit(evidence: Evidence) -> str | None:
    """Return the unit of the reported loss; None where none is reported."""
    if evidence.evaluation or evidence.runner.observe(evidence.runner.whole()).loss is None:
        return None
    search = evidence.laws.loss
    return unit_of(search, search.plain, None)[0]


def _judge(evidence: Evidence) -> Diagnosis | str | None:
    """Return the mistake in a reported loss that depends on the cut, or a note on it."""
    off = _off(evidence)
    if not off or _ENOUGH & {d.name for d in evidence.cause} or evidence.unsteady:
        return None
    search, laws = evidence.laws.loss, evidence.laws
    cuts = search.quantity.finite(laws.finite)
    if not follows_terms(evidence) or laws.split is None:
        return _judged(evidence, off, laws.law)
    return _LIKEWISE if follows(search, cuts, laws.split) else _judged(evidence, off, None)


def _judged(evidence: Evidence, off: Sequence[Cut], gradient: Law | None) -> Diagnosis | str:
    cuts = evidence.laws.loss.quantity.finite(evidence.laws.finite)
    law = _law(evidence.laws.loss, cuts)
    if law is not None and gradient is not None and law.rule == gradient.rule and evidence.wrong:
        return _LIKEWISE
    if law is not None:
        right = not evidence.wrong and (gradient is None or gradient.exact)
        return _cause(law, right=right, unexplained=bool(evidence.off) and not evidence.cause)
    search = evidence.laws.loss
    fit = decay_of(search, _own(cuts))
    if fit is not None:
        text = (
            f"The reported loss is an exponential average of decay {number(fit[0])}: later "
            "micro-batches weigh more, so their order matters, and it is not the mean over all."
        )
        return diagnosis("reported-loss", text, fit[1])
    real = None if search.doubtful else find_entered(search, _own(cuts), _own(off))
    if real is not None:
        entries = {cut: now for cut, now in real.cuts.items() if now != cut}
        text = f"Of the reported loss: {left_out(entries, 'micro-batch')[1]}"
        text += "" if real.law.exact else f", and the rest is {real.law.rule}"
        text += f"; {over_all(real.over, 'micro-batch')}" if real.over is not None else ""
        return diagnosis("reported-loss", f"{text}.", real.law.residual)
    names = ", ".join(cut.name for cut in off)
    if evidence.wrong:
        return f"the reported loss depends on the cut too ({names})"
    text = f"The reported loss differs under {names}, and no known mistake predicts how."
    return diagnosis("unknown", text)


def _own(cuts: Sequence[Cut]) -> list[Cut]:
    return [c for c in cuts if c.reference == "whole" and len(c.ranks) == 1 and not c.before]


def _off(evidence: Evidence) -> list[Cut]:
    """Return the cuts under which another loss is reported, though gradient and loss are finite."""
    if evidence.evaluation or evidence.runner.observe(evidence.runner.whole()).loss is None:
        return []
    runner = evidence.runner
    cuts = evidence.laws.loss.quantity.finite(evidence.laws.finite)
    errors = {c: runner.observe(c).loss_error(runner.observe(runner.reference(c))) for c in cuts}
    return [cut for cut, error in errors.items() if (error or 0.0) > runner.tolerance]


def _law(search: Search, cuts: Sequence[Cut]) -> Law | None:
    by_size = search.scaled if search.plain is None else None
    for micro in (search.plain, search.padding, by_size, search.as_measured()):
        law = search.law(micro, cuts) if micro is not None else None
        if law is not None or search.doubtful:
            return law
    return None


def _cause(law: Law, *, right: bool, unexplained: bool) -> Diagnosis:
    """Return the diagnosis of a reported loss that follows a wrong law.

    Args:
        law: of the reported loss.
        right: whether the gradient itself is right.
        unexplained: whether the gradient depends on the cut, and nothing says why.
    """
    micro = law.micro
    text = f"The reported loss is {law.how}"
    if micro.kind == "divided":
        text = "The reported loss is the sum of the micro-batches' means over the number of samples"
    if micro.kind == "times":
        text = "The reported loss adds the micro-batches' means, each times its number of samples"
    if law.rule.across == "part":
        text = "Each rank reports its part of the loss, and parts are not added over ranks"
    elif law.rule.across == "own":
        text += ", and each rank reports its own"
    elif law.rule.across in {"mean", "sum"} and law.rule.pools:
        text = f"The reported loss is the {law.rule.across} of the ranks' losses"
    if micro.kind in {"rows", "longest"} and law.rule.part.label != PADDED:
        text += ", padding counted"
    text += ", not the mean over all"
    if right:
        text += "; the gradient is right"
    elif unexplained:
        text += "; this does not say why the gradient depends on the cut"
    return diagnosis("reported-loss", f"{text}.", law.residual)
