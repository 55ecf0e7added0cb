"""Topic ranks: how a sampler that gives every rank as many samples changes the mean.

A sampler that pads repeats the first samples until their number is a multiple of the ranks, and
gives them to the ranks in turn, as torch.utils.data.DistributedSampler does; one that drops leaves
the last ones out.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, finite
from batchproof.explain._values import mean as average
from batchproof.page import Bar, Bars, Blocks, Cell, Code, Part, Row, Table, Text, Tone, number

_SHOWN = 16


def ranks(
    samples: Annotated[int, "samples in all"] = 9,
    world_size: Annotated[int, "ranks"] = 2,
    losses: Annotated[
        Sequence[float] | None,
        "loss of each sample, in order; replaces samples; 0, 1, 2 ... if not given",
    ] = None,
) -> Explanation:
    """Spread samples over ranks: repeated, dropped, averaged.

    Examples:
        >>> ranks().verdict
        'The mean over 9 samples is 4; spread over 2 ranks with 1 repeated it becomes 3.6.'
    """
    count("samples", samples, most=10_000)
    count("world_size", world_size, most=1024)
    values = tuple(map(float, range(samples))) if losses is None else finite("losses", losses)
    rounds = -(-len(values) // world_size)
    order = [index % len(values) for index in range(rounds * world_size)]
    by_rank = [order[rank::world_size] for rank in range(world_size)]
    full_rounds = list(range(len(values) // world_size * world_size))
    uneven = [list(range(rank, len(values), world_size)) for rank in range(world_size)]

    numbers = {
        "mean": average(values),
        "rank_0_alone": _of(by_rank[0], values),
        "last_rank_alone": _of(by_rank[-1], values),
        "duplicated": average([_of(rank, values) for rank in by_rank]),
        "dropped": _of(full_rounds, values) if full_rounds else math.nan,
        "mean_of_rank_means": average([_of(rank, values) for rank in uneven if rank]),
        "duplicates": float(len(order) - len(values)),
        "dropped_samples": float(len(values) - len(full_rounds)),
    }
    return Explanation(
        "ranks",
        "Ranks: every sample once, every rank by its weight",
        f"The mean over {len(values)} samples is {number(numbers['mean'])}; spread over "
        f"{world_size} ranks with {len(order) - len(values)} repeated it becomes "
        f"{number(numbers['duplicated'])}.",
        (
            _blocks(by_rank, len(values)),
            *_ways(numbers),
            Text(
                "A gradient averaged over ranks, as DistributedDataParallel does, is a mean of "
                "rank means too: right only where every rank has the same weight. Add the pairs "
                "over the ranks, then divide once."
            ),
            Code("estimate = batchproof.evaluate(model, loader, loss)  # on all ranks"),
        ),
        numbers,
    )


def _ways(numbers: dict[str, float]) -> tuple[Part, ...]:
    ways = (
        ("pairs added over the ranks", "mean"),
        ("padded sampler, mean of rank means", "duplicated"),
        ("padded sampler, what rank 0 prints", "rank_0_alone"),
        ("padded sampler, what the last rank prints", "last_rank_alone"),
        ("no duplicates, mean of rank means", "mean_of_rank_means"),
        ("last samples dropped", "dropped"),
    )
    bars, rows = [], []
    for words, name in ways:
        value, off = numbers[name], numbers[name] - numbers["mean"]
        if not math.isfinite(value):
            continue
        chance: Tone = "amber" if abs(off) < 1e-12 else "wrong"
        bars.append(Bar(words, value, "exact" if name == "mean" else chance))
        rows.append((words, number(value), number(off, 3)))
    tones = tuple(bar.tone for bar in bars)
    return (
        Bars("mean loss; amber where it is right by chance", tuple(bars)),
        Table(("way", "mean", "off by"), tuple(rows), tones),
    )


def _of(indices: list[int], losses: tuple[float, ...]) -> float:
    return average([losses[index] for index in indices])


def _blocks(by_rank: list[list[int]], samples: int) -> Blocks:
    rows = []
    indices_so_far: set[int] = set()
    turns = [[rank[turn] for rank in by_rank] for turn in range(len(by_rank[0]))]
    repeats = set()
    for turn, indices in enumerate(turns):
        for rank, index in enumerate(indices):
            repeats |= {(rank, turn)} if index in indices_so_far else set()
            indices_so_far.add(index)
    for rank, indices in enumerate(by_rank[:_SHOWN]):
        cells = tuple(
            Cell("wrong" if (rank, turn) in repeats else "plain", str(index))
            for turn, index in list(enumerate(indices))[-_SHOWN:]
        )
        many = sum(1 for where, _ in repeats if where == rank)
        note = f"{len(indices)} samples" + (f", {many} of them repeated" if many else "")
        note += f"; the last {_SHOWN} are drawn" if len(indices) > _SHOWN else ""
        rows.append(Row(f"rank {rank}", cells, note))
    if len(by_rank) > _SHOWN:
        rows.append(Row(f"... {len(by_rank) - _SHOWN} more ranks", ()))
    legend: tuple[tuple[Tone, str], ...] = (("plain", "sample"), ("wrong", "sample counted twice"))
    return Blocks(f"{samples} samples as a padding sampler deals them", tuple(rows), legend)
