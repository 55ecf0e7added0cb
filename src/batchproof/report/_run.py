"""The content of a run folder, in the form that a report shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchproof._errors import RunFolderError
from batchproof.runs import METRICS, Choice, History, Record, RunFolder, choice

_MANY = 40


@dataclass(frozen=True, slots=True)
class Run:
    """The content of a run folder.

    Attributes:
        name: the folder's name.
        history: every record, with the name of the mean that was monitored.
        times: the lines of timing.jsonl: seconds of each epoch and of its parts.
        config: config.json.
    """

    name: str
    history: History
    times: tuple[Mapping[str, float], ...]
    config: Mapping[str, Any]

    @property
    def records(self) -> list[Record]:
        """Every record, in order."""
        return self.history.records

    def epochs(self, name: str) -> list[Record]:
        """Return a name's means over whole epochs that have a weight, in order."""
        return [record for record in self.history.epochs(name) if record.weight]

    def names(self) -> list[str]:
        """Return the names measured over epochs, in the order of their first records."""
        return list(dict.fromkeys(r.name for r in self.records if r.span == "epoch"))

    @property
    def monitor(self) -> str:
        """The name by which the best epoch is chosen."""
        if self.epochs(self.history.monitor):
            return self.history.monitor
        names = [n for n in self.names() if not n.startswith("lr")]
        return next((n for n in ("val_loss", "train_loss") if n in names), names[0])

    @property
    def data(self) -> Mapping[str, Any]:
        """The known facts of the data that the monitored mean is over: name, samples, digest."""
        info, identity = (self.config.get(part) for part in ("info", "identity"))
        part = "training data" if self.monitor.startswith("train") else "validation data"
        about = identity.get(part) if isinstance(identity, Mapping) else None
        facts = dict(about) if isinstance(about, Mapping) else {}
        name = info.get("data") if isinstance(info, Mapping) else None
        values = {"name": name or None, "samples": facts.get("samples")}
        values["digest"] = facts.get("digest")
        return {key: value for key, value in values.items() if value is not None}

    @property
    def choice(self) -> Choice | None:
        """The best epoch and the runner-up; None where no monitored mean is finite."""
        return choice(self.epochs(self.monitor), self.history.mode)


def same_data(runs: Sequence[Run]) -> bool:
    """Return whether all runs have the same data, as far as it is known."""
    for key in ("name", "samples", "digest"):
        values = [json.dumps(run.data[key]) for run in runs if key in run.data]
        if len(set(values)) > 1:
            return False
    return True


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunFolderError: if it is missing, holds no records, or a file in it cannot be read.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RunFolderError(
            f"run folder {folder} {what}; expected a folder that batchproof train wrote. "
            "Name one that is there, such as runs/lenet5."
        )
    run = RunFolder(folder)
    history = run.history()
    if not any(record.span == "epoch" for record in history.records):
        raise RunFolderError(
            f"{folder / METRICS} holds no record over an epoch; expected one or more. "
            "Let the run finish its first epoch."
        )
    times = tuple(_numbers(line) for line in run.timing())
    return Run(folder.resolve().name, history, times, run.config)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and abs(value) < 2**63
    }


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a configuration as one entry per value, with names such as "settings.lr".

    A part with very many entries, such as the shapes of all weights, is only counted.
    """
    rows: dict[str, str] = {}
    for key, setting in config.items():
        name, value = f"{prefix}{key}", setting
        if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            value = {str(place): part for place, part in enumerate(value)}
        if isinstance(value, Mapping) and len(value) > _MANY:
            rows[name] = f"{len(value)} entries"
        elif isinstance(value, Mapping):
            rows |= flat(value, f"{name}.")
        else:
            rows[name] = _written(value)
    return rows


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return json.dumps(value)
