"""Accumulation windows: the micro-batches that one optimiser step is taken over.

Over several ranks every rank takes the same number of steps, so a rank that ran out of data
yields windows without micro-batches until the last one is done.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import SupportsIndex, TypeVar

import torch
from torch import Tensor, distributed

from batchproof._errors import RankError, SettingError
from batchproof.ranks import device_of, in_a_group, of_all

Batch = TypeVar("Batch")


class Window(list[Batch]):
    """The micro-batches of one window on this rank.

    Attributes:
        longest: how many micro-batches the rank with the most has in this window, where known.
    """

    longest: int | None = None


def windows(
    loader: Iterable[Batch],
    accumulate: int = 1,
    *,
    group: distributed.ProcessGroup | None = None,
) -> Iterator[list[Batch]]:
    """Cut a loader into lists of at most `accumulate` micro-batches; the last may be shorter.

    Over several ranks all yield the same number of windows, the last ones without micro-batches
    where a rank ran out of data. Loaders with a length agree on it in one collective, when the
    first window is drawn; others ask before each window, which waits for every rank.

    Args:
        loader: any iterable of batches.
        accumulate: micro-batches in a full window.
        group: the ranks that take steps together; torch.distributed's default group without it,
            where one is initialised.

    Yields:
        Lists of 1 to `accumulate` micro-batches, in order, each batch once; empty ones only on
        ranks that ran out of data.

    Raises:
        SettingError: if accumulate is no whole number of at least 1, or a loader is longer than it
            says.
        RankError: if ranks differ in accumulate.

    Example:
        >>> [len(window) for window in windows(range(10), accumulate=4)]
        [4, 4, 2]
    """
    if not isinstance(accumulate, SupportsIndex) or accumulate < 1:
        raise SettingError(f"accumulate is {accumulate!r}; expected a whole number, 1 or more.")
    batches = iter(loader)
    if not in_a_group(group):
        while window := list(islice(batches, accumulate)):
            yield window
        return
    lengths = _agreed(_length(loader), accumulate, group)
    known = [each for each in lengths if each is not None]
    if len(known) == len(lengths):
        yield from _counted(batches, accumulate, known)
    else:
        yield from _asking(batches, accumulate, group)


def micro_batches_of(window: Iterable[Batch]) -> list[Batch]:
    """Return a window as a list of micro-batches.

    Raises:
        SettingError: if it is a batch.
    """
    if isinstance(window, Tensor | Mapping):
        raise SettingError(
            f"the window is a {type(window).__name__}; expected a list of micro-batches. One batch "
            "is a window too: step([batch], loss)."
        )
    return list(window)


def _agreed(
    length: int | None, accumulate: int, group: distributed.ProcessGroup | None
) -> list[int | None]:
    """Return the length of every rank's loader; refuse ranks that cut them otherwise."""
    said = of_all((length, accumulate), group)
    for rank, (_, theirs) in enumerate(said):
        if theirs != said[0][1]:
            raise RankError(
                f"accumulate is {said[0][1]} on rank 0 and {theirs} on rank {rank}; ranks take "
                "steps together, so give it alike on every rank."
            )
    return [each for each, _ in said]


def _counted(
    batches: Iterator[Batch], accumulate: int, lengths: list[int]
) -> Iterator[list[Batch]]:
    longest = max(lengths)
    for begun in range(0, longest, accumulate):
        window = Window(islice(batches, accumulate))
        window.longest = min(accumulate, longest - begun)
        yield window
    if next(batches, None) is not None:
        raise SettingError(
            f"the loader gave more batches than its length; the longest of all ranks says "
            f"{longest}. Mend __len__, or leave it out."
        )


def _asking(
    batches: Iterator[Batch], accumulate: int, group: distributed.ProcessGroup | None
) -> Iterator[list[Batch]]:
    # on the device where the group has its collectives
    device = device_of(group)
    while True:
        window = Window(islice(batches, accumulate))
        longest = torch.tensor(len(window), device=device)
        distributed.all_reduce(longest, distributed.ReduceOp.MAX, group=group)
        if not longest:
            return
        window.longest = int(longest)
        yield window


def _length(loader: Iterable[Batch]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None
