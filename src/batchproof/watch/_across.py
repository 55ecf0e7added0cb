"""The shares of all ranks: each sends its own to rank 0, which judges them together."""

import json
from collections.abc import Callable, Iterable
from gc import get_objects
from math import nan
from typing import Any

from torch.nn.parallel import DistributedDataParallel

from batchproof import ranks
from batchproof.watch._ledger import Ledger, Loss
from batchproof.watch._windows import Part, window_of

SECONDS = 20.0


class Ranks:
    """The contributions of the other ranks to each step.

    Attributes:
        parallel: the parameters whose gradients DistributedDataParallel averages, by identity.
        missing: number of ranks that sent nothing in time.
    """

    def __init__(self) -> None:
        self.parallel: set[int] = set()
        self.missing = 0
        self._is_done = False

    def _find_wrappers(self) -> None:
        for thing in get_objects():
            if issubclass(type(thing), DistributedDataParallel) and "_modules" in vars(thing):
                self.parallel |= {id(parameter) for parameter in thing.parameters()}

    def note(self, ledger: Ledger) -> None:
        """Record the number of ranks over which the gradient of an optimiser is averaged."""
        if ranks.in_a_group():
            self._find_wrappers()
            over_ranks = any(
                id(parameter) in self.parallel or ranks.in_shards(parameter)
                for parameter in ledger.parameters()
            )
            ledger.world = ranks.world_size() if over_ranks else 1

    def exchange(
        self, ledgers: Iterable[Ledger], own: Callable[[], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Send this rank's records to rank 0, and return those of the others there. Once a run.

        Args:
            ledgers: the optimisers; the others' micro-batches are added to those of rank 0.
            own: returns what else is sent, as plain values.
        """
        over_ranks = [ledger for ledger in ledgers if ledger.world > 1]
        if self._is_done or not ranks.in_a_group():
            return []
        self._is_done = True
        steps = [[_texts(record) for record in ledger.records] for ledger in over_ranks]
        text = json.dumps({"steps": steps, **own()})
        texts = ranks.left_for_first("watch", text, seconds=SECONDS)
        self.missing = ranks.world_size() - len(texts) if ranks.is_first() else 0
        if self.missing or not ranks.is_first():
            for ledger in over_ranks:
                ledger.world = 1
            return []
        others: list[dict[str, Any]] = [json.loads(text) for text in texts[1:]]
        for other in others:
            for ledger, records in zip(over_ranks, other["steps"], strict=False):
                for record, parts in zip(ledger.records, records, strict=False):
                    record.elsewhere += [_part(values) for values in parts]
        return others


def _texts(record: Any) -> list[list[Any]]:
    return [
        [
            part.loss.index, part.loss.site, part.loss.term, part.loss.kind, part.loss.reduction,
            part.loss.samples, part.loss.size, part.loss.elements, part.loss.weight,
            part.backward, list(part.term), part.mass, part.weight, part.alike,
            part.alike_by_sample, part.padded, part.precision,
        ]
        for part in window_of(record).parts
    ]  # fmt: skip


def _part(values: list[Any]) -> Part:
    index, site, term, kind, reduction, samples, size, elements, weight, *rest = values
    loss = Loss(index, site, term, kind, reduction, True, samples, size, elements, nan, weight)  # noqa: FBT003
    backward, key, *more = rest
    return Part(loss, backward, (key[0], key[1], key[2]), *more)
