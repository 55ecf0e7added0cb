"""The names of run folders: runs/NAME, runs/NAME-2 and so on, never one that is taken."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batchproof._errors import RunFolderError
from batchproof._files import reason_of
from batchproof.runs._folder import runs_in

RUNS = Path("runs")
CHANCES = 100


def next_folder(name: str) -> Path:
    """Return runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that does not exist."""
    return _numbered(name, max(_numbers(name), default=0) + 1)


def latest_folder(name: str) -> Path:
    """Return the last of runs/NAME, runs/NAME-2, ... that holds a run.

    Raises:
        RunFolderError: if there is none.
    """
    numbers = [number for number in _numbers(name) if runs_in(_numbered(name, number))]
    if not numbers:
        raise RunFolderError(f"there is no run {RUNS / name} to resume; name it: --out RUN.")
    return _numbered(name, max(numbers))


def _numbers(name: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    inside = RUNS.iterdir() if RUNS.is_dir() else ()
    matches = [pattern.fullmatch(path.name) for path in inside]
    return [int(match[1] or 1) for match in matches if match]


def _numbered(name: str, number: int) -> Path:
    return RUNS / (name if number == 1 else f"{name}-{number}")


@contextmanager
def reserved(name: str, out: Path | None = None) -> Iterator[Path]:
    """Create a run's folder before any data is read, so that no other run takes it.

    Folders that are still empty at the end are removed.

    Args:
        name: the recipe's name; the folder is the next of runs/NAME, runs/NAME-2, ...
        out: the folder, if the user chose one.

    Raises:
        RunFolderError: if the folder holds anything, or cannot be made or written to.
    """
    folders: list[Path] = []
    try:
        yield _made_next(name, folders) if out is None else _made(out, folders)
    finally:
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()


def _made_next(name: str, folders: list[Path]) -> Path:
    # another run may take the name first, or remove runs/ with its own folder
    with _explaining(RUNS / name):
        for _ in range(CHANCES):
            folder = next_folder(name)
            with suppress(FileExistsError, FileNotFoundError):
                _make(folder, folders)
                return folder
        _make(folder, folders)
    return folder


def _made(folder: Path, folders: list[Path]) -> Path:
    expect_free(folder)
    with _explaining(folder):
        if not folder.exists():
            _make(folder, folders)
        elif not all(os.access(place, os.W_OK | os.X_OK) for place in (folder, folder.parent)):
            raise PermissionError(None, "no permission to write there")
        elif folder.is_mount():
            raise OSError(None, "it is a mount point; name a folder in it")
    return folder


def _make(folder: Path, folders: list[Path]) -> None:
    """Create a folder, which must not exist, and its missing parents."""
    for place in reversed(folder.parents):
        if place.is_dir():
            continue
        try:
            place.mkdir()
            folders.append(place)
        except FileExistsError:  # a file; or a folder that another run made a moment ago
            if place.exists() and not place.is_dir():
                raise NotADirectoryError(None, f"{place} is not a folder") from None
    folder.mkdir()
    folders.append(folder)


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = reason_of(error)
        raise RunFolderError(
            f"cannot make {folder}: {why}; choose a place with space that you may write to."
        ) from None


def expect_free(folder: Path) -> None:
    """Refuse a run folder that is not empty.

    Raises:
        RunFolderError: if it is not empty.
    """
    with _explaining(folder):
        in_use = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        in_use = in_use or (folder.is_symlink() and not folder.exists())
    if in_use:
        raise RunFolderError(
            f"{folder} exists already and is never overwritten; choose another folder, or resume "
            "the run: --resume in the shell, resume=True in Python."
        )
