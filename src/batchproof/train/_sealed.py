"""Folders that are there whole or not at all, and known for altered when they are.

A folder is written beside its place, with a digest of each of its files, brought to the disk, and
renamed. What a kill or a full disk leaves half-written is never under the folder's name.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

DIGESTS = "digests.json"


def write_sealed(
    place: Path,
    fill: Callable[[Path], Mapping[str, str]],
    *,
    former: Path,
    keep_former: bool,
) -> None:
    """Write a folder in the place of the one that is there.

    Args:
        place: the folder's name.
        fill: called with a folder to write files in; returns digests that are known already.
        former: where the folder that is there goes.
        keep_former: whether it stays there.
    """
    draft = place.with_name(f".{place.name}.draft")
    _remove(draft)
    try:
        draft.mkdir()
        seal(draft, fill(draft))
        if place.exists():
            _remove(former)
            place.rename(former)
        draft.rename(place)
        to_disk(place.parent)
    except OSError:
        _remove(draft)
        raise
    if not keep_former:
        _remove(former)


def seal(folder: Path, known: Mapping[str, str]) -> None:
    """Write the digests of a folder's files beside them, and bring all of it to the disk.

    Args:
        folder: the folder.
        known: digests by path in the folder, of files that are on the disk already.
    """
    inside = sorted(folder.rglob("*"))
    names = {path: path.relative_to(folder).as_posix() for path in inside if path.is_file()}
    digests = {name: known.get(name) or digest_of(path) for path, name in names.items()}
    (folder / DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")
    for path in (folder / DIGESTS, *inside, folder):
        if names.get(path) not in known:
            to_disk(path)


def broken(folder: Path) -> str | None:
    """Return what is wrong with a sealed folder, None if it is whole."""
    if not folder.is_dir():
        return f"{folder} is missing"
    try:
        digests = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{folder / DIGESTS} is missing or cut short"
    if not isinstance(digests, dict):
        return f"{folder / DIGESTS} was altered"
    for name, known in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if digest_of(path) != known:
            return f"{path} was cut short or altered"
    return None


def to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(folder: Path) -> None:
    # ignored errors leave at worst a folder that is written over next time
    shutil.rmtree(folder, ignore_errors=True)
