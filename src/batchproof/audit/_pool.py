"""Many files audited by several processes; one that dies costs the file that ended it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from batchproof.audit._auditor import Analyse, Audited, Auditor, Notice
from batchproof.audit._cache import Cache
from batchproof.audit._settings import Settings

CHUNK = 64  # files that a process takes at a time: neighbours, which import each other

_Chunk = tuple[list[Audited], dict[str, Any]]


def in_processes(
    files: Sequence[Path], analyse: Analyse, settings: Settings, cache: Cache, processes: int
) -> Iterator[Audited]:
    """Yield the result for each file, in their order.

    Args:
        files: the files.
        analyse: returns the findings of a source.
        settings: what is reported.
        cache: of earlier audits; what is new is added to it.
        processes: how many processes.
    """
    work = partial(_chunk, analyse, settings, cache.place)
    chunks = [list(files[i : i + CHUNK]) for i in range(0, len(files), CHUNK)]
    count = 0
    while count < len(chunks):
        with ProcessPoolExecutor(processes) as pool:
            for future in [pool.submit(work, chunk) for chunk in chunks[count:]]:
                try:
                    audited, entries = future.result()
                except BrokenProcessPool:
                    break
                count += 1
                cache.add(entries)
                yield from audited
            else:
                return
        for path in chunks[count]:
            audited, entries = _alone(path, work)
            cache.add(entries)
            yield from audited
        count += 1


def _alone(path: Path, work: "partial[_Chunk]") -> _Chunk:
    """Audit a file in a process of its own, after it or a neighbour has ended the shared one."""
    try:
        with ProcessPoolExecutor(1) as pool:
            return pool.submit(work, [path]).result()
    except BrokenProcessPool:
        name = path.as_posix()
        return [Audited(name, notices=(Notice(name, 0, "ended the process that read it"),))], {}


_own: list[tuple[Auditor, Cache]] = []  # the auditor that a process of the pool keeps


def _chunk(analyse: Analyse, settings: Settings, place: Path | None, paths: list[Path]) -> _Chunk:
    if not _own:
        cache = Cache(place)
        _own.append((Auditor(analyse, settings, cache), cache))
    auditor, cache = _own[0]
    return [auditor.file(path) for path in paths], cache.drain()
