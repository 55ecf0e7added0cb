"""The batches of one loss in order, and the passes that they form."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from batchproof.watch._events import Contribution, LossEvent, StepEvent
from batchproof.watch._loaders import LoaderPass, Loaders

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Series:
    """The losses, or hits, that one line of code computed for each batch, in order.

    Attributes:
        site: "file:line" of the user's code.
        quantity: "loss", "accuracy" or "ratio".
        training: whether the batches can enter a gradient.
        stamps: when, on the clock of the events.
        value: the number of each batch as the script got it: a mean, or a sum.
        total: sum of the losses, or hits, of each batch.
        weight: what its mean divides by.
        elements: the number of losses that count.
        samples: the number of samples.
        of_pass: the pass over a loader that each batch came from; -1 where there was none.
        passes: the passes over loaders that of_pass names.
        starts: places of the first batches of passes, increasing, the first of them 0.
        is_in_steps: whether an optimiser step holds any of the batches.
        counts: of a ratio: hits, predictions and targets, shape (batches, classes, 3).
    """

    site: str
    quantity: str
    training: bool
    stamps: Places
    value: Numbers
    total: Numbers
    weight: Numbers
    elements: Numbers
    samples: Numbers
    of_pass: Places
    passes: Sequence[LoaderPass]
    starts: Places
    counts: NDArray[np.float64] | None = None
    is_in_steps: bool = False

    def __len__(self) -> int:
        return len(self.stamps)

    @cached_property
    def mean(self) -> Numbers:
        """Return each batch's mean."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total / self.weight

    @cached_property
    def has_passes(self) -> bool:
        """Return whether the batches are known to form passes of more than one batch."""
        passes = np.diff(np.append(self.starts, len(self)))
        certain = len(passes) > 1 or (self.of_pass >= 0).all()
        return bool(certain and passes.max() > 1)

    def places(self, stamps: Iterable[int]) -> Places:
        """Return the number of batches at each of these times."""
        return np.searchsorted(self.stamps, np.fromiter(stamps, np.int64))

    def start_before(self, places: Places) -> Places:
        """Return for each place where the pass began that holds the batch before it."""
        starts = np.searchsorted(self.starts, places, side="left") - 1
        return self.starts[np.maximum(starts, 0)]

    def loader_of(self, place: int) -> LoaderPass | None:
        """Return the pass over a loader that a batch came from."""
        number = int(self.of_pass[place]) if len(self) else -1
        return self.passes[number] if number >= 0 else None


def series_of(
    losses: Sequence[LossEvent], loaders: Loaders, steps: Sequence[StepEvent] = ()
) -> list[Series]:
    """Return the losses by line of code and mode, and their hits where classes were chosen.

    Losses that entered one backward pass together are terms of one objective: each term is a series
    of its own, and their weighted sum is one more.

    Args:
        losses: in the order in which they were computed.
        loaders: the passes over data in the same time.
        steps: the optimiser steps in the same time.
    """
    terms = {part.loss: part.term for step in steps for part in step.contributions}
    of_line: dict[tuple[object, ...], set[int]] = {}
    for event in losses:
        if event.index in terms:
            of_line.setdefault(_line(event), set()).add(terms[event.index])
    groups: dict[tuple[object, ...], list[LossEvent]] = {}
    for event in losses:
        if event.kind != "log_softmax":
            # a micro-batch that no step takes is of the one term of its line
            others = of_line.get(_line(event), set())
            term = terms.get(event.index, min(others) if len(others) == 1 else -1)
            groups.setdefault((*_line(event), term), []).append(event)
    groups |= _objectives(losses, steps)
    stamps = np.array(sorted({e.index for e in losses}), dtype=np.int64)
    result = []
    for events in groups.values():
        in_steps = any(event.index in terms for event in events)
        result.append(replace(_series("loss", events, loaders, stamps), is_in_steps=in_steps))
        if all(event.hits is not None for event in events):
            hits = _series("accuracy", events, loaders, stamps)
            result.append(hits)
            counts = [event.counts for event in events if event.counts is not None]
            if len(counts) == len(events) and len({each.shape for each in counts}) == 1:
                result.append(replace(hits, quantity="ratio", counts=np.stack(counts)))
    return result


def _line(event: LossEvent) -> tuple[object, ...]:
    return event.site, event.training, event.kind


def _objectives(
    losses: Sequence[LossEvent], steps: Sequence[StepEvent]
) -> dict[tuple[object, ...], list[LossEvent]]:
    """Return the objectives of several terms, by the terms that they have.

    Whether a script shows its objective before or after a division by the k passes of a window
    cannot be told from the coefficients of its terms: each is a series of its own.
    """
    by_index = {event.index: event for event in losses}
    objectives: dict[tuple[object, ...], dict[int, LossEvent]] = {}
    usual = passes_of_a_step(steps)
    for step in steps:
        passes: dict[int, list[Contribution]] = {}
        for part in step.contributions:
            if part.loss in by_index:
                passes.setdefault(part.backward, []).append(part)
        for parts in passes.values():
            if len(parts) > 1 and len({part.term for part in parts}) == len(parts):
                terms = tuple(part.term for part in parts)
                for times in dict.fromkeys((1, usual)):
                    event = _objective(parts, by_index, times)
                    # a gradient that is not zeroed is in the steps that follow, too
                    objectives.setdefault(("objective", times, *terms), {}).setdefault(
                        event.index, event
                    )
    return {key: [events[i] for i in sorted(events)] for key, events in objectives.items()}


def passes_of_a_step(steps: Sequence[StepEvent]) -> int:
    """Return the number of backward passes that most optimiser steps hold."""
    passes = Counter(len({part.backward for part in step.contributions}) for step in steps)
    del passes[0]
    return passes.most_common(1)[0][0] if passes else 1


def _objective(
    parts: Sequence[Contribution], by_index: Mapping[int, LossEvent], times: int
) -> LossEvent:
    """Return the start of one backward pass as if it were one loss, a mean over samples."""
    events = [by_index[part.loss] for part in parts]
    value = times * sum(
        part.mass * event.total / event.weight
        for part, event in zip(parts, events, strict=True)
        if event.weight
    )
    last, samples = events[-1], max(event.samples for event in events)
    return replace(
        last,
        kind="objective",
        reduction="mean",
        value=value,
        total=value * samples,
        weight=float(samples),
        elements=float(samples),
        samples=samples,
        hits=None,
    )


def _series(quantity: str, events: list[LossEvent], loaders: Loaders, all_stamps: Places) -> Series:
    def column(values: Iterable[float]) -> Numbers:
        return np.array(list(values), dtype=np.float64)

    stamps = np.array([event.index for event in events], dtype=np.int64)
    elements = column(event.elements for event in events)
    samples = column(event.samples for event in events)
    hits = quantity == "accuracy"
    total = column(event.hits or 0 if hits else event.total for event in events)
    weight = elements if hits else column(event.weight for event in events)
    value = total if hits else column(event.value for event in events)
    of_pass = _passes(stamps, loaders)
    return Series(
        site=events[0].site,
        quantity=quantity,
        training=events[0].training,
        stamps=stamps,
        value=value,
        total=total,
        weight=weight,
        elements=elements,
        samples=samples,
        of_pass=of_pass,
        passes=loaders.passes,
        starts=_starts(stamps, of_pass, samples, all_stamps),
    )


def _passes(stamps: Places, loaders: Loaders) -> Places:
    if not loaders.stamps:
        return np.full(len(stamps), -1, dtype=np.int64)
    last = np.searchsorted(np.array(loaders.stamps, dtype=np.int64), stamps) - 1
    numbers = np.array(loaders.numbers, dtype=np.int64)
    return np.where(last >= 0, numbers[np.maximum(last, 0)], -1)


def _starts(stamps: Places, of_pass: Places, samples: Numbers, all_stamps: Places) -> Places:
    """Return the starts of passes: by loader, else after other losses or a smaller batch."""
    if (of_pass >= 0).all():
        ends = np.diff(of_pass) != 0
    else:
        ranks = np.searchsorted(all_stamps, stamps)
        ends = np.diff(ranks) > _usual_gap(ranks)
        if not ends.any():
            ends = _ends_by_size(samples)
    return np.concatenate([[0], np.flatnonzero(ends) + 1]).astype(np.int64)


def _ends_by_size(samples: Numbers) -> NDArray[np.bool_]:
    """Return the batches that end passes: a smaller one in every so many, at equal distances."""
    smaller = samples < samples.max()
    places = np.flatnonzero(smaller)
    distances = np.diff(places, prepend=-1)
    regular = len(places) and distances[0] > 1 and (distances == distances[0]).all()
    ends: NDArray[np.bool_] = smaller[:-1] if regular else np.zeros(len(samples) - 1, dtype=bool)
    return ends


def _usual_gap(ranks: Places) -> int:
    """Return the usual number of losses of a script from one of this line to its next."""
    gaps = np.diff(ranks)
    return int(np.bincount(gaps).argmax()) if len(gaps) else 1
