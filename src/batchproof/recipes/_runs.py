"""Run folders as recipes use them: their names, and what they tell of the recipe."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from batchproof._errors import CheckpointError, RunFolderError

RUNS = Path("runs")
CONFIG = "config.json"
CHANCES = 100


def next_folder(name: str) -> Path:
    """Return runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that is not there."""
    return _numbered(name, max(_numbers(name), default=0) + 1)


def latest_folder(name: str) -> Path:
    """Return the last of runs/NAME, runs/NAME-2, ... that holds a run.

    Raises:
        RunFolderError: if there is none.
    """
    held = [number for number in _numbers(name) if parts(_numbered(name, number))]
    if not held:
        raise RunFolderError(f"there is no run {RUNS / name} to go on with; name it: --out RUN.")
    return _numbered(name, max(held))


def _numbers(name: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    found = [pattern.fullmatch(path.name) for path in RUNS.glob(f"{name}*")]
    return [int(match[1] or 1) for match in found if match]


def _numbered(name: str, number: int) -> Path:
    return RUNS / (name if number == 1 else f"{name}-{number}")


@contextmanager
def reserved(name: str, out: Path | None = None) -> Iterator[Path]:
    """Make a run's folder before anything is read, so that no other run takes it meanwhile.

    Folders that are still empty in the end are taken away again.

    Args:
        name: of the recipe; the folder is the next of runs/NAME, runs/NAME-2, ...
        out: the folder, where it was chosen.

    Raises:
        RunFolderError: if the folder holds anything, or cannot be made or written to.
    """
    made: list[Path] = []
    try:
        yield _made_next(name, made) if out is None else _made(out, made)
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def _made_next(name: str, made: list[Path]) -> Path:
    # another run may take the name first, or take runs/ away with its own folder
    with _explaining(RUNS / name):
        for _ in range(CHANCES):
            folder = next_folder(name)
            with suppress(FileExistsError, FileNotFoundError):
                _make(folder, made)
                return folder
        _make(folder, made)
    return folder


def _made(folder: Path, made: list[Path]) -> Path:
    expect_free(folder)
    with _explaining(folder):
        if not folder.exists():
            _make(folder, made)
        elif not all(os.access(place, os.W_OK | os.X_OK) for place in (folder, folder.parent)):
            raise PermissionError(None, "no permission to write there")
        elif folder.is_mount():
            raise OSError(None, "it is a mount point; name a folder in it")
    return folder


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder, which must not be there, and those that it is to lie in."""
    for place in reversed(folder.parents):
        if place.is_dir():
            continue
        try:
            place.mkdir()
            made.append(place)
        except FileExistsError:  # a file; or a folder that another run made a moment ago
            if place.exists() and not place.is_dir():
                raise NotADirectoryError(None, f"{place} is no folder") from None
    folder.mkdir()
    made.append(folder)


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise RunFolderError(
            f"cannot make {folder}: {why}; choose a place with space that you may write to."
        ) from None


def expect_free(folder: Path) -> None:
    """Refuse a run folder that holds anything.

    Raises:
        RunFolderError: if it does.
    """
    with _explaining(folder):
        taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        taken = taken or (folder.is_symlink() and not folder.exists())
    if taken:
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
        # a run that is killed while it reads its data leaves its folder empty
        remedy = (
            "give a folder that training made"
            if any(folder.iterdir())
            else "it is empty, so train into it without --resume"
        )
        raise RunFolderError(f"{folder} holds no run; {remedy}.")
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
