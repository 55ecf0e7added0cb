"""Files of published data sets: finding them, fetching them on request, checking digests."""

import gzip
import hashlib
import http.client
import io
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from batchproof import _files
from batchproof._errors import DataError
from batchproof._files import MEBIBYTE, write_file

TIMEOUT_S = 30
LARGEST = 64 * MEBIBYTE  # of the published files the largest has 45


def find_folder(
    root: Path, folders: Sequence[str], names: Sequence[str], what: str, published: str
) -> Path:
    """Return the first of root's folders that holds all the files, plain or with .gz.

    Args:
        root: the data folder.
        folders: where in it to look, in this order.
        names: the files.
        what: the data set's name, for the error.
        published: where it is published, for the error.

    Raises:
        DataError: if none does; it names the missing files and the folders searched.
    """
    if not root.is_dir():
        raise DataError(
            f"the data folder {root} does not exist; expected the folder that holds {what}. "
            f"Give its path, or get the files from {published}."
        )
    candidates = [root / folder for folder in folders]
    for folder in candidates:
        if all(find_file(folder, name) for name in names):
            return folder
    places = ", ".join(str(folder) for folder in candidates)
    lacking = [name for name in names if not any(find_file(folder, name) for folder in candidates)]
    raise DataError(
        f"{what} is not in {root}: missing {', '.join(lacking or names)}; looked in {places}. "
        f"Give the folder that holds the files, or get them from {published}."
    )


def find_file(folder: Path, name: str) -> Path | None:
    """Return the plain file, else the one with .gz, else None."""
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def read_raw(path: Path, most: int = LARGEST) -> bytes:
    """Return a file's bytes as they are.

    Raises:
        DataError: if it cannot be read, is not a regular file, or holds more than `most` bytes.
    """
    try:
        return _files.read_file(path, most=most, links=True)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error


def read_file(path: Path, most: int = LARGEST) -> bytes:
    """Return a file's bytes, un-gzipped where its name ends in .gz.

    Args:
        path: the file.
        most: the maximum size in bytes, before and after; no more than that is unpacked.

    Raises:
        DataError: if it cannot be read, holds more, or is not a whole gzip file.
    """
    raw = read_raw(path, most)
    if path.suffix != ".gz":
        return raw
    try:
        content = _unzipped(raw, most)
    except (EOFError, gzip.BadGzipFile, ValueError) as error:
        raise damaged(path, f"is truncated or not a gzip file ({error})") from error
    except zlib.error as error:
        raise damaged(path, f"is not a gzip file ({error})") from error
    if len(content) > most:
        raise damaged(path, f"unpacks to more than {most / MEBIBYTE:g} MiB")
    return content


def _unzipped(raw: bytes, most: int) -> bytes:
    """Return the content of a gzip file, at most one byte more than `most`."""
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        return file.read(most + 1)


def damaged(path: Path, how: str) -> DataError:
    """Return the error for a file that is not what its name says."""
    return DataError(f"{path} {how}. Delete it, and get it again from where it is published.")


def check_digest(path: Path, content: bytes, digest: str) -> None:
    """Refuse content of another digest than the published one.

    Raises:
        DataError: if it is not the published file.
    """
    actual = md5(content)
    if actual != digest:
        raise damaged(path, f"has md5 {actual}; expected {digest}, the published file's")


def md5(content: bytes) -> str:
    """Return the digest by which data sets are published; it is not a protection."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def read_text(root: Path | str, folder: str, name: str, digest: str, published: str) -> str:
    """Return a text file from root, or from the data set's folder in it, digest checked.

    Args:
        root: the data folder.
        folder: the data set's folder in it.
        name: the file.
        digest: its md5.
        published: where it is published, for the error.

    Raises:
        DataError: if it is missing, damaged, or not text.
    """
    path = find_file(find_folder(Path(root), ("", folder), (name,), name, published), name)
    assert path is not None
    content = read_file(path)
    check_digest(path, content, digest)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"is not UTF-8 text ({error.reason} at byte {error.start})") from error


def fetch(url: str, target: Path, digest: str, *, unzipped: bool) -> None:
    """Fetch a file to its place: beside it first, renamed once its digest is right.

    Args:
        url: where it is published.
        target: where to put it.
        digest: its md5.
        unzipped: whether the digest is that of the un-gzipped bytes.

    Raises:
        DataError: if it cannot be fetched or written, or is another file.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            content = answer.read(LARGEST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"{url} cannot be fetched: {error}. "
            f"Check the network, or put the file at {target} yourself."
        ) from error
    if len(content) > LARGEST:
        raise DataError(
            f"{url} gave more than {LARGEST / MEBIBYTE:g} MiB, which is not the published file. "
            f"Put that at {target} yourself."
        )
    actual = md5(_unzip(url, content) if unzipped else content)
    if actual != digest:
        raise DataError(
            f"{url} gave a file of md5 {actual}; expected {digest}. "
            f"Try again later, or put the published file at {target} yourself."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, content)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror}. Give a data folder you may write to."
        ) from error


def _unzip(url: str, content: bytes) -> bytes:
    try:
        return _unzipped(content, LARGEST)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{url} did not give a gzip file ({error}). Try again later.") from error
