"""The notebook: `%load_ext batchproof` once, then `%%watch` above a cell.

    %%watch                     run the cell, and show what it does to its losses
    %%watch --steps 100 seen    watch its first 100 optimiser steps, and keep the report as `seen`

The cell runs as it would alone: its variables stay, its last value and its errors are shown.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchproof._errors import SettingError

if TYPE_CHECKING:
    from batchproof.watch import WatchReport


def load(shell: Any) -> None:
    """Register the magic.

    Args:
        shell: IPython's.
    """

    def watch_cell(line: str, cell: str) -> None:
        """Run a cell, and show what it does to its losses."""
        run_cell(shell, line, cell)

    shell.register_magic_function(watch_cell, magic_kind="cell", magic_name="watch")


def run_cell(shell: Any, line: str, cell: str) -> None:
    """Run a cell, show its report, and keep it under a name where one is given.

    Args:
        shell: IPython's.
        line: what follows %%watch.
        cell: the code.

    Raises:
        SettingError: if the line is not [--steps N] [NAME].
    """
    from IPython.display import display  # noqa: PLC0415

    from batchproof.watch import watch  # noqa: PLC0415

    steps, name = options_of(line)
    with watch(steps=steps) as recording:
        result = shell.run_cell(cell)
    recording.watcher.has_failed = not result.success
    report = with_cells(recording.report(name="this cell"), shell)
    if name:
        shell.user_ns[name] = report
    display(report)


def with_cells(report: "WatchReport", shell: Any) -> "WatchReport":
    """Return a report whose places are cells, as In[2]:5, where they are lines of a cell.

    Args:
        report: what was seen.
        shell: IPython's, which knows by what file name it compiled a cell.
    """

    def in_cells(text: str) -> str:
        return re.sub(r"[^\s:]+(?=:\d)", named, text)

    def named(file: re.Match[str]) -> str:
        cell = shell.compile.format_code_name(file[0])
        return file[0] if cell is None else cell[1]

    return replace(
        report,
        findings=tuple(
            replace(one, place=in_cells(one.place), sentence=in_cells(one.sentence))
            for one in report.findings
        ),
    )


def options_of(line: str) -> tuple[int | None, str]:
    """Return the steps and the name that a line gives.

    Args:
        line: such as "--steps 100 seen".

    Raises:
        SettingError: if it is not [--steps N] [NAME].

    Examples:
        >>> options_of("--steps 100 seen"), options_of("")
        ((100, 'seen'), (None, ''))
    """
    words, steps = line.split(), None
    if words[:1] == ["--steps"] and len(words) > 1 and words[1].isdigit():
        steps, words = int(words[1]), words[2:]
    if len(words) > 1 or not all(word.isidentifier() for word in words):
        raise SettingError(f"%%watch was given {line!r}; expected [--steps N] [NAME].")
    return steps, "".join(words)
