"""Recipes: scripts to read from top to bottom, and the code that runs them.

AtLeast, Between     the limits of a recipe's own option
Settings, Results    the first argument of every recipe's main, and its result
run                  a recipe's main as a script
names, summary, source, copy    the recipes
recipe_command, train_recipe, evaluate_run, read_record, show, terminal
                     for the command line

Importing this loads no torch; the recipes and Settings do when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from batchproof._extras import first_use, naming_extra, refuse_without_torch
from batchproof.recipes._catalogue import copy, names, source, summary
from batchproof.recipes._record import read_record
from batchproof.shell import AtLeast, Between

if TYPE_CHECKING:
    from batchproof.recipes._results import Results, show
    from batchproof.recipes._script import recipe_command, run, terminal
    from batchproof.recipes._session import evaluate_run, train_recipe
    from batchproof.recipes._settings import Settings

refuse_without_torch(f"batchproof.recipes.{name}" for name in names())

_HOME = {
    "Settings": "_settings",
    "Results": "_results",
    "show": "_results",
    "run": "_script",
    "recipe_command": "_script",
    "terminal": "_script",
    "evaluate_run": "_session",
    "train_recipe": "_session",
}

__all__ = [
    "AtLeast",
    "Between",
    "Results",
    "Settings",
    "copy",
    "evaluate_run",
    "names",
    "read_record",
    "recipe_command",
    "run",
    "show",
    "source",
    "summary",
    "terminal",
    "train_recipe",
]


def __getattr__(name: str) -> Any:
    if name in names():
        with naming_extra(f"batchproof.recipes.{name}"):
            return import_module(f"batchproof.recipes.{name}")
    return first_use(__name__, _HOME, name)
