"""What files show in others: a loop is judged with the loaders that its callers give it.

A file is audited with what it imports, and shows mistakes there. So the findings of a file are its
own and those that the files which lead to it show, whether or not these are audited themselves.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from batchproof.audit._allowances import UNUSED
from batchproof.audit._auditor import Audited, Auditor
from batchproof.audit._discover import discover
from batchproof.audit._finding import Finding
from batchproof.audit._project import Project
from batchproof.audit._reading import UnreadableError, read_bytes
from batchproof.audit._settings import Settings

MOST = 10_000  # entries of the folders of a project that is looked through for callers
CALLERS = 8  # files that are audited for what they show in others

# from x import (a, b), import x.y as z; also as a line of a notebook's JSON text
_IMPORT = re.compile(
    rb'^[ \t"]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([^\n#;]+))',
    re.MULTILINE,
)
_NAME = re.compile(r"[.\w]+")


def shown_in(path: Path, results: Iterable[Audited]) -> list[Finding]:
    """Return what audited files show in another.

    Args:
        path: the other, as its findings are to name it.
        results: what was audited.
    """
    place, name = os.path.realpath(path), path.as_posix()
    findings = (finding for result in results for finding in result.elsewhere)
    return [replace(finding, path=name) for finding in findings if finding.path == place]


def with_shown(
    results: Sequence[Audited], callers: Sequence[Audited], auditor: Auditor
) -> list[Audited]:
    """Return results with what they and their callers show in each other.

    Args:
        results: what was audited.
        callers: what was audited for what it shows alone.
        auditor: what audits those again in which something is shown.
    """
    showing = [result for result in (*results, *callers) if result.elsewhere]
    places = {finding.path for result in showing for finding in result.elsewhere}
    complete = list(results)
    for number, result in enumerate(results):
        if showing and not result.unread and os.path.realpath(result.path) in places:
            path = Path(result.path)
            complete[number] = auditor.file(path, by_callers=shown_in(path, showing))
    return complete


def without_unused(result: Audited) -> Audited:
    """Return a result without the comments in functions that nothing used in the file.

    Where callers are not looked at, one of them could use them.
    """
    findings = (
        item
        for item in result.findings
        if item.finding.name != UNUSED or not item.excerpt[:1].isspace()
    )
    return replace(result, findings=tuple(findings))


def callers_of(paths: Sequence[Path], settings: Settings) -> list[Path] | None:
    """Return the files of a project that import one of some others, directly or through more files.

    Args:
        paths: those others.
        settings: the project's.

    Returns:
        At most `CALLERS` files, direct importers first; None where the project is too large to be
        looked through.
    """
    walk = discover([settings.root], settings.root, excluded=settings.excluded, most=MOST)
    if not walk.whole:
        return None
    project, callers = Project(settings.root), list[Path]()
    ends = {os.path.realpath(path) for path in paths}
    rest = {os.path.realpath(file): file for file in walk.files}
    while ends and len(callers) < CALLERS:
        rest = {real: file for real, file in rest.items() if real not in ends}
        stems = {stem for path in ends for stem in _stems(path)}
        ends = {real for real, file in rest.items() if ends & set(_led_to(file, stems, project))}
        callers += [_as_named(rest[real]) for real in sorted(ends)]
    return callers[:CALLERS]


def _as_named(file: Path) -> Path:
    """Return a file as one below the current folder is named there."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _stems(path: str) -> set[str]:
    """Return the last parts of the dotted names by which a file is imported."""
    stem = Path(path).stem
    return {Path(path).parent.name, "."} if stem == "__init__" else {stem}


def _led_to(file: Path, stems: set[str], project: Project) -> Iterator[str]:
    """Yield the files that the imports of a file lead to, of those whose names have a stem."""
    try:
        content = read_bytes(file)
    except UnreadableError:
        return
    if any(stem.encode() in content for stem in stems):
        for name in _imports(content):
            if stems & (set(name.split(".")) if name.strip(".") else {"."}):
                place = project.place(name, file)
                if place is not None:
                    yield str(place)


def _imports(content: bytes) -> Iterator[str]:
    """Yield the dotted names that the imports of a file may lead to."""
    for match in _IMPORT.finditer(content):
        origin, parts, modules = (part.decode(errors="replace") for part in match.groups(b""))
        joint = "" if not origin or origin.endswith(".") else "."
        for name in _NAME.findall(modules or parts):
            yield f"{origin}{joint}{name}"
        if origin:
            yield origin
