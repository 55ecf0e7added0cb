"""The numbers of one watched run: from the stream that they were written to, to their meaning."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from batchproof.watch._events import Finding, StepEvent
from batchproof.watch._loaders import LoaderPass
from batchproof.watch._numbers._candidates import Facts
from batchproof.watch._numbers._findings import evidence_of, findings_of, findings_of_loaders
from batchproof.watch._numbers._identify import Reading, reading_of
from batchproof.watch._numbers._outlets import watched_outlets
from batchproof.watch._numbers._over_ranks import sums_by_series
from batchproof.watch._numbers._recorder import Recorder
from batchproof.watch._numbers._returned import Returned
from batchproof.watch._numbers._series import passes_of_a_step, series_of
from batchproof.watch._numbers._slots import Slot
from batchproof.watch._numbers._streams import watched_streams

SAME = 1e-5


class Numbers:
    """The numbers that reach a person while a run is watched.

    Args:
        after_line: called when a line that holds numbers was written.
    """

    def __init__(self, after_line: Callable[[], None] | None = None) -> None:
        self._after_line = after_line
        self._stack = ExitStack()
        self._watcher: Any = None
        self._others: list[dict[str, Any]] = []
        self._recorder: Recorder | None = None

    def start(self, watcher: Any) -> None:
        """Begin to capture numbers.

        Args:
            watcher: a Watcher, whose clock orders losses, steps and numbers.
        """
        self._watcher = watcher
        self._recorder = Recorder(watcher.clock, self._after_line)
        self._stack.enter_context(watched_outlets(self._recorder))
        self._stack.enter_context(watched_streams(self._recorder))
        self._follow_evaluations(watcher, Returned(self._recorder))

    def _follow_evaluations(self, watcher: Any, returns: Returned) -> None:
        watcher.calls.heard = returns.heard
        watcher.loaders.at_end = returns.ended
        for block in (torch.no_grad, torch.inference_mode):
            watcher.patches.call_before(block.__exit__, returns.ended)
        self._stack.callback(returns.stop)

    def stop(self) -> None:
        """Stop capturing, and restore every stream and function."""
        self._stack.close()
        if self._recorder is not None:
            self._recorder.end_lines()

    def leave(self) -> Any:
        """Return the sums of this rank's batches that rank 0 needs, as plain values."""
        return sums_by_series(series_of(self._watcher.losses, self._watcher.loaders))

    def receive(self, records: Any) -> None:
        """Take the sums of another rank.

        Args:
            records: what `leave` returned there.
        """
        self._others.append(records)

    def readings(self) -> list[Reading]:
        """Return the meaning of the numbers, without those of which nothing is certain."""
        if self._watcher is None or self._recorder is None:
            return []
        series = series_of(self._watcher.losses, self._watcher.loaders, self._watcher.steps)
        facts = _facts(self._watcher.steps, self._watcher.loaders.passes)
        facts = replace(facts, others=tuple(self._others))
        every = (reading_of(slot, series, facts) for slot in self._recorder.slots)
        certain = _beside_passes([reading for reading in every if reading is not None])
        texts = {_said(reading) for reading in certain if reading.slot.is_shown}
        return [
            reading
            for reading in certain
            if reading.slot.is_shown or (reading.grade != "note" and _said(reading) not in texts)
        ]

    def findings(self) -> list[Finding]:
        """Return the mistakes and notes that the numbers show."""
        if self._watcher is None:
            return []
        series = series_of(self._watcher.losses, self._watcher.loaders)
        readings = self.readings()
        return [*findings_of(readings), *findings_of_loaders(series, readings)]

    def seen(self) -> list[dict[str, Any]]:
        """Return all numbers as plain values, with their meaning where that is known."""
        if self._recorder is None:
            return []
        readings = {id(reading.slot): reading for reading in self.readings()}
        return [
            evidence_of(readings[id(slot)]) if id(slot) in readings else _unknown(slot)
            for slot in self._recorder.slots
            if slot.is_shown or id(slot) in readings
        ]


def _beside_passes(readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings; a last batch is a note where its lines also show its whole pass.

    A mistake of the number beside it is a finding of its own.
    """
    passes = {
        (*_of(reading), line.stamp)
        for reading in readings
        if reading.candidate.name not in {"last-batch-reported", "one-batch"}
        for line in reading.slot.lines
    }
    return [
        replace(reading, grade="note")
        if reading.candidate.name == "last-batch-reported"
        and all((*_of(reading), line.stamp) in passes for line in reading.slot.lines)
        else reading
        for reading in readings
    ]


def _of(reading: Reading) -> tuple[str, ...]:
    series = reading.candidate.series
    return reading.slot.place, series.site, series.quantity


def _said(reading: Reading) -> tuple[str, ...]:
    series = reading.candidate.series
    return reading.candidate.name, series.site, series.quantity


def _unknown(slot: Slot) -> dict[str, Any]:
    return {
        "place": slot.place,
        "source": slot.source,
        "label": slot.label,
        "lines": slot.count,
        "is": None,
        "grade": "unknown",
        "of": None,
        "loss": None,
        "examples": [{"text": line.text, "shown": line.number.text} for line in slot.lines[:2]],
    }


def _facts(steps: Sequence[StepEvent], passes: Sequence[LoaderPass]) -> Facts:
    masses = Counter(
        round(part.mass, 7) for step in steps for part in step.contributions if part.mass
    )
    usual = masses.most_common(1)[0][0] if masses else 1.0
    window = passes_of_a_step(steps)
    several = any(len(step.contributions) > 1 for step in steps)
    # a coefficient of 1 / k in windows of k is a division by k; another is the script's own
    divides = several and abs(usual * window - 1) < SAME
    coefficients = (1.0,) if divides or usual == 1 else (1.0, usual, usual * window)
    counts = {length for one in passes for length in (one.batches, one.dataset) if length}
    return Facts(
        scale=usual if divides else 1.0,
        coefficients=tuple(dict.fromkeys(coefficients)),
        counts=tuple(sorted(counts))[:8],
        steps=np.array([step.index for step in steps if several], dtype=np.int64),
    )
