"""Windows drawn from a map-style data set, cut by plan before they are collated.

The order of an epoch is a function of seed and epoch. Of all ranks together, window k has the
samples

    order[k * samples], ..., order[(k + 1) * samples - 1]

Every rank plans the same cut of them from the same lengths and loads its own share, so nothing is
sent. What the data set draws at random for a sample, by the global generators, is a function of
seed, epoch and sample: of no rank, worker or cut, nor of the window that a run was resumed at.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from batchproof._errors import CheckpointError, DataError, RankError, SettingError
from batchproof._plan import CostOf, expect_whole, plan
from batchproof._trees import digest, tensors
from batchproof.data._pack import Pack
from batchproof.data._recut import recut
from batchproof.data._shards import mix, permutation
from batchproof.data._window import Padding, Window
from batchproof.ranks import in_a_group, of_all, rank, world_size


@dataclass(frozen=True, slots=True)
class _Budget:
    """The limits of a micro-batch, and its form, as plan and recut take them."""

    tokens: int | None
    rows: int | None
    cost: CostOf | None
    alone: bool
    pack: Pack

    def plan(self, lengths: Sequence[int], ranks: int) -> list[list[list[int]]]:
        return plan(
            lengths,
            tokens=self.tokens,
            rows=self.rows,
            ranks=ranks,
            cost=self.cost,
            packed=bool(self.pack),
        )

    def measured(self, length: Any, sample: int) -> int:
        """Return a sample's length; refuse one that is invalid or too long."""
        if not isinstance(length, SupportsIndex) or int(length) < 1:
            raise DataError(
                f"length is {length!r} for sample {sample}; expected a whole number, 1 or more."
            )
        if self.tokens is not None and not self.alone and int(length) > self.tokens:
            raise SettingError(
                f"sample {sample} has length {int(length)}, more than the {self.tokens} tokens of "
                "a micro-batch; raise tokens, or let it be alone."
            )
        return int(length)

    def positions(self, lengths: Sequence[int]) -> int:
        return sum(lengths) if self.pack else len(lengths) * max(lengths)


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of windows; workers hold a copy, so it holds no process group."""

    dataset: Any
    size: int
    length: Sequence[int] | Callable[[Any], int]
    collate: Callable[[list[Any]], Any]
    budget: _Budget
    seed: int
    shuffle: bool

    def checked(self) -> "_Source":
        """Return the source with its lengths measured; refuse an invalid or empty data set."""
        expect_whole(samples=self.size, tokens=self.budget.tokens, rows=self.budget.rows)
        if not len(self.dataset):
            raise DataError("the data set is empty; expected one sample or more.")
        if callable(self.length):
            return self
        if len(self.length) != len(self.dataset):
            raise DataError(
                f"length has {len(self.length)} numbers but the data set {len(self.dataset)} "
                "samples; expected one each."
            )
        numbers = enumerate(self.length)
        return replace(self, length=[self.budget.measured(each, i) for i, each in numbers])

    def identity(self) -> dict[str, Any]:
        """Return the values that decide the samples of a window."""
        facts = {"data set": len(self.dataset), "samples": self.size, "seed": self.seed}
        return {**facts, "shuffle": self.shuffle}


class DatasetWindows:
    """The windows of a data set, one epoch per pass; made by windows_of.

    Attributes:
        samples: the number of samples over all ranks.
        batch_size: the samples of a window over all ranks.
    """

    def __init__(
        self,
        source: _Source,
        *,
        epoch: int,
        workers: int,
        group: distributed.ProcessGroup | None,
    ) -> None:
        self.samples, self.batch_size = len(source.dataset), source.size
        self._source, self._epoch, self._workers, self._group = source, epoch, workers, group
        self._start = self._position = 0
        if in_a_group(group):
            self._agree()

    def __repr__(self) -> str:
        return f"DatasetWindows({self.samples} samples, {self.batch_size} a window)"

    def __len__(self) -> int:
        return (self.samples + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[Window[Any]]:
        start, self._start = self._start, 0
        return self.batches_from(start)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose windows are drawn next, from its first unless it was loaded."""
        if epoch != self._epoch:
            self._epoch, self._start, self._position = epoch, 0, 0

    def batches_from(self, start: int) -> Iterator[Window[Any]]:
        """Return this epoch's windows from the one numbered start on, without loading the rest."""
        loader: DataLoader[Any] = DataLoader(
            _Epoch(self._source, self._epoch, rank(self._group), world_size(self._group)),
            batch_size=None,
            sampler=range(start, len(self)),
            num_workers=self._workers,
            collate_fn=_as_it_is,
            # the seed of workers is drawn from it, and not from the global generator
            generator=torch.Generator(),
        )
        self._position = start
        for window in loader:
            self._position += 1
            yield window

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and the number of its windows that were drawn, for a checkpoint."""
        position = self._start or self._position
        return {"epoch": self._epoch, "window": position, "of": self._source.identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume: the next pass begins after the windows that were drawn.

        Raises:
            CheckpointError: if the state is of other windows.
        """
        if state["of"] != self._source.identity():
            raise CheckpointError(
                f"the state is of windows of {state['of']}, and these are of "
                f"{self._source.identity()}; resume with the same."
            )
        self._epoch, self._start = state["epoch"], state["window"]

    def _agree(self) -> None:
        """Refuse ranks that would plan other cuts."""
        source, budget = self._source, self._source.budget
        limits = {"tokens": budget.tokens, "rows": budget.rows, "pack": budget.pack}
        lengths = "of samples" if callable(source.length) else digest(source.length)
        mine = {**source.identity(), **limits, "epoch": self._epoch, "lengths": lengths}
        for number, theirs in enumerate(of_all(mine, self._group)):
            for name, value in theirs.items():
                if value != mine[name]:
                    raise RankError(
                        f"{name} is {mine[name]!r} on rank {rank(self._group)} and {value!r} on "
                        f"rank {number}; give windows_of the same on every rank."
                    )


class _Epoch(Dataset[Window[Any]]):
    """One epoch's windows by their number, on one rank."""

    def __init__(self, source: _Source, epoch: int, rank: int, ranks: int) -> None:
        self._source, self._rank, self._ranks = source, rank, ranks
        self._samples, self._seed = len(source.dataset), mix(source.seed, epoch)
        whole = permutation(self._samples, source.seed, epoch)
        self._order = whole if source.shuffle else torch.arange(self._samples)

    def __getitem__(self, number: int) -> Window[Any]:
        source, first = self._source, number * self._source.size
        indices = self._order[first : first + source.size].tolist()
        with _undisturbed():
            samples: dict[int, Any] = {}
            if callable(source.length):
                samples = {i: self._read(i) for i in indices}
                lengths = [source.budget.measured(source.length(samples[i]), i) for i in indices]
            else:
                lengths = [source.length[i] for i in indices]
            cut = source.budget.plan(lengths, self._ranks)
            parts = ([indices[i] for i in part] for part in cut[self._rank])
            window = Window(self._collated(part, samples) for part in parts)
        sizes = [len(part) for part in cut]
        window.longest, window.drawn = max(sizes), 1
        window.filled = [rank for rank, size in enumerate(sizes) if size]
        window.padding = self._padding(lengths, cut)
        return window

    def _read(self, sample: int) -> Any:
        _seed_cpu(mix(self._seed, sample))
        return self._source.dataset[sample]

    def _collated(self, part: list[int], samples: Mapping[int, Any]) -> Any:
        rows = [samples[i] if i in samples else self._read(i) for i in part]
        _seed_cpu(mix(self._seed, self._samples + part[0]))
        batch = self._source.collate(rows)
        pack = self._source.budget.pack
        # a collate function such as DataCollatorWithFlattening packs by itself
        if not pack or all(t.ndim == 0 or len(t) == 1 for t in tensors(batch)):
            return batch
        (row,) = recut([batch], pack=pack)
        return row

    def _padding(self, lengths: Sequence[int], cut: list[list[list[int]]]) -> Padding:
        """Return this rank's part of the padding: before, of as many micro-batches in order."""
        rows = -(-len(lengths) // sum(map(len, cut)))
        parts = [lengths[at : at + rows] for at in range(0, len(lengths), rows)]
        mine = [[lengths[i] for i in part] for part in cut[self._rank]]
        return Padding(
            sum(map(sum, mine)),
            sum(len(part) * max(part) for part in parts[self._rank :: self._ranks]),
            sum(map(self._source.budget.positions, mine)),
        )


def _as_it_is(window: Any) -> Any:
    return window


def _seed_cpu(seed: int) -> None:
    """Seed the global generators of the CPU; torch.manual_seed would seed those of devices, too."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the body seed the global generators of the CPU, and restore them."""
    python, numpy, state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(state)


def windows_of(
    dataset: Any,
    *,
    samples: int,
    tokens: int | None,
    length: Sequence[int] | Callable[[Any], int],
    collate: Callable[[list[Any]], Any],
    seed: int = 0,
    epoch: int = 0,
    group: distributed.ProcessGroup | None = None,
    rows: int | None = None,
    cost: CostOf | None = None,
    alone: bool = True,
    pack: Pack = False,
    shuffle: bool = True,
    workers: int = 0,
) -> DatasetWindows:
    """Return the windows of a map-style data set, cut by plan before they are collated.

    Iterated, they are the windows of one epoch, each a list of this rank's micro-batches for Step.
    Trainer.fit takes them as its training data. Over ranks every rank calls this, and has its
    share of every window, balanced by cost.

    Args:
        dataset: with __len__ and __getitem__.
        samples: of a window, over all ranks together; of the last one what is left.
        tokens: the most positions of a micro-batch, as plan takes it; None for no limit.
        length: the length of each sample of the data set; or length(sample), for which every rank
            reads every sample of its windows.
        collate: collate(samples) -> batch, of one micro-batch.
        seed: with the epoch, it fixes the order.
        epoch: the epoch that is drawn first; set_epoch chooses another.
        group: the ranks that take steps together; torch.distributed's default group without it,
            where one is initialised.
        rows: the most samples of a micro-batch.
        cost: as plan takes it.
        alone: whether a sample longer than tokens gets a micro-batch of its own, or is refused.
        pack: as recut takes it.
        shuffle: draw in the order given by seed and epoch, not in that of the data set.
        workers: processes that load windows ahead; 0 loads each in this process when it is drawn.

    Raises:
        SettingError: if a number is below 1.
        DataError: if the data set is empty, or its lengths are not those of its samples.
        RankError: if ranks differ in what they were given.

    Examples:
        >>> import torch
        >>> texts = [torch.ones(n) for n in (3, 30, 4, 29)]
        >>> drawn = windows_of(texts, samples=4, tokens=64, length=[3, 30, 4, 29],
        ...                    collate=torch.nn.utils.rnn.pad_sequence)
        >>> [[tuple(batch.shape) for batch in window] for window in drawn]
        [[(30, 2), (4, 2)]]
    """
    budget = _Budget(tokens, rows, cost, alone, pack)
    source = _Source(dataset, samples, length, collate, budget, seed, shuffle)
    return DatasetWindows(source.checked(), epoch=epoch, workers=workers, group=group)
