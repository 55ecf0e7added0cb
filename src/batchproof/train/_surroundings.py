"""What stands around a run: where its data go, where its records go, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from batchproof.runs import History
from batchproof.train._callback import Callback
from batchproof.train._evaluate import By
from batchproof.train._keeper import Keeper
from batchproof.train._progress import Progress
from batchproof.train._signals import Signals
from batchproof.train._sums import Groups


@dataclass(slots=True)
class Surroundings:
    """What a run is told and tells besides its data.

    Attributes:
        device: where batches are brought.
        history: what was measured so far.
        keeper: where records and checkpoints go.
        progress: what is shown.
        callbacks: told of everything.
        signals: watched between steps.
        by: the group of each sample of a validation batch, for a breakdown.
        groups: the number of groups, or their names.
        group: the process group.
        max_epochs: epochs to train in all, or None.
        max_steps: optimiser steps to take in all, or None.
        checkpoint_every_steps: steps between checkpoints within an epoch, or None.
        look: called with the very first batch, before anything is written.
        identity: what must be the same when the run is resumed.
    """

    device: torch.device
    history: History
    keeper: Keeper
    progress: Progress
    callbacks: Sequence[Callback]
    signals: Signals
    by: By | None = None
    groups: Groups | None = None
    group: Any = None
    max_epochs: int | None = None
    max_steps: int | None = None
    checkpoint_every_steps: int | None = None
    look: Callable[[Any], object] = id
    identity: dict[str, Any] = field(default_factory=dict)
