import errno
import io
import signal

import pytest
import typer

from batchproof import (
    NonFiniteError,
    RunFolderError,
    RunInterruptedError,
    RunStoppedError,
    SettingError,
)
from batchproof.shell import guarded


def failing(error: BaseException):
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    return typer.main.get_command(app)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (SettingError("lr is 0."), 2, "lr is 0."),
        (NonFiniteError("the loss is nan."), 1, "the loss is nan."),
        (RunFolderError("x exists."), 2, "x exists."),
        (RunStoppedError("step 2 is safe."), 1, "step 2 is safe."),
        (SettingError("two\n  lines"), 2, "two lines"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was kept."),
        (RunInterruptedError("saved in x.", signal.SIGINT), 130, "saved in x."),
        (RunInterruptedError("saved in x.", signal.SIGTERM), 143, "saved in x."),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs"),
            2,
            "runs: permission denied; choose a place that you may read and write.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "no space left on device; free some space, or choose another folder.",
        ),
        (SettingError("\x1b[31mred\x07"), 2, r"\x1b[31mred\x07"),
        (MemoryError(), 1, "out of memory; free some, or ask for less at once."),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99"),
            1,
            "out of memory; free some, or ask for less at once.",
        ),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            1,
            "failed to map segment: a sign of no memory; free some, or ask for less at once.",
        ),
        (
            SystemError("error return without exception set"),
            1,
            "without exception set: a sign of no memory; free some, or ask for less at once.",
        ),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            2,
            'torch is not installed: pip install "batchproof[torch]"',
        ),
        (typer.Exit(1), 1, None),
        (typer.Exit(0), 0, None),
    ],
)
def test_what_ends_a_command_is_a_status_and_one_line(capsys, error, status, line):
    assert guarded(failing(error), [], "batchproof") == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == ("" if line is None else f"batchproof: {line}\n")


def test_an_interruption_of_all_ranks_is_reported_by_rank_0_alone(capsys, monkeypatch):
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "2"}
    for rank, line in (("0", "batchproof: saved in x.\n"), ("1", "")):
        for name, value in {**address, "RANK": rank}.items():
            monkeypatch.setenv(name, value)
        error = RunInterruptedError("saved in x.", signal.SIGTERM)
        assert guarded(failing(error), [], "batchproof") == 143
        assert capsys.readouterr().err == line


def test_a_fault_of_our_own_keeps_its_traceback():
    with pytest.raises(ModuleNotFoundError):
        guarded(failing(ModuleNotFoundError("no mine", name="mine")), [], "batchproof")
    with pytest.raises(RuntimeError):
        guarded(failing(RuntimeError("sizes differ")), [], "batchproof")
    with pytest.raises(ZeroDivisionError):
        guarded(failing(ZeroDivisionError()), [], "batchproof")


def test_what_a_stream_cannot_write_is_a_question_mark(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    app = typer.Typer()
    app.command()(lambda: print("0.5 ± 0.1"))
    assert guarded(typer.main.get_command(app), [], "batchproof") == 0
    assert out.buffer.getvalue() == b"0.5 ? 0.1\n"
