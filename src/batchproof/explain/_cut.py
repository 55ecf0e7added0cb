"""Topic cut: the same samples in other micro-batches, and what each cut costs.

    cost of a micro-batch = rows (longest + pair longest^2) + charge

The gradient of a window's mean does not depend on the cut, so the cheapest one may be taken: that
of batchproof.data.plan.
"""

from collections.abc import Sequence
from typing import Annotated

from batchproof._plan import Cost, plan
from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, counts, few, finite
from batchproof.page import (
    Bar,
    Bars,
    Blocks,
    Cell,
    Code,
    Formula,
    Part,
    Row,
    Table,
    Text,
    Tone,
    number,
)

Ranks = Sequence[Sequence[Sequence[int]]]
_CELLS = 32


def cut(
    lengths: Annotated[Sequence[int], "tokens in each sequence of a window"] = (
        *(12, 3, 30, 5, 7, 2, 9, 4),
        *(28, 6, 3, 11, 4, 8, 2, 5),
    ),
    batch_size: Annotated[int, "sequences of a micro-batch, in the order given"] = 4,
    tokens: Annotated[int, "most positions of a micro-batch; 0: as the largest in order"] = 0,
    ranks: Annotated[int, "ranks that share the window"] = 1,
    charge: Annotated[float, "cost of a micro-batch whatever its size, in positions"] = 8.0,
    pair: Annotated[float, "cost of a pair of positions, as attention has it"] = 0.0,
) -> Explanation:
    """Cut a window for speed; its gradient stays the same.

    Examples:
        >>> round(cut().numbers["padding_in_order"], 4)
        0.5367
    """
    sizes = counts("lengths", lengths)
    count("batch_size", batch_size)
    count("ranks", ranks, most=64)
    finite("charge", (charge,))
    finite("pair", (pair,))
    cost = Cost(pair=pair, batch=charge)
    order = [
        list(range(len(sizes)))[at : at + batch_size] for at in range(0, len(sizes), batch_size)
    ]
    in_order = [order[rank::ranks] for rank in range(ranks)]
    budget = count("tokens", tokens, least=0) or max(_positions(batch, sizes) for batch in order)
    cheapest = plan(sizes, tokens=budget, ranks=ranks, cost=cost)
    numbers = {"tokens": float(sum(sizes)), "budget": float(budget)}
    for name, by_rank in (("in_order", in_order), ("cut", cheapest)):
        batches = [batch for part in by_rank for batch in part]
        positions = sum(_positions(batch, sizes) for batch in batches)
        numbers[f"positions_{name}"] = float(positions)
        numbers[f"padding_{name}"] = 1 - sum(sizes) / positions
        numbers[f"micro_batches_{name}"] = float(len(batches))
        numbers[f"cost_{name}"] = max(_cost(part, sizes, cost) for part in by_rank)
    return Explanation(
        "cut",
        "The cut: the same gradient, at what cost?",
        _verdict(numbers, ranks),
        (
            _blocks(f"in the order given, {batch_size} together", in_order, sizes),
            _blocks(f"cut by plan, at most {budget} positions together", cheapest, sizes),
            _bars(numbers, ranks),
            _table(cheapest, sizes, cost),
            *_advice(budget),
        ),
        numbers,
    )


def _positions(batch: Sequence[int], sizes: Sequence[int]) -> int:
    return len(batch) * max(sizes[i] for i in batch)


def _cost(part: Sequence[Sequence[int]], sizes: Sequence[int], cost: Cost) -> float:
    return sum(cost(len(batch), max(sizes[i] for i in batch)) for batch in part)


def _verdict(numbers: dict[str, float], ranks: int) -> str:
    times = numbers["cost_in_order"] / numbers["cost_cut"]
    of = "the costliest rank" if ranks > 1 else "the window"
    return (
        f"In the order given {numbers['padding_in_order']:.0%} of the positions are padding, cut "
        f"by plan {numbers['padding_cut']:.0%}; {of} costs {number(numbers['cost_in_order'])} and "
        f"{number(numbers['cost_cut'])}, {times:.2f} times less, with the same gradient."
    )


def _blocks(title: str, by_rank: Ranks, sizes: Sequence[int]) -> Blocks:
    scale = min(1.0, _CELLS / max(sizes))
    rows = []
    for rank, part in enumerate(by_rank):
        for place, batch in enumerate(part):
            width = max(1, round(max(sizes[i] for i in batch) * scale))
            name = f"rank {rank}, " if len(by_rank) > 1 else ""
            for i in batch:
                tokens = max(1, round(sizes[i] * scale))
                cells = (Cell("plain"),) * tokens + (Cell("muted"),) * (width - tokens)
                label = f"{name}micro-batch {place + 1}, sequence {i + 1}"
                rows.append(Row(label, cells, f"{sizes[i]}"))
    lines = few(rows, lambda left_out: Row(f"... {left_out} more", ()), most=24)
    return Blocks(title, tuple(lines), (("plain", "token"), ("muted", "padding")))


def _bars(numbers: dict[str, float], ranks: int) -> Bars:
    tones: tuple[tuple[str, str, Tone], ...] = (
        ("in the order given", "in_order", "wrong"),
        ("cut by plan", "cut", "exact"),
    )
    title = "cost of the costliest rank" if ranks > 1 else "cost of the window"
    bars = [Bar(label, numbers[f"cost_{name}"], tone) for label, name, tone in tones]
    bars.append(Bar("its tokens", numbers["tokens"] / ranks, "muted"))
    return Bars(f"{title}, in positions", tuple(bars))


def _table(by_rank: Ranks, sizes: Sequence[int], cost: Cost) -> Table:
    rows = []
    for rank, part in enumerate(by_rank):
        for place, batch in enumerate(part):
            longest = max(sizes[i] for i in batch)
            padding = _positions(batch, sizes) - sum(sizes[i] for i in batch)
            values = (len(batch), longest, _positions(batch, sizes), padding)
            name = f"rank {rank}, {place + 1}" if len(by_rank) > 1 else str(place + 1)
            price = number(cost(len(batch), longest))
            rows.append((name, *map(str, values), price))
    lines = few(rows, lambda left_out: (f"... {left_out} more", "", "", "", "", ""))
    columns = ("micro-batch", "rows", "longest", "positions", "padding", "cost")
    return Table(columns, tuple(lines))


def _advice(budget: int) -> tuple[Part, ...]:
    return (
        Formula("cost of a micro-batch = rows (longest + pair longest^2) + charge"),
        Text(
            "Sorted by length, some cheapest cut is one into runs, which a dynamic program finds. "
            "Which samples make a window does not change, so neither does what is learnt: not so "
            "where a loader groups samples of like length, whose windows are other ones."
        ),
        Code(
            f"for window in batchproof.windows(loader, accumulate=4, tokens={budget}):\n"
            "    step(window, loss)"
        ),
    )
