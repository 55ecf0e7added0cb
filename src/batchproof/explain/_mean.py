"""Topic mean: the mean of batch means is the mean of samples only under one condition.

For batches of sizes n_b and means m_b, with E and Cov taken over the batches,

    mean of samples  L = sum_b n_b m_b / sum_b n_b = E[n m] / E[n] = E[m] + Cov(n, m) / E[n]

so what the usual loop prints, E[m], is off by -Cov(n, m) / E[n]: nothing when all batches are of
one size, or when size and loss of a batch are uncorrelated.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, cut, few, finite
from batchproof.explain._values import mean as average
from batchproof.page import Bar, Bars, Blocks, Cell, Formula, Part, Row, Table, Text, Tone, number

_CELLS = 32


def mean(
    losses: Annotated[
        Sequence[float] | None,
        "loss of each sample, in order; replaces samples, loss and last-loss",
    ] = None,
    samples: Annotated[int, "samples in all"] = 105,
    batch_size: Annotated[int, "samples in a batch"] = 10,
    loss: Annotated[float, "loss of each sample in a full batch"] = 1.0,
    last_loss: Annotated[float, "loss of each sample in the last batch, if it is short"] = 3.0,
) -> Explanation:
    """Compare the mean of batch means with that of samples.

    Examples:
        >>> mean(losses=[1.0, 1.0, 4.0], batch_size=2).verdict
        'The mean over 3 samples is 2; the mean of the 2 batch means is 2.5, off by 0.5.'
    """
    count("batch_size", batch_size)
    if losses is None:
        count("samples", samples, most=100_000)
        short = samples % batch_size
        losses = (
            finite("loss", (loss,)) * (samples - short) + finite("last_loss", (last_loss,)) * short
        )
    batches = cut(finite("losses", losses), batch_size)
    numbers = _numbers(batches)
    ones = _numbers([(1.0,) * len(batch) for batch in batches])
    same = math.isclose(
        numbers["mean_of_batch_means"], numbers["mean"], rel_tol=1e-12, abs_tol=1e-15
    )
    verdict = (
        f"The mean over {len(losses)} samples is {number(numbers['mean'], 5)}; the mean of the "
        f"{len(batches)} batch means is {number(numbers['mean_of_batch_means'], 5)}"
        + (": the same." if same else f", off by {number(numbers['bias'], 3)}.")
    )
    return Explanation(
        "mean",
        "The mean of batch means is not the mean of samples",
        verdict,
        (*_pictures(batches, numbers), *_why(numbers, ones, same=same)),
        numbers,
    )


def _numbers(batches: list[tuple[float, ...]]) -> dict[str, float]:
    sizes = [len(batch) for batch in batches]
    means = [average(batch) for batch in batches]
    samples, all_means = sum(sizes), average(means)
    exact = math.fsum(math.fsum(batch) for batch in batches) / samples
    mean_size = samples / len(sizes)
    products = [(n - mean_size) * (m - all_means) for n, m in zip(sizes, means, strict=True)]
    covariance = average(products)
    return {
        "mean": exact,
        "mean_of_batch_means": all_means,
        "bias": all_means - exact,
        "covariance": covariance,
        "mean_size": mean_size,
        "predicted_bias": -covariance / mean_size,
        "sum_of_batch_means_over_expected_batches": math.fsum(means) * max(sizes) / samples,
    }


def _pictures(batches: list[tuple[float, ...]], numbers: dict[str, float]) -> tuple[Part, ...]:
    full = max(len(batch) for batch in batches)
    rows = [_row(index, batch, full, len(batches)) for index, batch in enumerate(batches)]
    rows = few(rows, lambda left_out: Row(f"... {left_out} more", ()))
    legend: tuple[tuple[Tone, str], ...] = (
        ("plain", "samples of a full batch"),
        ("wrong", "samples that count for more"),
    )
    return (
        Blocks(f"{sum(map(len, batches))} samples in batches of {full}", tuple(rows), legend),
        Bars(
            "loss",
            (
                Bar("mean of samples", numbers["mean"], "exact", number(numbers["mean"], 6)),
                Bar(
                    "mean of batch means",
                    numbers["mean_of_batch_means"],
                    "wrong",
                    number(numbers["mean_of_batch_means"], 6),
                ),
            ),
        ),
    )


def _row(index: int, batch: tuple[float, ...], full: int, batches: int) -> Row:
    tone: Tone = "plain" if len(batch) == full else "wrong"
    cells = max(1, round(len(batch) * min(1.0, _CELLS / full)))
    note = f"mean {number(average(batch))}, each sample counts 1/{batches * len(batch)}"
    return Row(f"batch {index + 1}", (Cell(tone),) * cells, note)


def _why(numbers: dict[str, float], ones: dict[str, float], *, same: bool) -> tuple[Part, ...]:
    rows = tuple(
        (words, number(ones[name], 6), number(numbers[name], 6))
        for words, name in (
            ("mean of samples", "mean"),
            ("mean of batch means", "mean_of_batch_means"),
            (
                "sum of batch means / (samples / batch size)",
                "sum_of_batch_means_over_expected_batches",
            ),
        )
    )
    formula = (
        "mean of samples       L    = Σ n_b m_b / Σ n_b\n"
        "mean of batch means   E[m] = L - Cov(n, m) / E[n]\n"
        f"                           = {number(numbers['mean'], 6)} "
        f"- ({number(numbers['covariance'], 6)}) / {number(numbers['mean_size'], 6)}\n"
        f"                           = {number(numbers['mean'] + numbers['predicted_bias'], 6)}"
    )
    agree = (
        "Here the two agree: all batches have one size, or size and loss are uncorrelated."
        if same
        else "Here the size of a batch and its loss vary together, so the two differ."
    )
    return (
        Table(("", "a loss of 1 everywhere", "these losses"), rows, ("exact", "wrong", "wrong")),
        Text(
            "With a loss of 1 everywhere the first two are 1: a mean of equal numbers is that "
            "number, however it is cut. Such a test finds nothing. The third divides by "
            "samples / batch size, which is not the number of batches when the last one is short."
        ),
        Text(
            "The bias is a covariance over the batches, of a batch's size and its mean loss. "
            + agree,
            "Why",
        ),
        Formula(formula),
    )
