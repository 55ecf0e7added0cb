"""The extras of the package: which one installs a module that is missing.

A package that needs an extra imports its modules under `naming_extra`, so that whoever imports it
without the extra reads what to install, whichever package was imported first.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import Any

EXTRAS = {
    **dict.fromkeys(("torch", "numpy", "safetensors", "jaxtyping", "filelock"), "torch"),
    "sklearn": "demo",
    "matplotlib": "plot",
}
"""The extra of the package that installs each optional module."""


@contextmanager
def naming_extra(name: str) -> Iterator[None]:
    """Raise the error of a missing module as one that names the extra.

    Args:
        name: the package or object that needs the module; of several, the outermost is named.

    Raises:
        ModuleNotFoundError: if a module is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        message = (
            f"{name} needs {missing}, which is not installed: "
            f'pip install "batchproof[{EXTRAS[missing]}]"'
        )
        raise ModuleNotFoundError(message, name=error.name, path=error.path) from None


class _NamesExtra(MetaPathFinder):
    """Refuses to find modules whose first line of code imports torch."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = frozenset(modules)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        del path, target
        if fullname in self.modules:
            with naming_extra(fullname):
                import_module("torch")


def refuse_without_torch(modules: Iterable[str]) -> None:
    """Let scripts of the package name the extra where torch is not installed.

    They import torch themselves, as the copies of a user do, so that none needs `naming_extra`.

    Args:
        modules: their full names.
    """
    try:
        is_there = "torch" in sys.modules or find_spec("torch") is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        sys.meta_path.insert(0, _NamesExtra(modules))


def first_use(package: str, homes: Mapping[str, str], name: str) -> Any:
    """Return a public name of a package, and bind it, when it is first used.

    Args:
        package: the name of the package.
        homes: the module in the package that has each name.
        name: the name.

    Raises:
        AttributeError: if the package has no such name.
        ModuleNotFoundError: if a module is missing; it names the extra.
    """
    if name not in homes:
        message = f"module {package!r} has no attribute {name!r}"
        raise AttributeError(message)
    with naming_extra(f"{package}.{name}"):
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
    setattr(sys.modules[package], name, value)
    return value
