"""A framework's window of batches in other micro-batches, under a budget of positions.

The framework's loop goes on over its own batches, so that what it counts is unchanged. A part is a
batch with whether its samples count, or only repeat others so that ranks are even.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.utils.data import BatchSampler

from batchproof._errors import SettingError
from batchproof._plan import expect_whole
from batchproof._trees import between
from batchproof.data import Padding, recut
from batchproof.data._shards import completes_a_stream
from batchproof.ranks import rank, world_size

Part = tuple[Any, bool]


@dataclass(slots=True)
class Budget:
    """The cut of windows that a framework draws.

    Attributes:
        tokens: the most positions of a micro-batch, its rows times its longest sample.
        lengths: lengths(batch) -> one number per sample, where recut cannot read them.
        padding: how much of all windows so far was padding, and is.
    """

    tokens: int
    lengths: Any = None
    padding: Padding = field(default_factory=Padding)

    def __post_init__(self) -> None:
        expect_whole(tokens=self.tokens)

    def cut(self, window: Sequence[Part]) -> list[Part]:
        """Return the samples that count in other micro-batches; one that does not where none does.

        Raises:
            DataError: if a batch cannot be recut.
        """
        counting = [batch for batch, counts in window if counts]
        if not counting:
            return list(window[-1:])
        parts = recut(counting, tokens=self.tokens, lengths=self.lengths)
        self.padding += parts.padding or Padding()
        return [(part, True) for part in parts]


def part_of(batch: Any, counting: tuple[int, int] | None) -> Part:
    """Return a batch without the rows that repeat others.

    Args:
        batch: as a loader gives it.
        counting: how many of its rows count, and how many there are; None where all do.
    """
    if counting is None:
        return batch, True
    return between(batch, 0, max(counting[0], 1)), counting[0] > 0


def counting_of(state: Any) -> tuple[int, int] | None:
    """Return (how many rows of a batch of accelerate repeat no others, rows); None where none does.

    accelerate fills up the last batches of an epoch with its first samples, in the order of ranks.

    Args:
        state: the GradientState, while the batch is the one that a loader gave last.

    Raises:
        SettingError: if it fills up a stream, of which no rank knows the length.
    """
    world, loader = world_size(), state.active_dataloader
    if world > 1 and completes_a_stream(getattr(loader, "dataset", None)):
        raise SettingError(
            "accelerate repeats samples of this stream until every rank has as many, and no rank "
            "knows which; expected DataLoaderConfiguration(dispatch_batches=True), or a DataLoader "
            "with drop_last=True."
        )
    if world == 1 or not state.end_of_dataloader:
        return None
    remainder = state.remainder
    if hasattr(loader, "slice_fn"):
        # rank 0 deals out the rows of each batch, and completes those of the last alone
        size = -(-int(remainder) // world)
        whole = loader.drop_last or remainder % world == 0
        return None if whole else (max(0, min(size, int(remainder) - rank() * size)), size)
    source = loader.sampler
    sampler: Any = source if isinstance(source, BatchSampler) else loader.batch_sampler
    if hasattr(sampler, "skip_batches"):
        # a loader that skips its first batches knows no sizes
        sampler = sampler.batch_sampler
        total = sampler.batch_size * (1 if sampler.split_batches else sampler.num_processes)
        remainder = 0 if sampler.drop_last else len(loader.dataset) % total
    else:
        total = loader.total_batch_size
    if remainder <= 0 or not getattr(sampler, "even_batches", True):
        return None
    size = total // world
    return max(0, min(size, int(remainder) - rank() * size)), size


def refuse_collectives(modules: Sequence[nn.Module], sharded: str | None = None) -> None:
    """Refuse a model whose passes wait for other ranks, which have another number of them.

    Args:
        modules: the models that are trained.
        sharded: what spreads their parameters over ranks, or None.

    Raises:
        SettingError: if there is one.
    """
    pairs = (each for module in modules for each in module.named_modules())
    layers = [f"SyncBatchNorm {name!r}" for name, m in pairs if isinstance(m, nn.SyncBatchNorm)]
    refused = [sharded] if sharded else layers if world_size() > 1 else []
    if refused:
        raise SettingError(
            f"tokens was given, but ranks meet in every pass of {refused[0]} and would have "
            "unequally many; expected a single device, or DDP. Leave tokens out."
        )
