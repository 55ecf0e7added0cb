"""An audit of files and folders: in this process, or in several where there are many files."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from batchproof.audit._auditor import Analyse, Audited, Auditor, Located, Notice
from batchproof.audit._cache import Cache, cache_place
from batchproof.audit._callers import callers_of, shown_in, with_shown, without_unused
from batchproof.audit._discover import discover
from batchproof.audit._fingerprint import fingerprints, read_baseline
from batchproof.audit._settings import Settings

MANY = 256  # from so many files on, several processes are faster than one
PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit.

    Attributes:
        files: the result for each file, in the order in which the files were found.
        settings: those of the audit.
        in_baseline: how many findings a baseline hides.
        callers: what was audited only for what it shows in the files.
    """

    files: tuple[Audited, ...]
    settings: Settings
    in_baseline: int = 0
    callers: tuple[Audited, ...] = ()

    @property
    def findings(self) -> list[Located]:
        """Return every finding, by file and line."""
        return [item for file in self.files for item in file.findings]

    @property
    def notices(self) -> list[Notice]:
        """Return every notice, by file."""
        return [notice for file in self.files for notice in file.notices]

    @property
    def counts(self) -> Counter[str]:
        """Return the number of findings of each name."""
        return Counter(item.finding.name for item in self.findings)

    @property
    def status(self) -> int:
        """Return the exit status: 1 for findings, 2 where nothing could be read, else 0."""
        if self.findings:
            return 1
        return 2 if self.files and all(file.unread for file in self.files) else 0


def audit_paths(
    paths: Sequence[Path],
    settings: Settings,
    *,
    analyse: Analyse | None = None,
    cached: bool = True,
    processes: int | None = None,
) -> Report:
    """Audit files and folders.

    Args:
        paths: files and notebooks, and folders to look for them in.
        settings: what is reported.
        analyse: returns the findings of a source; by default every rule of batchproof.
        cached: whether findings of files that did not change are taken from the last audit.
        processes: how many work at a time; by default one for each core, where files are many.

    Returns:
        The report.

    Raises:
        SettingError: if the baseline cannot be read.
    """
    discovery = discover(paths, settings.root, excluded=settings.excluded)
    unread = [
        Audited(path.as_posix(), notices=(Notice(path.as_posix(), 0, reason),))
        for path, reason in discovery.unreadable
    ]
    if not discovery.files:
        return without_known(Report(tuple(unread), settings))
    cache = Cache(cache_place(settings.root) if cached else None)
    run = analyse or all_rules()
    callers = _callers(paths, discovery.files, settings)
    auditor = Auditor(run, settings, cache)
    workers = processes or min(os.cpu_count() or 1, PROCESSES, len(discovery.files) // MANY + 1)
    if workers > 1:
        from batchproof.audit._pool import in_processes  # noqa: PLC0415  # few runs need it

        results = list(in_processes(discovery.files, run, settings, cache, workers))
    else:
        results = [auditor.file(path) for path in discovery.files]
    beside = [auditor.file(path) for path in callers or ()]
    cache.write()
    results = with_shown(results, beside, auditor)
    if callers is None:
        results = [without_unused(result) for result in results]
    return without_known(Report((*unread, *results), settings, callers=tuple(beside)))


def _callers(
    paths: Sequence[Path], files: Sequence[Path], settings: Settings
) -> Sequence[Path] | None:
    """Return the files that lead to those audited; a whole project's are among these."""
    root = settings.root.resolve()
    whole = any(root.is_relative_to(os.path.realpath(path)) for path in paths)
    return () if whole else callers_of(files, settings)


def audit_text(
    path: Path,
    content: bytes | str,
    settings: Settings,
    *,
    analyse: Analyse | None = None,
    callers: bool = True,
) -> Report:
    """Audit the content of a file, saved or not: an editor's buffer, the standard input.

    Args:
        path: the file's name, by which its imports are followed.
        content: its bytes, or its text where it is decoded already.
        settings: what is reported.
        analyse: returns the findings of a source; by default every rule of batchproof.
        callers: whether the files of the project that lead to it are audited for what they show.
    """
    auditor = Auditor(analyse or all_rules(), settings, Cache(None))
    places = callers_of([path], settings) if callers else None
    buffer = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    auditor.hold(path, buffer)
    beside = [auditor.file(place) for place in places or ()]
    by_callers = shown_in(path, beside)
    if isinstance(content, str):
        result = auditor.text(path, content, by_callers=by_callers)
    else:
        result = auditor.file(path, content=content, by_callers=by_callers)
    if places is None:
        result = without_unused(result)
    return without_known(Report((result,), settings, callers=tuple(beside)))


def all_rules() -> Analyse:
    """Return the analysis by every rule of batchproof."""
    rules: Analyse = import_module("batchproof.audit._analyse").analyse
    return rules


def without_known(report: Report) -> Report:
    """Return a report without the findings of the baseline that its settings name.

    Raises:
        SettingError: if the baseline cannot be read.
    """
    place = report.settings.baseline
    if place is None:
        return report
    baseline = read_baseline(place)
    prints = fingerprints(report.files, report.settings.root)
    files = tuple(
        replace(file, findings=tuple(f for f in file.findings if prints[id(f)] not in baseline))
        for file in report.files
    )
    hidden_count = sum(map(len, (f.findings for f in report.files))) - sum(
        len(f.findings) for f in files
    )
    return replace(report, files=files, in_baseline=hidden_count)
