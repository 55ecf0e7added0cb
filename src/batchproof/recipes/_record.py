"""The record of a recipe in the configuration of its run."""

from pathlib import Path
from typing import Any

from batchproof._errors import RunFolderError
from batchproof.runs import RunFolder, runs_in


def read_record(folder: Path) -> dict[str, Any]:
    """Return a run folder's record of its recipe: "recipe", "settings", "options", "loggers".

    Raises:
        RunFolderError: if there is no such folder, no recipe made it, or it is damaged.
    """
    if not folder.is_dir():
        raise RunFolderError(f"there is no run folder {folder}; give one that training made.")
    inside = runs_in(folder)
    if not inside:
        # a run that is killed while it reads its data leaves its folder empty
        remedy = (
            "give a folder that training made"
            if any(folder.iterdir())
            else "it is empty, so train into it without --resume"
        )
        raise RunFolderError(f"{folder} holds no run; {remedy}.")
    info = RunFolder(inside[0]).config.get("info")
    parts = {"recipe": str, "settings": dict, "options": dict}
    if not isinstance(info, dict) or not all(isinstance(info.get(n), k) for n, k in parts.items()):
        raise RunFolderError(
            f"{folder} was not trained by a recipe; evaluate it in Python: batchproof.evaluate."
        )
    loggers = info.get("loggers", [])
    if not isinstance(loggers, list) or not all(isinstance(name, str) for name in loggers):
        loggers = []
    return info | {"loggers": loggers}
