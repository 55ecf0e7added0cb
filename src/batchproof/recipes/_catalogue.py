"""The recipes by name: their text, their first line, and copies that the user owns.

Nothing here runs a recipe or loads torch; `load` alone imports one.
"""

import ast
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from batchproof._errors import SettingError

HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all recipes, in alphabetical order."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def source(name: str) -> Path:
    """Return the file of a recipe.

    Raises:
        SettingError: if there is no recipe of that name.
    """
    if name not in names():
        raise SettingError(f"there is no recipe {name!r}; the recipes are {', '.join(names())}.")
    return HERE / f"{name}.py"


def summary(name: str) -> str:
    """Return the first line of a recipe's docstring, without running the recipe."""
    docstring = ast.get_docstring(ast.parse(source(name).read_text("utf-8"))) or ""
    return docstring.partition("\n")[0]


def load(name: str) -> ModuleType:
    """Return a recipe as a module; this imports torch."""
    return importlib.import_module(f"batchproof.recipes.{source(name).stem}")


def load_script(path: Path) -> ModuleType:
    """Return the user's own recipe as a module; this runs the file.

    Raises:
        SettingError: if there is no such file, or it has no function main.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SettingError(f"{path} is not a Python file; give the script that trained the run.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "main", None)):
        raise SettingError(f"{path} has no function main; give the script that trained the run.")
    return module


def copy(name: str, target: Path) -> None:
    """Copy a recipe's script to a new file; nothing is ever overwritten.

    Raises:
        SettingError: if there is no recipe of that name, or the file exists.
    """
    text = source(name).read_bytes()
    try:
        file = target.open("xb")
    except FileExistsError:
        raise SettingError(f"{target} exists already; give the copy another name.") from None
    try:
        with file:
            file.write(text)
    except OSError:
        target.unlink()
        raise
