"""The files to audit, out of what was named: files, folders, notebooks.

A folder is walked as git sees it: what a .gitignore names is left out, and so are folders that
hold other people's code. A link to a folder is not followed, so that no walk is endless. What is
named itself is audited wherever it is.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from batchproof.audit._gitignore import Pattern, read_patterns, user_ignore, verdict

SUFFIXES = frozenset({".py", ".ipynb"})
EXCLUDED = (
    ".batchproof_cache", ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg",
    ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pants.d", ".pyenv", ".pytest_cache", ".pytype",
    ".ruff_cache", ".svn", ".tox", ".venv", ".vscode", "__pycache__", "__pypackages__", "_build",
    "buck-out", "build", "dist", "node_modules", "site-packages", "venv",
)  # fmt: skip


@dataclass(slots=True)
class Discovery:
    """The files that a walk has found.

    Attributes:
        files: to audit, in the order of the arguments and then of their names.
        unreadable: each file or folder that cannot be read, and why.
        whole: whether every walk went through.
    """

    files: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    whole: bool = True


def discover(
    paths: Sequence[Path],
    root: Path,
    *,
    excluded: Sequence[str] = EXCLUDED,
    most: int | None = None,
) -> Discovery:
    """Return the Python files and notebooks that paths name, or that are below them.

    Args:
        paths: files, taken as they are, and folders, walked.
        root: the project's folder; the .gitignore files from there on count.
        excluded: globs of names, or of paths below the root, that a walk leaves out.
        most: where walks end, once folders have held more entries than that.

    Returns:
        Each file once.
    """
    discovery = Discovery()
    walk = _Walk(root.resolve(), tuple(excluded), discovery, most)
    for path in paths:
        if path.is_dir():
            walk.through(path)
        elif path.exists():
            walk.take(path)
        else:
            reason = "symbolic link that leads nowhere" if path.is_symlink() else "no such file"
            discovery.unreadable.append((path, reason))
    return discovery


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns of one .gitignore, and the folder that they are relative to."""

    folder: str
    patterns: tuple[Pattern, ...]

    def verdict(self, path: str, *, folder: bool) -> bool | None:
        return verdict(self.patterns, path[len(self.folder) :].lstrip("/"), folder=folder)


class _Walk:
    def __init__(
        self, root: Path, excluded: tuple[str, ...], discovery: Discovery, most: int | None
    ) -> None:
        self._root = root
        self._most = most
        self._count = 0
        self._names = frozenset(name for name in excluded if not set(name) & set("*?[/"))
        self._globs = tuple(name for name in excluded if set(name) & set("*?[/"))
        self._discovery = discovery
        self._paths: set[str] = set()

    def take(self, path: Path) -> None:
        """Add a file, unless it is there under this or another name."""
        real = os.path.realpath(path)
        if real not in self._paths:
            self._paths.add(real)
            self._discovery.files.append(path)

    def through(self, folder: Path) -> None:
        """Add the files of a folder and of those in it."""
        real = Path(os.path.realpath(folder))
        waiting = [(folder, str(real), self._above(real))]
        while waiting and self._discovery.whole:
            path, place, rules = waiting.pop()
            own = read_patterns(Path(place, ".gitignore"))
            if own:
                rules = (*rules, _Rules(place, own))
            try:
                entries = sorted(os.scandir(place), key=lambda entry: entry.name)
            except OSError as error:
                self._discovery.unreadable.append((path, (error.strerror or "unreadable").lower()))
                continue
            self._count += len(entries)
            self._discovery.whole = self._most is None or self._count <= self._most
            deeper = []
            for entry in self._kept(entries, place, rules):
                if entry.is_dir(follow_symlinks=False):
                    deeper.append((path / entry.name, f"{place}/{entry.name}", rules))
                else:
                    self.take(path / entry.name)
            waiting += reversed(deeper)

    def _above(self, folder: Path) -> tuple[_Rules, ...]:
        """Return the rules that apply in a folder: the repository's, and those above."""
        above = [folder, *folder.parents]
        top = next((place for place in above if (place / ".git").exists()), None)
        if top is None:
            top = self._root if folder.is_relative_to(self._root) else folder
        wide = (user_ignore(), top / ".git" / "info" / "exclude")
        rules = [_Rules(str(top), read_patterns(file)) for file in wide]
        outer = [place for place in folder.parents if place.is_relative_to(top)]
        rules += [_Rules(str(place), read_patterns(place / ".gitignore")) for place in outer[::-1]]
        return tuple(rule for rule in rules if rule.patterns)

    def _kept(
        self, entries: list[os.DirEntry[str]], place: str, rules: tuple[_Rules, ...]
    ) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            try:
                folder = entry.is_dir(follow_symlinks=False)
                matches = folder or (
                    os.path.splitext(entry.name)[1] in SUFFIXES  # noqa: PTH122
                    and (entry.is_file() or (entry.is_symlink() and not entry.is_dir()))
                )
            except OSError:
                matches = True  # reading it says why it cannot be read
            path = f"{place}/{entry.name}"
            if not matches or self._excluded(entry.name, path):
                continue
            if not _ignored(rules, path, folder=folder):
                yield entry

    def _excluded(self, name: str, path: str) -> bool:
        if name in self._names:
            return True
        if not self._globs:
            return False
        below = os.path.relpath(path, self._root).replace(os.sep, "/")
        return any(fnmatch(name, glob) or fnmatch(below, glob) for glob in self._globs)


def _ignored(rules: tuple[_Rules, ...], path: str, *, folder: bool) -> bool:
    """Return whether the innermost .gitignore with a pattern for a path ignores it."""
    for rule in reversed(rules):
        ignored = rule.verdict(path, folder=folder)
        if ignored is not None:
            return ignored
    return False
