"""Shapes checked at every call of a test, in the modules whose annotations have some."""

from importlib.util import find_spec
from pathlib import Path

from jaxtyping import install_import_hook


def check_shapes() -> None:
    """Check annotations at run time in every module with shapes that is imported from here on.

    The others annotate types alone, which mypy reads; checked at every call, those took longer
    than all else that a test does.
    """
    (source,) = find_spec("batchproof").submodule_search_locations
    modules = [
        ".".join(("batchproof", *path.relative_to(source).with_suffix("").parts))
        for path in Path(source).rglob("*.py")
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    install_import_hook(modules, "beartype.beartype").__enter__()
