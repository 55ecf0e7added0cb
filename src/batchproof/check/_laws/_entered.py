"""Samples that really entered: how often each counts under a cut, measured.

A sample that is left out has the share 0, and one that enters twice the share of two. With m_i what
sample i gives alone, and w_i its weight, shares s_i solve

    G = sum_i s_i w_i m_i

Where gradients have too few numbers for that, and for an evaluation, which has one, sample j takes
the place of sample i. If G is a mean over weights, it becomes G', and

    s_i = (G' - G) / (w_j m_j - w_i m_i - G' (w_j - w_i))

What entered is a cut as well, without some samples and with others more than once, and laws are
then of that cut.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof.check._laws._laws import Micro
from batchproof.check._laws._rules import ONE, SAMPLES, WEIGHT, Count, Rule
from batchproof.check._laws._search import Law, Search
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, MicroBatch

# how near to a whole number a quotient of shares is, and the most times that a sample is counted
_NEAR, _MOST = 1e-4, 8


@dataclass(frozen=True)
class Entered:
    """What really entered under each cut, and the law that predicts every cut from it.

    Attributes:
        law: of what entered.
        cuts: what entered, by cut.
        over: what the whole is divided by although other than that entered; None if by what did.
    """

    law: Law
    cuts: dict[Cut, Cut]
    over: Count | None


def find_entered(search: Search, cuts: Sequence[Cut], off: Sequence[Cut]) -> Entered | None:
    """Return the samples that entered under each cut, if these and a law predict them all.

    Args:
        search: knows what samples give alone.
        cuts: of one process, whose quantity is finite.
        off: those of them under which it is not what it is uncut.
    """
    micro = search.plain or search.as_measured()
    if micro.kind not in {"ratio", "sum", "measured"}:
        return None
    shares = {}
    for cut in off:
        share_of_cut = _shares(search, micro, cut)
        if share_of_cut is None:
            return None
        shares[cut] = share_of_cut
    readings = {cut: _readings(micro, cut, share) for cut, share in shares.items()}
    for often in zip(*readings.values(), strict=True):
        pairs = zip(readings, often, strict=True)
        real = {cut: _counted(cut, times) for cut, times in pairs if times}
        if len(real) == len(off) and all(_possible(micro, *pair) for pair in real.items()):
            entry = _law(search, micro, {cut: real.get(cut, cut) for cut in cuts})
            if entry is not None:
                return entry
    return None


def _possible(micro: Micro, cut: Cut, real: Cut) -> bool:
    """Return whether something entered; of coupled samples, whole micro-batches alone can."""
    whole = micro.kind != "measured" or set(real.pieces) <= set(cut.pieces)
    return bool(real.pieces) and whole


def _law(search: Search, micro: Micro, entries: dict[Cut, Cut]) -> Entered | None:
    """Return the law of what entered, which may be divided by what was to enter instead.

    A micro-batch that enters c times does so as a window of its own, too: there c cancels.
    """
    values, within = search.quantity.rows(list(entries)), list(entries.values())
    if within == list(entries):
        return None
    c = max(number for real in within for number in Counter(_samples(real)).values())
    for over in (None, WEIGHT, SAMPLES, ONE):
        rows = values
        if over is not None:
            of = over.of or micro.weigh
            factors = [
                c * _sum(of, cut) / _sum(of, real) if len(cut.pieces) > 1 else 1.0
                for cut, real in entries.items()
            ]
            rows = values * torch.tensor(factors, dtype=torch.float64)[:, None]
        law = search.law(micro, within, rows)
        if law is not None and (over is None or law.exact or law.rule == Rule(over)):
            return Entered(law, entries, over)
    return None


def _samples(cut: Cut) -> list[int]:
    return [i for piece in cut.pieces for i in piece.samples]


def _sum(of: Callable[[MicroBatch], float], cut: Cut) -> float:
    return sum(map(of, cut.pieces))


def _shares(search: Search, micro: Micro, cut: Cut) -> Tensor | None:
    """Return the share of every sample of a cut, by the sample's index; None if undetermined."""
    count = search.quantity.facts.count
    weights = [micro.weigh(MicroBatch((i,))) for i in range(count)]
    rows = search.quantity.singles[:count] * torch.tensor(weights, dtype=torch.float64)[:, None]
    whole = search.quantity.of(cut)
    if int(torch.linalg.matrix_rank(rows, rtol=1e-6)) == count:
        shares: Tensor = torch.linalg.lstsq(rows.T, whole[:, None]).solution[:, 0]
        return shares if relative(shares @ rows, whole) <= search.limit else None
    each = [_share(search, cut, i, weights, rows) for i in range(count)]
    return None if None in each else torch.tensor(each, dtype=torch.float64)


def _share(
    search: Search, cut: Cut, sample: int, weights: Sequence[float], rows: Tensor
) -> float | None:
    """Return the share of one sample, by putting the one in its place that is least like it."""
    whole = search.quantity.of(cut)
    pairs = list(zip(rows, weights, strict=True))
    # what another in its place would change if the share were 1
    apart = [row - rows[sample] - whole * (w - weights[sample]) for row, w in pairs]
    other = max(range(len(apart)), key=lambda j: float(apart[j].norm()))
    try:
        there = search.quantity.of(_with(cut, sample, other))
    except ProbeError:
        return None
    change = rows[other] - rows[sample] - there * (weights[other] - weights[sample])
    size = float(change @ change)
    if not size > 0:
        return None
    share = float((there - whole) @ change) / size
    return share if float((there - whole - share * change).norm()) <= 1e-6 * size**0.5 else None


def _with(cut: Cut, sample: int, other: int) -> Cut:
    def swapped(piece: MicroBatch) -> MicroBatch:
        return replace(piece, samples=tuple(other if i == sample else i for i in piece.samples))

    ranks = tuple(tuple(map(swapped, pieces)) for pieces in cut.ranks)
    return Cut("another sample", ranks, before=cut.before)


def _readings(micro: Micro, cut: Cut, shares: Tensor) -> tuple[dict[int, int] | None, ...]:
    """Return how often each counts: in the mean of all, of means, in its own, or if at all."""
    every = [i for piece in cut.pieces for i in piece.samples]
    in_means = shares.clone()
    for piece in cut.pieces:
        in_means[list(piece.samples)] *= micro.weigh(piece)
    parts = [_times(shares, piece.samples) for piece in cut.pieces]
    each = [one for part in parts if part for one in part.items()]
    apart = dict(each) if len(each) == len(every) else None
    least = _NEAR * float(shares.abs().max())
    at_all = {i: int(abs(float(shares[i])) > least) for i in every}
    return _times(shares, every), _times(in_means, every), apart, at_all


def _times(shares: Tensor, samples: Sequence[int]) -> dict[int, int] | None:
    own = shares[list(samples)]
    least = _NEAR * float(shares.abs().max())
    if not float(own.abs().max()) > least:
        return dict.fromkeys(samples, 0)
    base = float(own[own.abs() > least].abs().min())
    whole = (own / base).round()
    if bool(((own / base - whole).abs() > _NEAR * _MOST).any()) or not whole.min() >= 0:
        return None
    if whole.max() > _MOST:
        return None
    return {i: int(number) for i, number in zip(samples, whole.tolist(), strict=True)}


def _counted(cut: Cut, often: dict[int, int]) -> Cut:
    """Return the cut in which each sample is as often as it counts, whole micro-batches apart."""
    pieces: list[MicroBatch] = []
    for piece in cut.pieces:
        times = [often[i] for i in piece.samples]
        again = min(times) if len(set(times)) == 1 else 1
        samples = tuple(i for i in piece.samples for _ in range(often[i] // max(again, 1)))
        pieces += [replace(piece, samples=samples)] * (again if samples else 0)
    return replace(cut, ranks=(tuple(pieces),))
