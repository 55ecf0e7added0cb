"""The end of every command: its exit status, and errors as one line without a traceback.

0    success
1    findings, a run that failed, or numbers that could not be printed
2    wrong usage, or input that cannot be used
130  interrupted (128 + the signal's number)
"""

import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from pathlib import Path
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
from batchproof._extras import EXTRAS
from batchproof._files import reason_of
from batchproof.page import printable

FAILED = (NonFiniteError, RankError, CutDependenceError, RunStoppedError)
INTERRUPTED = 130
OUTPUT = "the standard output"

# errors of libraries and of the interpreter, which do not name the memory that they lack
_SIGNS_OF_NO_MEMORY = (
    "could not create a primitive",
    "without exception set",
    "failed to map segment",
    "can't start new thread",
    "bad_alloc",
)

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that you may write to",
    errno.ENOENT: "check the path, or make the folder first",
}


def guarded(command: Any, arguments: Sequence[str] | None, program: str) -> int:
    """Run a typer command and return its exit status.

    Args:
        command: a command made by typer.main.get_command.
        arguments: command-line arguments; None for those of this process.
        program: the name that help and errors show.

    Returns:
        The exit status; an error is one line on the standard error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _careful_streams():
        return _status(command, words, program)


def _status(command: Any, words: list[str], program: str) -> int:
    try:
        with command.make_context(program, words) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as exit_error:
        return exit_error.exit_code
    except (BatchproofError, OSError, KeyboardInterrupt, typer.Abort) as error:
        with redirect_stderr(io.StringIO()) if _reported_by_rank_0(error) else nullcontext():
            return _ended(program, error)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        return _not_installed(program, words, error)
    except Exception as error:
        if lacks := _lack_of_memory(error):
            return _say(program, f"{lacks}; free some, or ask for less at once.", 1)
        if not hasattr(error, "format_message"):
            raise
        return _misused(program, error)
    return 0


def _not_installed(program: str, words: list[str], error: ModuleNotFoundError) -> int:
    """Report the extra of the package that a command needs."""
    module = (error.name or "").partition(".")[0]
    name = next((part for part in words if not part.startswith("-")), "")
    extra = "demo" if name == "demo" else EXTRAS[module]
    needs = f"{name} needs {module}, which" if name and program == "batchproof" else module
    sentence = f'{needs} is not installed: pip install "batchproof[{extra}]"'
    return _say(program, sentence, 2)


def _lack_of_memory(error: Exception) -> str:
    """Return a sentence that memory ran out, or may have; "" for another error."""
    # torch has an error of its own for devices, and a RuntimeError for the host
    text, kind = str(error), type(error).__name__
    no_memory = isinstance(error, MemoryError) or kind == "OutOfMemoryError"
    if no_memory or "can't allocate memory" in text:
        return "out of memory"
    sign = next((sign for sign in _SIGNS_OF_NO_MEMORY if sign in text), None)
    return f"{sign}: a sign of no memory" if sign else ""


class _Output(io.FileIO):
    """The standard output; an error in writing to it names it."""

    def write(self, content: Any) -> int:
        """Write to it."""
        try:
            return super().write(content)
        except OSError as error:
            error.filename = OUTPUT
            raise


class _Messages(io.FileIO):
    """The standard error; a failure to write to it, as to a closed terminal, ends no run."""

    def write(self, content: Any) -> int:
        """Write to it."""
        try:
            return super().write(content)
        except OSError:
            return len(content)


@contextmanager
def _careful_streams() -> Iterator[None]:
    """Ignore failures of the standard streams, except a failure to write the output.

    A character that a stream cannot encode, as in ASCII, becomes a question mark.
    """
    plain = sys.stdout, sys.stderr
    sys.stdout = _over(sys.stdout, sys.__stdout__, _Output)
    sys.stderr = _over(sys.stderr, sys.__stderr__, _Messages)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a script may have closed it
                stream.flush()
        sys.stdout, sys.stderr = plain


def _over(stream: Any, own: Any, kind: type[io.FileIO]) -> Any:
    """Return a stream of this kind to replace the process's own, which may be closed."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream is not own:
        stream.reconfigure(errors="replace")
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(kind(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _reported_by_rank_0(error: BaseException) -> bool:
    """Return whether all ranks end with this error and rank 0, another process, reports it."""
    if not (isinstance(error, RunInterruptedError) or hasattr(error, "of_all_ranks")):
        return False
    # whatever raises these has loaded torch, as this import does
    from batchproof.ranks import launched_as  # noqa: PLC0415

    return launched_as().rank != 0


def _ended(program: str, error: BaseException) -> int:
    """Report why the command ended early."""
    if isinstance(error, RunInterruptedError):
        return _say(program, str(error), 128 + error.signal)
    if isinstance(error, BatchproofError):
        return _say(program, str(error), 1 if isinstance(error, FAILED) else 2)
    if isinstance(error, OSError) and error.filename == OUTPUT:
        # the rest of the buffer cannot be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # a reader that closed the pipe, such as `| head`, has all it needs
        is_pipe_closed = isinstance(error, BrokenPipeError)
        return 1 if is_pipe_closed else _say(program, _of_system(error), 1)
    if isinstance(error, OSError):
        return _say(program, _of_system(error), 2)
    return _say(program, "interrupted; nothing was kept.", INTERRUPTED)


def _misused(program: str, error: Any) -> int:
    """Report the error that typer found in the command line."""
    context: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True)
        return 2
    where = program if context is None else context.command_path
    # a choice that typer refuses comes with the prefix of the library that checks it
    sentence = error.format_message().rstrip(".").replace(": Value error, ", ": ", 1)
    end = "" if sentence.endswith("?") else "."
    return _say(program, f"{sentence}{end} Try: {where} --help", 2)


def _of_system(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename}: "
    what = reason_of(error)
    notes = getattr(error, "__notes__", [])
    usual = (
        "check where it goes" if error.filename == OUTPUT else _REMEDIES.get(error.errno or 0, "")
    )
    remedy = "; ".join(notes) or usual
    return f"{where}{what}; {remedy}." if remedy else f"{where}{what}."


def _say(program: str, sentence: str, status: int) -> int:
    line = printable(" ".join(sentence.split()))
    typer.echo(f"{program.partition(' ')[0]}: {line}", err=True)
    return status
