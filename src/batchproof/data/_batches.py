"""Batches drawn from tensors in memory by index: no copy per sample, no worker, no collation.

The order of an epoch is a pure function of seed and epoch, so that a run resumed in the middle of
an epoch draws the same batches as one that was never stopped.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import DataError, kind_of
from batchproof._plan import expect_count
from batchproof.data._ragged import Ragged
from batchproof.data._shards import permutation, place, shard

Column = Tensor | Ragged


class Batches:
    """Batches of samples held in memory, in an order given by seed and epoch.

    Iterating yields tuples of one tensor per column, or their transforms. Batches in the
    order of the data are views of it, shuffled ones are gathered by index; integers stay as they
    are, so that uint8 images are normalised a batch at a time, on the device.

    Args:
        columns: tensors of one first dimension, (samples, ...), or Ragged of as many sequences.
        batch_size: samples per batch; the last one is smaller where they do not divide.
        shuffle: draw in the order given by seed and epoch, not in that of the data.
        seed: with the epoch, it fixes the order.
        transform: called with the batch, a tuple of columns; its result is yielded.
        device: the device of the columns, which are moved there once.
        rank: this rank; with world_size, taken from torch.distributed where left out.
        world_size: the number of ranks that share the samples, without duplicates or dropping.
        drop_last: leave out a last batch that is smaller than batch_size.

    Attributes:
        samples: the number of samples over all ranks.
        batch_size: samples per batch.

    Raises:
        SettingError: if the batch size or the rank is invalid.
        DataError: if there are no samples, a column is not a tensor, or columns differ in their
            number.

    Examples:
        >>> import torch
        >>> batches = Batches(torch.arange(10), batch_size=4)
        >>> [batch[0].tolist() for batch in batches]
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    def __init__(
        self,
        *columns: Column,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        transform: Callable[[tuple[Any, ...]], Any] | None = None,
        device: torch.device | str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        expect_count("batch size", batch_size)
        self.samples = _samples(columns)
        self.batch_size = batch_size
        self.columns = columns if device is None else tuple(c.to(device) for c in columns)
        self._positions = shard(self.samples, *place(rank, world_size))
        self._shuffle, self._seed, self._epoch = shuffle, seed, 0
        self._transform = transform
        self._drop_last = drop_last

    def __repr__(self) -> str:
        shuffled = ", shuffle=True" if self._shuffle else ""
        return f"Batches(samples={self.samples}, batch_size={self.batch_size}{shuffled})"

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self._epoch = epoch

    def __len__(self) -> int:
        here = len(self._positions)
        return here // self.batch_size if self._drop_last else -(-here // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        return self.batches_from(0)

    def batches_from(self, start: int) -> Iterator[Any]:
        """Return this epoch's batches from the one numbered start on, without drawing the rest.

        Examples:
            >>> import torch
            >>> batches = Batches(torch.arange(6), batch_size=2, shuffle=True, seed=7)
            >>> rest = [batch[0].tolist() for batch in batches.batches_from(1)]
            >>> rest == [batch[0].tolist() for batch in batches][1:]
            True
        """
        draw = self._gathered() if self._shuffle else self._sliced
        for number in range(start, len(self)):
            first = number * self.batch_size
            batch = draw(first, min(first + self.batch_size, len(self._positions)))
            yield batch if self._transform is None else self._transform(batch)

    def _sliced(self, first: int, stop: int) -> tuple[Column, ...]:
        places = self._positions[first:stop]
        return tuple(column[places.start : places.stop : places.step] for column in self.columns)

    def _gathered(self) -> Callable[[int, int], tuple[Column, ...]]:
        order = permutation(self.samples, self._seed, self._epoch)
        order = order[self._positions.start :: self._positions.step]
        orders = {device: order.to(device) for device in {c.device for c in self.columns}}

        def draw(first: int, stop: int) -> tuple[Column, ...]:
            return tuple(c.index_select(0, orders[c.device][first:stop]) for c in self.columns)

        return draw


def _samples(columns: tuple[Column, ...]) -> int:
    if not columns:
        raise DataError(
            "no columns were given; expected at least one tensor of shape (samples, ...)."
        )
    for number, column in enumerate(columns):
        if not isinstance(column, Tensor | Ragged):
            raise DataError(
                f"column {number} is {kind_of(column)}; expected a tensor of shape "
                "(samples, ...), or a Ragged. Make one with torch.as_tensor(column), and give each "
                "column by itself: Batches(images, labels, ...)."
            )
    sizes = [len(column) if column.ndim else None for column in columns]
    if None in sizes or len(set(sizes)) > 1:
        shapes = ", ".join(str(tuple(column.shape)) for column in columns)
        raise DataError(
            f"columns have shapes {shapes}; expected one first dimension, the number of samples. "
            "Give each sample one row in every column."
        )
    if not len(columns[0]):
        raise DataError(
            "the data set is empty; expected at least one sample. Check how it was selected."
        )
    return len(columns[0])
