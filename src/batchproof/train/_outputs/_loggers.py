"""Loggers of other makers, used as they are, or made by their names where they are installed.

One that raises is reported once, and training continues. A run of a service that was named is begun
when something is logged first, with the run's settings as its configuration; the service's own
environment variables, such as WANDB_MODE, MLFLOW_TRACKING_URI or AIM_REPO, say where it is written.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from batchproof._errors import SettingError, shown
from batchproof.runs import Record
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
        self._made_here = [logger for logger in loggers if isinstance(logger, Service)]
        self._notice = notice
        self._broken: set[str] = set()

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

    def on_close(self) -> None:
        """Close the loggers that were made here."""
        for logger in self._made_here:
            try:
                logger.close()
            except Exception as error:  # as above
                self._report(_name(logger), error)

    def _report(self, name: str, error: Exception) -> None:
        if name in self._broken:
            return
        self._broken.add(name)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self._notice(f"logger {name} raised {reason}; training continues, and this is said once.")


@dataclass(frozen=True, slots=True)
class Place:
    """The run that a service is to log.

    Attributes:
        run_dir: the run folder, or None.
        config: its settings, as plain values.
    """

    run_dir: Path | None
    config: Mapping[str, Any]

    @property
    def name(self) -> str | None:
        """The name of the run: that of its folder."""
        return None if self.run_dir is None else self.run_dir.name

    def flat(self) -> dict[str, Any]:
        """Return the settings by path, such as "settings.seed"."""
        return dict(_flat(self.config))


def _flat(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


Log = Callable[[dict[str, float], int], object]
Begun = tuple[Log, Callable[[], object]]


def _tensorboard(module: Any, place: Place) -> Begun:
    assert place.run_dir is not None
    folder = str(place.run_dir / "tensorboard")
    writers: list[Any] = []

    def log(values: dict[str, float], step: int) -> None:
        if not writers:
            writers.append(module.SummaryWriter(folder, purge_step=step))
        for name, value in values.items():
            writers[0].add_scalar(name, value, step)
        writers[0].flush()

    return log, lambda: [writer.close() for writer in writers]


def _wandb(module: Any, place: Place) -> Begun:
    run = module.init(name=place.name, dir=place.run_dir, config=place.config)
    return lambda values, step: run.log(values, step=step), run.finish


def _mlflow(module: Any, place: Place) -> Begun:
    if module.active_run() is None:
        module.start_run(run_name=place.name)
    module.log_params(place.flat())
    return lambda values, step: module.log_metrics(values, step=step), module.end_run


def _trackio(module: Any, place: Place) -> Begun:
    run = module.init(
        os.environ.get("TRACKIO_PROJECT", "batchproof"),
        name=place.name,
        config=place.config,
        embed=False,
    )
    return lambda values, step: run.log(values, step=step), module.finish


def _aim(module: Any, place: Place) -> Begun:
    run = module.Run(system_tracking_interval=None, capture_terminal_logs=False)
    run.name = place.name
    run["config"] = dict(place.config)
    return lambda values, step: run.track(values, step=step), run.close


def _comet(module: Any, place: Place) -> Begun:
    run = module.start()
    if place.name is not None:
        run.set_name(place.name)
    run.log_parameters(place.flat())
    return lambda values, step: run.log_metrics(values, step=step), run.end


_TENSORBOARD = "tensorboard"
# the module of each service, and how a run of it is begun
_SERVICES: dict[str, tuple[str, Callable[[Any, Place], Begun]]] = {
    _TENSORBOARD: ("torch.utils.tensorboard", _tensorboard),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
    "trackio": ("trackio", _trackio),
    "aim": ("aim", _aim),
    "comet": ("comet_ml", _comet),
}


class Service:
    """A run of a service that was named, begun when something is logged first.

    Args:
        name: of the service.
        place: what it logs.

    Raises:
        SettingError: if it is not installed, or has no folder to write to.
    """

    def __init__(self, name: str, place: Place) -> None:
        self.__name__, self._place = name, place
        module, self._begin = _SERVICES[name]
        if name == _TENSORBOARD and place.run_dir is None:
            raise SettingError(
                "logger 'tensorboard' writes to the run folder, but run_dir is None; pass run_dir."
            )
        try:
            self._module: Any = import_module(module)
        except ImportError:
            package = "'batchproof[tensorboard]'" if name == _TENSORBOARD else module
            raise SettingError(f"{name} is not installed; pip install {package}.") from None
        self._service: Begun | Exception | None = None

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Log values at a step."""
        if self._service is None:
            try:
                self._service = self._begin(self._module, self._place)
            except Exception as error:  # what cannot be begun is not tried again
                self._service = error
        if isinstance(self._service, Exception):
            raise self._service
        self._service[0](dict(values), step)

    def close(self) -> None:
        """End the run of the service, if it was begun."""
        if isinstance(self._service, tuple):
            self._service[1]()


def named_loggers(
    loggers: Sequence[Any], run_dir: Path | None, config: Mapping[str, Any]
) -> list[Any]:
    """Return loggers with those that were given by name made.

    Args:
        loggers: names and objects.
        run_dir: the run folder, or None.
        config: the run's settings, for services that keep them.

    Raises:
        SettingError: if one is not installed, or its files have no folder to go to.
    """
    place = Place(run_dir, config)
    return [Service(each, place) if isinstance(each, str) else each for each in loggers]


def expect_logger(logger: Any) -> None:
    """Refuse a logger that cannot be called, or a name that is not known.

    Raises:
        SettingError: if it is one.
    """
    if not isinstance(logger, str):
        _method(logger)
    elif logger not in _SERVICES:
        names = ", ".join(map(repr, _SERVICES))
        raise SettingError(
            f"logger is {shown(logger)}; expected one of {names}, or an object with "
            ".log(dict, step=)."
        )


def _method(logger: Any) -> Callable[..., Any]:
    for name in _METHODS:
        method = getattr(logger, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    raise SettingError(
        f"logger {_name(logger)} has no .log(dict, step=); expected an object that has, or a name "
        f"such as {_TENSORBOARD!r}."
    )


def _name(logger: Any) -> str:
    return str(getattr(logger, "__name__", type(logger).__name__))
