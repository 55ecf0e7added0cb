"""Mistakes of timing: clipping, loss scaling, schedules and averages of weights."""

from collections.abc import Mapping, Sequence

from batchproof.watch._gradient import Verdict
from batchproof.watch._ledger import Ledger
from batchproof.watch._windows import Window

TWICE = 2


def clipped_early(ledger: Ledger, windows: Sequence[Window]) -> Verdict:
    """The gradient is clipped before all micro-batches are in it."""
    several = [w for w in windows if len({part.backward for part in w.parts}) > 1]
    early = [clip for w in several for clip in w.record.clips if clip.parts < len(w.parts)]
    active = [clip for clip in early if clip.factor.value < 1 - 1e-6]
    each = all(any(clip.parts < len(w.parts) for clip in w.record.clips) for w in several)
    if not several or not each or not active:
        return None
    least = min(clip.factor.value for clip in active)
    sentence = (
        f"The gradient of {ledger.name} is clipped before all micro-batches of the window are in "
        f"it, {len(early) / len(several):.3g} times a window; it shrank to {least:.3g} of itself."
    )
    return "clipped-per-micro-batch", sentence, {"factors": [c.factor.value for c in active][:12]}


def clipped_scaled(ledger: Ledger, windows: Sequence[Window]) -> Verdict:
    """The gradient is clipped while it carries the loss scale."""
    clips = [clip for window in windows for clip in window.record.clips]
    early = [clip for clip in clips if clip.before_unscale]
    if not early or len(early) < len(clips):
        return None
    sentence = (
        f"The gradient of {ledger.name} is clipped before it is unscaled, in all {len(clips)} "
        "calls: the norm that is compared with the limit is that of the loss scale."
    )
    return "clipped-before-unscale", sentence, {"factors": [c.factor.value for c in early][:12]}


def moved_per_micro_batch(windows: Sequence[Window]) -> Verdict:
    """A schedule or an average moves with every micro-batch of every window."""
    sizes = [len({part.backward for part in window.parts}) for window in windows]
    movers = {what for window in windows for what in window.record.moves}
    # what moves after the step is counted in the window that follows
    later = list(zip(sizes[1:], windows[1:], strict=True))
    for what in sorted(movers):
        counts = [len(window.record.moves.get(what, ())) for window in windows[1:]]
        several = [(n, c) for (n, _), c in zip(later, counts, strict=True) if n > 1]
        if len(several) < TWICE or not all(n == c for n, c in several):
            continue
        kind = what.split()[0]
        sentence = (
            f"{kind} moves with each of the {several[0][0]} micro-batches of a window, not once "
            "for every optimiser step."
        )
        return "state-moved-per-micro-batch", sentence, {"moves": counts[:12]}
    return None


def moved_by_hand(ledger: Ledger, windows: Sequence[Window]) -> Verdict:
    """An average that is written by hand moves between the backward passes of a window."""
    sizes = {w.record.number: len({part.backward for part in w.parts}) for w in windows}
    for moves in ledger.copies.moves():
        # the window of a step is that of the steps before it
        several = {n: each for n, each in moves.items() if sizes.get(n + 1, 0) > 1}
        if len(several) < TWICE or not all(all(each) for each in several.values()):
            continue
        most = max(sizes[n + 1] for n in several)
        sentence = (
            f"An average of the weights moves with each of the {most} micro-batches of a window, "
            "not once for every optimiser step."
        )
        counts = [sum(each) for each in several.values()]
        return "state-moved-per-micro-batch", sentence, {"moves": counts[:12]}
    return None


def schedule_first(schedules: Mapping[int, list[tuple[str, str]]]) -> tuple[str, int] | None:
    """Return the site of a schedule that steps before its optimiser, and how often it did.

    The two take turns and the schedule is first: it begins, and the optimiser ends. A schedule
    that catches up with a run that is resumed begins too, and also ends.
    """
    for calls in schedules.values():
        who = [name for name, _ in calls]
        sites = [site for name, site in calls if name == "scheduler"]
        if who[0] != "scheduler" or who[-1] != "optimizer" or len(sites) < TWICE:
            continue
        if "scheduler" in who[1:2] or sites[0] != sites[1]:
            continue
        return sites[0], len(sites)
    return None
