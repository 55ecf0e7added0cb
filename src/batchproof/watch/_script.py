"""A script run as `python SCRIPT` or `python -m MODULE` runs it, within this process.

argv, `__main__`, `__file__`, the first place of sys.path, exit status and traceback are those that
the script would have alone; a process that multiprocessing starts imports the script, not this.
"""

import io
import os
import runpy
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn

from batchproof._errors import SettingError
from batchproof.ranks import launched_as
from batchproof.watch._events import Finding
from batchproof.watch._numbers import Numbers
from batchproof.watch._report import WatchReport, report_of
from batchproof.watch._watcher import Watcher

INTERRUPTED = 128 + signal.SIGINT


class NoModuleError(SettingError):
    """The module of a name does not exist, or cannot be run."""


@dataclass(frozen=True, slots=True)
class Program:
    """A script or a module, and its arguments.

    Attributes:
        target: the path of a script, or the name of a module.
        arguments: what follows it on the command line.
        is_module: whether it is a module.
    """

    target: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    def __post_init__(self) -> None:
        if self.is_module:
            return
        path = Path(self.target)
        if path.is_dir():
            raise SettingError(f"{path} is a folder; expected a Python script. Name a file in it.")
        if not path.is_file():
            raise SettingError(f"there is no script {path}; expected the path of a Python file.")

    def run(self, at_failure: Callable[[], object] = bool) -> int:
        """Run it, and return its exit status; its own traceback is shown where it fails.

        Args:
            at_failure: called before the traceback is shown.
        """
        try:
            code = self._prepare()
            exec(code, vars(sys.modules["__main__"]))
        except SystemExit as end:
            return _status_of(end)
        except NoModuleError:
            raise
        except BaseException as error:
            at_failure()
            error.__traceback__ = _of_user(error.__traceback__)
            sys.excepthook(type(error), error, error.__traceback__)
            return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        return 0

    def _prepare(self) -> CodeType:
        main = types.ModuleType("__main__")
        if self.is_module:
            sys.path[0] = str(Path.cwd())
            sys.argv[:] = ["-m", *self.arguments]
            code = _module_code(self.target, main)
            sys.argv[0] = str(main.__file__)
        else:
            if not sys.flags.safe_path:
                sys.path[0] = str(Path(self.target).resolve().parent)
            sys.argv[:] = [self.target, *self.arguments]
            path = os.path.abspath(self.target)  # noqa: PTH100  links are kept, as Python does
            main.__file__ = path
            vars(main)["__builtins__"] = __builtins__
            with io.open_code(path) as file:
                code = compile(file.read(), path, "exec", dont_inherit=True)
        sys.modules["__main__"] = main
        return code


def _module_code(name: str, main: types.ModuleType) -> CodeType:
    """Return the code of a module, or of the __main__ of a package, and name it in main."""
    details: Any = runpy._get_module_details  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        _, spec, code = details(name)
    except ImportError as error:
        raise NoModuleError(f"no module can be run as {name}: {error}.") from None
    vars(main).update(
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
        __builtins__=__builtins__,
    )
    result: CodeType = code
    return result


def _status_of(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _of_user(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback below this file; None for a script that is not Python."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback


@contextmanager
def before_sudden_ends(finish: Callable[[], None]) -> Iterator[None]:
    """Call a function where the script would end this process before it can report.

    That is os._exit, and SIGTERM where nothing else handles it. Processes that the script forks
    end as they would.

    Args:
        finish: is called first.

    Yields:
        None, while the script runs.
    """
    process, leave = os.getpid(), os._exit

    def left(status: int) -> NoReturn:
        if os.getpid() == process:
            finish()
            _flush()
        leave(status)

    def ended(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() == process:
            finish()
            _flush()
        os.kill(os.getpid(), number)

    default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if default:
        signal.signal(signal.SIGTERM, ended)
    os._exit = left
    try:
        yield
    finally:
        os._exit = leave
        if signal.getsignal(signal.SIGTERM) is ended:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def run_watched(
    program: Program,
    show: Callable[[WatchReport], None],
    *,
    steps: int | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run a program, and show its report once, however it ends.

    Args:
        program: what to run.
        show: takes the report, in the process that was begun and on rank 0 alone.
        steps: stop watching after so many optimiser steps; None to watch to the end.
        say: takes a sentence when a mistake is first certain, while the program runs.

    Returns:
        The program's own exit status where it failed, else 1 where something is wrong, else 0.
    """
    process = os.getpid()
    watcher = Watcher(steps=steps)
    live = Live(say) if say else None
    numbers = Numbers(None if live is None else live.look)
    watcher.attach(numbers)
    if live is not None:
        live.watches = lambda: [*watcher.findings(), *numbers.findings()]
    reports: list[WatchReport] = []

    def finish() -> None:
        if os.getpid() == process and not reports:
            watcher.stop()
            reports.append(report_of(watcher, numbers, name=program.target))
            if launched_as().rank == 0:
                show(reports[0])

    def stop_at_failure() -> None:
        # the lines of code in a traceback hold numbers that nobody was shown
        if os.getpid() == process:
            watcher.has_failed = True
            watcher.stop()

    watcher.start()
    try:
        with before_sudden_ends(finish):
            status = program.run(stop_at_failure)
            watcher.has_failed = status != 0
            finish()
    finally:
        watcher.stop()
    wrong = bool(reports) and launched_as().rank == 0 and not reports[0].ok
    return status or int(wrong)


class Live:
    """The mistakes of a run, reported while it runs, each mistake of each place once.

    Args:
        say: takes a sentence.

    Attributes:
        watches: return the findings so far.
    """

    SHARE = 0.05  # the largest share of the time that checking takes

    def __init__(self, say: Callable[[str], None]) -> None:
        self.watches: Callable[[], Iterable[Finding]] = tuple
        self._say = say
        self._findings: set[tuple[str, str]] = set()
        self._next = 0.0

    def look(self) -> None:
        """Check whether something is wrong now, unless the last check is too recent."""
        start = time.monotonic()
        if start < self._next:
            return
        for finding in self.watches():
            key = (finding.name, finding.place)
            if finding.grade == "wrong" and key not in self._findings:
                self._findings.add(key)
                self._say(f"{finding.place}: {finding.name}: {finding.sentence}")
        now = time.monotonic()
        self._next = now + (now - start) / self.SHARE
