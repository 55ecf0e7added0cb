"""Files and folders that are there whole or not at all, and known for altered when they are.

A file or folder is written beside its place under a name of chance, and renamed. What a kill or a
full disk leaves half-written is never under its name, and no link that somebody else left there
is followed. A sealed folder also holds a digest of each of its files.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

DIGESTS = "digests.json"
MEBIBYTE = 2**20
DEEPEST = 64
# a flag that the system lacks is not asked for
_READ = os.O_RDONLY | sum(getattr(os, n, 0) for n in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def read_file(path: Path, *, most: int = 64 * MEBIBYTE, links: bool = False) -> bytes:
    """Return what a regular file holds; no pipe or device is waited for.

    Args:
        path: the file.
        most: the most bytes that it may hold.
        links: whether a link is followed.

    Raises:
        OSError: if it is missing, cannot be read, is no regular file, or holds more.
    """
    try:
        handle = os.open(path, _READ if links else _READ | _NO_LINK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link; expected a regular file", str(path)) from None
        raise
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"holds more than {most / MEBIBYTE:g} MiB", str(path))
        # what another process appends meanwhile is not read
        return file.read(about.st_size)


def parse_json(text: str | bytes) -> Any:
    """Return the value that a JSON text of any origin holds.

    Raises:
        ValueError: if it is no JSON, no UTF-8, or nested deeper than any of our files.
    """
    decoded = text if isinstance(text, str) else text.decode("utf-8")
    try:
        value = json.loads(decoded)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if decoded.count("[") + decoded.count("{") > DEEPEST and _is_deeper(value, DEEPEST):
        raise ValueError("nested too deeply")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and mappings are nested deeper than a number of levels."""
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inner = [part.values() if isinstance(part, dict) else part for part in layer]
        layer = [v for parts in inner for v in parts if isinstance(v, dict | list)]
    return bool(layer)


def refuse_file(out: Path) -> None:
    """Refuse a file that cannot be written, before the work that is to fill it.

    Args:
        out: the file.

    Raises:
        OSError: if it is a folder, or in a folder that is missing or not to be written to.
    """
    place = out if _written_through(out) else out.parent
    wrong = 0
    if out.is_dir():
        wrong = errno.EISDIR
    elif not out.parent.is_dir():
        wrong = errno.ENOENT
    elif not os.access(place, os.W_OK):
        wrong = errno.EACCES
    if wrong:
        raise OSError(wrong, os.strerror(wrong), str(out))


def write_file(out: Path, content: str | bytes) -> Path:
    """Write a file beside its place and rename it there; a pipe or a device is written through.

    Args:
        out: the file; an older one is replaced whole.
        content: what it is to hold; text is encoded in UTF-8.

    Returns:
        The file.

    Raises:
        OSError: if it cannot be written; an older one is then left as it was.
    """
    refuse_file(out)
    encoded = content.encode() if isinstance(content, str) else content
    if _written_through(out):
        out.write_bytes(encoded)
        return out
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".draft")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encoded)
        follow_umask(Path(name))
        Path(name).replace(out)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return out


def follow_umask(path: Path) -> None:
    """Give a file that was made for its owner alone the mode that the umask gives new files."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _written_through(out: Path) -> bool:
    return out.exists() and not stat.S_ISREG(out.stat().st_mode)


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
        digests = parse_json(read_file(folder / DIGESTS))
    except (OSError, ValueError):
        return f"{folder / DIGESTS} is missing or cut short"
    if not isinstance(digests, dict) or not all(map(_is_inside, digests)):
        return f"{folder / DIGESTS} was altered"
    return _irregular(folder) or _changed(folder, digests)


def _irregular(folder: Path) -> str | None:
    """Return which entry of a folder is a link, a pipe or a device; None if there is none."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path} is no regular file"
    return None


def _changed(folder: Path, digests: Mapping[str, Any]) -> str | None:
    """Return which file of a folder is not the one of its digest; None if all are."""
    for name, known in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if digest_of(path) != known:
            return f"{path} was cut short or altered"
    return None


def _is_inside(name: str) -> bool:
    place = PurePosixPath(name)
    return "\0" not in name and not place.is_absolute() and ".." not in place.parts


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
