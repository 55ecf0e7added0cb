"""Passes over data: when a DataLoader begins to be read, each batch that it yields, and its end."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.utils.data.dataloader as torch_loaders
from torch.utils.data import BatchSampler, IterableDataset, RandomSampler, SequentialSampler

from batchproof.ranks import world_size

# samples that are drawn twice are not looked for in larger data sets
MOST_NOTED = 1 << 20


@dataclass(slots=True)
class LoaderPass:
    """One reading of a DataLoader, from its beginning to its end or to where it was left.

    Attributes:
        batch_size: the size that a batch is to have; None where a sampler decides.
        batches: number of batches of a whole pass; None where it has no length.
        dataset: number of samples of the data set; None where it has no length.
        samples: number of samples that the sampler draws; None where unknown.
        drop_last: whether a last batch that is smaller is left out.
        copies: number of samples that a sampler repeats to fill its ranks, over all ranks, or
            to fill its last batch.
        ranks: number of processes that share the samples out; 1 where this one reads all.
        batches_read: number of batches read.
        whole: whether it was read to its end.
        end: the time of that, on the clock of the events; 0 where it was left before.
    """

    batch_size: int | None
    batches: int | None
    dataset: int | None
    samples: int | None
    drop_last: bool
    copies: int
    ranks: int = 1
    batches_read: int = 0
    whole: bool = False
    end: int = 0


class Loaders:
    """Every pass over a DataLoader while it is watched.

    Args:
        clock: the clock of the events.

    Attributes:
        at_end: called when a pass has ended.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.passes: list[LoaderPass] = []
        self.stamps = array("q")  # of every batch yielded
        self.numbers = array("q")  # the pass that it belongs to
        self._clock = clock
        self.at_end: Callable[[], object] = bool
        self._open: dict[int, int] = {}
        self._indices: dict[int, list[Any]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice every pass until the block ends."""
        loader, reader = torch_loaders.DataLoader, torch_loaders._BaseDataLoaderIter  # noqa: SLF001
        begin, advance = loader.__iter__, reader.__next__

        def started(data: Any) -> Any:
            iterator = begin(data)
            self._begin(data, iterator)
            return iterator

        def advanced(iterator: Any) -> Any:
            try:
                batch = advance(iterator)
            except StopIteration:
                self._end(iterator)
                raise
            self._yield(iterator)
            return batch

        loader.__iter__, reader.__next__ = started, advanced  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            loader.__iter__, reader.__next__ = begin, advance  # type: ignore[method-assign]

    def latest(self) -> tuple[int, int]:
        """Return the pass of the batch that was read last, and its number; -1 before the first."""
        return (self.numbers[-1], len(self.numbers)) if self.numbers else (-1, -1)

    def _begin(self, loader: Any, iterator: Any) -> None:
        self._open[id(iterator)] = len(self.passes)
        self.passes.append(_described(loader))
        if _may_refill(loader):
            indices = self._indices[id(iterator)] = []
            most = 2 * len(loader.dataset)
            iterator._sampler_iter = _noted(iterator._sampler_iter, indices, most)  # noqa: SLF001

    def _yield(self, iterator: Any) -> None:
        number = self._open.get(id(iterator))
        if number is not None:
            self.passes[number].batches_read += 1
            self.stamps.append(self._clock())
            self.numbers.append(number)

    def _end(self, iterator: Any) -> None:
        number = self._open.pop(id(iterator), None)
        indices = self._indices.pop(id(iterator), None)
        if number is not None:
            loader_pass = self.passes[number]
            loader_pass.whole = True
            loader_pass.end = self._clock()
            if indices:
                loader_pass.copies = _refilled(indices, loader_pass)
            self.at_end()


def _described(loader: Any) -> LoaderPass:
    dataset = _length(getattr(loader, "dataset", None))
    sampler = getattr(loader, "sampler", None)
    total = getattr(sampler, "total_size", 0)
    over_ranks = hasattr(sampler, "num_replicas") and not getattr(sampler, "drop_last", False)
    copies = total - dataset if over_ranks and dataset else 0
    return LoaderPass(
        batch_size=getattr(loader, "batch_size", None),
        batches=_length(loader),
        dataset=dataset,
        samples=_length(sampler),
        drop_last=bool(getattr(loader, "drop_last", False)),
        copies=max(0, copies),
        ranks=world_size() if getattr(sampler, "num_replicas", 1) > 1 else 1,
    )


def _may_refill(loader: Any) -> bool:
    """Return whether a sampler that is not torch's draws the samples of one process."""
    if world_size() > 1 or isinstance(loader.dataset, IterableDataset):
        return False
    is_usual = type(loader.batch_sampler) in {BatchSampler, type(None)}
    if is_usual and type(loader.sampler) in {SequentialSampler, RandomSampler}:
        return False
    return 0 < (_length(loader.dataset) or 0) <= MOST_NOTED


def _noted(batches: Iterable[Any], indices: list[Any], most: int) -> Iterator[Any]:
    """Return the same batches of indices, and note each index."""
    for batch in batches:
        if len(indices) < most:
            indices += batch if isinstance(batch, list | tuple) else [batch]
        yield batch


def _refilled(indices: list[Any], loader: LoaderPass) -> int:
    """Return how many samples were drawn again at the end of a pass that drew each before.

    A sampler that draws at random with replacement leaves some out, or repeats earlier.
    """
    dataset = loader.dataset or 0
    copies = len(indices) - dataset
    if not 0 < copies < len(indices) / max(loader.batches_read, 1):
        return loader.copies
    return copies if set(indices[:dataset]) == set(range(dataset)) else loader.copies


def _length(thing: Any) -> int | None:
    try:
        return len(thing)
    except (TypeError, NotImplementedError, AttributeError):
        return None
