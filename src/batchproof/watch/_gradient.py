"""Mistakes of the gradient, named by the pattern of masses over all windows of a run.

Each law predicts every mass of every window of one term; it is named only where all of them are
met to the level of arithmetic.
"""

from collections.abc import Callable, Sequence
from typing import Any

from batchproof.watch._patterns import Pattern
from batchproof.watch._windows import Part

SHOWN = 12

Verdict = tuple[str, str, dict[str, Any]] | None
Law = Callable[[Pattern], Verdict]


def one_mass(pattern: Pattern) -> float | None:
    """Return the mass that all micro-batches have on their rank, or None where they differ."""
    masses = [part.mass * pattern.ledger.world for part in pattern.parts]
    return masses[0] if pattern.same(masses) and masses[0] > 0 else None


def is_one(pattern: Pattern, value: float) -> bool:
    """Return whether a value is 1, up to arithmetic."""
    return pattern.same((value, 1.0))


def counted(number: int) -> str:
    """Return a number of micro-batches in words."""
    return f"{number} micro-batch{'es' if number != 1 else ''}"


def not_divided(pattern: Pattern) -> Verdict:
    """Masses of 1 in windows of several micro-batches: mass_j = 1."""
    mass = one_mass(pattern)
    if mass is None or not is_one(pattern, mass) or not pattern.averages:
        return None
    sizes = sorted(set(pattern.sizes))
    if len(sizes) == 1:
        sentence = (
            f"The means of {sizes[0]} micro-batches are added and not divided: the shares add up "
            f"to {sizes[0]} in every window{_rate(pattern, sizes[0])}."
        )
    else:
        sentence = (
            f"The means of micro-batches are added and not divided: the shares add up to "
            f"{sizes[0]} to {sizes[-1]}, the number of micro-batches of the window."
        )
    return "not-divided", sentence + _apart(pattern), {"sums": pattern.sums()[:SHOWN]}


def _apart(pattern: Pattern) -> str:
    """Return a sentence if elements of one window count differently beside."""
    weights = [[part.weight for part in window] for window in pattern.windows]
    ratio = max(max(window) / min(window) for window in weights)
    if pattern.same((ratio, 1.0)):
        return ""
    return f" An element counts up to {ratio:.3g} times as much in one of them as in another."


def _rate(pattern: Pattern, factor: int) -> str:
    if "Adam" in pattern.ledger.name or "Lion" in pattern.ledger.name:
        return f", so clipping and epsilon see {factor} times the gradient"
    return f", so the learning rate is {factor} times what you set"


def divided_by_a_full_window(pattern: Pattern) -> Verdict:
    """One mass in windows of several sizes: mass_j = c, where c / k was meant for windows of k."""
    mass, sizes = one_mass(pattern), pattern.sizes
    full = pattern.usual_size
    if mass is None or full < 2 or set(sizes) == {full} or not pattern.averages:
        return None
    if not pattern.is_in_every_pass:
        # a term that some micro-batches have, and others do not
        return None
    whole, divisor = mass * full, f"divided by {full}"
    if not is_one(pattern, whole):
        # a coefficient in windows of any size is a choice; in all windows but one kind it is not
        if len(set(sizes)) > 2 or len(sizes) < 3:
            return None
        divisor = f"multiplied by {mass:.4g}"
    evidence = {"sums": pattern.sums()[:SHOWN], "sizes": sizes[:SHOWN], "whole": whole}
    short = [size for size in sizes if size < full]
    if max(sizes) > full and sizes[0] >= full:
        extra = max(sizes) - full
        sentence = (
            f"{counted(extra)} after the last full window of an epoch "
            f"{'enters' if extra == 1 else 'enter'} the first window of the next: it holds "
            f"{max(sizes)} where others hold {full}, and its shares add up to "
            f"{max(sizes) * mass:.4g}."
        )
        return "leftover-window", sentence, evidence
    if sizes[0] < full:
        sentence = (
            f"The first window holds {counted(sizes[0])} and is {divisor} like windows of {full}: "
            f"its shares add up to {sizes[0] * mass:.4g}, not {whole:.4g}."
        )
        return "first-window-short", sentence, evidence
    sentence = (
        f"Every micro-batch is {divisor}, and {len(short)} of {len(sizes)} windows hold fewer than "
        f"{full}: with {min(short)} the shares add up to {min(short) * mass:.4g}, so that step is "
        f"{min(short) / full:.4g} times as long.{_apart(pattern)}"
    )
    return "fixed-window-size", sentence, evidence


def divided_twice(pattern: Pattern) -> Verdict:
    """Masses of 1/m^2, or of 1/(m w_j) for a mean over w_j: mass_j m w_j = 1."""
    sizes = set(pattern.sizes)
    mass = one_mass(pattern)
    size = max(sizes)
    if mass is not None and len(sizes) == 1 and size > 1 and is_one(pattern, mass * size * size):
        sentence = (
            f"The mean of a window of {size} micro-batches is divided by {size} twice: the shares "
            f"add up to 1/{size} in every window."
        )
        return "divided-twice", sentence, {"sums": pattern.sums()[:SHOWN]}
    if not all(part.loss.reduction == "mean" and part.weight > 1 for part in pattern.parts):
        return None
    weights = {part.weight for part in pattern.parts}
    counts = [part.mass * part.weight * len(w) for w in pattern.windows for part in w]
    masses = [part.mass * part.weight for part in pattern.parts]
    if len(weights) < 2 or not (
        (pattern.same(counts) and is_one(pattern, counts[0]))
        or (pattern.same(masses) and is_one(pattern, masses[0]))
    ):
        return None
    low, high = min(weights), max(weights)
    sentence = f"A mean over {low:.0f} to {high:.0f} elements is divided by their number once more."
    return "divided-twice", sentence, {"weights": sorted(weights)[:SHOWN]}


def mean_of_means(pattern: Pattern) -> Verdict:
    """Equal masses where weights differ: mass_j = c / m."""
    uneven = [w for w in pattern.windows if len(w) > 1 and not pattern.same(p.weight for p in w)]
    if not uneven or not pattern.same_in_each(lambda part: part.mass):
        return None
    if not all(part.mass > 0 and part.alike for part in pattern.parts):
        return None
    ratio = max(max(p.weight for p in w) / max(min(p.weight for p in w), 1e-300) for w in uneven)
    has_weights = all(
        pattern.same(part.loss.elements for part in window)
        and any(not pattern.same((part.loss.elements, part.loss.weight)) for part in window)
        for window in uneven
    )
    sums = pattern.sums()
    evidence = {
        "weights": [p.weight for p in uneven[0]][:SHOWN],
        "ratio": ratio,
        "whole": sums[0] if pattern.same(sums) else 1.0,
    }
    if has_weights:
        sentence = (
            "Weighted losses are divided by the weights of their own micro-batch: equal samples "
            f"count up to {ratio:.3g} times as much in one micro-batch as in another."
        )
        return "weight-per-micro-batch", sentence, evidence
    sentence = (
        f"Micro-batches of {_counts(uneven)} elements count alike, so an element counts up to "
        f"{ratio:.3g} times as much in one as in another."
    )
    return "mean-of-micro-batch-means", sentence, evidence


def _counts(windows: Sequence[Sequence[Part]]) -> str:
    weights = [part.weight for window in windows for part in window]
    return f"{min(weights):.6g} to {max(weights):.6g}"


def padding_counted(pattern: Pattern) -> Verdict:
    """Unreduced losses under a mask, divided by all: mass_j = counted_j / size_j (1/m)."""
    parts = pattern.parts
    if not all(part.loss.reduction == "none" and part.alike for part in parts):
        return None
    has_padding = all(part.loss.elements <= part.loss.size for part in parts) and any(
        part.loss.elements < part.loss.size for part in parts
    )
    if not has_padding and not any(part.padded for part in parts):
        return None
    if all(part.weight == part.loss.size for part in parts):
        return None
    widths = {part.loss.size / part.loss.samples for part in parts}
    if parts[0].loss.kind == "surrogate" and len(widths) == 1:
        # losses of policies are divided by the longest that may be on purpose
        return None
    whole = [part.mass * part.loss.size / part.weight if part.weight else 0.0 for part in parts]
    by_window = [
        part.mass * part.loss.size / part.weight * len(window) if part.weight else 0.0
        for window in pattern.windows
        for part in window
    ]
    if not any(pattern.same(v) and is_one(pattern, v[0]) for v in (whole, by_window)):
        return None
    low = min(part.weight / part.loss.size for part in parts)
    sentence = (
        f"Masked losses are divided by all positions, padding included: down to {low:.0%} of the "
        "positions count, and the shares add up to that."
    )
    return "padding-counted", sentence, {"sums": pattern.sums()[:SHOWN]}


def world_size(pattern: Pattern) -> Verdict:
    """Masses of one mean over all ranks, times the number of ranks or divided by it."""
    world, sums = pattern.ledger.world, pattern.sums()
    uneven = any(not pattern.same(part.weight for part in window) for window in pattern.windows)
    if world == 1 or not uneven or not pattern.same_in_each(lambda part: part.share):
        return None
    times = pattern.same((*sums, float(world)))
    if not times and not pattern.same((*sums, 1 / world)):
        return None
    whole = f"{world}" if times else f"1/{world}"
    sentence = (
        f"The shares of all ranks add up to {whole} in every step: the wrapper averages over "
        f"{world} ranks, and the loss is divided as if it {'did so twice' if times else 'did not'}."
    )
    return "world-size-factor", sentence, {"sums": sums[:SHOWN]}


LAWS: tuple[Law, ...] = (
    world_size,
    padding_counted,
    not_divided,
    divided_by_a_full_window,
    divided_twice,
    mean_of_means,
)

# those that a window of one micro-batch shows, too
OF_ONE = (padding_counted, divided_twice)
# those that a window of one micro-batch on each of several ranks shows
OF_RANKS = (*OF_ONE, world_size, mean_of_means)


def is_unknown(pattern: Pattern) -> bool:
    """Return whether elements of a window count differently, by no law."""
    if not all(part.alike for part in pattern.parts):
        return False
    by_element = pattern.same_in_each(lambda part: part.share)
    by_sample = all(
        part.alike_by_sample or part.loss.samples == part.weight for part in pattern.parts
    ) and pattern.same_in_each(lambda part: part.mass / max(part.loss.samples, 1))
    return not by_element and not by_sample
