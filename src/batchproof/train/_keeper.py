"""Where a run's records and checkpoints go: nowhere but memory, or a run folder.

Only the writer keeps anything: one process of all the ranks that train together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from batchproof.ranks import in_shards
from batchproof.runs import Record
from batchproof.runs._shards import without_shards, write_shards


@dataclass(slots=True)
class Checkpoint:
    """Everything that a run needs to go on.

    Attributes:
        weights: the model's state.
        averaged: the state of the averaged weights, or None.
        rest: all other states, in types that load with weights_only=True.
        shards: of one that was read, the folder where that of it lies which lay in shards.
    """

    weights: Mapping[str, Any]
    averaged: Mapping[str, Any] | None
    rest: dict[str, Any]
    shards: Path | None = None

    def apart(self) -> tuple["Checkpoint", dict[str, Tensor]]:
        """Return it without its tensors in shards, and these by path."""
        shards: dict[str, Tensor] = {}
        names = ("weights", "averaged", "rest")
        kept = without_shards({name: getattr(self, name) for name in names}, shards)
        return Checkpoint(**kept), shards


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
    """For ranks that are not the writer: keeps the best weights in memory, and writes nothing.

    Args:
        run_dir: the run folder, which the writer keeps.
    """

    def __init__(self, run_dir: Path | None = None) -> None:
        super().__init__()
        self.run_dir = run_dir

    def take(self, best: Mapping[str, Tensor] | None) -> None:
        """Hold these as the best weights."""
        self._best = None if best is None else dict(best)


class ShardKeeper(NoKeeper):
    """For ranks that are not the writer and hold shards of the model: writes these beside.

    Args:
        run_dir: the run folder.
        group: the process group.
        read: reads the best weights from the run folder.
    """

    def __init__(
        self, run_dir: Path, group: Any, read: Callable[[], Mapping[str, Tensor] | None]
    ) -> None:
        super().__init__(run_dir)
        self._group, self._read = group, read

    def begin(self, checkpoint: Checkpoint) -> None:
        """Write this rank's shards of the first checkpoint."""
        self.save_last(checkpoint)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write this rank's shards of a checkpoint."""
        write_shards(checkpoint.apart()[1], None, self._group)

    def save_best(self, weights: Mapping[str, Any], record: Record) -> None:
        """Write this rank's shards of the best weights."""
        del record
        self.save_last(Checkpoint(weights, None, {}))

    def best_state(self) -> Mapping[str, Tensor] | None:
        """Return the best weights, read from the folder; None before the first."""
        return self._read()


def copied(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state on the host, sharing no memory with it.

    Those in shards stay on their device, where alone they can be put back.
    """
    return {
        name: value.detach().clone() if in_shards(value) else value.detach().to("cpu", copy=True)
        for name, value in weights.items()
        if isinstance(value, Tensor)
    }
