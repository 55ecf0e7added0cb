"""A cache of findings, by the content of files.

An entry is valid for a file of the same bytes, whose imports lead to files of the same bytes, under
the same version of the rules and of Python. It is a JSON file, in $XDG_CACHE_HOME or in a folder
of the project that git ignores; one that is damaged counts as none, one that cannot be written is
not written.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from batchproof._files import write_file
from batchproof._version import __version__
from batchproof.audit._finding import Edit, Finding, Fix

FOLDER = ".batchproof_cache"
MOST = 50_000  # entries kept
LARGEST = 2**28  # bytes of a cache that is read

_T = TypeVar("_T", Edit, Finding)


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of auditing a file, before comments and settings apply.

    Attributes:
        findings: those of the file.
        elsewhere: those that it shows in files it imports, which they name by absolute paths.
        notices: line and reason of what could not be read.
        script: whether it is a script that can be run.
    """

    findings: tuple[Finding, ...] = ()
    notices: tuple[tuple[int, str], ...] = ()
    script: bool = False
    elsewhere: tuple[Finding, ...] = ()


class Cache:
    """Entries of one project by path.

    Args:
        place: the JSON file; None for a cache that keeps nothing.
    """

    def __init__(self, place: Path | None) -> None:
        self.place = place
        self._entries: dict[str, Any] = _load(place) if place else {}
        self._new: dict[str, Any] = {}

    def get(self, path: str, digest: str) -> tuple[Kept, dict[str, dict[str, str]]] | None:
        """Return an entry, and the imports that it is valid for; None where there is none.

        Args:
            path: the file.
            digest: of its bytes.
        """
        entry = self._new.get(path) or self._entries.get(path)
        try:
            if entry is None or entry["digest"] != digest:
                return None
            return _analysis(entry), _imports(entry["followed"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def put(self, path: str, digest: str, analysis: Kept, imports: Mapping[str, Any]) -> None:
        """Set an entry."""
        self._new[path] = {
            "digest": digest,
            "followed": imports,
            "findings": [asdict(finding) for finding in analysis.findings],
            "notices": analysis.notices,
            "script": analysis.script,
            "elsewhere": [asdict(finding) for finding in analysis.elsewhere],
        }

    def drain(self) -> dict[str, Any]:
        """Return the entries that were set since the last call, for another process to add."""
        new, self._new = self._new, {}
        return new

    def add(self, entries: Mapping[str, Any]) -> None:
        """Add entries that another process has set."""
        self._new.update(entries)

    def write(self) -> None:
        """Write the entries, if there are new ones."""
        if self.place is None or not self._new:
            return
        old = {path: entry for path, entry in self._entries.items() if path not in self._new}
        room = max(0, MOST - len(self._new))
        old = {path: old[path] for path in list(old)[:room] if os.path.exists(path)}  # noqa: PTH110
        content = {"version": _version(), "files": {**self._new, **old}}
        with suppress(OSError):
            _make_folder(self.place.parent)
            write_file(self.place, json.dumps(content, separators=(",", ":")))


def cache_place(root: Path) -> Path:
    """Return the path of a project's cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    if not home or not Path(home).is_absolute():
        return root / FOLDER / "audit.json"
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return Path(home) / "batchproof" / f"audit-{name}.json"


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignoring = folder / ".gitignore"
    if folder.name == FOLDER and not ignoring.exists():
        ignoring.write_text("*\n", encoding="utf-8")


def _load(place: Path) -> dict[str, Any]:
    try:
        if place.stat().st_size > LARGEST:
            return {}
        content = json.loads(place.read_bytes())
        entries = content["files"] if content["version"] == _version() else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _version() -> str:
    """Return a digest of the other causes of findings: this package, its sources, and Python."""
    here = Path(__file__).parent
    states = sorted(
        (str(path.relative_to(here)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in here.rglob("*.py")
    )
    causes = repr((__version__, sys.version_info, states))
    return hashlib.sha256(causes.encode()).hexdigest()


def _analysis(entry: Mapping[str, Any]) -> Kept:
    return Kept(
        tuple(map(_finding, entry["findings"])),
        tuple((int(line), str(reason)) for line, reason in entry["notices"]),
        bool(entry["script"]),
        tuple(map(_finding, entry["elsewhere"])),
    )


def _finding(entry: Mapping[str, Any]) -> Finding:
    fix = entry["fix"]
    if fix is not None:
        edits = tuple(_value_of(Edit, edit) for edit in fix["edits"])
        fix = Fix(str(fix["message"]), edits, safe=fix["safe"] is True)
    evidence = tuple(map(str, entry["evidence"]))
    return _value_of(Finding, {**entry, "evidence": evidence, "fix": fix})


def _value_of(kind: type[_T], entry: Mapping[str, Any]) -> _T:
    """Return a value whose numbers and texts are what they must be."""
    for name, annotation in kind.__annotations__.items():
        if annotation in {int, str} and type(entry[name]) is not annotation:
            raise TypeError(name)
    return kind(**{field.name: entry[field.name] for field in fields(kind)})


def _imports(entry: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        str(importer): {str(name): str(digest) for name, digest in names.items()}
        for importer, names in entry.items()
    }
