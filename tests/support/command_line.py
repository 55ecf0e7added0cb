"""The command line as tests call it: within this process, or as a shell would."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from batchproof.cli import app
from batchproof.shell import guarded


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The error, which stands below what training had shown."""
        return self.err.rstrip("\n").rpartition("\n")[2]


class CommandLine:
    """Runs commands within this process, in a folder of their own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._command = typer.main.get_command(app)

    def __call__(self, *arguments: object) -> Ended:
        self._capsys.readouterr()
        status = guarded(self._command, list(map(str, arguments)), "batchproof")
        captured = self._capsys.readouterr()
        return Ended(status, captured.out, captured.err)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def shell(*arguments: object, cwd: Path, timeout: float = 120) -> Ended:
    """Run python with these arguments in another process."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
