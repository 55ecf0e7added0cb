"""The end of every command: its exit status, and errors as one line without a traceback.

0    it went well
1    it found something, or the run failed
2    it was used wrongly, or what it was given cannot be used
130  it was interrupted (128 + the signal's number)
"""

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from batchproof._errors import (
    BatchproofError,
    CutDependenceError,
    NonFiniteError,
    RankError,
    RunInterruptedError,
    RunStoppedError,
)

FAILED = (NonFiniteError, RankError, CutDependenceError, RunStoppedError)
INTERRUPTED = 130

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that you may write to",
    errno.ENOENT: "look at the path, or make the folder first",
}


def guarded(command: Any, arguments: Sequence[str] | None, program: str) -> int:
    """Run a command of typer's and return its exit status.

    Args:
        command: a command made by typer.main.get_command.
        arguments: of the command line; None for those of this process.
        program: the name that help and errors show.

    Returns:
        The exit status; what went wrong is one line on the standard error.
    """
    _write_what_the_streams_can()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context(program, given) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as left:
        return left.exit_code
    except (BatchproofError, OSError, KeyboardInterrupt, typer.Abort) as error:
        return _ended(program, error)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _misused(program, error)
    return 0


def _write_what_the_streams_can() -> None:
    """Let a stream that cannot write a character, as under ASCII, write a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _ended(program: str, error: BaseException) -> int:
    """Say why the command ended early."""
    if isinstance(error, RunInterruptedError):
        return _say(program, str(error), 128 + error.signal)
    if isinstance(error, BatchproofError):
        return _say(program, str(error), 1 if isinstance(error, FAILED) else 2)
    if isinstance(error, BrokenPipeError):
        # the reader is gone, and what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, OSError):
        return _say(program, _of_system(error), 2)
    return _say(program, "interrupted; nothing was kept.", INTERRUPTED)


def _misused(program: str, error: Any) -> int:
    """Say what typer found wrong with the command line."""
    context: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True)
        return 2
    where = program if context is None else context.command_path
    sentence = error.format_message().rstrip(".")
    end = "" if sentence.endswith("?") else "."
    return _say(program, f"{sentence}{end} Try: {where} --help", 2)


def _of_system(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename}: "
    what = (error.strerror or str(error)).lower()
    remedy = _REMEDIES.get(error.errno or 0, "")
    return f"{where}{what}; {remedy}." if remedy else f"{where}{what}."


def _say(program: str, sentence: str, status: int) -> int:
    typer.echo(f"{program.partition(' ')[0]}: {' '.join(sentence.split())}", err=True)
    return status
