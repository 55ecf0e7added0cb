"""The files of a run.

RUN/config.json      settings, model, data, versions, command line, revision
RUN/metrics.jsonl    every record: step, epoch, name, total, weight, unit
RUN/metrics.csv      the same, as a table
RUN/timing.jsonl     times and throughput, which differ from run to run
RUN/best/            the best weights, and the mean they were chosen for
RUN/last/            everything that is needed to go on
RUN/previous/        the same, one checkpoint before
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

from torch import Tensor

from batchproof._errors import CheckpointError, RunFolderError
from batchproof._files import broken
from batchproof.train._checkpoint import RECORD, read_weights
from batchproof.train._records import Record

CONFIG, METRICS, TABLE, TIMING = "config.json", "metrics.jsonl", "metrics.csv", "timing.jsonl"
BEST: Final = "best"
LAST: Final = "last"
PREVIOUS = "previous"
FORMER_BEST = ".best.former"


class RunFolder:
    """Reads what a run has left.

    Args:
        path: the run folder.

    Attributes:
        path: the same.

    Raises:
        RunFolderError: if there is no run in it.

    Example:
        >>> RunFolder("no/such/run")
        Traceback (most recent call last):
        batchproof._errors.RunFolderError: no/such/run holds no run (no config.json in it). ...
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / CONFIG).is_file():
            raise RunFolderError(
                f"{self.path} holds no run (no {CONFIG} in it). Name a folder that fit has made."
            )

    @property
    def config(self) -> dict[str, Any]:
        """What the run was made with.

        Raises:
            RunFolderError: if the file is damaged.
        """
        try:
            config = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.path / CONFIG} cannot be read ({error}).") from None
        assert isinstance(config, dict)
        return config

    def records(self) -> list[Record]:
        """Return every record, in order; a last line that is cut short is left out."""
        return [Record.from_json(values) for values in _lines(self.path / METRICS)]

    def timing(self) -> list[dict[str, Any]]:
        """Return times and throughput, one entry an epoch."""
        return _lines(self.path / TIMING)

    def weights(self, which: Literal["best", "last"] = BEST) -> dict[str, Tensor]:
        """Return the weights of a checkpoint, on the host.

        Args:
            which: "best" or "last".

        Raises:
            CheckpointError: if it is damaged or missing.
        """
        folder = self.path / which
        if which == BEST and not folder.exists():
            folder = self.path / FORMER_BEST
            if not folder.exists():
                raise CheckpointError(
                    f"{self.path} has no best weights, for no epoch was validated to its end; "
                    f"go on with the run, or look whether {self.path / LAST} serves."
                )
        fault = broken(folder)
        if fault is not None:
            other = LAST if which == BEST else PREVIOUS
            raise CheckpointError(f"{fault}; look whether {self.path / other} serves instead.")
        return read_weights(folder)

    def best(self) -> Record | None:
        """Return the mean that the best weights were chosen for, None where there are none."""
        for folder in (BEST, FORMER_BEST):
            file = self.path / folder / RECORD
            if file.is_file():
                return Record.from_json(json.loads(file.read_text(encoding="utf-8")))
        return None


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole]
