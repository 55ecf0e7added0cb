"""A loader's batches, epoch by epoch, from any place within an epoch.

A loader may say where it stands by the protocol set_epoch(epoch) and batches_from(start), which
draws nothing that was done. Any other is put back to the generators that it began the epoch with,
and drawn past what was done.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import CheckpointError, DataError
from batchproof.ranks import in_a_group
from batchproof.train._randomness import capture, restore


class Walk:
    """Draws a loader's batches by epoch.

    Args:
        loader: any iterable of batches.
        limit: batches an epoch at most, or None for all.
    """

    def __init__(self, loader: Iterable[Any], *, limit: int | None = None) -> None:
        self.loader = loader
        self._limit = limit
        self._began: dict[str, Any] = {}

    def __len__(self) -> int:
        size = len(self.loader)  # type: ignore[arg-type]
        return size if self._limit is None else min(size, self._limit)

    @property
    def batches(self) -> int | None:
        """How many batches an epoch has, or None where the loader does not say."""
        try:
            return len(self)
        except TypeError:
            return None

    def begin(self, epoch: int) -> Iterator[Any]:
        """Return the batches of an epoch, counted from 0."""
        self._set_epoch(epoch)
        self._began = self.generators()
        return islice(iter(self.loader), self._limit)

    def resume(self, epoch: int, start: int, began: Mapping[str, Any]) -> Iterator[Any]:
        """Return the batches of an epoch from the one numbered start on.

        The generators are left as they were, so what is drawn next is what would have been.

        Args:
            epoch: counted from 0.
            start: batches that are done.
            began: what state_dict gave after the epoch was begun.

        Raises:
            CheckpointError: if the loader gives fewer batches than were done.
        """
        self._set_epoch(epoch)
        self._began = dict(began)
        rest = None if self._limit is None else max(self._limit - start, 0)
        if hasattr(self.loader, "batches_from"):
            return islice(self.loader.batches_from(start), rest)
        now = self.generators()
        self._restore(began)
        batches = iter(self.loader)
        done = sum(1 for _ in islice(batches, start))
        self._restore(now)
        if done < start and not in_a_group():
            raise CheckpointError(
                f"the checkpoint stands after batch {start} of its epoch but the loader gives "
                f"{done}; resume with the data and batch size it was made with."
            )
        return islice(batches, rest)

    def state_dict(self) -> dict[str, Any]:
        """Return the generators that the present epoch was begun with."""
        return self._began

    def generators(self) -> dict[str, Any]:
        """Return the states of all generators that decide what is drawn."""
        return {"random": capture(), "own": self.own_states()}

    def own_states(self) -> list[Tensor]:
        """Return the states of the loader's own generators."""
        return [generator.get_state() for generator in self._own()]

    def restore(self, states: Sequence[Tensor]) -> None:
        """Put the loader's own generators back."""
        for generator, state in zip(self._own(), states, strict=False):
            generator.set_state(state)

    def fingerprint(self, began: Mapping[str, Any] | None = None) -> str:
        """Return a digest of the first epoch's first batch, leaving every generator as it was.

        Args:
            began: the generators that the first epoch was begun with; None for those of now.

        Raises:
            DataError: if the loader gives no batch.
        """
        now = self.generators()
        if began is not None:
            self._restore(began)
        self._set_epoch(0)
        try:
            first = next(iter(self.loader), None)
        finally:
            self._restore(now)
        if first is None:
            msg = "the training loader gave no batch; expected one or more."
            raise DataError(msg)
        return digest(first)

    def _set_epoch(self, epoch: int) -> None:
        for part in (self.loader, getattr(self.loader, "sampler", None)):
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
                return

    def _own(self) -> list[torch.Generator]:
        parts = (self.loader, getattr(self.loader, "sampler", None))
        found = [getattr(part, "generator", None) for part in parts]
        unique = {id(g): g for g in found if isinstance(g, torch.Generator)}
        return list(unique.values())

    def _restore(self, generators: Mapping[str, Any]) -> None:
        restore(generators["random"])
        self.restore(generators["own"])


def digest(batch: Any) -> str:
    """Return a digest of everything in a batch: shapes, types and values."""
    running = hashlib.sha256()
    _feed(running, batch)
    return running.hexdigest()[:16]


def _feed(running: Any, part: Any) -> None:
    if isinstance(part, Tensor):
        values = part.detach().cpu().contiguous()
        running.update(f"{values.dtype}{tuple(values.shape)}".encode())
        running.update(values.flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(part, Mapping):
        for key in part:
            running.update(str(key).encode())
            _feed(running, part[key])
    elif isinstance(part, tuple | list):
        for each in part:
            _feed(running, each)
    elif hasattr(part, "__dict__") and vars(part):
        _feed(running, vars(part))
    else:
        running.update(type(part).__name__.encode())
        running.update(repr(part).encode() if isinstance(part, str | int | float) else b"")
