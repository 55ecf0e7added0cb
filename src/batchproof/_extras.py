"""The extras of the package: which one installs a module that is missing.

A package that needs an extra imports its modules under `naming_extra`, so that whoever imports it
without the extra reads what to install, by whatever path it was reached.
"""

from collections.abc import Iterator
from contextlib import contextmanager

EXTRAS = {
    **dict.fromkeys(("torch", "numpy", "safetensors", "jaxtyping", "filelock"), "torch"),
    "sklearn": "demo",
    "matplotlib": "plot",
}
"""The extra of the package that installs each module that something here may need."""


@contextmanager
def naming_extra(name: str) -> Iterator[None]:
    """Raise the error of a missing module as one that names the extra.

    Args:
        name: what needs the module, as one imports it; the outermost of several is named.

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
