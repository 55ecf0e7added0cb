"""The page of a report, section by section, and the file it is written to."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchproof._errors import RunFolderError, SettingError
from batchproof._files import write_file
from batchproof.page import (
    Bar,
    Bars,
    Curves,
    Part,
    Series,
    Table,
    Text,
    Tone,
    number,
    page,
)
from batchproof.report._curves import beside, curves, tone
from batchproof.report._run import Point, Run, flat, read_run, runs_in

Section = tuple[str, Sequence[Part]]
ENVIRONMENT = "environment"
RESUMED = "resumed at step"
_PART = "_seconds"


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write one page about one run or several.

    Args:
        runs: run folders, as batchproof train writes them, or folders of such folders.
        out: the file to write; an older one is replaced whole.

    Returns:
        The file.

    Raises:
        SettingError: if no run is given.
        RunFolderError: if a folder cannot be read, or the file not be written.

    Example:
        >>> import json, tempfile
        >>> run = Path(tempfile.mkdtemp()) / "lenet5"
        >>> run.mkdir()
        >>> record = dict(step=4, epoch=1, name="val_loss", total=6.0, weight=4.0, unit="element")
        >>> _ = (run / "metrics.jsonl").write_text(json.dumps(record))
        >>> page = write_report([run], run / "report.html").read_text()
        >>> "epoch 1, val_loss 1.5" in page
        True
    """
    if not runs:
        msg = "no run folder was given; expected one or more. Name one, such as runs/lenet5."
        raise SettingError(msg)
    folders = [folder for run in runs for folder in runs_in(Path(run))]
    read = _told_apart([read_run(folder) for folder in folders], folders)
    names = ", ".join(run.name for run in read)
    sections: list[Section] = [
        ("Result", _result(read)),
        ("Curves", [*_note(read), *curves(read)]),
        ("Exact means beside means of batch means", _beside(read)),
        ("Time", _time(read)),
        ("Configuration", _config(read, environment=False)),
        ("Environment", _config(read, environment=True)),
    ]
    written = page(f"batchproof: {names}", _lede(read), [s for s in sections if s[1]])
    return _replace(Path(out), written)


def _told_apart(read: list[Run], folders: Sequence[Path]) -> list[Run]:
    names = [run.name for run in read]
    if len(set(names)) == len(names):
        return read
    return [
        Run(str(folder), run.points, run.times, run.config)
        for run, folder in zip(read, folders, strict=True)
    ]


def _replace(out: Path, text: str) -> Path:
    try:
        return write_file(out, text)
    except OSError as error:
        raise RunFolderError(
            f"{out} cannot be written ({error.strerror}); expected a file in a folder that exists. "
            "Choose another place."
        ) from None


def shown(point: Point) -> str:
    """Return a mean with its standard error, as far as it is known."""
    if not math.isfinite(point.standard_error):
        return number(point.value, 5)
    return f"{number(point.value, 5)} ± {number(point.standard_error, 2)}"


def apart(one: Point, other: Point) -> bool | None:
    """Return whether two means differ by more than their standard errors; None where unknown.

    The standard error of a difference is at most sqrt(a² + b²) where the two are not negatively
    correlated, as evaluations of the same samples are not.
    """
    error = math.hypot(one.standard_error, other.standard_error)
    return abs(one.value - other.value) > error if math.isfinite(error) else None


_VERDICT: Mapping[bool | None, str] = {
    True: "they differ by more than their standard errors",
    False: "they differ by no more than their standard errors",
    None: "their standard errors are not known",
}


def _lede(runs: Sequence[Run]) -> str:
    best = _best_of(runs)
    many = f"{len(runs)} runs compared. " if len(runs) > 1 else ""
    if len({run.monitor for run in runs}) > 1:
        return f"{many}They were monitored for different means."
    if not best:
        return f"{many}No finite {runs[0].monitor} in any epoch."
    point, name = best[0]
    of = f"{name}, " if len(runs) > 1 else ""
    return f"{many}Best: {of}epoch {point.epoch}, {point.name} {shown(point)}."


def _best_of(runs: Sequence[Run]) -> list[tuple[Point, str]]:
    """Return the best epoch of each run with its name, the best run first.

    Nothing where the runs were monitored for different means.
    """
    if len({run.monitor for run in runs}) > 1:
        return []
    best = [(run.ranked[0], run.name) for run in runs if run.ranked]
    return sorted(best, key=lambda pair: pair[0].value, reverse=runs[0].largest_is_best)


def _result(runs: Sequence[Run]) -> list[Part]:
    columns = ("run", "epochs", "steps", "monitored", "best", "in epoch", "runner-up", "apart")
    parts: list[Part] = [Table(columns, tuple(map(_row, runs)))]
    parts += [Text(sentence) for run in runs if (sentence := _within(run))]
    best = _best_of(runs)
    if len(best) < 2:
        return parts
    (first, first_name), (second, second_name) = best[:2]
    parts.append(
        Text(
            f"Of these runs {first_name} is the best, {first.name} {shown(first)}, and "
            f"{second_name} the runner-up, {shown(second)}; {_VERDICT[apart(first, second)]}."
        )
    )
    return parts


def _row(run: Run) -> tuple[str, ...]:
    ranked = run.ranked
    head = (
        run.name,
        str(max(point.epoch for point in run.points)),
        str(max(point.step for point in run.points)),
        run.monitor,
    )
    if not ranked:
        return (*head, "not finite", "", "", "")
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    if second is None:
        return (*head, shown(best), str(best.epoch), "none", "")
    told = {True: "yes", False: "no", None: "unknown"}[apart(best, second)]
    return (*head, shown(best), str(best.epoch), f"{shown(second)} ({second.epoch})", told)


def _within(run: Run) -> str:
    ranked = run.ranked
    if len(ranked) < 2:
        return ""
    best, second = ranked[:2]
    return (
        f"{run.name}: epoch {best.epoch} is the best and epoch {second.epoch} the runner-up; "
        f"{_VERDICT[apart(best, second)]}."
    )


def _note(runs: Sequence[Run]) -> list[Part]:
    known = any(math.isfinite(p.standard_error) for run in runs for p in run.points)
    return [Text("Bands are one standard error on either side.")] if known else []


def _beside(runs: Sequence[Run]) -> list[Part]:
    pictures = beside(runs)
    if not pictures:
        return []
    rows = []
    for run in runs:
        for name in run.names():
            points = [p for p in run.epochs(name) if math.isfinite(p.mean_of_batch_means)]
            if not points or "/" in name:
                continue
            widest = max(points, key=lambda p: abs(p.mean_of_batch_means - p.value))
            off = widest.mean_of_batch_means - widest.value
            values = (number(widest.value, 6), number(widest.mean_of_batch_means, 6))
            label = name if len(runs) == 1 else f"{run.name}: {name}"
            rows.append((label, str(widest.epoch), *values, number(off, 2)))
    columns = ("mean", "epoch", "exact", "mean of batch means", "off by")
    words = (
        "The mean of batch means is what a loop that averages its batches would have printed. The "
        "table shows the epoch in which it is furthest off."
    )
    return [Text(words), *pictures, Table(columns, tuple(rows))]


def _time(runs: Sequence[Run]) -> list[Part]:
    parts: list[Part] = []
    for run in runs:
        if not run.times:
            continue
        title = "where the time went, seconds" + ("" if len(runs) == 1 else f", {run.name}")
        parts.append(Bars(title, tuple(_bars(run))))
    return parts + _throughput(runs)


def _bars(run: Run) -> list[Bar]:
    whole = math.fsum(line.get("seconds", 0.0) for line in run.times)
    names = dict.fromkeys(n for line in run.times for n in line if n.endswith(_PART))
    named = {
        n.removesuffix(_PART): math.fsum(line.get(n, 0.0) for line in run.times) for n in names
    }
    rest = whole - math.fsum(named.values())
    if rest > 0:
        named["other"] = rest
    bars: list[Bar] = []
    for name, seconds in sorted(named.items(), key=lambda pair: -pair[1]):
        share = f" ({seconds / whole:.0%})" if whole else ""
        its: Tone = "muted" if name == "other" else "plain"
        bars.append(Bar(name, seconds, its, f"{seconds:.3g} s{share}"))
    return bars


def _throughput(runs: Sequence[Run]) -> list[Part]:
    """Return what was trained on a second: samples where all runs know them, else weight."""
    points = [point for run in runs for point in run.epochs("train_loss")]
    in_samples = all(math.isfinite(point.samples) for point in points)
    series = []
    for place, run in enumerate(runs):
        timed = [(point, seconds) for point, seconds in _timed(run) if seconds > 0]
        x = tuple(float(point.epoch) for point, _ in timed)
        y = tuple((p.samples if in_samples else p.weight) / seconds for p, seconds in timed)
        label = "training" if len(runs) == 1 else run.name
        series.append(Series(label, x, y, (), tone(place)))
    if not any(one.x for one in series):
        return []
    units = dict.fromkeys(point.unit for point in points)
    what = "samples" if in_samples else " / ".join(f"{unit}s" for unit in units)
    return [Curves("throughput of training", "epoch", f"{what} a second", tuple(series))]


def _timed(run: Run) -> list[tuple[Point, float]]:
    """Return the training means of epochs with the seconds that they took.

    Of an epoch in which a run went on, only the seconds since then are known: it is left out.
    """
    points = run.epochs("train_loss")
    ended, by_step = {p.epoch: p.step for p in points}, {p.step: p for p in points}
    found, gone_on_from = {}, 0.0
    for line in run.times:
        gone_on_from = line.get(RESUMED, gone_on_from)
        point = by_step.get(int(line.get("step", -1)))
        if point is not None and gone_on_from <= ended.get(point.epoch - 1, 0):
            found[point.step] = (point, _training_seconds(line))
    return list(found.values())


def _training_seconds(line: Mapping[str, float]) -> float:
    apart = ("validation", "checkpoint")
    return line.get("seconds", 0.0) - math.fsum(line.get(f"{name}{_PART}", 0.0) for name in apart)


def _config(runs: Sequence[Run], *, environment: bool) -> list[Part]:
    """Return a table of values, one column a run; those that differ come first."""
    flattened = [
        flat(part if isinstance(part := run.config.get(ENVIRONMENT, {}), Mapping) else {})
        if environment
        else flat({k: v for k, v in run.config.items() if k != ENVIRONMENT})
        for run in runs
    ]
    names = list(dict.fromkeys(name for values in flattened for name in values))
    if not names:
        return []
    rows = [(name, *(values.get(name, "") for values in flattened)) for name in names]
    rows = [row for row in rows if set(row[1:]) != {"null"}]
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    tones: tuple[Tone, ...] = tuple("plain" if len(set(row[1:])) == 1 else "amber" for row in rows)
    return [Table(("name", *(run.name for run in runs)), tuple(rows), tones)]
