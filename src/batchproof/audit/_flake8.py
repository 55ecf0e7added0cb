"""The rules as a plugin of flake8: codes that begin with BP."""

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from batchproof._version import __version__
from batchproof.audit._audit import audit_text
from batchproof.audit._settings import Settings, read_settings


class Plugin:
    """The checker that flake8 makes for each file.

    Args:
        tree: the file's syntax tree; its text is parsed again.
        filename: the file.
        lines: its text.
    """

    name = "batchproof"
    version = __version__

    def __init__(self, tree: ast.AST, filename: str, lines: Sequence[str]) -> None:  # noqa: ARG002
        self._path = Path(filename)
        self._text = "".join(lines)

    def run(self) -> Iterator[tuple[int, int, str, type["Plugin"]]]:
        """Yield line, column from 0, code with sentence, and this class for each finding."""
        settings = _settings(self._path.parent, Path.cwd())
        for entry in audit_text(self._path, self._text, settings, callers=False).findings:
            finding = entry.finding
            text = f"{finding.code} {finding.name}: {finding.sentence}"
            yield finding.line, finding.column - 1, text, type(self)


@lru_cache
def _settings(folder: Path, here: Path) -> Settings:
    return read_settings([folder], here)
