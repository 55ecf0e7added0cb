"""One data set over several ranks: every sample on exactly one of them, none dropped, none twice.

    rank r of R draws the samples   order[r], order[r + R], order[r + 2R], ...

so that the k-th batches of all ranks together are the samples of the k-th batch, R times as
large, of one process. Ranks differ by at most one sample; a rank may have none.
"""

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

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

    accelerate's completes the last batches with the first samples. torch's DistributedSampler
    repeats some, too, which is refused where a number is measured; in training they are others in
    each epoch.

    Args:
        loader: any iterable of batches.
        evaluated: whether the loader's samples are measured, and not trained on.

    Raises:
        SettingError: if it repeats samples.
    """
    batches = getattr(loader, "batch_sampler", None)
    if getattr(batches, "even_batches", False) and _completes(batches):
        raise SettingError(
            "accelerate repeats samples in this loader until every rank has as many, and they "
            "would count twice. Ranks need not have as many here: Accelerator(dataloader_config="
            "DataLoaderConfiguration(even_batches=False))."
        )
    sampler = getattr(loader, "sampler", None)
    if evaluated and isinstance(sampler, DistributedSampler):
        samples = len(sampler.dataset)  # type: ignore[arg-type]
        if sampler.total_size > samples:
            raise SettingError(
                f"DistributedSampler draws {sampler.total_size} samples of {samples}, repeating "
                "some so that every rank has as many, and they would count twice. Use "
                "batchproof.data.ShardSampler."
            )


def _completes(batches: Any) -> bool:
    """Return whether accelerate's sampler of batches completes some with further samples."""
    inner = getattr(batches, "batch_sampler", None)
    size = getattr(batches, "batch_size", None)
    if getattr(batches, "drop_last", False) or getattr(batches, "num_processes", 1) < 2:
        return False
    try:
        samples = len(inner.sampler)  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        # batches of one's own, of which even their number may be uneven
        return True
    whole = 1 if getattr(batches, "split_batches", False) else batches.num_processes
    return not size or bool(samples % (size * whole))


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
