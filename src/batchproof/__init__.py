"""The loss you meant, however the data is cut.

A mean of means is wrong as soon as the parts differ in size. batchproof carries a loss as the
pair (total, weight), which adds exactly, and divides once:

    L = sum_i x_i / sum_i w_i          grad L = sum_i grad x_i / sum_i w_i

The names below, and the packages that they live in, are bound when first used, so that importing
batchproof loads no torch.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from batchproof._extras import naming_extra
from batchproof._version import __version__

_HOME = {
    "BatchproofError": "_errors",
    "ShapeError": "_errors",
    "UnitError": "_errors",
    "EmptyMeanError": "_errors",
    "CriterionError": "_errors",
    "MissingCountError": "_errors",
    "NonFiniteError": "_errors",
    "SettingError": "_errors",
    "PairError": "_errors",
    "DataError": "_errors",
    "SampleTooLargeError": "_errors",
    "CheckpointError": "_errors",
    "RunFolderError": "_errors",
    "RunInterruptedError": "_errors",
    "RunStoppedError": "_errors",
    "RankError": "_errors",
    "ProbeError": "_errors",
    "CutDependenceError": "_errors",
    "MistakeFoundError": "_errors",
    "Mean": "mean",
    "Outcome": "mean",
    "Unit": "mean",
    "accuracy": "mean",
    "exact": "mean",
    "linear_cross_entropy": "mean",
    "pool": "mean",
    "reduce": "mean",
    "Estimate": "meter",
    "Meter": "meter",
    "Step": "step",
    "StepResult": "step",
    "windows": "step",
    "History": "train",
    "Trainer": "train",
    "evaluate": "train",
    "supervised": "train",
    "Report": "check",
    "check_evaluate": "check",
    "check_heads": "check",
    "check_step": "check",
    "WatchReport": "watch",
    "watch": "watch",
    "watch_loss": "watch",
    "equivalent_settings": "explain",
}

_PACKAGES = frozenset(
    {
        "audit",
        "check",
        "data",
        "explain",
        "integrations",
        "mean",
        "meter",
        "mistakes",
        "ranks",
        "recipes",
        "report",
        "runs",
        "step",
        "train",
        "watch",
    }
)

__all__ = [
    "BatchproofError",
    "CheckpointError",
    "CriterionError",
    "CutDependenceError",
    "DataError",
    "EmptyMeanError",
    "Estimate",
    "History",
    "Mean",
    "Meter",
    "MissingCountError",
    "MistakeFoundError",
    "NonFiniteError",
    "Outcome",
    "PairError",
    "ProbeError",
    "RankError",
    "Report",
    "RunFolderError",
    "RunInterruptedError",
    "RunStoppedError",
    "SampleTooLargeError",
    "SettingError",
    "ShapeError",
    "Step",
    "StepResult",
    "Trainer",
    "Unit",
    "UnitError",
    "WatchReport",
    "__version__",
    "accuracy",
    "check_evaluate",
    "check_heads",
    "check_step",
    "equivalent_settings",
    "evaluate",
    "exact",
    "linear_cross_entropy",
    "pool",
    "reduce",
    "supervised",
    "watch",
    "watch_loss",
    "windows",
]

if TYPE_CHECKING:
    from batchproof import (
        audit as audit,
    )
    from batchproof import (
        check as check,
    )
    from batchproof import (
        data as data,
    )
    from batchproof import (
        explain as explain,
    )
    from batchproof import (
        integrations as integrations,
    )
    from batchproof import (
        mean as mean,
    )
    from batchproof import (
        meter as meter,
    )
    from batchproof import (
        mistakes as mistakes,
    )
    from batchproof import (
        ranks as ranks,
    )
    from batchproof import (
        recipes as recipes,
    )
    from batchproof import (
        report as report,
    )
    from batchproof import (
        runs as runs,
    )
    from batchproof import (
        step as step,
    )
    from batchproof import (
        train as train,
    )
    from batchproof._errors import (
        BatchproofError,
        CheckpointError,
        CriterionError,
        CutDependenceError,
        DataError,
        EmptyMeanError,
        MissingCountError,
        MistakeFoundError,
        NonFiniteError,
        PairError,
        ProbeError,
        RankError,
        RunFolderError,
        RunInterruptedError,
        RunStoppedError,
        SampleTooLargeError,
        SettingError,
        ShapeError,
        UnitError,
    )
    from batchproof.check import Report, check_evaluate, check_heads, check_step
    from batchproof.explain import equivalent_settings
    from batchproof.mean import (
        Mean,
        Outcome,
        Unit,
        accuracy,
        exact,
        linear_cross_entropy,
        pool,
        reduce,
    )
    from batchproof.meter import Estimate, Meter
    from batchproof.step import Step, StepResult, windows
    from batchproof.train import History, Trainer, evaluate, supervised
    from batchproof.watch import WatchReport, watch, watch_loss


# a type checker would take any name for one that is there
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return _imported(name)
        if name not in _HOME:
            message = f"module 'batchproof' has no attribute {name!r}{_elsewhere(name)}"
            raise AttributeError(message, name=name, obj=sys.modules[__name__])
        value = _imported(_HOME[name], name)
        globals()[name] = value
        return value


def _imported(package: str, name: str = "") -> Any:
    """Return a package, or the object of this name in it.

    Raises:
        ModuleNotFoundError: if an extra is not installed; it names that.
    """
    with naming_extra(f"batchproof.{name or package}"):
        module = import_module(f"batchproof.{package}")
        return getattr(module, name) if name else module


class _Package(ModuleType):
    """A package that a user may call in place of the class or function in it."""

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse the call, and name what to call."""
        del args, kwargs
        package = self.__name__.partition(".")[2]
        public = [name for name, home in _HOME.items() if home == package]
        instead = f"call one of {', '.join(f'batchproof.{name}' for name in public)}"
        if not public:
            instead = f"call a name in it: dir({self.__name__})"
        raise TypeError(f"{self.__name__} is a package, not a function; {instead}.")


class _Root(ModuleType):
    """This package, on which the import system sets each package in it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and type(value) is ModuleType:
            value.__class__ = _Package
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root


def _elsewhere(name: str) -> str:
    """Return in words which package has a name, read from their lists without importing them."""
    for package in sorted(_PACKAGES):
        home = Path(__file__).parent / package / "__init__.py"
        if not name.startswith("_") and f'    "{name}",\n' in home.read_text(encoding="utf-8"):
            return f"; it is batchproof.{package}.{name}"
    return ""


def load_ipython_extension(shell: Any) -> None:
    """Register the magic `%%watch` in a notebook; `%load_ext batchproof` calls this.

    Args:
        shell: IPython's.
    """
    from batchproof.integrations import ipython  # noqa: PLC0415

    ipython.load(shell)


def __dir__() -> list[str]:
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*own, *_HOME, *_PACKAGES})
