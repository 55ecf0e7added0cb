"""Samples that do not enter, or enter more than once, on one process."""

from collections import Counter
from dataclasses import replace

from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._windows import mistakes_of, words
from batchproof.check._laws._rules import Count
from batchproof.check._measure._cuts import Cut
from batchproof.check._report._results import Diagnosis, diagnosis

# on one process no sampler repeats samples for other ranks
_ONCE = (
    "Let every sample enter once: look for a batch that is added again after the loop, a sampler "
    "with replacement, or a list of batches that holds one twice."
)


def entering(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if samples that are left out, or repeated, predict every cut."""
    if evidence.laws.law is not None:
        return []
    real = evidence.laws.entered(evidence.off)
    if real is None:
        return []
    law, many = real.law, {cut: now for cut, now in real.cuts.items() if now != cut}
    diagnoses = []
    if any(_missing(cut, now) for cut, now in many.items()):
        texts = _left_out(evidence, many, real.over)
        diagnoses.append(diagnosis(*texts, law.residual, evaluation=evidence.evaluation))
    if any(_again(now) for now in many.values()):
        texts = _repeated(evidence, many, real.over)
        twice = diagnosis(*texts, law.residual, evaluation=evidence.evaluation)
        diagnoses.append(replace(twice, remedy=_ONCE, code=""))
    return [*diagnoses, *([] if law.exact else mistakes_of(law, evidence))]


def _missing(cut: Cut, now: Cut) -> list[int]:
    return sorted(set(_samples(cut)) - set(_samples(now)))


def _again(now: Cut) -> list[int]:
    return sorted(i for i, times in Counter(_samples(now)).items() if times > 1)


def _samples(cut: Cut) -> list[int]:
    return [i for piece in cut.pieces for i in piece.samples]


def _left_out(evidence: Evidence, many: dict[Cut, Cut], over: Count | None) -> tuple[str, str]:
    what, part = words(evidence)
    name, text = left_out(many, part)
    whole = f"the {what} is that of those that enter"
    rest = whole if over is None else over_all(over, part)
    return name, f"{text}; {rest}. {_example(many, missing=True)}"


def left_out(many: dict[Cut, Cut], part: str) -> tuple[str, str]:
    """Return the name of what leaves samples out, and which it leaves out in words.

    Args:
        many: what really entered, by cut, where that is not everything once.
        part: what a window is made of.
    """
    several = [(cut, now) for cut, now in many.items() if len(cut.pieces) > 1]
    for which, place in (("first", 0), ("last", -1)):
        if all(now.pieces == (cut.pieces[place],) for cut, now in several):
            return "one-micro-batch-only", f"Only the {which} {part} counts"
    return "samples-left-out", _which(many, part)


def over_all(over: Count, part: str) -> str:
    """Return in words what the whole is divided by although not all of it entered.

    Args:
        over: what is counted.
        part: what a window is made of.
    """
    return f"it is divided by the {_counted(over, part)} of all, and not of those that enter"


def _counted(over: Count, part: str) -> str:
    return {"1": f"number of {part}es", "weight": "weight"}.get(over.label, "number of samples")


def _which(many: dict[Cut, Cut], part: str) -> str:
    """Return which samples are left out, in words."""
    if all(_small(cut, now) for cut, now in many.items()):
        return (
            f"Samples of a {part} that is smaller than the others are left out, as drop_last does"
        )
    if all(_unlike_the_first(cut, now) for cut, now in many.items()):
        return f"A {part} of another size than the first is left out"
    most = max(len(now.pieces) for now in many.values())
    if all(now.pieces == cut.pieces[:most] for cut, now in many.items()):
        return f"Only the first {most} {part}es enter, as in a loop that ends early"
    if all(now.pieces == cut.pieces[:-1] for cut, now in many.items()):
        return f"The last {part} never enters"
    return "Some samples never enter"


def _small(cut: Cut, now: Cut) -> bool:
    most = max(len(piece.samples) for piece in cut.pieces)
    return all(len(p.samples) < most for p in cut.pieces if p not in now.pieces)


def _unlike_the_first(cut: Cut, now: Cut) -> bool:
    size = len(cut.pieces[0].samples)
    return now.pieces == tuple(p for p in cut.pieces if len(p.samples) == size)


def _repeated(evidence: Evidence, many: dict[Cut, Cut], over: Count | None) -> tuple[str, str]:
    _, part = words(evidence)
    again = [(cut, now) for cut, now in many.items() if _again(now)]
    text = "Some samples count more than once"
    if all(now.pieces == (*cut.pieces, cut.pieces[-1]) for cut, now in again):
        text = f"The last {part} counts twice"
    elif all(now.pieces == (cut.pieces[0], *cut.pieces) for cut, now in again):
        text = f"The first {part} counts twice"
    if over is not None:
        text += f", and the {_counted(over, part)} below counts it once"
    return "duplicated-samples", f"{text}. {_example(dict(again), missing=False)}"


def _example(many: dict[Cut, Cut], *, missing: bool) -> str:
    cut, now = next(iter(many.items()))
    at = f"Under {cut.name!r} ({cut.describe()})"
    if missing:
        return f"{at} samples {_missing(cut, now)} move nothing."
    times = Counter(_samples(now))
    each = ", ".join(f"{i} enters {times[i]} times" for i in _again(now)[:4])
    return f"{at} sample {each}."
