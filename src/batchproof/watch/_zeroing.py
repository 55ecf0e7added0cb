"""Mistakes of zeroing and stepping: micro-batches that stay too long, or are gone too soon."""

from collections import Counter
from collections.abc import Sequence

from batchproof.watch._gradient import Verdict, counted
from batchproof.watch._ledger import Ledger
from batchproof.watch._windows import Part, Window, part_of

# a run shows a habit only where it repeats it
TWICE = 2


def not_zeroed(ledger: Ledger, windows: Sequence[Window]) -> Verdict:
    """Micro-batches of earlier steps are in most gradients."""
    with_stale = [window for window in windows if any(part.mass for part in window.stale)]
    if len(with_stale) < TWICE or 2 * len(with_stale) <= len(windows) - 1:
        return None
    if any(window.record.closure for window in windows):
        return None
    most = max(len(window.stale) for window in with_stale)
    sentence = (
        f"{ledger.name} steps with gradients of earlier steps still in the sum: up to {most} "
        f"micro-batches that were stepped before, in {len(with_stale)} of {len(windows)} steps."
    )
    return "gradients-not-zeroed", sentence, {"held": [len(w.stale) for w in windows][:12]}


def zeroed_before(ledger: Ledger, windows: Sequence[Window]) -> Verdict:
    """Every micro-batch is gone when the optimiser steps."""
    if not windows or any(window.parts or window.stale for window in windows):
        return None
    if not all(window.discards for window in windows):
        return None
    sentence = (
        f"The gradients are zeroed between the backward pass and the step, in all {len(windows)} "
        f"steps of {ledger.name}: nothing is learned."
    )
    return "zeroed-before-step", sentence, {"dropped": [len(w.discards) for w in windows][:12]}


def one_only(ledger: Ledger, windows: Sequence[Window]) -> Verdict:
    """Of the micro-batches of each window one is left, the others were zeroed."""
    if len(windows) < TWICE or any(window.record.closure for window in windows):
        return None
    for window in windows:
        terms = {part.loss.term for part in window.parts}
        if len({part.backward for part in window.parts}) != 1 or not window.discards:
            return None
        if not all(part.loss.term in terms for part in window.discards):
            return None
    counts = Counter(len({part.backward for part in window.discards}) for window in windows)
    most = counts.most_common(1)[0][0]
    sentence = (
        f"Of {most + 1} micro-batches between two steps of {ledger.name} only the last counts; "
        "the gradients of the others are zeroed."
    )
    return "one-micro-batch-only", sentence, {"dropped": [len(w.discards) for w in windows][:12]}


def left_over(ledger: Ledger, windows: Sequence[Window], *, complete: bool) -> Verdict:
    """Fewer micro-batches than a window holds are zeroed unstepped, or left at the end.

    Args:
        ledger: the optimiser.
        windows: its steps.
        complete: whether the run came to its end by itself.
    """
    sizes = [len({part.backward for part in window.parts}) for window in windows]
    if not sizes or any(window.record.closure for window in windows):
        return None
    full = Counter(sizes).most_common(1)[0][0]
    terms = {part.loss.term for window in windows for part in window.parts}
    if full < TWICE:
        return None
    counts = [_passes(window.discards, terms) for window in windows]
    short = [count for count in counts if 0 < count < full]
    last = [part_of(gift, gift.factor(len(gift.factors))) for gift in ledger.open]
    rest = _passes([part for part in last if part.mass], terms) if complete else 0
    if not 0 < rest < full:
        rest = 0
    if len(short) > len(windows) // 2 or not (short or rest):
        return None
    count = short[0] if short else rest
    sentence = (
        f"{counted(count)} after the last full window of {full} "
        f"{'are' if count > 1 else 'is'} never stepped by {ledger.name}."
    )
    return "leftover-window", sentence, {"dropped": counts[:12], "left": rest}


def _passes(parts: Sequence[Part], terms: set[int]) -> int:
    return len({part.backward for part in parts if part.loss.term in terms})
