"""The curves of a report: means over epochs with their bands, and means over steps.

Between two log lines the pairs of many steps are pooled, so that a long run has as many points as
a picture can show, and each is the exact mean over its steps.
"""

import math
from collections.abc import Iterable, Sequence

from batchproof.page import Curves, Part, Series, tone
from batchproof.report._run import Run
from batchproof.runs import Over, Record, curve_of, over

_POINTS = 200


def curves(runs: Sequence[Run]) -> list[Part]:
    """Return a chart for each quantity; validation and training of a single run share one."""
    names = list(dict.fromkeys(name for run in runs for name in run.names() if _curve(run, name)))
    whole = [name for name in names if "/" not in name]
    parts: list[Part] = []
    if len(runs) == 1:
        for quantity in dict.fromkeys(_quantity(name) for name in whole):
            of_it = sorted((n for n in whole if _quantity(n) == quantity), reverse=True)
            parts.append(_chart(quantity, [(runs[0], name, name) for name in of_it]))
    else:
        parts += [_chart(name, [(run, name, run.name) for run in runs]) for name in whole]
    return parts + _groups(runs, names) + _steps(runs) + _settings(runs)


def _curve(run: Run, name: str) -> bool:
    return any(point.unit != "step" for point in run.epochs(name))


def _quantity(name: str) -> str:
    # padding before a window is cut and after are one chart
    return name.removeprefix("train_").removeprefix("val_").removesuffix("_before")


def _groups(runs: Sequence[Run], names: Sequence[str]) -> list[Part]:
    parts: list[Part] = []
    for name in dict.fromkeys(n.split("/")[0] for n in names if "/" in n):
        for run in runs:
            of_it = [n for n in names if n.startswith(f"{name}/") and run.epochs(n)]
            if not of_it:
                continue
            title = f"{name} by group" + ("" if len(runs) == 1 else f", {run.name}")
            parts.append(_chart(title, [(run, n, n.split("/", 1)[1]) for n in of_it]))
    return parts


def _chart(title: str, of: Sequence[tuple[Run, str, str]]) -> Curves:
    axes = [over(run.epochs(name)) for run, name, _ in of]
    axis: Over = "step" if "step" in axes else "epoch"
    series = tuple(
        curve_of(run.epochs(name), label, tone(place), axis)
        for place, (run, name, label) in enumerate(of)
    )
    units = dict.fromkeys(p.unit for run, name, _ in of for p in run.epochs(name))
    return Curves(title, axis, f"mean per {' / '.join(units)}", series)


def _steps(runs: Sequence[Run]) -> list[Part]:
    series = []
    for place, run in enumerate(runs):
        points = [
            p for p in run.records if p.span == "steps" and p.name == "train_loss" and p.weight
        ]
        records = _pooled(points)
        label = "train_loss" if len(runs) == 1 else run.name
        x = tuple(float(p.step) for p in records)
        series.append(Series(label, x, tuple(p.value for p in records), (), tone(place)))
    if not any(len(one.x) > 1 for one in series):
        return []
    return [Curves("train_loss between log lines", "optimiser step", "mean", tuple(series))]


def _pooled(points: Sequence[Record]) -> list[Record]:
    """Return at most as many points as a picture shows, each the exact mean of neighbours."""
    each = max(1, math.ceil(len(points) / _POINTS))
    records = []
    for start in range(0, len(points), each):
        some = points[start : start + each]
        last = some[-1]
        total, weight = _sum(p.total for p in some), _sum(p.weight for p in some)
        records.append(
            Record(last.step, last.epoch, last.name, total, weight, last.unit, last.span)
        )
    return records


def _sum(values: Iterable[float]) -> float:
    """Return the exact sum of finite values; NaN if it overflows float64."""
    try:
        return math.fsum(values)
    except OverflowError:
        return math.nan


def _settings(runs: Sequence[Run]) -> list[Part]:
    names = dict.fromkeys(p.name for run in runs for p in run.records if p.unit == "step")
    parts: list[Part] = []
    for name in names:
        series = []
        for place, run in enumerate(runs):
            points = _pooled([p for p in run.records if p.name == name and p.weight])
            x = tuple(float(p.step) for p in points)
            label = name if len(runs) == 1 else run.name
            series.append(Series(label, x, tuple(p.value for p in points), (), tone(place)))
        parts.append(Curves(name, "optimiser step", name, tuple(series)))
    return parts


def beside(runs: Sequence[Run]) -> list[Part]:
    """Return, for each run, the exact monitored mean beside the mean of batch means."""
    parts: list[Part] = []
    for run in runs:
        points = run.epochs(run.monitor)
        means = (p.mean_of_batch_means for p in points)
        usual = tuple(math.nan if mean is None else mean for mean in means)
        if not any(math.isfinite(value) for value in usual):
            continue
        axis = over(points)
        x = tuple(float(getattr(point, axis)) for point in points)
        name = run.monitor if len(runs) == 1 else f"{run.monitor}, {run.name}"
        exact = Series("exact mean", x, tuple(p.value for p in points), (), "exact")
        parts.append(
            Curves(
                name,
                axis,
                run.monitor,
                (exact, Series("mean of batch means", x, usual, (), "wrong")),
            )
        )
    return parts
