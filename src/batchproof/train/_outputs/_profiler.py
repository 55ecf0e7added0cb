"""A trace of some optimiser steps by torch.profiler, which Chrome and Perfetto open."""

from pathlib import Path
from typing import Any

from torch import profiler

from batchproof._errors import SettingError
from batchproof.ranks import rank
from batchproof.runs import History
from batchproof.step import StepResult
from batchproof.train._options import expect_positive
from batchproof.train._outputs._callback import Callback
from batchproof.train._position import Position


class Profiler(Callback):
    """Writes a trace of some steps to RUN/profile/rank-0.json, and on each other rank its own.

    A run that ends before the steps to leave out and to warm up leaves no trace.

    Args:
        wait: steps to leave out first.
        warmup: steps to warm up the profiler.
        active: steps to trace.
        folder: where the trace goes; by default to the run folder.

    Raises:
        SettingError: if a number is invalid, or there is no folder when training begins.
    """

    def __init__(
        self, *, wait: int = 5, warmup: int = 1, active: int = 3, folder: str | Path | None = None
    ) -> None:
        for name, value in (("wait", wait), ("warmup", warmup), ("active", active)):
            expect_positive(name, value)
        self._schedule = profiler.schedule(wait=wait, warmup=warmup, active=active, repeat=1)
        self._folder = None if folder is None else Path(folder)
        self._profile: Any = None

    def on_begin(self, model: Any, history: History) -> None:
        """Start the profiler."""
        del model
        folder = self._folder or (history.run_dir and history.run_dir / "profile")
        if folder is None:
            raise SettingError(
                "Profiler writes to the run folder, but run_dir is None; pass run_dir to Trainer, "
                "or folder to Profiler."
            )

        def write(profile: Any) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            profile.export_chrome_trace(str(folder / f"rank-{rank()}.json"))

        self._profile = profiler.profile(schedule=self._schedule, on_trace_ready=write)
        self._profile.start()

    def on_step(self, position: Position, result: StepResult) -> None:
        """Count a step."""
        del position, result
        self._profile.step()

    def on_close(self) -> None:
        """Stop the profiler, which writes what it has traced."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
