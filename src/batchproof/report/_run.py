"""A run folder as it is read: metrics.jsonl must be there, timing.jsonl and config.json may be.

Only the last line of a log may be incomplete: a run that was killed, or is still writing.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from batchproof._errors import RunFolderError

METRICS, TIMING, CONFIG = "metrics.jsonl", "timing.jsonl", "config.json"
_MANY = 40


@dataclass(frozen=True, slots=True)
class Point:
    """One mean at one moment: a line of metrics.jsonl.

    Attributes:
        step: optimiser steps done.
        epoch: from 1.
        name: what was measured, such as "val_loss", or "val_loss/adults" for a group.
        total: sum of what is averaged.
        weight: sum of its weights.
        unit: what the mean is a mean of; "step" for a setting such as the learning rate.
        span: "epoch", or "steps" for a record between two log lines.
        samples: how many, or NaN.
        standard_error: of the mean, or NaN.
        mean_of_batch_means: what the usual loop would have printed, or NaN.
    """

    step: int
    epoch: int
    name: str
    total: float
    weight: float
    unit: str
    span: str = "epoch"
    samples: float = math.nan
    standard_error: float = math.nan
    mean_of_batch_means: float = math.nan

    @property
    def value(self) -> float:
        """The mean; NaN where there is no weight."""
        return self.total / self.weight if self.weight else math.nan


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder.

    Attributes:
        name: of the folder.
        points: the lines of metrics.jsonl, in order.
        times: the lines of timing.jsonl: seconds of each epoch and of its parts.
        config: config.json.
    """

    name: str
    points: tuple[Point, ...]
    times: tuple[Mapping[str, float], ...]
    config: Mapping[str, Any]

    def epochs(self, name: str) -> list[Point]:
        """Return a name's means over whole epochs that have a weight, in order."""
        return [p for p in self.points if p.name == name and p.span == "epoch" and p.weight]

    def names(self) -> list[str]:
        """Return what was measured over epochs, in the order of its first record."""
        return list(dict.fromkeys(p.name for p in self.points if p.span == "epoch"))

    @property
    def monitor(self) -> str:
        """The name by which the best epoch is chosen."""
        given = self._setting("monitor")
        if isinstance(given, str) and self.epochs(given):
            return given
        names = [n for n in self.names() if not n.startswith("lr")]
        return next((n for n in ("val_loss", "train_loss") if n in names), names[0])

    @property
    def largest_is_best(self) -> bool:
        """Whether the monitored mean is the better the larger it is."""
        return bool(self._setting("mode") == "max")

    @property
    def ranked(self) -> list[Point]:
        """The epochs by the monitored mean, the best first."""
        finite = [p for p in self.epochs(self.monitor) if math.isfinite(p.value)]
        return sorted(finite, key=lambda point: point.value, reverse=self.largest_is_best)

    def _setting(self, key: str) -> Any:
        # the user's own entries, in "config" and "info", may bear the same names
        identity = self.config.get("identity")
        return _found(identity if isinstance(identity, Mapping) else self.config, key)


def _found(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key at any depth of a configuration, the outermost first."""
    if key in config:
        return config[key]
    inner = (_found(value, key) for value in config.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def runs_in(folder: Path) -> list[Path]:
    """Return the runs of a folder: itself, or those in it where a recipe trained several models."""
    inner = sorted(path.parent for path in folder.glob(f"*/{METRICS}"))
    return [folder] if (folder / METRICS).exists() or not inner else inner


def read_run(folder: Path) -> Run:
    """Return what a run folder holds.

    Raises:
        RunFolderError: if it is missing, holds no records, or a file in it cannot be read.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RunFolderError(
            f"run folder {folder} {what}; expected a folder that batchproof train wrote. "
            "Name one that is there, such as runs/lenet5."
        )
    lines = _lines(folder / METRICS)
    points = tuple(_point(values, folder / METRICS, at) for at, values in lines)
    if not any(point.span == "epoch" for point in points):
        raise RunFolderError(
            f"{folder / METRICS} holds no record over an epoch; expected one or more. "
            "Let the run finish its first epoch."
        )
    times = tuple(_times(values) for _, values in _lines(folder / TIMING, optional=True))
    return Run(folder.resolve().name, points, times, _config(folder / CONFIG))


def _lines(path: Path, *, optional: bool = False) -> list[tuple[int, Mapping[str, Any]]]:
    """Return (line number, object) of each line; an incomplete last line is left out."""
    if optional and not path.exists():
        return []
    parsed: list[tuple[int, Mapping[str, Any]]] = []
    lines = _read(path).splitlines(keepends=True)
    for at, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if isinstance(values, dict):
            parsed.append((at, values))
        elif at < len(lines) or line.endswith("\n"):
            raise RunFolderError(
                f"line {at} of {path} is {line.strip()[:40]!r}; expected a JSON object. "
                "Mend or remove the line."
            )
    return parsed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFolderError(
            f"{path.parent} has no {path.name}; expected a run folder of batchproof train. "
            "Name the folder that holds it."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); expected UTF-8 text that is yours to read. "
            "Check its permissions."
        ) from None


def _point(values: Mapping[str, Any], path: Path, at: int) -> Point:
    try:
        given = [one for one in fields(Point) if one.default is MISSING or one.name in values]
        return Point(**{one.name: _READ[one.type](values[one.name]) for one in given})
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"line {at} of {path} is no record ({error}); expected step, epoch, name, total, "
            "weight and unit. Mend or remove the line."
        ) from None


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


_READ: Mapping[Any, Callable[[Any], Any]] = {int: int, float: _float, str: str}


def _times(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _config(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(_read(path))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise RunFolderError(f"{path} holds no JSON object; expected the run's settings. Mend it.")
    return config


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a configuration as one line a value, with names such as "settings.lr".

    A part of very many entries, such as the shapes of all weights, is only counted.
    """
    rows: dict[str, str] = {}
    for key, given in config.items():
        name, value = f"{prefix}{key}", given
        if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            value = {str(place): part for place, part in enumerate(value)}
        if isinstance(value, Mapping) and len(value) > _MANY:
            rows[name] = f"{len(value)} entries"
        elif isinstance(value, Mapping):
            rows |= flat(value, f"{name}.")
        else:
            rows[name] = _told(value)
    return rows


def _told(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return json.dumps(value)
