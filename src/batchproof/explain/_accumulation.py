"""Topic accumulation: a window of micro-batches is one batch, and its gradient one mean.

    wanted    sum_m n_m g_m / sum_m n_m          g_m the mean gradient of micro-batch m
    usual     sum_m g_m / k                      loss / accumulation_steps, k fixed
    also      sum_m g_m / (micro-batches there)  k as it is, sizes still ignored

The usual form is right only where all n_m are equal and no window is short.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, counts, few, finite, same_length
from batchproof.explain._values import mean as average
from batchproof.page import Bar, Bars, Blocks, Cell, Code, Formula, Row, Table, Tone, number

Micro = tuple[int, float]
_CELLS = 24


def accumulation(
    sizes: Annotated[Sequence[int], "weight of each micro-batch: its samples, or its tokens"] = (
        (8,) * 9 + (3,)
    ),
    gradients: Annotated[
        Sequence[float] | None, "mean gradient of each micro-batch; 1 everywhere if not given"
    ] = None,
    accumulate: Annotated[int, "micro-batches in a window"] = 4,
) -> Explanation:
    """Divide a window of micro-batches by what it holds.

    Examples:
        >>> accumulation().numbers["fixed_2"]  # in place of 1
        0.5
    """
    values = (1.0,) * len(sizes) if gradients is None else finite("gradients", gradients)
    same_length(sizes=sizes, gradients=values)
    pairs = list(zip(counts("sizes", sizes, least=0), values, strict=True))
    count("accumulate", accumulate)
    windows = [pairs[start : start + accumulate] for start in range(0, len(pairs), accumulate)]
    if any(sum(n for n, _ in window) == 0 for window in windows):
        raise SettingError(
            "sizes gives a window no weight at all; expected one sample or more in each window. "
            "Such a window takes no step."
        )
    exact = [math.fsum(n * g for n, g in w) / sum(n for n, _ in w) for w in windows]
    by_k = [math.fsum(g for _, g in w) / accumulate for w in windows]
    means = [average([g for _, g in w]) for w in windows]
    numbers = {f"exact_{i}": v for i, v in enumerate(exact)}
    numbers |= {f"fixed_{i}": v for i, v in enumerate(by_k)}
    numbers |= {f"mean_of_means_{i}": v for i, v in enumerate(means)}
    off = [
        i for i, v in enumerate(exact) if not math.isclose(v, by_k[i], rel_tol=1e-12, abs_tol=1e-15)
    ]
    return Explanation(
        "accumulation",
        "Gradient accumulation: divide by what was summed over",
        _verdict(exact, by_k, off, accumulate),
        (
            _blocks(windows, accumulate),
            _bars(exact, by_k),
            _table(windows, exact, by_k, means),
            Formula(
                "wanted    Σ_m n_m g_m / Σ_m n_m\n"
                f"usual     Σ_m g_m / k              k = {accumulate}, also in a short window"
            ),
            Code(
                "step = batchproof.Step(model, optimizer)\n"
                f"for window in batchproof.windows(loader, accumulate={accumulate}):\n"
                "    result = step(window, loss)"
            ),
        ),
        numbers,
    )


def _verdict(exact: list[float], by_k: list[float], off: list[int], k: int) -> str:
    if not off:
        return "Here dividing by k is right: every window is full and its micro-batches are equal."
    worst = max(off, key=lambda i: abs(by_k[i] - exact[i]))
    return (
        f"In {len(off)} of {len(exact)} windows the gradient is not the mean over the samples; "
        f"window {worst + 1} gets {number(by_k[worst], 3)} in place of {number(exact[worst], 3)} "
        f"when divided by k = {k}."
    )


def _blocks(windows: list[list[Micro]], accumulate: int) -> Blocks:
    most = max(n for w in windows for n, _ in w)
    scale = min(1.0, _CELLS / most)
    rows = []
    for index, window in enumerate(windows):
        for place, (n, g) in enumerate(window):
            tone: Tone = "plain" if n == most else "wrong"
            cells = (Cell(tone),) * (max(1, round(n * scale)) if n else 0)
            label = f"window {index + 1}, micro-batch {place + 1}"
            rows.append(Row(label, cells, f"{n} samples, mean gradient {number(g)}"))
        missing = accumulate - len(window)
        if missing:
            rows.append(Row(f"window {index + 1}", (), f"{missing} of {accumulate} are missing"))
    lines = few(rows, lambda left_out: Row(f"... {left_out} more", ()))
    legend: tuple[tuple[Tone, str], ...] = (("plain", "full"), ("wrong", "smaller"))
    return Blocks("micro-batches in their windows", tuple(lines), legend)


def _bars(exact: list[float], by_k: list[float]) -> Bars:
    bars = []
    both = list(enumerate(zip(exact, by_k, strict=True)))
    for index, (right, usual) in [*both[:3], *both[3:][-1:]]:
        bars.append(Bar(f"window {index + 1}, exact", right, "exact"))
        tone: Tone = "exact" if math.isclose(right, usual, rel_tol=1e-12) else "wrong"
        bars.append(Bar(f"window {index + 1}, loss / k", usual, tone))
    return Bars("gradient that the optimiser sees", tuple(bars))


def _table(
    windows: list[list[Micro]], exact: list[float], by_k: list[float], means: list[float]
) -> Table:
    rows = [
        (
            f"{index + 1}",
            "+".join(str(n) for n, _ in window),
            number(exact[index]),
            number(by_k[index]),
            number(means[index]),
        )
        for index, window in enumerate(windows)
    ]
    lines = few(rows, lambda left_out: (f"... {left_out} more", "", "", "", ""))
    return Table(("window", "sizes", "exact", "divided by k", "mean of means"), tuple(lines))
