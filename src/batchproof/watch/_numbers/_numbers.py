"""The numbers of one watched run: from the stream that they were written to, to what they are."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from batchproof.watch._events import Finding, LossEvent, StepEvent
from batchproof.watch._numbers._candidates import Facts
from batchproof.watch._numbers._findings import evidence_of, findings_of, findings_of_loaders
from batchproof.watch._numbers._identify import Reading, reading_of
from batchproof.watch._numbers._loaders import Loaders
from batchproof.watch._numbers._outlets import watched_outlets
from batchproof.watch._numbers._recorder import Recorder
from batchproof.watch._numbers._series import Series, series_of
from batchproof.watch._numbers._streams import watched_streams


class Numbers:
    """The numbers that reach a person while a run is watched."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.recorder: Recorder | None = None
        self._loaders: Loaders | None = None

    def start(self, watcher: Any) -> None:
        """Begin to capture numbers.

        Args:
            watcher: whose clock orders losses, steps and numbers.
        """
        self.recorder = Recorder(watcher.clock)
        self._loaders = Loaders(watcher.clock)
        self._stack.enter_context(self._loaders.watched())
        self._stack.enter_context(watched_outlets(self.recorder))
        self._stack.enter_context(watched_streams(self.recorder))

    def stop(self) -> None:
        """Stop capturing, and leave every stream and function as it was."""
        self._stack.close()
        if self.recorder is not None:
            self.recorder.end_lines()

    def readings(
        self, losses: Sequence[LossEvent], steps: Sequence[StepEvent] = ()
    ) -> list[Reading]:
        """Return what the numbers are, those of which nothing is certain left out.

        Args:
            losses: of the run, in order.
            steps: of the run, in order.
        """
        if self.recorder is None or not losses:
            return []
        series, facts = self._series(losses), self._facts(steps)
        found = (reading_of(slot, series, facts) for slot in self.recorder.slots)
        return [reading for reading in found if reading is not None]

    def findings(
        self, losses: Sequence[LossEvent], steps: Sequence[StepEvent] = ()
    ) -> list[Finding]:
        """Return what the numbers show to be wrong, or worth knowing.

        Args:
            losses: of the run, in order.
            steps: of the run, in order.
        """
        series = self._series(losses)
        return [*findings_of(self.readings(losses, steps)), *findings_of_loaders(series)]

    def seen(self, readings: Sequence[Reading]) -> list[dict[str, Any]]:
        """Return every slot as plain values, with what it is where that is known.

        Args:
            readings: of this run.
        """
        if self.recorder is None:
            return []
        known = {id(reading.slot): reading for reading in readings}
        return [
            evidence_of(known[id(slot)])
            if id(slot) in known
            else {
                "place": slot.place,
                "source": slot.source,
                "label": slot.label,
                "lines": slot.shown,
                "is": None,
                "grade": "unknown",
                "loss": None,
                "examples": [{"text": line.text, "shown": line.shown.text} for line in slot.lines][
                    :2
                ],
            }
            for slot in self.recorder.slots
        ]

    def _series(self, losses: Sequence[LossEvent]) -> list[Series]:
        return series_of(losses, self._loaders) if self._loaders else []

    def _facts(self, steps: Sequence[StepEvent]) -> Facts:
        micro_batches = [len(step.contributions) for step in steps if step.contributions]
        masses = Counter(
            round(part.mass, 7) for step in steps for part in step.contributions if part.mass
        )
        usual = masses.most_common(1)[0][0] if masses else 1.0
        several = bool(micro_batches) and max(micro_batches) > 1
        passes = self._loaders.passes if self._loaders else []
        counts = {length for one in passes for length in (one.batches, one.dataset) if length}
        return Facts(
            scale=usual if several else 1.0,
            coefficient=1.0 if several else usual,
            counts=tuple(sorted(counts))[:8],
        )
