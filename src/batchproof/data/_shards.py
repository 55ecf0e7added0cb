"""One data set over several ranks: every sample on exactly one of them, none dropped, none twice.

    rank r of R draws the samples   order[r], order[r + R], order[r + 2R], ...

so that the k-th batches of all ranks together are the samples of the k-th batch, R times as
large, of one process. Ranks differ by at most one sample; a rank may have none.
"""

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, IterableDataset, Sampler

from batchproof import ranks
from batchproof._errors import SettingError


def shard(samples: int, rank: int, world_size: int) -> range:
    """Return the positions, in the order of an epoch, of the samples that a rank draws.

    Args:
        samples: the number of samples over all ranks.
        rank: this rank, from 0 to world_size - 1.
        world_size: the number of ranks.

    Returns:
        Every world_size-th position from rank on. Over all ranks each occurs exactly once.

    Raises:
        SettingError: if there is no such rank.

    Examples:
        >>> [list(shard(5, rank, 3)) for rank in range(3)]
        [[0, 3], [1, 4], [2]]
    """
    if not 0 <= rank < world_size:
        raise SettingError(
            f"rank is {rank} of {world_size}; expected 0 to {world_size - 1}. "
            "Leave rank and world_size out to take them from torch.distributed."
        )
    return range(rank, samples, world_size)


def place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return (rank, world_size) as given, or those of torch.distributed's default group.

    Raises:
        SettingError: if one is given without the other.
    """
    if rank is not None and world_size is not None:
        return rank, world_size
    if rank is not None or world_size is not None:
        raise SettingError(
            f"rank is {rank} and world_size is {world_size}; expected both or neither. "
            "Leave both out to take them from torch.distributed."
        )
    return ranks.rank(), ranks.world_size()


def permutation(samples: int, seed: int, epoch: int) -> Tensor:
    """Return the order of an epoch: a pure function of its arguments, global seeds untouched."""
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    # on the CPU whatever the default device, so that the order is the same everywhere
    return torch.randperm(samples, generator=generator, device="cpu")


def mix(seed: int, epoch: int) -> int:
    """Return a seed that depends on both numbers alike."""
    # splitmix64's finaliser, so that (0, 1) and (1, 0) share nothing
    state = (seed * 0x9E3779B97F4A7C15 + epoch + 1) & 0xFFFFFFFFFFFFFFFF
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (state ^ (state >> 31)) & 0x7FFFFFFFFFFFFFFF


def refuse_repeated(loader: Any, *, evaluated: bool) -> None:
    """Refuse a loader that repeats samples to give every rank as many: they count twice.

    accelerate completes the last batches with the first samples: those of its sampler of batches,
    of a stream, and those that rank 0 deals out. torch's DistributedSampler repeats some, too,
    which is refused where a number is measured; in training they are others in each epoch.

    Args:
        loader: any iterable of batches; what it wraps and draws from is looked at, too.
        evaluated: whether the loader's samples are measured, and not trained on.

    Raises:
        SettingError: if it repeats samples.
    """
    for part in _parts_of(loader):
        if getattr(part, "even_batches", False) and _completes(part):
            raise SettingError(
                f"{_REPEATS} Accelerator(dataloader_config="
                "DataLoaderConfiguration(even_batches=False))."
            )
        if _deals_out(part) or completes_a_stream(part):
            raise SettingError(
                f"{_REPEATS} give each rank a loader of its own samples, which is not prepared, "
                "as by batchproof.data.ShardSampler. drop_last=True leaves the last samples out."
            )
        if evaluated and isinstance(part, DistributedSampler):
            samples = len(part.dataset)  # type: ignore[arg-type]
            if part.total_size > samples:
                raise SettingError(
                    f"DistributedSampler draws {part.total_size} samples of {samples}, repeating "
                    "some so that every rank has as many, and they would count twice. Use "
                    "batchproof.data.ShardSampler."
                )


_REPEATS = (
    "accelerate repeats samples in this loader until every rank has as many, and they would count "
    "twice. Ranks need not have as many here:"
)
# attributes of loaders, samplers and progress bars that hold what they draw from
_SOURCES = ("base_dataloader", "iterable", "loader", "batch_sampler", "sampler", "dataset")


def _parts_of(loader: Any) -> list[Any]:
    """Return a loader, what it wraps, and their samplers and data sets, each once."""
    parts = [loader]
    for part in parts:  # which grows meanwhile
        attributes = getattr(part, "__dict__", {})
        sources = [attributes[name] for name in _SOURCES if name in attributes]
        parts += [each for each in sources if not any(each is other for other in parts)]
    return parts


def _completes(batches: Any) -> bool:
    """Return whether accelerate's sampler of batches completes some with further samples."""
    size = getattr(batches, "batch_size", None)
    if getattr(batches, "drop_last", False) or getattr(batches, "num_processes", 1) < 2:
        return False
    # of batches of one's own even their number may be uneven
    samples = _length(getattr(getattr(batches, "batch_sampler", None), "sampler", None))
    whole = 1 if getattr(batches, "split_batches", False) else batches.num_processes
    return samples is None or not size or bool(samples % (size * whole))


def completes_a_stream(data: Any) -> bool:
    """Return whether a data set is one rank's share of a stream, completed with first samples."""
    ranks_of = getattr(data, "num_processes", 1)
    if not isinstance(data, IterableDataset) or ranks_of < 2 or getattr(data, "drop_last", False):
        return False
    samples = _length(getattr(data, "dataset", None))
    size = getattr(data, "batch_size", 1) * (
        1 if getattr(data, "split_batches", False) else ranks_of
    )
    return samples is None or bool(samples % size)


def _deals_out(loader: Any) -> bool:
    """Return whether rank 0 draws accelerate's batches, and completes the last for all ranks."""
    base = getattr(loader, "__dict__", {}).get("base_dataloader")
    if base is None or not hasattr(loader, "slice_fn") or base.drop_last:
        return False
    stream = isinstance(base.dataset, IterableDataset)
    samples = _length(base.dataset if stream else getattr(base.batch_sampler, "sampler", None))
    return samples is None or bool(samples % loader.state.num_processes)


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None


class ShardSampler(Sampler[int]):
    """Indices of one rank's samples, for a torch DataLoader, in training and in evaluation.

    Unlike torch's DistributedSampler it repeats no sample to make ranks even, and drops none.

    Args:
        data: the data set, or anything with a length.
        shuffle: draw in the order given by seed and epoch, not in that of the data.
        seed: with the epoch, it fixes the order.
        rank: this rank; with world_size, taken from torch.distributed where left out.
        world_size: the number of ranks.

    Raises:
        SettingError: if there is no such rank.

    Examples:
        >>> [list(ShardSampler("abcde", rank=rank, world_size=2)) for rank in range(2)]
        [[0, 2, 4], [1, 3]]
    """

    def __init__(
        self,
        data: Sized,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.samples = len(data)
        self._positions = shard(self.samples, *place(rank, world_size))
        self._shuffle, self._seed, self._epoch = shuffle, seed, 0

    def __repr__(self) -> str:
        return f"ShardSampler({len(self)} of {self.samples} samples)"

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[int]:
        if not self._shuffle:
            return iter(self._positions)
        order = permutation(self.samples, self._seed, self._epoch)
        indices: list[int] = order[self._positions.start :: self._positions.step].tolist()
        return iter(indices)
