"""Where a run's records and checkpoints go: nowhere but memory, or a run folder.

Only the writer keeps anything: one process of all the ranks that train together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from batchproof.train._records import Record


@dataclass(slots=True)
class Checkpoint:
    """Everything that a run needs to go on.

    Attributes:
        weights: the model's state.
        averaged: the state of the averaged weights, or None.
        rest: all other states, in types that load with weights_only=True.
    """

    weights: Mapping[str, Any]
    averaged: Mapping[str, Any] | None
    rest: dict[str, Any]


@runtime_checkable
class Keeper(Protocol):
    """What a run needs of the place where it is kept."""

    @property
    def run_dir(self) -> Path | None:
        """The run folder, None where nothing is written."""

    def begin(self, checkpoint: Checkpoint) -> None:
        """Begin a run, at a state before the first step."""

    def log(self, records: Sequence[Record]) -> None:
        """Keep records."""

    def time(self, values: Mapping[str, Any]) -> None:
        """Keep times and throughput, which differ from run to run."""

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Keep the state to go on from."""

    def save_best(self, weights: Mapping[str, Any], record: Record) -> None:
        """Keep a copy of the best weights."""

    def best_state(self) -> Mapping[str, Tensor] | None:
        """Return the best weights."""

    def close(self) -> None:
        """Let go of open files."""


class MemoryKeeper:
    """Writes nothing; keeps a copy of the best weights, on the host."""

    run_dir: Path | None = None

    def __init__(self) -> None:
        self._best: dict[str, Tensor] | None = None

    def begin(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""

    def log(self, records: Sequence[Record]) -> None:
        """Do nothing."""

    def time(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""

    def save_best(self, weights: Mapping[str, Any], record: Record) -> None:
        """Copy the weights, for those of the model move on."""
        del record
        self._best = copied(weights)

    def best_state(self) -> Mapping[str, Tensor] | None:
        """Return the best weights."""
        return self._best

    def close(self) -> None:
        """Do nothing."""


class NoKeeper(MemoryKeeper):
    """Writes nothing: for ranks that are not the writer, which hold the best weights all the same.

    Args:
        best: the best weights so far, where a run goes on.
    """

    def __init__(self, best: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.take(best)

    def take(self, best: Mapping[str, Tensor] | None) -> None:
        """Hold these as the best weights."""
        self._best = None if best is None else dict(best)


def copied(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state on the host, sharing no memory with it."""
    return {
        name: value.detach().to("cpu", copy=True)
        for name, value in weights.items()
        if isinstance(value, Tensor)
    }


def is_writer() -> bool:
    """Return whether this process is the one of its ranks that shows and writes."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return True
    return torch.distributed.get_rank() == 0
