"""Run folders as recipes use them: their names, and what they tell of the recipe."""

import json
import re
from pathlib import Path
from typing import Any

from batchproof._errors import CheckpointError, RunFolderError

RUNS = Path("runs")
CONFIG = "config.json"


def next_folder(name: str) -> Path:
    """Return runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that is not there."""
    latest = _latest(name)
    return RUNS / name if latest == 0 else RUNS / f"{name}-{latest + 1}"


def latest_folder(name: str) -> Path:
    """Return the last of runs/NAME, runs/NAME-2, ...

    Raises:
        RunFolderError: if there is none.
    """
    latest = _latest(name)
    if latest == 0:
        raise RunFolderError(f"there is no run {RUNS / name} to go on with; name it: --out RUN.")
    return RUNS / (name if latest == 1 else f"{name}-{latest}")


def _latest(name: str) -> int:
    pattern = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    found = [pattern.fullmatch(path.name) for path in RUNS.glob(f"{name}*")]
    return max((int(match[1] or 1) for match in found if match), default=0)


def expect_free(folder: Path) -> None:
    """Refuse a run folder that holds anything.

    Raises:
        RunFolderError: if it does.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RunFolderError(
            f"{folder} exists already and is never overwritten; give another --out, or go on with "
            "it: --resume."
        )


def parts(folder: Path) -> list[Path]:
    """Return the runs that a recipe left in a folder: itself, or one a model that it trained."""
    if (folder / CONFIG).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))


def read_record(folder: Path) -> dict[str, Any]:
    """Return what a run folder tells of its recipe: "recipe", "settings" and "options".

    Raises:
        RunFolderError: if there is no such folder, or no recipe made it.
        CheckpointError: if what it tells is damaged.
    """
    if not folder.is_dir():
        raise RunFolderError(f"there is no run folder {folder}; give one that training made.")
    found = parts(folder)
    if not found:
        raise RunFolderError(f"{folder} holds no run; give a folder that training made.")
    path = found[0] / CONFIG
    try:
        info = json.loads(path.read_text("utf-8"))["info"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); train anew.") from error
    if not isinstance(info, dict) or not info.keys() >= {"recipe", "settings", "options"}:
        raise RunFolderError(
            f"{folder} was not trained by a recipe; evaluate it in Python: batchproof.evaluate."
        )
    return info
