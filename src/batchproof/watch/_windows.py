"""Windows: for each optimiser step the micro-batches in its gradient, with masses and shares.

mass     d(what the optimiser follows) / d(the micro-batch's mean), after all factors
share    mass / weight: what each of its elements counts
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchproof.watch._events import Contribution, StepEvent
from batchproof.watch._ledger import Gift, Ledger, Loss, StepRecord

# shares within one micro-batch are equal up to so much, relative to the largest
ALIKE = 1e-4
# masses are read in the precision of the loss, and divided a few times there
ROUNDINGS = 16
LEAST = 2e-6


@dataclass(frozen=True, slots=True)
class Part:
    """One micro-batch in a gradient.

    Attributes:
        loss: the call of the loss.
        backward: the number of the backward pass.
        term: which term of the objective it belongs to: the loss's own, its number in a pass, and
            the parameters that it reached.
        mass: the sum of its shares.
        weight: what its mean divides by; of what received a gradient, for unreduced losses.
        alike: whether all its elements have the same share.
        alike_by_sample: whether the shares of each sample's elements have the same sum.
        padded: whether what received no gradient is the end of rows.
        precision: how far arithmetic alone may move the mass, relative to it.
    """

    loss: Loss
    backward: int
    term: tuple[int, int, int]
    mass: float
    weight: float
    alike: bool
    alike_by_sample: bool
    padded: bool
    precision: float

    @property
    def share(self) -> float:
        """Return the share of each element; nan where elements differ."""
        if not self.alike or not self.weight:
            return float("nan")
        return self.mass / self.weight


@dataclass(frozen=True, slots=True)
class Window:
    """The micro-batches in the gradient of one optimiser step.

    Attributes:
        record: the step.
        parts: micro-batches since the step before, in order.
        stale: micro-batches of earlier steps that are still in it.
        discards: micro-batches whose gradient was zeroed before the step.
        is_changed: whether the gradient was changed otherwise than by a factor.
    """

    record: StepRecord
    parts: tuple[Part, ...]
    stale: tuple[Part, ...]
    discards: tuple[Part, ...]
    is_changed: bool


def part_of(gift: Gift, factor: float) -> Part:
    """Return a micro-batch as it is in a gradient."""
    weight = gift.loss.weight if gift.weight is None else gift.weight
    if gift.weight is None and gift.loss.reduction == "sum":
        # what arrives at a sum arrives at each of its elements
        factor *= weight
    return Part(
        gift.loss,
        gift.backward,
        (gift.loss.term, gift.ordinal, gift.reach),
        gift.mass * factor,
        weight,
        _near(gift.low, gift.high),
        gift.rows_low is not None and _near(gift.rows_low, gift.rows_high),
        bool(gift.padded),
        max(LEAST, ROUNDINGS * max([gift.loss.eps, *(f.eps for f in gift.factors)])),
    )


def _near(low: float | None, high: float | None) -> bool:
    if low is None or high is None:
        return True
    return high - low <= ALIKE * max(abs(low), abs(high))


def window_of(record: StepRecord) -> Window:
    """Return the window of a step; its numbers must have been read."""
    scale = 1.0 / record.scale if record.scale else 1.0
    fresh: list[Part] = []
    stale: list[Part] = []
    zeroed_parts = [part_of(gift, gift.factor(count)) for gift, count in record.discards]
    for gift, count, old in record.gifts:
        part = part_of(gift, gift.factor(count) * scale)
        if part.mass == 0 and any(factor.value == 0 for factor in gift.factors[:count]):
            if not old:
                zeroed_parts.append(part)
        else:
            (stale if old else fresh).append(part)
    changes = any(not _is_factor(f.rest, f.eps) for f in record.rest)
    changes |= any(f.value != f.value for f in record.rest)
    return Window(record, tuple(fresh), tuple(stale), tuple(zeroed_parts), changes)


def _is_factor(rest: float, eps: float) -> bool:
    return rest <= (ROUNDINGS * eps) ** 2


def windows_of(ledger: Ledger) -> list[Window]:
    """Return the windows of an optimiser, over all ranks where they are known."""
    records = ledger.records if ledger.whole else ledger.records[1:]
    return [over_ranks(window_of(record), ledger.world) for record in records]


def over_ranks(window: Window, world: int) -> Window:
    """Return a window with the micro-batches of all ranks, whose gradients are averaged.

    gradient = (1/world) sum_r sum_m mass_rm grad(mean_rm)
    """
    if world == 1:
        return window
    parts = (*window.parts, *window.record.elsewhere)
    return replace(window, parts=tuple(replace(part, mass=part.mass / world) for part in parts))


def steps_of(ledgers: Iterable[Ledger]) -> list[StepEvent]:
    """Return every optimiser step as a record, in order."""
    events = []
    for ledger in ledgers:
        for record in ledger.records:
            window = over_ranks(window_of(record), ledger.world)
            parts = tuple(_contribution(part) for part in (*window.stale, *window.parts))
            clips = tuple(clip.factor.value for clip in record.clips)
            events.append(
                StepEvent(
                    record.index,
                    record.site,
                    ledger.name,
                    record.number,
                    parts,
                    len(window.discards),
                    clips,
                )
            )
    return sorted(events, key=lambda event: event.index)


def _contribution(part: Part) -> Contribution:
    return Contribution(
        part.loss.index,
        part.backward,
        part.loss.term,
        part.mass,
        part.weight,
        part.share,
        part.loss.samples,
    )
