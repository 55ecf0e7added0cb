"""Cuts: ways to hand the same samples to one step, by rank and micro-batch.

    whole           all samples in one micro-batch: what every other cut is compared with
    one-by-one      one sample a micro-batch
    halves          two micro-batches of equal size
    uneven          1 sample, then the rest
    ragged-1, -2    sizes drawn at random from a fixed seed
    sorted          by length, the longest last, in three uneven micro-batches
    permuted        in another order, in uneven micro-batches
    masked          halves with a fully masked micro-batch between them
    padded          one sample a micro-batch, each padded on the right as the longest needs
    short-last-window  for loops that take a loader: a full window, then one that is short
    ranks-R-even, ranks-R-uneven, ranks-R-empty   over R processes

A cut that does not apply (nothing to mask, nothing that is padded) is left out of "standard".
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchproof._errors import ProbeError

NAMES = (
    "whole",
    "one-by-one",
    "halves",
    "uneven",
    "ragged-1",
    "ragged-2",
    "sorted",
    "permuted",
    "masked",
    "padded",
    "short-last-window",
)


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch of a cut.

    Attributes:
        samples: indices of its samples, in order; the index after the last sample stands for
            the fully masked one.
        beside: collated together with these too, whose rows are then dropped: padding as wide
            as the widest of all needs.
        padded: widened on the right by the `pad` callable.
    """

    samples: tuple[int, ...]
    beside: tuple[int, ...] = ()
    padded: bool = False


@dataclass(frozen=True)
class Cut:
    """The samples of one step, cut.

    Attributes:
        name: what the report calls it.
        ranks: for each rank its micro-batches, in order.
        reference: the cut of one micro-batch that it is compared with: "whole", or
            "whole+masked" where a masked sample has been added.
        before: a full window of micro-batches that the loop sees first.
    """

    name: str
    ranks: tuple[tuple[MicroBatch, ...], ...]
    reference: str = "whole"
    before: tuple[MicroBatch, ...] = ()

    @property
    def pieces(self) -> tuple[MicroBatch, ...]:
        """Return the micro-batches of all ranks."""
        return tuple(piece for rank in self.ranks for piece in rank)

    def describe(self) -> str:
        """Return the sizes, such as "1 + 7" or "4 | 3 + 1" where ranks are separated by a bar."""
        sizes = [" + ".join(str(len(p.samples)) for p in rank) or "none" for rank in self.ranks]
        text = " | ".join(sizes)
        if len(set(map(len, (p.samples for p in self.pieces)))) == 1 and len(self.pieces) > 3:
            text = f"{len(self.pieces)} x {len(self.pieces[0].samples)}"
        return text


def cut_of(name: str, *ranks: Sequence[Sequence[int]]) -> Cut:
    """Return a cut from plain lists: for each rank, its micro-batches of sample indices."""
    return Cut(name, tuple(tuple(MicroBatch(tuple(piece)) for piece in rank) for rank in ranks))


def split(order: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Cut the order into pieces of these sizes."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [tuple(order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def even_sizes(total: int, parts: int) -> list[int]:
    """Return sizes that add up to the total and differ by at most one."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def ragged_sizes(total: int, seed: int, most: int | None = None) -> list[int]:
    """Return sizes drawn at random, at least two of them, not all equal where that can be."""
    draw = random.Random(f"ragged {total} {seed}")
    most = min(total, most or total)
    for _ in range(100):
        parts = draw.randint(2, max(2, most))
        ends = sorted(draw.sample(range(1, total), min(parts, total) - 1))
        sizes = [b - a for a, b in zip([0, *ends], [*ends, total], strict=True)]
        if len(set(sizes)) > 1:
            return sizes
    return sizes


# shares(samples, batch size, ranks): for every rank the batches that make its number, each with how
# often it counts
Shares = Callable[[int, int, int], list[list[tuple[tuple[int, ...], int]]]]


@dataclass(frozen=True)
class Facts:
    """What is known about the samples before any cut is made.

    Attributes:
        count: number of samples.
        lengths: a length for each sample, to sort by.
        masked: whether a fully masked sample can be made.
        beside: the index of the sample that is padded widest, where widths differ.
        padding: whether a `pad` callable was given.
        window: micro-batches per window, for loops that take a loader.
        mask: the part of a sample that says which of its elements count; None if there is none.
        unmasked: whether samples look as if some elements could count and others not, but no
            fully masked sample could be made.
        shares: which samples the batches of each rank hold, where a loader shares them out.
    """

    count: int
    lengths: tuple[int, ...]
    masked: bool = False
    beside: int | None = None
    padding: bool = False
    window: int | None = None
    mask: Any = None
    unmasked: bool = False
    shares: Shares | None = None


def standard_cuts(
    facts: Facts, worlds: Sequence[int], *, every_size: bool = False, own_shards: bool = False
) -> list[Cut]:
    """Return every cut that applies, the whole first.

    Args:
        facts: what is known about the samples.
        worlds: numbers of ranks.
        every_size: also batches of 2, 3, ... samples, the last as large as what is left.
        own_shards: over ranks, numbers of batches that a run which shares them out must pad.
    """
    n, most = facts.count, facts.window or facts.count
    order = list(range(n))
    cuts = [cut_of("whole", [order])]
    if n > 1:
        cuts += [
            cut_of("one-by-one", split(order, even_sizes(n, min(n, most)))),
            cut_of("halves", split(order, even_sizes(n, 2))),
        ]
    if n > 2:
        by_length = sorted(order, key=lambda i: facts.lengths[i])
        permutation = random.Random(f"permuted {n}").sample(order, n)
        cuts += [
            cut_of("uneven", split(order, [1, n - 1])),
            cut_of("ragged-1", split(order, ragged_sizes(n, 1, most))),
            cut_of("ragged-2", split(order, ragged_sizes(n, 2, most))),
            cut_of("permuted", split(permutation, ragged_sizes(n, 3, most))),
        ]
        if len(set(facts.lengths)) > 1:
            cuts.append(cut_of("sorted", split(by_length, ragged_sizes(n, 4, min(3, most)))))
    cuts = [cut for cut in cuts if len(cut.pieces) <= most]
    if every_size:
        cuts += [_batches_of(size, n) for size in range(2, min(n, 9))]
    cuts += _special_cuts(facts)
    for world in worlds:
        if world > 1:
            cuts += own_cuts(n, world) if own_shards else rank_cuts(n, world)
    return cuts


def _batches_of(size: int, n: int) -> Cut:
    return cut_of(f"batches-of-{size}", _batches(range(n), size))


def _batches(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def _special_cuts(facts: Facts) -> list[Cut]:
    n, most = facts.count, facts.window or max(facts.count, 3)
    halves = split(range(n), even_sizes(n, 2)) if n > 1 else [(0,)]
    cuts = []
    if facts.masked and most >= 3 and n > 1:
        middle = cut_of("masked", [halves[0], (n,), halves[1]])
        cuts.append(replace(middle, reference="whole+masked"))
    singles = [MicroBatch((i,)) for i in range(n)]
    if facts.window and facts.window < n:
        singles = [MicroBatch(piece) for piece in split(range(n), even_sizes(n, facts.window))]
    if facts.beside is not None:
        wide = (replace(piece, beside=(facts.beside,)) for piece in singles)
        cuts.append(Cut("padded", (tuple(wide),)))
    elif facts.padding:
        cuts.append(Cut("padded", (tuple(replace(piece, padded=True) for piece in singles),)))
    if facts.window and facts.window > 1 and n >= facts.window:
        full = tuple(MicroBatch(piece) for piece in split(range(n), even_sizes(n, facts.window)))
        short = tuple(MicroBatch(p) for p in split(range(n), even_sizes(n, facts.window - 1)))
        cuts.append(Cut("short-last-window", (short,), before=full))
    return cuts


def rank_cuts(n: int, world: int) -> list[Cut]:
    """Return the cuts over so many ranks: even, uneven, and one rank that has nothing."""
    order = list(range(n))
    shares = split(order, even_sizes(n, world))
    heavy = split(order, [n - world + 1, *[1] * (world - 1)])
    cuts = [Cut(f"ranks-{world}-even", tuple((MicroBatch(s),) for s in shares if s))]
    if n > world:
        cuts.append(Cut(f"ranks-{world}-uneven", tuple((MicroBatch(s),) for s in heavy)))
    rest = split(order, even_sizes(n, world - 1))
    empty: list[tuple[MicroBatch, ...]] = [(MicroBatch(s),) for s in rest]
    cuts.append(Cut(f"ranks-{world}-empty", (*empty, ())))
    return [cut for cut in cuts if len(cut.ranks) == world]


def own_cuts(n: int, world: int) -> list[Cut]:
    """Return cuts for a run that shares batches out itself: n batches, and one fewer.

    One of the two numbers is not divisible by the number of ranks.

    Args:
        n: number of samples.
        world: number of ranks.
    """
    cuts = []
    for name, sizes in (("all", [1] * n), ("all-but-one", [2, *[1] * (n - 2)])):
        pieces = [MicroBatch(samples) for samples in split(range(n), sizes)]
        shares = split(range(len(pieces)), even_sizes(len(pieces), world))
        ranks = tuple(tuple(pieces[i] for i in share) for share in shares)
        cuts.append(Cut(f"ranks-{world}-{name}", ranks))
    return cuts


def sized_cuts(n: int, worlds: Sequence[int]) -> list[Cut]:
    """Return cuts for a loader that takes one batch size, and shares its batches out itself.

    Args:
        n: number of samples.
        worlds: numbers of ranks.
    """
    order = range(n)
    cuts = [cut_of("whole", [order]), cut_of("one-by-one", _batches(order, 1))]
    cuts += [_batches_of(size, n) for size in range(2, min(n, 9))]
    for world in worlds:
        sizes = dict.fromkeys((1, 2, 4, math.ceil(n / world))) if world > 1 else ()
        for size in sizes:
            batches = _batches(order, size)
            each = math.ceil(len(batches) / world)
            ranks = [batches[each * rank : each * (rank + 1)] for rank in range(world)]
            cuts.append(cut_of(f"ranks-{world}-batches-of-{size}", *ranks))
    return cuts


def extra_cuts(n: int, count: int, most: int | None = None) -> list[Cut]:
    """Return further random cuts, each over another order, for fits that need many equations."""
    cuts = []
    for seed in range(count):
        order = random.Random(f"extra {seed}").sample(range(n), n)
        sizes = ragged_sizes(n, 100 + seed, min(most or n, 2 + seed % 3))
        cuts.append(cut_of(f"extra-{seed}", split(order, sizes)))
    return cuts


Chosen = str | Sequence[str | Cut] | Mapping[str, Sequence[Sequence[int]]]


def choose(cuts: Chosen, available: Sequence[Cut], count: int) -> list[Cut]:
    """Return the cuts that were asked for, the whole always first.

    Args:
        cuts: "standard", names, Cuts, or a mapping of names to lists of lists of indices.
        available: the standard cuts of these samples.
        count: number of samples.

    Raises:
        ProbeError: if a name is unknown, does not apply, or indices are not the samples'.
    """
    by_name = {cut.name: cut for cut in available}
    if cuts == "standard":
        return list(available)
    if isinstance(cuts, str):
        cuts = [name.strip() for name in cuts.split(",")]
    if isinstance(cuts, Mapping):
        cuts = [cut_of(name, pieces) for name, pieces in cuts.items()]
    result = [by_name["whole"]]
    for cut in cuts:
        if isinstance(cut, str) and cut == "standard":
            result += available
        elif isinstance(cut, str):
            result.append(_named(cut, by_name))
        else:
            result.append(_valid(cut, count))
    return list({cut.name: cut for cut in result}.values())


def _named(name: str, by_name: Mapping[str, Cut]) -> Cut:
    if name in by_name:
        return by_name[name]
    if name in NAMES:
        raise ProbeError(
            f"cut {name!r} does not apply to these samples; those that do: {', '.join(by_name)}."
        )
    raise ProbeError(f"unknown cut {name!r}; there are: standard, {', '.join(by_name)}.")


def _valid(cut: Cut, count: int) -> Cut:
    used = sorted(i for piece in cut.pieces for i in piece.samples)
    if used != list(range(count)):
        raise ProbeError(
            f"cut {cut.name!r} holds samples {used}; it must hold each of 0 to {count - 1} once."
        )
    return cut
