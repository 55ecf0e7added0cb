"""The file that a page or a report is kept in: there whole, or not at all."""

import errno
import os
import stat
from pathlib import Path


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


def write_file(out: Path, text: str) -> Path:
    """Write a file beside its place and rename it there; a pipe or a device is written through.

    Args:
        out: the file; an older one is replaced whole.
        text: what it is to hold.

    Returns:
        The file.

    Raises:
        OSError: if it cannot be written; an older one is then left as it was.
    """
    refuse_file(out)
    if _written_through(out):
        out.write_text(text, encoding="utf-8")
        return out
    draft = out.with_name(f".{out.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(out)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return out


def _written_through(out: Path) -> bool:
    return out.exists() and not stat.S_ISREG(out.stat().st_mode)
