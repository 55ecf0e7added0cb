"""Sums of each pass on the other ranks, and candidates for a number over all ranks.

With total T_r, weight W_r and batches b of every rank r,

    right    sum_r T_r / sum_r W_r
    wrong    the mean over ranks of T_r / W_r, where the W_r differ; the mean of all batch means
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchproof.watch._numbers._ranges import NTH, PASS, Ranges
from batchproof.watch._numbers._series import Numbers, Series

ON_ALL = " of the pass on all ranks"


def sums_by_series(every: Sequence[Series]) -> dict[str, list[list[float]]]:
    """Return the sums of each pass, by the key of the series, as plain values.

    Args:
        every: the series of one rank.
    """
    sums: dict[str, list[list[float]]] = {}
    for series in every:
        sums.setdefault(_key(series), _sums(series).tolist())
    return sums


def _key(series: Series) -> str:
    return f"{series.site} {series.quantity} {series.training}"


def _sums(series: Series) -> NDArray[np.float64]:
    """Return total, weight, samples, elements, sum of means and batches of each pass."""
    columns = np.stack(
        [
            series.total,
            series.weight,
            series.samples,
            series.elements,
            series.mean,
            np.ones(len(series)),
        ],
        axis=1,
    )
    return np.add.reduceat(columns, series.starts, axis=0)


def over_ranks(
    series: Series, ranges: Ranges, others: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, str, Numbers]]:
    """Yield name, phrase and values of every reading over all ranks, of lines that close a pass.

    Args:
        series: the batches of this rank.
        ranges: those of each line.
        others: what `sums_by_series` returned on the other ranks.
    """
    own, key = _sums(series), _key(series)
    parts = [np.array(other[key]) for other in others if key in other]
    if ranges.rule not in {PASS, NTH} or not parts or len(parts) < len(others):
        return
    if any(part.shape != own.shape for part in parts):
        return
    ends = np.append(series.starts[1:], len(series))
    number = np.searchsorted(series.starts, ranges.first, side="right") - 1
    whole = np.where(ranges.last == ends[number], 1.0, np.nan)
    # shape (ranks, lines, columns)
    sums = np.stack([own, *parts])[:, number] * whole[:, None]
    total, weight, samples, elements, means, batches = np.moveaxis(sums, -1, 0)
    for unit, weights in (("weight", weight), ("sample", samples), ("element", elements)):
        yield "", f"the mean by {unit} over the batches{ON_ALL}", total.sum(0) / weights.sum(0)
    name = "mean-over-ranks"
    yield name, f"the mean of the ranks' own means{ON_ALL}", (total / weight).mean(0)
    phrase = f"the mean over ranks of their means of batch means{ON_ALL}"
    yield name, phrase, (means / batches).mean(0)
    phrase = f"the mean of the batch means{ON_ALL}"
    yield "mean-of-batch-means", phrase, means.sum(0) / batches.sum(0)
