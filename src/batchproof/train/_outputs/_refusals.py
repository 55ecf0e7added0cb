"""The errors of a run folder that cannot be written: what is safe, and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchproof._errors import RunFolderError, RunStoppedError
from batchproof._files import reason_of
from batchproof.runs import LAST

_SPACE = "free some space"
_RIGHTS = "make it writable"
_BACK = "move it back to its place"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ESTALE), _BACK),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n)"),
    errno.ELOOP: "remove the link that is in the place of a file",
}
_PLACES = {
    _SPACE: "choose a place with space",
    _RIGHTS: "choose a place that you may write to",
    _BACK: "choose a place where a folder can be made",
}


@contextmanager
def explaining(what: str, run_dir: Path, saved_step: int | None = None) -> Iterator[None]:
    """Raise what the system refuses in the body as one line.

    Args:
        what: what is refused: "make", "write to", "save to" or "resume in".
        run_dir: the run folder.
        saved_step: the step of the newest checkpoint, or None where none is known.

    Raises:
        RunFolderError: if there is no checkpoint that the run could be resumed from.
        RunStoppedError: if there is one.
    """
    try:
        yield
    except RunFolderError:
        raise
    except OSError as error:
        failure = f"cannot {what} {run_dir}: {reason_of(error)}"
        remedy = _REMEDIES.get(error.errno or 0, "find out what the system refuses")
        if what == "make":
            raise RunFolderError(f"{failure}; {_PLACES.get(remedy, remedy)}.") from None
        safe = run_dir / LAST
        if not safe.exists():
            raise RunFolderError(f"{failure}; {remedy}, or start a new run.") from None
        safety = (
            f"{safe} is as it was" if saved_step is None else f"step {saved_step} is safe in {safe}"
        )
        raise RunStoppedError(
            f"{failure}; {safety}; {remedy} and resume: resume=True, or --resume in the shell."
        ) from None
