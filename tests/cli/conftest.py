import pytest

from command_line import CommandLine


@pytest.fixture
def batchproof(capsys, tmp_path, monkeypatch) -> CommandLine:
    """The command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)
