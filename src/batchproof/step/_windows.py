"""Accumulation windows: the micro-batches that one optimiser step is taken over."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from batchproof._errors import SettingError

Batch = TypeVar("Batch")


def windows(loader: Iterable[Batch], accumulate: int = 1) -> Iterator[list[Batch]]:
    """Cut a loader into lists of at most `accumulate` micro-batches; the last may be shorter.

    Args:
        loader: any iterable of batches.
        accumulate: micro-batches in a full window.

    Yields:
        Lists of 1 to `accumulate` micro-batches, in order, each batch once.

    Raises:
        SettingError: if accumulate is less than 1.

    Example:
        >>> [len(window) for window in windows(range(10), accumulate=4)]
        [4, 4, 2]
    """
    if accumulate < 1:
        raise SettingError(f"accumulate is {accumulate}; a window holds 1 micro-batch or more.")
    batches = iter(loader)
    while window := list(islice(batches, accumulate)):
        yield window
