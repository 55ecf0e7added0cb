"""The files of a run, and the one reader of them.

RUN/config.json      settings, model, data, versions, command line, revision
RUN/metrics.jsonl    every record: step, epoch, name, total, weight, unit
RUN/metrics.csv      the same, as a table
RUN/timing.jsonl     times and throughput, which differ from run to run
RUN/best/            the best weights, and the mean they were chosen for
RUN/last/            everything needed to resume
RUN/previous/        the same, one checkpoint before
RUN/kept/step-N/     the weights after step N, of those that were asked to be kept

A run folder may come from anybody: its files are read only where they are regular files, of the
expected types and bounded in size, and no code in them is run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from batchproof._errors import CheckpointError, RunFolderError, SettingError
from batchproof._extras import naming_extra
from batchproof._files import MEBIBYTE, broken, parse_json, read_file, reason_of
from batchproof.runs._history import History
from batchproof.runs._record import Record

if TYPE_CHECKING:
    import torch

CONFIG, METRICS, TABLE, TIMING = "config.json", "metrics.jsonl", "metrics.csv", "timing.jsonl"
RECORD = "record.json"
BEST: Final = "best"
LAST: Final = "last"
PREVIOUS = "previous"
FORMER_BEST = ".best.former"
KEPT = "kept"
_STEP = "step-"
_LARGEST_LOG = 2048 * MEBIBYTE


class RunFolder:
    """Reads the files of a run.

    Args:
        path: the run folder.

    Attributes:
        path: the same.

    Raises:
        RunFolderError: if there is no run in it.

    Examples:
        >>> RunFolder("no/such/run")
        Traceback (most recent call last):
        batchproof._errors.RunFolderError: no/such/run holds no run (neither config.json nor ...
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not holds_a_run(self.path):
            raise RunFolderError(
                f"{self.path} holds no run (neither {CONFIG} nor {METRICS} is in it); give a "
                "folder that training made."
            )

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration; empty if the folder has none.

        Raises:
            RunFolderError: if the file cannot be read.
        """
        path = self.path / CONFIG
        content = _content(path, optional=True)
        try:
            config = parse_json(content) if content is not None else {}
        except ValueError as error:
            raise RunFolderError(f"{path} is not JSON ({error}); {_ANOTHER_COPY}") from None
        if not isinstance(config, dict):
            raise RunFolderError(f"{path} holds no JSON object; {_ANOTHER_COPY}")
        return config

    def records(self) -> list[Record]:
        """Return every record, in order, without a last line that is cut short.

        Raises:
            RunFolderError: if the log is missing or cannot be read, or another line is damaged.
        """
        path = self.path / METRICS
        records = []
        for number, values in _lines(path):
            try:
                records.append(Record.from_json(values))
            except ValueError as error:
                raise RunFolderError(
                    f"line {number} of {path} is not a record ({error}); {_ANOTHER_COPY}"
                ) from None
        return records

    def timing(self) -> list[dict[str, Any]]:
        """Return times and throughput: one entry per epoch, and one wherever the run was resumed.

        Raises:
            RunFolderError: if the file cannot be read, or a line but the last is damaged.
        """
        return [values for _, values in _lines(self.path / TIMING, optional=True)]

    def history(self) -> History:
        """Return the records as fit returned them, with the mean that was monitored.

        Raises:
            RunFolderError: if the log or the configuration cannot be read.
        """
        config = self.config
        # entries of the user's own, in "config" and "info", may have the same names
        identity = config.get("identity")
        settings = identity if isinstance(identity, dict) else config
        monitor, mode = _innermost(settings, "monitor"), _innermost(settings, "mode")
        return History(
            monitor=monitor if isinstance(monitor, str) else "val_loss",
            mode="max" if mode == "max" else "min",
            records=self.records(),
            run_dir=self.path,
        )

    def kept(self) -> list[int]:
        """Return the steps after which weights were kept, in order."""
        steps = (path.name.removeprefix(_STEP) for path in (self.path / KEPT).glob(f"{_STEP}*"))
        return sorted(int(step) for step in steps if step.isdecimal())

    def weights(self, which: Literal["best", "last"] | int = BEST) -> "dict[str, torch.Tensor]":
        """Return the weights of a checkpoint, on the host.

        Args:
            which: "best", "last", or the step after which weights were kept.

        Raises:
            CheckpointError: if it is damaged or missing.
            SettingError: if there is no checkpoint of the name.
        """
        if not isinstance(which, int) and which not in (BEST, LAST, PREVIOUS):
            raise SettingError(
                f"which is {which!r}; expected 'best', 'last', or the step after which weights "
                "were kept."
            )
        with naming_extra("RunFolder.weights"):
            from batchproof.runs._weights import read_weights  # noqa: PLC0415 - the only torch

        if isinstance(which, int) and which not in self.kept():
            steps = ", ".join(map(str, self.kept())) or "none"
            raise CheckpointError(
                f"{self.path} keeps no weights of step {which}; it keeps those of: {steps}."
            )
        folder = self.path / (kept_at(which) if isinstance(which, int) else which)
        if which == BEST and not folder.exists():
            folder = self.path / FORMER_BEST
            if not folder.exists():
                raise CheckpointError(
                    f"{self.path} has no best weights, because no epoch was validated to its "
                    f"end; resume the run, or check whether {self.path / LAST} can be used."
                )
        fault = broken(folder)
        if fault is not None:
            other = LAST if which == BEST else PREVIOUS
            raise CheckpointError(f"{fault}; check whether {self.path / other} can be used.")
        return read_weights(folder)

    def best(self) -> Record | None:
        """Return the mean by which the best weights were chosen, or None if there are none.

        Raises:
            RunFolderError: if the file that holds it cannot be read, or is damaged.
        """
        for folder in (BEST, FORMER_BEST):
            path = self.path / folder / RECORD
            if path.parent.is_symlink():
                raise RunFolderError(f"{path.parent} is a link; {_ANOTHER_COPY}")
            content = _content(path, optional=True)
            if content is not None:
                try:
                    return Record.from_json(_object(content))
                except ValueError as error:
                    raise RunFolderError(
                        f"{path} is not a record ({error}); {_ANOTHER_COPY}"
                    ) from None
        return None


def kept_at(step: int) -> str:
    """Return the place in a run folder of the weights that are kept of a step."""
    return f"{KEPT}/{_STEP}{step}"


_ANOTHER_COPY = "restore it from a copy, or train again in another folder."


def holds_a_run(folder: Path) -> bool:
    """Return whether a folder holds a configuration or a log."""
    return any((folder / name).is_file() for name in (CONFIG, METRICS))


def runs_in(folder: Path) -> list[Path]:
    """Return the runs in a folder: itself, or one for each model that a recipe trained in it.

    No link in it is followed.
    """
    if holds_a_run(folder):
        return [folder]
    try:
        inside = [path for path in folder.iterdir() if not path.is_symlink()]
        return sorted(path for path in inside if holds_a_run(path))
    except OSError:
        return []


def _lines(path: Path, *, optional: bool = False) -> list[tuple[int, dict[str, Any]]]:
    """Return (line number, object) of each line; a last line without its newline may be cut."""
    content = _content(path, optional=optional)
    if content is None:
        return []
    objects = []
    *whole, last = content.split(b"\n")
    for number, line in enumerate([*whole, last] if last else whole, start=1):
        try:
            objects.append((number, _object(line)))
        except ValueError as error:
            if number > len(whole):
                break
            raise RunFolderError(
                f"line {number} of {path} is not a record ({error}); {_ANOTHER_COPY}"
            ) from None
    return objects


def _object(content: bytes) -> dict[str, Any]:
    values = parse_json(content)
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the content is invalid
    return values


def _content(path: Path, *, optional: bool = False) -> bytes | None:
    try:
        return read_file(path, most=_LARGEST_LOG)
    except FileNotFoundError:
        if optional:
            return None
        raise RunFolderError(
            f"{path.parent} has no {path.name}; give a folder that training made."
        ) from None
    except OSError as error:
        why = reason_of(error)
        raise RunFolderError(f"{path} cannot be read: {why}; {_ANOTHER_COPY}") from None


def _innermost(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key at any depth of a configuration, the outermost first."""
    if key in config:
        return config[key]
    inner = (_innermost(value, key) for value in config.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)
