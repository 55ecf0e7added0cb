"""Files and folders that exist whole or not at all, and whose alteration is detected.

A file or folder is written under a random name beside its destination, then renamed. What a killed
process or a full disk leaves half-written never has the final name, and a link that somebody else
left there is never followed. A sealed folder also holds a digest of each of its files.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

DIGESTS = "digests.json"
MEBIBYTE = 2**20
DEEPEST = 64
# a flag that the system lacks counts as 0
_READ = os.O_RDONLY | sum(getattr(os, n, 0) for n in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def read_file(path: Path, *, most: int = 64 * MEBIBYTE, links: bool = False) -> bytes:
    """Return the content of a regular file, without waiting for a pipe or device.

    Args:
        path: the file.
        most: the maximum size, in bytes.
        links: whether to follow a link.

    Raises:
        OSError: if it is missing, unreadable, not a regular file, or larger.
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
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"holds more than {most / MEBIBYTE:g} MiB", str(path))
        # bytes that another process appends meanwhile are not read
        return file.read(about.st_size)


def reason_of(error: OSError) -> str:
    """Return what the system refuses, for the middle of a sentence: "no space left on device"."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def json_text(value: Any) -> str:
    """Return a value as lines of JSON: tuples as lists, numbers that are not finite as words.

    Args:
        value: numbers, texts, and mappings and sequences of them; anything else is its text.

    Examples:
        >>> print(json_text({"ratio": float("nan")}), end="")
        {
          "ratio": "nan"
        }
    """
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text from an untrusted source.

    Raises:
        ValueError: if it is not JSON in UTF-8, or is nested deeper than any of our files.
    """
    content = text if isinstance(text, str) else text.decode("utf-8")
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if content.count("[") + content.count("{") > DEEPEST and _is_deeper(value, DEEPEST):
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
    """Refuse a file that cannot be written, before any work is done for it.

    Args:
        out: the file.

    Raises:
        OSError: if it is a folder, or its folder is missing or not writable.
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


def save_text(text: str, path: str | Path | None) -> str:
    """Return a text, and write it to a file where a path is given: whole, or not at all.

    Args:
        text: the content.
        path: the file, or None.

    Raises:
        OSError: if the file cannot be written.
    """
    if path is not None:
        write_file(Path(path), text)
    return text


def write_file(out: Path, content: str | bytes, *, through: bool = True) -> Path:
    """Write a file beside its destination and rename it; write a pipe or device directly.

    Args:
        out: the file; an older one is replaced whole.
        content: its content; text is encoded in UTF-8.
        through: whether to write to a pipe or device; without it, it is replaced.

    Returns:
        The file.

    Raises:
        OSError: if it cannot be written; an older one is then unchanged.
    """
    refuse_file(out)
    data = content.encode() if isinstance(content, str) else content
    if through and _written_through(out):
        out.write_bytes(data)
        return out
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".draft")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        follow_umask(Path(name))
        Path(name).replace(out)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return out


def follow_umask(path: Path) -> None:
    """Give a file that only its owner can read the mode of new files under the umask."""
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
    """Write a folder, replacing an existing one.

    Args:
        place: the folder's path.
        fill: called with a folder to write files to; returns the digests it knows already, by path.
        former: where the replaced folder is moved.
        keep_former: whether to keep it there.
    """
    draft = place.with_name(f".{place.name}.draft")
    remove_folder(draft)
    try:
        draft.mkdir()
        seal(draft, fill(draft))
        if place.is_symlink():
            # another's; this writes no link, and keeps none
            place.unlink()
        if place.exists():
            remove_folder(former)
            place.rename(former)
        draft.rename(place)
        to_disk(place.parent)
    except OSError:
        remove_folder(draft)
        raise
    if not keep_former:
        remove_folder(former)


def seal(folder: Path, digests_so_far: Mapping[str, str]) -> None:
    """Write the digests of a folder's files beside them, and flush everything to disk.

    Args:
        folder: the folder.
        digests_so_far: digests, by path in the folder, of files that are on disk already.
    """
    inside = sorted(folder.rglob("*"))
    names = {path: path.relative_to(folder).as_posix() for path in inside if path.is_file()}
    digests = {name: digests_so_far.get(name) or digest_of(path) for path, name in names.items()}
    (folder / DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")
    for path in (folder / DIGESTS, *inside, folder):
        if names.get(path) not in digests_so_far:
            to_disk(path)


def broken(folder: Path) -> str | None:
    """Return the fault of a sealed folder, or None if it is whole."""
    if folder.is_symlink():
        return f"{folder} is a link; expected a folder in its place"
    if not folder.is_dir():
        return f"{folder} is missing"
    try:
        digests = parse_json(read_file(folder / DIGESTS))
    except (OSError, ValueError):
        return f"{folder / DIGESTS} is missing or cut short"
    if not isinstance(digests, dict) or not all(map(_is_inside, digests)):
        return f"{folder / DIGESTS} was altered"
    return (
        _irregular(folder)
        or _oversized(folder)
        or _unlisted(folder, digests)
        or _changed(folder, digests)
    )


def _irregular(folder: Path) -> str | None:
    """Return a line on an entry that is a link, a pipe or a device; None if there is none."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path} is not a regular file"
    return None


def _oversized(folder: Path) -> str | None:
    """Return a line on a file that is larger than its content or than memory, so it is not read.

    The files of shards, which are in a folder of their own, are read in parts.
    """
    for path in folder.iterdir():
        if not path.is_file():
            continue
        size = path.stat().st_size
        if size > memory_size():
            return f"{path} holds {size / 2**30:.0f} GiB, which is more than this machine's memory"
        if size > _content_size(path):
            return f"{path} was cut short or altered"
    return None


def _content_size(path: Path) -> float:
    """Return how large a file may be by what its first or last bytes say is in it.

    An archive says so at its end, and tensors in their header; where neither can be read, the
    file is as good as empty. Of other files nothing is known.
    """
    try:
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
            return sum(entry.compress_size + _ROOM for entry in entries) + _ROOM
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = parse_json(file.read(min(length, _HEADER)))
            ends = [about["data_offsets"][1] for name, about in header.items() if name != _META]
            return 8 + length + max(ends, default=0)
    except (ValueError, zipfile.BadZipFile, KeyError, TypeError, IndexError, AttributeError):
        return 0
    return math.inf


# bytes of an entry of an archive beside its content: names, sizes, and what aligns it
_ROOM = 4096
# the largest header of tensors that safetensors reads, and the entry in it that is no tensor
_HEADER, _META = 100_000_000, "__metadata__"


def memory_size() -> float:
    """Return the size of the machine's memory in bytes; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _unlisted(folder: Path, digests: Mapping[str, Any]) -> str | None:
    """Return a line on a file that was added to a sealed folder; None if there is none.

    Hidden files, which systems leave in folders, are not read and may be there.
    """
    for path in folder.rglob("[!.]*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != DIGESTS and name not in digests:
            return f"{path} was added"
    return None


def _changed(folder: Path, digests: Mapping[str, Any]) -> str | None:
    """Return a line on a file that differs from its digest; None if all files match."""
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if digest_of(path) != digest:
            return f"{path} was cut short or altered"
    return None


def _is_inside(name: str) -> bool:
    place = PurePosixPath(name)
    return "\0" not in name and not place.is_absolute() and ".." not in place.parts


def to_disk(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_folder(folder: Path) -> None:
    """Remove a folder with its content, or what is in its place, if that can be done."""
    # at worst, an ignored error leaves a folder that the next write replaces
    if folder.is_symlink() or not folder.is_dir():
        with contextlib.suppress(OSError):
            folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
