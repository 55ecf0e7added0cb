"""Hits of training batches, of which many are looked through at once.

One batch of few classes takes as long to look through as its loss does to compute, and nobody may
ever ask for its accuracy. Logits and targets are therefore kept until there are enough of them.
"""

import numpy as np
import torch
from torch import Tensor

from batchproof.watch._ledger import Loss
from batchproof.watch._losses import Call

# elements that wait at most: small tensors that live on keep large ones from being given back
WAITING = 1 << 14
# the loss, its logits and target, and their versions
Batch = tuple[Loss, Tensor, Tensor, int, int]


class Hits:
    """Logits and targets that wait to be looked through."""

    def __init__(self) -> None:
        self._waiting: list[Batch] = []
        self._elements = 0

    def later(self, loss: Loss, call: Call) -> bool:
        """Count the hits of a loss later, unless its logits would keep more memory than their own.

        Args:
            loss: takes the hits.
            call: its call, on the CPU.

        Returns:
            Whether they are counted later.
        """
        if call.classes is None or call.counts is not None:
            return False
        logits, target = call.classes
        # a part of a tensor would keep the whole
        if logits.ndim != 2 or target.ndim != 1 or logits._base is not None:  # noqa: SLF001
            return False
        versions = logits._version, target._version  # noqa: SLF001
        self._waiting.append((loss, logits.detach(), target, *versions))
        self._elements += logits.numel()
        if self._elements > WAITING:
            self.settle()
        return True

    def settle(self) -> None:
        """Count the hits of every batch that waits and that the script did not write to since."""
        waiting, self._waiting, self._elements = self._waiting, [], 0
        groups: dict[tuple[int, torch.dtype], list[Batch]] = {}
        for batch in waiting:
            _, logits, target, *versions = batch
            if versions == [logits._version, target._version]:  # noqa: SLF001
                groups.setdefault((logits.shape[1], logits.dtype), []).append(batch)
        for batches in groups.values():
            targets = [target for _, _, target, *_ in batches]
            choices = torch.cat([logits for _, logits, *_ in batches]).argmax(1)
            right = choices.eq(torch.cat(targets)).numpy()
            starts = np.cumsum([0, *(target.numel() for target in targets)])[:-1]
            hits = np.add.reduceat(right, starts, dtype=np.int64)
            for batch, count in zip(batches, hits.tolist(), strict=True):
                batch[0].hits = float(count)
