"""The cut of a window that costs least: which samples share a micro-batch, and on which rank.

A micro-batch of `rows` samples, padded to its longest of length `longest`, costs

    cost = rows (position longest + pair longest^2) + batch

positions, pairs of positions (attention) and a charge for each micro-batch. Sort the samples by
length. Some cheapest cut is a cut of that order into runs, for a cost that grows with the longest
sample: refill the micro-batches of any cut from the sorted samples, the one with the longest first;
each keeps its number of rows, and none gets a longer longest. So a dynamic program over runs

    best[j] = min_i best[i] + cost(j - i, length[j])

is optimal among all cuts. With the cost above the start of the last run never moves back as j
grows, since for a <= b <= c <= d

    cost(a, c) + cost(b, d) <= cost(a, d) + cost(b, c)

(the quadrangle inequality of F. F. Yao, "Efficient dynamic programming using quadrangle
inequalities", 1980), and a budget does not change that. So few starts are looked at for each j.

Packed samples share one row, so a micro-batch costs what one row of the sum of their lengths does.
Rows are filled by best fit, the longest sample first, which needs at most 11/9 of the fewest rows.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

from batchproof._errors import SettingError

# above this many runs times ranks, differences take longer than they save
DIFFERENCES = 4096

CostOf = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a micro-batch, in units of one position.

    Attributes:
        position: cost of each position, padding included.
        pair: cost of each pair of positions of one row, as attention has it.
        batch: charge for each micro-batch, whatever its size.

    Examples:
        >>> Cost()(rows=4, longest=10)
        168.0
    """

    position: float = 1.0
    pair: float = 0.0
    batch: float = 128.0

    def __post_init__(self) -> None:
        if min(self.position, self.pair, self.batch) < 0 or self.position + self.pair <= 0:
            raise SettingError(
                f"the cost is {self}; expected numbers of 0 or more, and position or pair above 0."
            )

    def __call__(self, rows: int, longest: int) -> float:
        return rows * (self.position * longest + self.pair * longest**2) + self.batch

    @classmethod
    def fitted(cls, timed: Iterable[tuple[int, int, float]]) -> "Cost":
        """Return the cost that fits timed micro-batches best, in relative error.

        Args:
            timed: rows, longest and seconds of some micro-batches, forward and backward pass; of
                few and many rows, short and long, so that the three parts can be told apart.

        Raises:
            SettingError: if there are fewer than three, or one took no time.

        Examples:
            >>> Cost.fitted([(1, 10, 3.0), (4, 10, 6.0), (8, 100, 82.0), (2, 50, 12.0)])
            Cost(position=0.1, pair=0.0, batch=2.0)
        """
        timings = list(timed)
        if len(timings) < 3 or min(seconds for *_, seconds in timings) <= 0:
            raise SettingError(
                f"the cost is fitted to {timings}; expected three micro-batches or more, each "
                "with its rows, its longest sample and the seconds that it took."
            )
        parts = [(r * n / s, r * n * n / s, 1 / s) for r, n, s in timings]
        position, pair, batch = _nonnegative_fit(parts)
        return cls(position, pair, batch)


def _nonnegative_fit(rows: Sequence[tuple[float, float, float]]) -> list[float]:
    """Return the weights of 0 or more whose sum over each row is nearest to 1, least squares."""
    size = [math.sqrt(math.fsum(row[i] ** 2 for row in rows)) for i in range(3)]
    columns = [[value / size[i] for i, value in enumerate(row)] for row in rows]
    best: tuple[float, list[float]] = (math.inf, [])
    # of the three, those that are not 0; one of the first two is not
    for places in ((0,), (1,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        weights = [0.0, 0.0, 0.0]
        for place, value in zip(places, _least_squares(columns, places), strict=True):
            weights[place] = value
        fits = (sum(w * x for w, x in zip(weights, row, strict=True)) for row in columns)
        error = math.fsum((fit - 1) ** 2 for fit in fits)
        if min(weights) >= 0 and error < best[0] - 1e-12:
            best = error, weights
    return [float(f"{weight / size[i]:.12g}") for i, weight in enumerate(best[1])]


def _least_squares(rows: Sequence[Sequence[float]], places: Sequence[int]) -> list[float]:
    """Return the weights of some columns by the normal equations, with Gaussian elimination."""
    matrix = [
        [*(math.fsum(r[i] * r[j] for r in rows) for j in places), math.fsum(r[i] for r in rows)]
        for i in places
    ]
    for at, pivot in enumerate(matrix):
        if pivot[at] < 1e-12:
            # the columns cannot be told apart
            return [-1.0] * len(places)
        for other in matrix[:at] + matrix[at + 1 :]:
            factor = other[at] / pivot[at]
            other[:] = [a - factor * b for a, b in zip(other, pivot, strict=True)]
    return [row[-1] / row[at] for at, row in enumerate(matrix)]


def plan(
    lengths: Sequence[int],
    *,
    tokens: int | None = None,
    rows: int | None = None,
    ranks: int = 1,
    cost: CostOf | None = None,
    alone: bool = True,
    packed: bool = False,
) -> list[list[list[int]]]:
    """Return the cheapest cut of samples into micro-batches, and the rank of each.

    Args:
        lengths: of each sample, 1 or more.
        tokens: the most positions of a micro-batch: its rows times its longest sample.
        rows: the most samples of a micro-batch.
        ranks: the number of ranks; their costs are balanced.
        cost: cost(rows, longest) of a micro-batch, which must not fall where either grows; Cost()
            without it. A Cost is planned fastest.
        alone: whether a sample longer than tokens gets a micro-batch of its own, or is refused.
        packed: whether the samples of a micro-batch share one row, without padding.

    Returns:
        For each rank its micro-batches, costliest first; for each micro-batch the numbers of its
        samples, in the order given. Every sample is in exactly one.

    Raises:
        SettingError: if a length, a budget or the number of ranks is not a whole number from 1, a
            cost is not finite, or a sample is longer than tokens and may not be alone.

    Examples:
        >>> plan([3, 30, 4, 29], tokens=64)
        [[[1, 3], [0, 2]]]
        >>> plan([3, 30, 4, 29], tokens=64, ranks=2)
        [[[1, 3]], [[0, 2]]]

    References:
        R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969: the longest first.
        N. Karmarkar, R. M. Karp, "The differencing method of set partitioning", 1982.
    """
    expect_whole(tokens=tokens, rows=rows, ranks=ranks)
    sizes = _whole(lengths)
    if not sizes:
        return [[] for _ in range(ranks)]
    if tokens is not None and not alone:
        _expect_within(sizes, tokens)
    price = Cost() if cost is None else cost
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    ascending = [sizes[i] for i in order]
    cut = _packed if packed else _padded
    best = _Shares([], ranks)
    for budget, most in _budgets(ascending, tokens, rows, ranks, packed=packed):
        shares = _Shares(cut(ascending, budget, most, price), ranks)
        if not best.parts or shares.worst() < best.worst():
            best = shares
        if _balanced(best.costs):
            break
    return [[sorted(order[i] for i in part) for part in parts] for parts in best.parts]


def expect_whole(**settings: int | None) -> None:
    """Refuse a limit that is not a whole number of 1 or more; None is no limit.

    Args:
        **settings: the limits by name.

    Raises:
        SettingError: if one is invalid.
    """
    for name, value in settings.items():
        if value is not None:
            expect_count(name, value)


def expect_count(name: str, value: Any) -> None:
    """Refuse a value that is not a whole number of 1 or more.

    Raises:
        SettingError: if it is not.
    """
    if not isinstance(value, SupportsIndex) or isinstance(value, bool) or value < 1:  # type: ignore[operator]
        raise SettingError(f"{name} is {value!r}; expected a whole number, 1 or more.")


def _whole(lengths: Sequence[int]) -> list[int]:
    sizes: list[int] = []
    for sample, length in enumerate(lengths):
        size = int(length) if math.isfinite(length) else 0
        if size < 1 or size != length:
            raise SettingError(
                f"sample {sample} has length {length}; expected a whole number, 1 or more. Drop "
                "samples without a position, or give them length 1."
            )
        sizes.append(size)
    return sizes


def _expect_within(lengths: Sequence[int], tokens: int) -> None:
    longest = max(lengths)
    if longest > tokens:
        raise SettingError(
            f"sample {lengths.index(longest)} has length {longest}, more than the {tokens} tokens "
            "of a micro-batch; raise tokens, or let it be alone."
        )


def _budgets(
    ascending: list[int], tokens: int | None, rows: int | None, ranks: int, *, packed: bool
) -> list[tuple[int, int]]:
    """Return the budgets to try: the given one, and smaller ones that balance ranks better."""
    most = min(rows or len(ascending), len(ascending))
    budget = tokens or (sum(ascending) if packed else most * ascending[-1])
    if ranks == 1:
        return [(budget, most)]
    share = -(-sum(ascending) // ranks)
    smaller = [max(ascending[-1], share // parts) for parts in (1, 2, 3, 4, 6, 8, 12, 16)]
    fewest = max(1, min(most, len(ascending) // ranks))
    budgets = [(budget, most), (budget, fewest), *((min(budget, s), most) for s in smaller)]
    return list(dict.fromkeys(budgets))


Priced = list[tuple[float, Sequence[int]]]


def _padded(ascending: list[int], tokens: int, rows: int, cost: CostOf) -> Priced:
    """Return the cheapest cut of sorted samples into runs, with their costs, costliest first."""
    first = _first_starts(ascending, tokens, rows)
    if isinstance(cost, Cost):
        starts = _starts(ascending, first, cost)
    else:
        starts = _starts_of_any(ascending, first, cost)
    priced: Priced = []
    end = len(ascending)
    while end:
        start = starts[end]
        priced.append((cost(end - start, ascending[end - 1]), range(start, end)))
        end = start
    return sorted(priced, key=_costliest)


def _packed(ascending: list[int], tokens: int, rows: int, cost: CostOf) -> Priced:
    """Return sorted samples in few rows, with their costs, costliest first."""
    parts: list[list[int]] = []
    # the room that is left in each row that takes more samples, least first
    rooms: list[tuple[int, int]] = []
    for sample in reversed(range(len(ascending))):
        size = ascending[sample]
        at = bisect_left(rooms, (size, -1))
        room, part = rooms.pop(at) if at < len(rooms) else (tokens, len(parts))
        if part == len(parts):
            parts.append([])
        parts[part].append(sample)
        if room > size and len(parts[part]) < rows:
            insort(rooms, (room - size, part))
    return sorted(((cost(1, sum(ascending[i] for i in p)), p) for p in parts), key=_costliest)


def _first_starts(ascending: list[int], tokens: int, rows: int) -> list[int]:
    """Return for each end the first start that its budget allows; a sample alone is allowed."""
    return [0] + [
        end - max(1, min(rows, tokens // longest, end))
        for end, longest in enumerate(ascending, start=1)
    ]


def _starts(ascending: list[int], first: list[int], cost: Cost) -> list[int]:
    """Return for each end the start of the last run of the cheapest cut up to there."""
    best, starts, start = [0.0], [0], 0
    for end, longest in enumerate(ascending, start=1):
        row = cost.position * longest + cost.pair * longest**2
        # best[end] = min_i best[i] + (end - i) row + batch
        low = max(start, first[end])
        start, least = low, best[low] - low * row
        for other in range(low + 1, end):
            value = best[other] - other * row
            if value < least:
                start, least = other, value
        best.append(least + end * row + cost.batch)
        starts.append(start)
    return starts


def _starts_of_any(ascending: list[int], first: list[int], cost: CostOf) -> list[int]:
    """Return the same for any cost, looking at every start that the budget allows."""
    best, starts = [0.0], [0]
    for end, longest in enumerate(ascending, start=1):
        price, start = min(
            (best[start] + cost(end - start, longest), start) for start in range(first[end], end)
        )
        best.append(price)
        starts.append(start)
    return starts


def _costliest(one: tuple[float, Sequence[int]]) -> tuple[float, int]:
    price, part = one
    return -price, part[0]


def _sum(part: Priced) -> float:
    return sum((price for price, _ in part), 0.0)


class _Shares:
    """Runs shared out over ranks, the rank with most first.

    Args:
        priced: the runs with their costs, costliest first.
        ranks: the number of ranks.
    """

    def __init__(self, priced: Priced, ranks: int) -> None:
        for price, run in priced:
            if not math.isfinite(price):
                raise SettingError(
                    f"the cost of {len(run)} samples is {price}; expected a finite number."
                )
        parts = _longest_first(priced, ranks)
        if 1 < ranks < len(priced) <= DIFFERENCES / ranks and not _balanced(list(map(_sum, parts))):
            parts = min(parts, _differences(priced, ranks), key=lambda ps: max(map(_sum, ps)))
        parts.sort(key=_sum, reverse=True)
        self.costs = list(map(_sum, parts))
        self.parts = [[run for _, run in part] for part in parts if priced]

    def worst(self) -> tuple[float, float]:
        """Return the cost of the costliest rank, and of all."""
        return max(self.costs), sum(self.costs)


def _balanced(costs: list[float]) -> bool:
    """Return whether the costliest rank costs as much as the average, within 1 %."""
    return max(costs) <= 1.01 * sum(costs) / len(costs)


def _longest_first(priced: Priced, ranks: int) -> list[Priced]:
    """Give each run, costliest first, to the rank that has least."""
    shares: list[Priced] = [[] for _ in range(ranks)]
    waiting = [(0.0, 0, rank) for rank in range(ranks)]
    for price, run in priced:
        total, number, rank = heapq.heappop(waiting)
        shares[rank].append((price, run))
        heapq.heappush(waiting, (total + price, number + 1, rank))
    return shares


def _differences(priced: Priced, ranks: int) -> list[Priced]:
    """Join the two partial shares that differ most, the costliest part of one with the cheapest."""
    waiting: list[tuple[float, int, list[Priced]]] = []
    for number, one in enumerate(priced):
        shares: list[Priced] = [[one], *([] for _ in range(ranks - 1))]
        waiting.append((-one[0], number, shares))
    heapq.heapify(waiting)
    number = len(priced)
    while len(waiting) > 1:
        _, _, left = heapq.heappop(waiting)
        _, _, right = heapq.heappop(waiting)
        pairs = zip(sorted(left, key=_sum, reverse=True), sorted(right, key=_sum), strict=True)
        sums = sorted((a + b for a, b in pairs), key=_sum, reverse=True)
        heapq.heappush(waiting, (_sum(sums[-1]) - _sum(sums[0]), number, sums))
        number += 1
    shares = waiting[0][2]
    return [sorted(part, key=_costliest) for part in shares]
