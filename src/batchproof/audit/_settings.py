"""The settings of an audit: those of the command line, over those of `pyproject.toml`."""

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from batchproof._errors import SettingError
from batchproof.audit._allowances import UNUSED, UNUSED_CODE
from batchproof.audit._discover import EXCLUDED
from batchproof.audit._finding import Finding
from batchproof.mistakes import CATALOGUE

CODES = {mistake.name: mistake.code for mistake in CATALOGUE.values()} | {UNUSED: UNUSED_CODE}
ALL = frozenset(CODES)
_TABLE = "[tool.batchproof.audit]"


@dataclass(frozen=True, slots=True)
class Settings:
    """Which findings are reported, and which files a walk leaves out.

    Attributes:
        root: the project's folder.
        names: the mistakes to report.
        likely: whether findings that the code alone does not decide are reported too.
        excluded: globs that a walk leaves out.
        per_file: globs of paths below the root, and the names that are not reported there.
        baseline: a file of findings that are known and not reported; None for none.
    """

    root: Path
    names: frozenset[str] = ALL
    likely: bool = False
    excluded: tuple[str, ...] = EXCLUDED
    per_file: tuple[tuple[str, frozenset[str]], ...] = ()
    baseline: Path | None = None

    def reports(self, finding: Finding) -> bool:
        """Return whether a finding is reported, comments aside."""
        return (self.likely or finding.grade == "sure") and self.covers(finding.name, finding.path)

    def covers(self, name: str, path: str) -> bool:
        """Return whether a mistake is looked for in a file."""
        if name not in self.names or not self.per_file:
            return name in self.names
        below = os.path.relpath(os.path.realpath(path), self.root).replace(os.sep, "/")
        return not any(name in names and fnmatch(below, glob) for glob, names in self.per_file)

    def over(
        self,
        *,
        select: Sequence[str] = (),
        ignore: Sequence[str] = (),
        extend_select: Sequence[str] = (),
        likely: bool = False,
        baseline: Path | None = None,
    ) -> "Settings":
        """Return these settings, overridden by those of a command line.

        Args:
            select: names, codes or beginnings of codes, in place of what was selected.
            ignore: those to leave out, in addition.
            extend_select: those to add.
            likely: whether to report what is likely too.
            baseline: in place of the one that was there.

        Raises:
            SettingError: if a name or code is unknown.
        """
        names = names_of(select) if select else self.names
        names = (names | names_of(extend_select)) - names_of(ignore)
        return replace(
            self,
            names=names,
            likely=self.likely or likely,
            baseline=self.baseline if baseline is None else baseline,
        )


def names_of(selectors: Iterable[str]) -> frozenset[str]:
    """Return the mistakes that selectors name: names, codes, beginnings of codes, or ALL.

    Args:
        selectors: each may hold several, separated by commas.

    Raises:
        SettingError: if one names no mistake.

    Examples:
        >>> sorted(names_of(["BP40", "graph-kept"]))[:2]
        ['evaluation-in-train-mode', 'evaluation-with-grad']
    """
    result: set[str] = set()
    for selector in (part.strip() for text in selectors for part in text.split(",")):
        code = selector.upper()
        names = {
            name
            for name, full_code in CODES.items()
            if name == selector
            or code == "ALL"
            or (code[:2] == "BP" and full_code.startswith(code))
        }
        if selector and not names:
            near = get_close_matches(selector, [*CODES, *CODES.values()], n=3)
            hint = f"the nearest are {', '.join(near)}" if near else "name one, as graph-kept"
            raise SettingError(f"no rule is called {selector!r}; {hint}.")
        result |= names
    return frozenset(result)


def read_settings(paths: Sequence[Path], folder: Path) -> Settings:
    """Return the settings of the project that paths belong to.

    Args:
        paths: what is audited.
        folder: where it is audited from.

    Returns:
        Those of the nearest `pyproject.toml` above all paths that has [tool.batchproof]; without
        one, the defaults, with the repository's folder as the root.

    Raises:
        SettingError: if that file is invalid.
    """
    above = _above(paths, folder)
    for place in above:
        file = place / "pyproject.toml"
        if file.is_file():
            table = _table(file)
            if table is not None:
                return _checked(table, file)
    roots = [p for p in above if (p / ".git").exists() or (p / "pyproject.toml").is_file()]
    inner = above[0]
    return Settings(roots[0] if roots else folder if inner.is_relative_to(folder) else inner)


def _above(paths: Sequence[Path], folder: Path) -> list[Path]:
    # resolve() raises on a loop of symbolic links
    real = [Path(os.path.realpath(path)) for path in paths] or [folder]
    folders = [path if path.is_dir() else path.parent for path in real]
    try:
        shared = Path(os.path.commonpath(folders))
    except ValueError:  # of several drives
        shared = folder
    return [shared, *shared.parents]


def _table(file: Path) -> dict[str, Any] | None:
    """Return the table of [tool.batchproof.audit], {} if only [tool.batchproof] is there."""
    try:
        content = tomllib.loads(file.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(f"{file} is not TOML: {reason}; correct the file.") from None
    tool = content.get("tool", {})
    ours = tool.get("batchproof") if isinstance(tool, dict) else None
    if ours is None:
        return None
    if not isinstance(ours, dict):
        raise SettingError(f"{file}: tool.batchproof is {ours!r}; expected the table {_TABLE}.")
    _refuse_unknown(ours, ("audit",), f"{file}: [tool.batchproof]")
    table = ours.get("audit", {})
    if not isinstance(table, dict):
        raise SettingError(f"{file}: tool.batchproof.audit is {table!r}; expected a table.")
    return table


_KEYS = (
    "select", "ignore", "extend-select", "likely", "exclude", "extend-exclude",
    "per-file-ignores", "baseline",
)  # fmt: skip


def _checked(table: Mapping[str, Any], file: Path) -> Settings:
    where = f"{file}: {_TABLE}"
    _refuse_unknown(table, _KEYS, where)
    lists = {key: _names(table, key, where) for key in ("select", "ignore", "extend-select")}
    excluded = _names(table, "exclude", where) if "exclude" in table else EXCLUDED
    excluded = (*excluded, *_names(table, "extend-exclude", where))
    by_glob = table.get("per-file-ignores", {})
    if not isinstance(by_glob, dict):
        raise _mistyped(where, "per-file-ignores", by_glob, "a table of globs")
    ignored = {glob: _names(by_glob, glob, where) for glob in by_glob}
    likely, baseline = table.get("likely", False), table.get("baseline")
    if not isinstance(likely, bool):
        raise _mistyped(where, "likely", likely, "true or false")
    if baseline is not None and not isinstance(baseline, str):
        raise _mistyped(where, "baseline", baseline, "a path")
    try:
        per_file = tuple((glob, names_of(names)) for glob, names in ignored.items())
        return Settings(file.parent, excluded=excluded, per_file=per_file).over(
            select=lists["select"],
            extend_select=lists["extend-select"],
            ignore=lists["ignore"],
            likely=likely,
            baseline=None if baseline is None else file.parent / baseline,
        )
    except SettingError as error:
        raise SettingError(f"{where}: {error}") from None


def _names(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _mistyped(where, key, value, "a list of texts")
    return tuple(value)


def _mistyped(where: str, key: str, value: Any, kind: str) -> SettingError:
    return SettingError(f"{where}: {key} is {value!r}; expected {kind}.")


def _refuse_unknown(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(key, keys, n=1) or keys
            raise SettingError(f"{where} has no key {key!r}; the nearest is {near[0]!r}.")
