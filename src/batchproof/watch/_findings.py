"""Findings: every judge of a run, one after the other."""

from collections.abc import Iterable
from typing import Any

from batchproof.mistakes import mistake
from batchproof.watch import _evaluation, _gradient, _timing, _zeroing
from batchproof.watch._between import Between
from batchproof.watch._calls import Calls
from batchproof.watch._events import Finding, Grade
from batchproof.watch._ledger import Ledger
from batchproof.watch._loop import BATCH_STATISTICS, Loop
from batchproof.watch._patterns import Pattern, patterns_of
from batchproof.watch._updates import Updates
from batchproof.watch._windows import Window, windows_of

SHOWN = 8


def finding(
    name: str,
    place: str,
    sentence: str,
    evidence: dict[str, Any] | None = None,
    *,
    grade: Grade = "wrong",
    evaluation: bool = False,
) -> Finding:
    """Return a finding with the catalogue's remedy."""
    remedy = mistake(name).remedy_for(evaluation=evaluation)
    return Finding(name, grade, place, sentence, remedy.code or remedy.sentence, evidence or {})


def of_updates(updates: Updates, between: Between, *, ended: bool) -> Iterable[Finding]:
    """Return what is wrong with the gradients that the optimisers follow."""
    for ledger in updates.ledgers:
        windows = windows_of(ledger)
        yield from _of_ledger(ledger, windows, ended=ended and not between.scaler_used)
        patterns = patterns_of(ledger, windows)
        apart = list(terms_apart(patterns))
        yield from apart
        for pattern in patterns:
            yield from normalised_apart(pattern)
            if pattern.site not in {finding.place for finding in apart}:
                yield from of_pattern(pattern)
    first = _timing.schedule_first(between.schedules)
    if first is not None and not between.scaler_used:
        sentence = (
            "The schedule steps before the optimiser, so its first learning rate is never used."
        )
        yield finding("scheduler-before-optimizer", first[0], sentence)


def _of_ledger(ledger: Ledger, windows: list[Window], *, ended: bool) -> Iterable[Finding]:
    if not windows:
        return
    place = windows[0].record.site
    for judge in (_zeroing.not_zeroed, _zeroing.zeroed_before, _zeroing.one_only):
        verdict = judge(ledger, windows)
        if verdict is not None:
            yield finding(verdict[0], place, *verdict[1:])
    verdict = _zeroing.left_over(ledger, windows, ended=ended)
    if verdict is not None:
        yield finding(verdict[0], place, *verdict[1:])
    for judge in (_timing.clipped_early, _timing.clipped_scaled):
        verdict = judge(ledger, windows)
        if verdict is not None:
            clip = next(clip for window in windows for clip in window.record.clips)
            yield finding(verdict[0], clip.site, *verdict[1:])
    verdict = _timing.moved_per_micro_batch(windows)
    if verdict is not None:
        moves = next(w.record.moves for w in reversed(windows) if w.record.moves)
        yield finding(verdict[0], next(iter(moves.values()))[0], *verdict[1:])


def of_pattern(pattern: Pattern) -> Iterable[Finding]:
    """Return the first law that a term's masses follow, with a picture of them."""
    several = [size > 1 for size in pattern.sizes]
    of_one = _gradient.OF_RANKS if pattern.ledger.world > 1 else _gradient.OF_ONE
    for law in _gradient.LAWS:
        if not any(several) and law not in of_one:
            continue
        verdict = law(pattern)
        if verdict is not None:
            name, sentence, evidence = verdict
            yield finding(name, pattern.site, sentence, {**evidence, "picture": picture(pattern)})
            return
    if any(several) and _gradient.is_unknown(pattern):
        low, high = min(pattern.sums()), max(pattern.sums())
        sentence = (
            "Elements of one window count differently, and no law predicts how: the shares add up "
            f"to {low:.4g} to {high:.4g}."
        )
        evidence = {"picture": picture(pattern)}
        yield finding("unknown", pattern.site, sentence, evidence, grade="note")


def picture(pattern: Pattern) -> dict[str, Any]:
    """Return the shares of a window's micro-batches, and what they are in a mean."""
    window = max(pattern.windows, key=len)
    whole = sum(part.weight for part in window)
    rows = [
        {
            "label": f"micro-batch {number}: {part.weight:.6g}",
            "share": part.mass,
            "wanted": part.weight / whole if whole else 0.0,
        }
        for number, part in enumerate(window[:SHOWN], 1)
    ]
    step = pattern.windows.index(window) + 1
    return {"title": f"what each micro-batch counts in window {step}", "rows": rows}


def terms_apart(patterns: list[Pattern]) -> Iterable[Finding]:
    """Return a finding where one term is divided by the window's size and another is not."""
    divided = [p for p in patterns if _mass_of(p) == "1/m"]
    whole = [p for p in patterns if _mass_of(p) == "1"]
    for pattern in whole if divided else []:
        size = pattern.sizes[0]
        sentence = (
            f"This term is not divided by the {size} micro-batches of the window, the term at "
            f"{divided[0].site} is: it counts {size} times as much as it should beside it."
        )
        evidence = {"picture": picture(pattern)}
        yield finding("term-scaled-apart", pattern.site, sentence, evidence)


def normalised_apart(pattern: Pattern) -> Iterable[Finding]:
    """Return a note where each micro-batch of a window is normalised by its own statistics."""
    several = [window for window in pattern.windows if len(window) > 1]
    if several and all(p.loss.noisy & BATCH_STATISTICS for w in several for p in w):
        sentence = (
            f"A batch normalisation takes its statistics from each of the {len(several[0])} "
            "micro-batches of a window, not from the window."
        )
        yield finding("batch-norm", pattern.site, sentence, grade="note")


def _mass_of(pattern: Pattern) -> str:
    mass, sizes = _gradient.one_mass(pattern), set(pattern.sizes)
    if mass is None or min(sizes) < 2:
        return ""
    if _gradient.is_one(pattern, mass):
        return "1"
    return "1/m" if len(sizes) == 1 and _gradient.is_one(pattern, mass * max(sizes)) else ""


def of_losses(calls: Calls) -> Iterable[Finding]:
    """Return what is wrong with what losses were given, and with what became of them."""
    sentences = {
        "softmax-before-cross-entropy": "Cross-entropy is given probabilities that a softmax made, "
        "and takes the softmax of them once more.",
        "nll-without-log-softmax": "The negative log-likelihood is given values above 0, which no "
        "log-probability has.",
    }
    for name, sites in calls.suspects.items():
        for site, (wrong, asked) in sites.items():
            if wrong and wrong == asked:
                yield finding(name, site, sentences[name], {"calls": asked})
    empty: dict[str, int] = {}
    for loss in calls.losses:
        is_nan = loss.value != loss.value
        if loss.training and loss.reduction == "mean" and loss.weight == 0 and is_nan:
            empty[loss.site] = empty.get(loss.site, 0) + 1
    for site, count in empty.items():
        sentence = (
            f"In {count} micro-batch{'es' if count > 1 else ''} every target is ignored, so the "
            "mean divides 0 by 0 and the gradient is NaN."
        )
        yield finding("empty-micro-batch-nan", site, sentence, {"micro_batches": count})
    if calls.growth:
        site, count = max(calls.growth.items(), key=lambda pair: pair[1])
        sentence = (
            f"Losses are kept with their graphs: {count} of earlier steps are alive, one more with "
            "every step."
        )
        yield finding("graph-kept", site, sentence, {"alive": count})


def of_loop(calls: Calls, loop: Loop, updates: Updates) -> Iterable[Finding]:
    """Return what is wrong with evaluations and kept weights."""
    trains = any(ledger.records for ledger in updates.ledgers)
    for evaluation in _evaluation.evaluations_of(calls.losses, updates.ledgers):
        found = (
            ("evaluation-in-train-mode", _evaluation.in_train_mode(evaluation)),
            ("evaluation-with-grad", _evaluation.with_graph(evaluation)),
        )
        for name, sentence in found:
            if sentence is None or (name == "evaluation-in-train-mode" and loop.random_by_wish):
                continue
            if name == "evaluation-with-grad" and not trains:
                continue
            yield finding(name, evaluation.site, sentence, evaluation=True)
    for moved in loop.moved:
        sentence = (
            f"Weights taken at step {moved.taken_at} are {moved.how} at step {moved.used_at} "
            f"({moved.used}), and have moved with the training since: state_dict() copies nothing."
        )
        yield finding("best-by-reference", moved.site, sentence)


def once(findings: Iterable[Finding]) -> list[Finding]:
    """Return each mistake of each place once, the wrong ones first."""
    unique: dict[tuple[str, str], Finding] = {}
    for each in findings:
        unique.setdefault((each.name, each.place), each)
    return sorted(unique.values(), key=lambda f: f.grade != "wrong")
