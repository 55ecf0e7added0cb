"""Probes for other people's trainers, one thin file each, and the pytest plugin.

Nothing is imported here: each file is loaded when it is first named, and its framework when it is
used.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

_FILES = frozenset(
    path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        if name not in _FILES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*own, *_FILES})
