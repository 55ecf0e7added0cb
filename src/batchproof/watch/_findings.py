"""Findings: every judge of a run, one after the other."""

from collections.abc import Iterable
from typing import Any

from batchproof.mistakes import mistake
from batchproof.step import keeps_trajectory
from batchproof.watch import _evaluation, _gradient, _timing, _zeroing
from batchproof.watch._between import Between
from batchproof.watch._calls import Calls
from batchproof.watch._events import Finding, Grade
from batchproof.watch._ledger import Ledger
from batchproof.watch._loop import BATCH_STATISTICS, Loop
from batchproof.watch._patterns import FINE, Pattern, patterns_of
from batchproof.watch._updates import Updates
from batchproof.watch._windows import Window, windows_of

SHOWN = 8
# they hold of whatever is in the gradient
ZEROING = (_zeroing.not_zeroed, _zeroing.zeroed_before, _zeroing.one_only)


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


def of_updates(updates: Updates, between: Between, *, complete: bool) -> Iterable[Finding]:
    """Return the mistakes in the gradients that the optimisers follow."""
    for ledger in updates.ledgers:
        windows = windows_of(ledger)
        yield from _of_ledger(ledger, windows, complete=complete and not between.scaler_used)
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


def _of_ledger(ledger: Ledger, windows: list[Window], *, complete: bool) -> Iterable[Finding]:
    if not windows:
        return
    place = windows[0].record.site
    verdicts = [judge(ledger, windows) for judge in ZEROING]
    if not any(verdicts):
        verdicts = [_zeroing.left_over(ledger, windows, complete=complete)]
    for name, sentence, evidence in filter(None, verdicts):
        yield finding(name, place, sentence, evidence)
    verdict = _timing.moved_by_hand(ledger, windows)
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
            evidence["picture"] = picture(pattern, evidence.pop("whole", 1.0))
            evidence |= _settings(pattern)
            yield finding(name, pattern.site, sentence, evidence)
            return
    if any(several) and _gradient.is_unknown(pattern):
        low, high = min(pattern.sums()), max(pattern.sums())
        sentence = (
            "Elements of one window count differently, and no law predicts how: the shares add up "
            f"to {low:.4g} to {high:.4g}."
        )
        evidence = {"picture": picture(pattern)}
        yield finding("unknown", pattern.site, sentence, evidence, grade="note")


def _settings(pattern: Pattern) -> dict[str, Any]:
    """Return the settings that keep the trajectory where the step is a constant times the mean."""
    sums, clips = pattern.sums(), pattern.ledger.records[0].clips
    if not pattern.same(sums) or not pattern.same_in_each(lambda part: part.share):
        return {}
    norm = clips[0].max_norm if clips else None
    changes = keeps_trajectory(pattern.ledger.settings, sums[0], norm)
    return {"settings": changes} if changes else {}


def picture(pattern: Pattern, whole: float = 1.0) -> dict[str, Any]:
    """Return the shares of the window that shows most, and what they are in a mean.

    Args:
        pattern: the windows.
        whole: what the shares of a window should add up to.
    """
    number, rows = 0, list[dict[str, Any]]()
    worst = -1.0
    for place, window in enumerate(pattern.windows, 1):
        weight = sum(part.weight for part in window)
        shares = [whole * part.weight / weight if weight else 0.0 for part in window]
        off = max(abs(p.mass - w) / w if w else 0.0 for p, w in zip(window, shares, strict=True))
        if off > worst * (1 + FINE) + FINE:
            worst, number = off, place
            rows = [
                {"label": f"micro-batch {i}: {p.weight:.6g}", "share": p.mass, "wanted": w}
                for i, (p, w) in enumerate(zip(window, shares, strict=True), 1)
            ]
    title = f"window {number}: the weight of each micro-batch, and what it counts"
    return {"title": title, "rows": rows[:SHOWN]}


def terms_apart(patterns: list[Pattern]) -> Iterable[Finding]:
    """Return a finding where one term is divided by the window's size and another is not."""
    for pattern in patterns:
        other = next((p for p in patterns if p is not pattern and _is_beside(pattern, p)), None)
        if other is None:
            continue
        sizes = pattern.sizes
        if len(set(sizes)) == 1:
            sentence = (
                f"This term is not divided by the {sizes[0]} micro-batches of the window, the term "
                f"at {other.site} is: it counts {sizes[0]} times as much as it should beside it."
            )
        else:
            sums = pattern.sums()
            sentence = (
                f"The shares of this term add up to {min(sums):.4g} to {max(sums):.4g}, in "
                f"proportion to the {min(sizes)} to {max(sizes)} micro-batches of the window; "
                f"those of the term at {other.site} add up to {other.sums()[0]:.4g} in all."
            )
        evidence = {"picture": picture(pattern)}
        yield finding("term-scaled-apart", pattern.site, sentence, evidence)


def _is_beside(pattern: Pattern, other: Pattern) -> bool:
    """Return whether a term has one mass in all windows, and the other's masses one sum.

    In windows of one size a coefficient explains both, unless it is 1 and the sum is 1.
    """
    mass, sizes = _gradient.one_mass(pattern), pattern.sizes
    if mass is None or sizes != other.sizes or min(sizes) < 1 or max(sizes) < 2:
        return False
    sums = other.sums()
    if len(set(sizes)) > 1:
        return pattern.averages and pattern.is_in_every_pass and other.same(sums)
    return _gradient.is_one(pattern, mass) and other.same((*sums, 1.0))


def normalised_apart(pattern: Pattern) -> Iterable[Finding]:
    """Return a note where each micro-batch of a window is normalised by its own statistics."""
    several = [window for window in pattern.windows if len(window) > 1]
    if several and all(p.loss.noisy & BATCH_STATISTICS for w in several for p in w):
        sentence = (
            f"A batch normalisation takes its statistics from each of the {len(several[0])} "
            "micro-batches of a window, not from the window."
        )
        yield finding("batch-norm", pattern.site, sentence, grade="note")


def of_losses(calls: Calls) -> Iterable[Finding]:
    """Return the mistakes in the inputs of losses, and in the use of their results."""
    sentences = {
        "softmax-before-cross-entropy": "Cross-entropy is given probabilities that a softmax made, "
        "and takes the softmax of them once more.",
        "nll-without-log-softmax": "The negative log-likelihood is given values above 0, which no "
        "log-probability has.",
    }
    for name, sites in calls.suspects.items():
        for site, (wrong, total) in sites.items():
            if wrong and wrong == total:
                yield finding(name, site, sentences[name], {"calls": total})
    empty: dict[str, int] = {}
    for loss in calls.losses:
        is_nan = loss.value != loss.value
        if loss.training and loss.reduction == "mean" and loss.weight == 0 and is_nan:
            empty[loss.site] = empty.get(loss.site, 0) + 1
    for site, count in empty.items():
        sentence = (
            f"In {_gradient.counted(count)} every target is ignored, so the "
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
    """Return the mistakes in evaluations and in kept weights."""
    trains = any(ledger.records for ledger in updates.ledgers)
    for evaluation in _evaluation.evaluations_of(calls.losses, updates.ledgers):
        verdicts = (
            ("evaluation-in-train-mode", _evaluation.in_train_mode(evaluation)),
            ("evaluation-with-grad", _evaluation.with_graph(evaluation)),
        )
        for name, sentence in verdicts:
            if sentence is None or (name == "evaluation-in-train-mode" and loop.random_by_wish):
                continue
            if name == "evaluation-with-grad" and not trains:
                continue
            yield finding(name, evaluation.site, sentence, evaluation=True)
    for use in loop.wrong_uses():
        sentence = (
            f"Weights taken at step {use.taken_at} are {use.how} at step {use.used_at} "
            f"({use.used}), and have moved with the training since: state_dict() copies nothing."
        )
        if use.taken_at == use.used_at:
            sentence = (
                f"Weights taken here are loaded back ({use.used}) after others were loaded over "
                "them: state_dict() copies nothing, so the others stay."
            )
        yield finding("best-by-reference", use.site, sentence)


def once(findings: Iterable[Finding]) -> list[Finding]:
    """Return each mistake of each place once, the wrong ones first."""
    unique: dict[tuple[str, str], Finding] = {}
    for each in findings:
        unique.setdefault((each.name, each.place), each)
    return sorted(unique.values(), key=lambda f: f.grade != "wrong")
