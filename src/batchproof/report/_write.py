"""The page of a report, section by section, and the file it is written to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    tone,
)
from batchproof.report._curves import beside, curves
from batchproof.report._run import Run, flat, read_run, same_data
from batchproof.runs import Choice, Record, runs_in, value_with_error

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
        RunFolderError: if a folder cannot be read, or the file cannot be written.

    Examples:
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
        raise SettingError(
            "no run folder was given; expected one or more. Name one, such as runs/lenet5."
        )
    # a folder without a run is refused by name when it is read
    folders = [folder for run in map(Path, runs) for folder in runs_in(run) or [run]]
    runs_read = _told_apart([read_run(folder) for folder in folders], folders)
    names = ", ".join(run.name for run in runs_read)
    sections: list[Section] = [
        ("Result", _result(runs_read)),
        ("Curves", [*_note(runs_read), *curves(runs_read)]),
        ("Exact means beside means of batch means", _beside(runs_read)),
        ("Time", _time(runs_read)),
        ("Configuration", _config(runs_read, environment=False)),
        ("Environment", _config(runs_read, environment=True)),
    ]
    text = page(f"batchproof: {names}", _lede(runs_read), [s for s in sections if s[1]])
    return _replace(Path(out), text)


def _told_apart(runs_read: list[Run], folders: Sequence[Path]) -> list[Run]:
    names = [run.name for run in runs_read]
    if len(set(names)) == len(names):
        return runs_read
    return [replace(run, name=str(folder)) for run, folder in zip(runs_read, folders, strict=True)]


def _replace(out: Path, text: str) -> Path:
    try:
        return write_file(out, text)
    except OSError as error:
        raise RunFolderError(
            f"{out} cannot be written ({error.strerror}); expected a file in a folder that exists. "
            "Choose another place."
        ) from None


def _lede(runs: Sequence[Run]) -> str:
    many = f"{len(runs)} runs compared. " if len(runs) > 1 else ""
    reason = _not_ranked(runs)
    if reason:
        return f"{many}{reason}"
    in_order = _ranked(runs)
    if not in_order:
        return f"{many}No finite {runs[0].monitor} in any epoch."
    run, best = in_order[0]
    of = f"{run.name}, " if len(runs) > 1 else ""
    return f"{many}Best: {of}epoch {best.epoch}, {best.name} {value_with_error(best)}."


def _not_ranked(runs: Sequence[Run]) -> str:
    """Return the reason why runs are not ranked, or "" if they are."""
    if len({run.monitor for run in runs}) > 1:
        return "They were monitored for different means, so they are not ranked."
    if same_data(runs):
        return ""
    data = "; ".join(f"{run.name}: {_data_of(run)}" for run in runs)
    return f"They were measured on different data, so they are not ranked. {data}."


def _data_of(run: Run) -> str:
    samples = run.data.get("samples")
    parts = [str(run.data.get("name", ""))]
    parts.append(f"{samples:,} samples" if isinstance(samples, int) else "")
    return ", ".join(part for part in parts if part) or "unknown"


def _ranked(runs: Sequence[Run]) -> list[tuple[Run, Record]]:
    """Return each run with the record of its best epoch, the best run first.

    The list is empty if the runs cannot be compared.
    """
    if _not_ranked(runs):
        return []
    best = [(run, run.choice.best) for run in runs if run.choice]
    return sorted(best, key=lambda pair: pair[1].value, reverse=runs[0].history.mode == "max")


def _result(runs: Sequence[Run]) -> list[Part]:
    columns = ("run", "epochs", "steps", "monitored", "best", "in epoch", "runner-up", "apart")
    parts: list[Part] = [Table(columns, tuple(map(_row, runs)))]
    parts += [Text(sentence) for run in runs if (sentence := _within(run))]
    parts += [Text(sentence) for run in runs if (sentence := _padding(run))]
    in_order = _ranked(runs)
    if len(in_order) < 2:
        return parts
    (first, best), (second, runner_up) = in_order[:2]
    parts.append(
        Text(
            f"Of these runs {first.name} is the best, {best.name} {value_with_error(best)}, and "
            f"{second.name} the runner-up, {value_with_error(runner_up)}; "
            f"{Choice(best, runner_up).verdict}."
        )
    )
    return parts


def _row(run: Run) -> tuple[str, ...]:
    head = (
        run.name,
        str(max(record.epoch for record in run.records)),
        str(max(record.step for record in run.records)),
        run.monitor,
    )
    if run.choice is None:
        return (*head, "not finite", "", "", "")
    best, second = run.choice.best, run.choice.runner_up
    row = (*head, value_with_error(best), str(best.epoch))
    if second is None:
        return (*row, "none", "")
    verdict = {True: "yes", False: "no", None: "unknown"}[run.choice.apart]
    return (*row, f"{value_with_error(second)} ({second.epoch})", verdict)


def _within(run: Run) -> str:
    if run.choice is None or run.choice.runner_up is None:
        return ""
    return (
        f"{run.name}: {run.choice.at(run.choice.best)} is the best and "
        f"{run.choice.at(run.choice.runner_up)} the runner-up; {run.choice.verdict}."
    )


def _padding(run: Run) -> str:
    """Return the share of padding of a run whose windows were cut by plan; else ""."""
    after, before = (run.epochs(f"train_padding{when}") for when in ("", "_before"))
    if not (after and before):
        return ""
    return (
        f"{run.name}: {before[-1].value:.0%} of the positions were padding in the order given, and "
        f"{after[-1].value:.0%} as they were cut."
    )


def _note(runs: Sequence[Run]) -> list[Part]:
    has_errors = any(r.standard_error is not None for run in runs for r in run.records)
    return [Text("Bands are one standard error on either side.")] if has_errors else []


def _beside(runs: Sequence[Run]) -> list[Part]:
    pictures = beside(runs)
    if not pictures:
        return []
    rows = []
    for run in runs:
        for name in run.names():
            offs = [
                (usual - record.value, usual, record)
                for record in run.epochs(name)
                if (usual := record.mean_of_batch_means) is not None
            ]
            if not offs or "/" in name:
                continue
            off, usual, record = max(offs, key=lambda entry: abs(entry[0]))
            values = (number(record.value, 6), number(usual, 6), number(off, 2))
            label = name if len(runs) == 1 else f"{run.name}: {name}"
            rows.append((label, str(record.epoch), *values))
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
    return parts + _throughput(runs) + _positions(runs)


def _bars(run: Run) -> list[Bar]:
    whole = math.fsum(line.get("seconds", 0.0) for line in run.times)
    names = dict.fromkeys(n for line in run.times for n in line if n.endswith(_PART))
    seconds_of = {
        n.removesuffix(_PART): math.fsum(line.get(n, 0.0) for line in run.times) for n in names
    }
    rest = whole - math.fsum(seconds_of.values())
    if rest > 0:
        seconds_of["other"] = rest
    bars: list[Bar] = []
    for name, seconds in sorted(seconds_of.items(), key=lambda pair: -pair[1]):
        share = f" ({seconds / whole:.0%})" if whole else ""
        its: Tone = "muted" if name == "other" else "plain"
        bars.append(Bar(name, seconds, its, f"{seconds:.3g} s{share}"))
    return bars


def _throughput(runs: Sequence[Run]) -> list[Part]:
    """Return the throughput of training, per second: samples if all runs know them, else weight."""
    records = [record for run in runs for record in run.epochs("train_loss")]
    in_samples = all(record.samples is not None for record in records)
    series = []
    for place, run in enumerate(runs):
        timed = [(record, seconds) for record, seconds in _timed(run) if seconds > 0]
        x = tuple(float(record.epoch) for record, _ in timed)
        y = tuple(((r.samples or 0) if in_samples else r.weight) / seconds for r, seconds in timed)
        label = "training" if len(runs) == 1 else run.name
        series.append(Series(label, x, y, (), tone(place)))
    if not any(one.x for one in series):
        return []
    units = dict.fromkeys(record.unit for record in records)
    what = "samples" if in_samples else " / ".join(f"{unit}s" for unit in units)
    return [Curves("throughput of training", "epoch", f"{what} per second", tuple(series))]


def _positions(runs: Sequence[Run]) -> list[Part]:
    """Return the positions per second of runs whose windows were cut by plan."""
    series = []
    for place, run in enumerate(runs):
        lines = [line for line in run.times if "epoch" in line and "positions_per_second" in line]
        x = tuple(line["epoch"] for line in lines)
        y = tuple(line["positions_per_second"] for line in lines)
        series.append(Series("training" if len(runs) == 1 else run.name, x, y, (), tone(place)))
    if not any(one.x for one in series):
        return []
    return [Curves("positions of training", "epoch", "positions per second", tuple(series))]


def _timed(run: Run) -> list[tuple[Record, float]]:
    """Return the training means of epochs with the seconds that they took.

    An epoch in which a run was resumed is left out: only the seconds since then are known.
    """
    records = run.epochs("train_loss")
    last_step, by_step = {r.epoch: r.step for r in records}, {r.step: r for r in records}
    epochs, resumed_at = {}, 0.0
    for line in run.times:
        resumed_at = line.get(RESUMED, resumed_at)
        record = by_step.get(int(line.get("step", -1)))
        if record is not None and resumed_at <= last_step.get(record.epoch - 1, 0):
            epochs[record.step] = (record, _training_seconds(line))
    return list(epochs.values())


def _training_seconds(line: Mapping[str, float]) -> float:
    apart = ("validation", "checkpoint")
    return line.get("seconds", 0.0) - math.fsum(line.get(f"{name}{_PART}", 0.0) for name in apart)


def _config(runs: Sequence[Run], *, environment: bool) -> list[Part]:
    """Return a table of values, one column a run; those that differ come first."""
    values_of_runs = [
        flat(part if isinstance(part := run.config.get(ENVIRONMENT, {}), Mapping) else {})
        if environment
        else flat({k: v for k, v in run.config.items() if k != ENVIRONMENT})
        for run in runs
    ]
    names = list(dict.fromkeys(name for values in values_of_runs for name in values))
    if not names:
        return []
    rows = [(name, *(values.get(name, "") for values in values_of_runs)) for name in names]
    rows = [row for row in rows if set(row[1:]) != {"null"}]
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    tones: tuple[Tone, ...] = tuple("plain" if len(set(row[1:])) == 1 else "amber" for row in rows)
    return [Table(("name", *(run.name for run in runs)), tuple(rows), tones)]
