"""The notebook: `%load_ext batchproof` once, then `%%watch` above a cell.

    %%watch                     run the cell, and show what it does to its losses
    %%watch --steps 100 seen    watch its first 100 optimiser steps, and keep the report as `seen`

The cell runs as it would alone: its variables stay, its last value and its errors are shown.
"""

from typing import Any

from batchproof._errors import SettingError


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
    with watch(steps=steps) as seen:
        result = shell.run_cell(cell)
    seen.watcher.failed = not result.success
    report = seen.report(name="this cell")
    if name:
        shell.user_ns[name] = report
    display(report)


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
