"""Accumulation windows: the micro-batches that one optimiser step is taken over.

Over several ranks every rank takes the same number of steps, so a rank that ran out of data
yields windows without micro-batches until the last one is done.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, distributed

from batchproof._errors import RankError, SettingError, kind_of
from batchproof._plan import CostOf, expect_count, expect_whole
from batchproof.data import DatasetWindows, Lengths, Pack, Window, recut
from batchproof.data._checks import expect_iterable
from batchproof.data._shards import refuse_repeated
from batchproof.ranks import device_of, in_a_group, of_all, rank, world_size

Batch = TypeVar("Batch")


class Windows(Generic[Batch]):
    """A loader cut into accumulation windows; each pass over it restarts the loader.

    It has a length where the loader has one: the number of windows of this rank's own batches.

    Args:
        loader: any iterable of batches.
        accumulate: micro-batches in a full window.
        cut: the function that recuts each window, or None.
        group: the ranks that take steps together.

    Examples:
        >>> of_two = windows([1, 2, 3], accumulate=2)
        >>> list(of_two), list(of_two), len(of_two)
        ([[1, 2], [3]], [[1, 2], [3]], 2)
    """

    def __init__(
        self,
        loader: Iterable[Batch],
        accumulate: int,
        cut: Callable[[list[Batch]], Window[Batch]] | None,
        group: distributed.ProcessGroup | None,
    ) -> None:
        self._loader, self._accumulate = loader, accumulate
        self._cut, self._group = cut, group
        self._used_up = False

    def __repr__(self) -> str:
        return f"Windows({type(self._loader).__name__}, accumulate={self._accumulate})"

    def __len__(self) -> int:
        batches = len(self._loader)  # type: ignore[arg-type]
        return (batches + self._accumulate - 1) // self._accumulate

    def __iter__(self) -> Iterator[list[Batch]]:
        batches = iter(self._loader)
        if self._used_up and batches is self._loader:
            raise SettingError(
                f"the loader is {kind_of(self._loader)}, which gives its batches once, and "
                "was drawn from already; give windows a loader that can restart, such as a "
                "DataLoader or a list."
            )
        self._used_up = True
        windows = self._draw(batches)
        return windows if self._cut is None else map(self._recut, windows)

    def _draw(self, batches: Iterator[Batch]) -> Iterator[list[Batch]]:
        if not in_a_group(self._group):
            while window := list(islice(batches, self._accumulate)):
                yield window
            return
        refuse_repeated(self._loader, evaluated=False)
        lengths = _agreed(_length(self._loader), self._accumulate, self._group)
        sizes = [each for each in lengths if each is not None]
        if len(sizes) == len(lengths):
            yield from _counted(batches, self._accumulate, sizes)
        else:
            yield from _asking(batches, self._accumulate, self._group)

    def _recut(self, window: list[Batch]) -> Window[Batch]:
        assert self._cut is not None
        # the ranks agreed on the longest number of micro-batches before they were recut
        recut_window = self._cut(window)
        recut_window.drawn = batches_drawn(window)
        recut_window.filled = window.filled if isinstance(window, Window) else None
        return recut_window


def windows(
    loader: Iterable[Batch],
    accumulate: int = 1,
    *,
    tokens: int | None = None,
    lengths: Lengths | None = None,
    alone: bool = True,
    pack: Pack = False,
    cost: CostOf | None = None,
    group: distributed.ProcessGroup | None = None,
) -> Windows[Batch]:
    """Cut a loader into lists of at most `accumulate` micro-batches; the last may be shorter.

    Over several ranks all yield the same number of windows, the last ones without micro-batches
    where a rank ran out of data. Loaders with a length agree on it in one collective, when the
    first window is drawn; others ask before each window, which waits for every rank.

    Args:
        loader: any iterable of batches.
        accumulate: the loader's batches in a full window.
        tokens: the most positions of a micro-batch. With it the samples of each window are recut
            into the cheapest micro-batches under that budget and their padding is trimmed, as
            batchproof.data.recut does it. Which samples make a window does not change, and neither
            does its gradient.
        lengths: lengths(batch) -> one number per sample, where recut cannot read them.
        alone: whether a sample longer than tokens gets a micro-batch of its own, or is refused.
        pack: as recut takes it: the samples of a micro-batch end to end in one row.
        cost: cost(rows, longest) of a micro-batch, as plan takes it.
        group: the ranks that take steps together; torch.distributed's default group without it,
            where one is initialised.

    Returns:
        An iterable of lists of micro-batches, in the order of the loader; lists are empty only on
        ranks that ran out of data. It can be iterated once an epoch, and has a length where the
        loader has one.

    Raises:
        SettingError: if accumulate or tokens is not a whole number from 1, lengths or pack come
            without tokens, the loader gives windows already, or, while it is iterated, a loader is
            longer than it says, used up, or one of accelerate that repeats samples.
        DataError: while it is iterated, if a batch cannot be recut.
        RankError: while it is iterated, if ranks differ in accumulate.

    Examples:
        >>> [len(window) for window in windows(range(10), accumulate=4)]
        [4, 4, 2]
        >>> len(windows(range(10), accumulate=4))
        3
    """
    _expect_batches(loader)
    expect_count("accumulate", accumulate)
    expect_whole(tokens=tokens)
    if tokens is None:
        if lengths is not None or pack:
            name = "lengths were" if lengths is not None else "pack was"
            raise SettingError(f"{name} given without tokens; give the budget, too.")
        return Windows(loader, accumulate, None, group)
    cut = partial(recut, tokens=tokens, lengths=lengths, alone=alone, pack=pack, cost=cost)
    return Windows(loader, accumulate, cut, group)


def _expect_batches(loader: Any) -> None:
    if isinstance(loader, Windows | DatasetWindows):
        raise SettingError("the loader gives windows already; hand each to step as it comes.")
    expect_iterable("the loader", loader)


def batches_drawn(window: list[Batch]) -> int:
    """Return the number of the loader's batches in a window, on the rank that drew the most."""
    return getattr(window, "drawn", None) or getattr(window, "longest", None) or len(window)


def micro_batches_of(window: Iterable[Batch]) -> list[Batch]:
    """Return a window as a list of micro-batches.

    Raises:
        SettingError: if it is a batch.
    """
    if isinstance(window, Tensor | Mapping):
        raise SettingError(
            f"the window is {kind_of(window)}; expected a list of micro-batches. One batch "
            "is a window too: step([batch], loss)."
        )
    expect_iterable("the window", window, of="micro-batches")
    return list(window)


def _agreed(
    length: int | None, accumulate: int, group: distributed.ProcessGroup | None
) -> list[int | None]:
    """Return the length of every rank's loader; refuse ranks that cut them otherwise."""
    answers = of_all((length, accumulate), group)
    for number, (_, theirs) in enumerate(answers):
        if theirs != answers[0][1]:
            raise RankError(
                f"accumulate is {answers[0][1]} on rank 0 and {theirs} on rank {number}; ranks "
                "take steps together, so give it alike on every rank."
            )
    return [each for each, _ in answers]


def _counted(
    batches: Iterator[Batch], accumulate: int, lengths: list[int]
) -> Iterator[list[Batch]]:
    longest = max(lengths)
    for start in range(0, longest, accumulate):
        window = Window(islice(batches, accumulate))
        window.longest = min(accumulate, longest - start)
        window.filled = [rank for rank, length in enumerate(lengths) if length > start]
        yield window
    if next(batches, None) is not None:
        raise SettingError(
            f"the loader gave more batches than its length; the longest of all ranks says "
            f"{longest}. Fix __len__, or leave it out."
        )


def _asking(
    batches: Iterator[Batch], accumulate: int, group: distributed.ProcessGroup | None
) -> Iterator[list[Batch]]:
    # on the device where the group has its collectives
    device = device_of(group)
    while True:
        window = Window(islice(batches, accumulate))
        lengths = torch.zeros(world_size(group), dtype=torch.int64, device=device)
        lengths[rank(group)] = len(window)
        distributed.all_reduce(lengths, group=group)
        everyone = lengths.tolist()
        if not any(everyone):
            return
        window.longest = max(everyone)
        window.filled = [number for number, length in enumerate(everyone) if length]
        yield window


def _length(loader: Iterable[Batch]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None
