"""Loggers of other makers, used as they are.

One that raises is reported once, and training continues.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from batchproof._errors import SettingError
from batchproof.runs import History, Record
from batchproof.train._outputs._callback import Callback

# what W&B, Trackio and others; MLflow; Aim call it
_METHODS = ("log", "log_metrics", "track")


class Loggers(Callback):
    """Hands the means of every record to loggers.

    A mean over an epoch goes under its name, one over the last steps under its name with "_step".

    Args:
        loggers: objects with .log(dict, step=), or .log_metrics or .track alike.
        notice: called with a sentence about the first failure of each.

    Raises:
        SettingError: if one has none of these methods.
    """

    def __init__(self, loggers: Sequence[Any], notice: Callable[[str], object]) -> None:
        self._loggers = {_name(logger): _method(logger) for logger in loggers}
        self._made_here = [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
        self._notice = notice
        self._failed: set[str] = set()

    def on_records(self, records: Sequence[Record]) -> None:
        """Hand over the means."""
        if not records:
            return
        values = {
            r.name if r.span == "epoch" else f"{r.name}_step": r.value for r in records if r.weight
        }
        for name, log in self._loggers.items():
            try:
                log({**values, "epoch": records[0].epoch}, step=records[0].step)
            except Exception as error:  # a logger must not end a run
                self._report(name, error)

    def on_end(self, history: History) -> None:
        """Close the loggers that were made here."""
        del history
        for logger in self._made_here:
            logger.close()

    def _report(self, name: str, error: Exception) -> None:
        if name in self._failed:
            return
        self._failed.add(name)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self._notice(f"logger {name} raised {reason}; training continues, and this is said once.")


class TensorBoardLogger:
    """Writes to TensorBoard's files, by torch.utils.tensorboard.

    Args:
        folder: where they go; it is made when something is logged.

    Raises:
        SettingError: if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError:
            raise SettingError(
                "tensorboard is not installed; pip install 'batchproof[tensorboard]'."
            ) from None
        self._make, self._folder = SummaryWriter, folder
        self._writer: Any = None

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Write values at a step."""
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()


def named_loggers(loggers: Sequence[Any], run_dir: Path | None) -> list[Any]:
    """Return loggers with those that were given by name made.

    Raises:
        SettingError: if a name is unknown, or its files have no folder to go to.
    """
    return [_made(each, run_dir) if isinstance(each, str) else each for each in loggers]


def expect_logger(logger: Any) -> None:
    """Refuse a logger that cannot be called, or a name that is not known.

    Raises:
        SettingError: if it is one.
    """
    if not isinstance(logger, str):
        _method(logger)
    elif logger != "tensorboard":
        raise SettingError(
            f"logger is {logger!r}; expected 'tensorboard', or an object with .log(dict, step=)."
        )


def _made(name: str, run_dir: Path | None) -> TensorBoardLogger:
    expect_logger(name)
    if run_dir is None:
        raise SettingError(
            "logger 'tensorboard' writes to the run folder, but run_dir is None; pass run_dir."
        )
    return TensorBoardLogger(run_dir / "tensorboard")


def _method(logger: Any) -> Callable[..., Any]:
    for name in _METHODS:
        method = getattr(logger, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    raise SettingError(
        f"logger {_name(logger)} has no .log(dict, step=); expected an object that has, or "
        "'tensorboard'."
    )


def _name(logger: Any) -> str:
    return str(getattr(logger, "__name__", type(logger).__name__))
