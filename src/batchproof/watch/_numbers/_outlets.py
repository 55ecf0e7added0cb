"""Loggers, trackers and progress bars: the methods that hand numbers to people.

A library that is imported later is watched from when it is.
"""

import importlib.abc
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from batchproof.watch._numbers._recorder import Recorder

Taking = Callable[[Recorder, str, tuple[Any, ...], dict[str, Any]], None]


def _named(recorder: Recorder, source: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Take (name, value) or name=, value= under any of their names."""
    rest = list(args)
    names = ("tag", "name", "key", "main_tag")
    values = ("scalar_value", "value", "tag_scalar_dict")
    name = next((kwargs[n] for n in names if n in kwargs), None) or (rest.pop(0) if rest else "")
    value = next((kwargs[v] for v in values if v in kwargs), rest[0] if rest else None)
    if isinstance(value, Mapping):
        recorder.values({f"{name}/{key}": each for key, each in value.items()}, source)
    else:
        recorder.values({name: value}, source)


def _tracked(
    recorder: Recorder, source: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Take (value, name=)."""
    value = args[0] if args else kwargs.get("value")
    if isinstance(value, Mapping):
        recorder.values(value, source)
    else:
        recorder.values({kwargs.get("name", ""): value}, source)


def _metric(recorder: Recorder, source: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Take the number that a schedule follows."""
    recorder.values({"metric": args[0] if args else kwargs.get("metrics")}, source)


def _table(recorder: Recorder, source: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Take a dict of numbers, the first argument that is one."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Mapping):
            recorder.values(value, source)
            return


@dataclass(frozen=True, slots=True)
class Outlet:
    """A function of a library that hands numbers to people.

    Attributes:
        module: where it is defined.
        owner: its class, or "" for a function of the module.
        method: its name.
        takes: how its numbers are read off its arguments.
    """

    module: str
    owner: str
    method: str
    takes: Taking

    @property
    def source(self) -> str:
        """Return its name where its numbers are shown."""
        return f"{self.owner or self.module}.{self.method}"


OUTLETS = (
    Outlet("torch.optim.lr_scheduler", "ReduceLROnPlateau", "step", _metric),
    Outlet("torch.utils.tensorboard.writer", "SummaryWriter", "add_scalar", _named),
    Outlet("torch.utils.tensorboard.writer", "SummaryWriter", "add_scalars", _named),
    Outlet("tensorboardX.writer", "SummaryWriter", "add_scalar", _named),
    Outlet("wandb.sdk.wandb_run", "Run", "log", _table),
    Outlet("mlflow", "", "log_metric", _named),
    Outlet("mlflow", "", "log_metrics", _table),
    Outlet("trackio", "", "log", _table),
    Outlet("aim.sdk.run", "Run", "track", _tracked),
    Outlet("transformers.trainer", "Trainer", "log", _table),
    *(
        Outlet(
            f"{package}.trainer.connectors.logger_connector.logger_connector",
            "_LoggerConnector",
            "log_metrics",
            _table,
        )
        for package in ("lightning.pytorch", "pytorch_lightning")
    ),
)


@contextmanager
def watched_outlets(recorder: Recorder) -> Iterator[None]:
    """Record the numbers that loggers, trackers and progress bars are given.

    Args:
        recorder: takes the numbers.

    Yields:
        None, while they are watched.
    """
    undo: list[Callable[[], None]] = []
    names = {outlet.module for outlet in OUTLETS} | {"tqdm.std"}

    def patch(module: ModuleType) -> None:
        for outlet in OUTLETS:
            if outlet.module == module.__name__:
                _patch_outlet(module, outlet, recorder, undo)
        if module.__name__ == "tqdm.std":
            _patch_bars(module, recorder, undo)

    for name in names & sys.modules.keys():
        patch(sys.modules[name])
    finder = _Finder(names, patch)
    sys.meta_path.insert(0, finder)
    _patch_logging(recorder, undo)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for restore in reversed(undo):
            restore()


def _replace(owner: Any, name: str, new: Any, undo: list[Callable[[], None]]) -> None:
    before = getattr(owner, name)
    own = name in vars(owner)
    new.__wrapped__ = before
    setattr(owner, name, new)
    undo.append(lambda: setattr(owner, name, before) if own else delattr(owner, name))


def _patch_outlet(
    module: ModuleType, outlet: Outlet, recorder: Recorder, undo: list[Callable[[], None]]
) -> None:
    owner = getattr(module, outlet.owner, None) if outlet.owner else module
    before = getattr(owner, outlet.method, None)
    if owner is None or before is None:
        return

    def noted(*args: Any, **kwargs: Any) -> Any:
        outlet.takes(recorder, outlet.source, args[1:] if outlet.owner else args, kwargs)
        return before(*args, **kwargs)

    _replace(owner, outlet.method, noted, undo)


def _patch_bars(module: ModuleType, recorder: Recorder, undo: list[Callable[[], None]]) -> None:
    bar: Any = module.tqdm
    for method, shows in {
        "set_postfix": "postfix",
        "set_postfix_str": "postfix",
        "set_description": "desc",
        "set_description_str": "desc",
    }.items():
        _replace(bar, method, _noted_bar(getattr(bar, method), shows, recorder), undo)


def _noted_bar(before: Any, shows: str, recorder: Recorder) -> Callable[..., Any]:
    def noted(bar: Any, *args: Any, **kwargs: Any) -> Any:
        with recorder.muted():
            result = before(bar, *args, **kwargs)
        if not getattr(bar, "disable", False):
            recorder.line(str(getattr(bar, shows, "") or ""), "tqdm")
        return result

    return noted


def _patch_logging(recorder: Recorder, undo: list[Callable[[], None]]) -> None:
    before = logging.Logger.callHandlers

    def noted(logger: logging.Logger, record: logging.LogRecord) -> None:
        with recorder.muted():
            before(logger, record)
        if logger.hasHandlers():
            recorder.line(_message(record), "logging")

    _replace(logging.Logger, "callHandlers", noted, undo)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # logging has said so already
        return ""


class _Finder(importlib.abc.MetaPathFinder):
    """Lets every other finder find a module, and watches its functions once it is loaded."""

    def __init__(self, names: set[str], patch: Callable[[ModuleType], None]) -> None:
        self._names, self._patch = names, patch

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Find a module, where it is one of those that are watched."""
        if fullname not in self._names:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None and spec.loader is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader: Any) -> None:
        execute = loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            self._patch(module)

        loader.exec_module = executed
