"""Fingerprints, which a finding keeps when lines above it move, and baselines: files of them."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from batchproof._errors import SettingError
from batchproof._files import write_file
from batchproof.audit._auditor import Audited, Located

SCHEMA = "batchproof-audit-baseline-1"


def fingerprints(files: Iterable[Audited], root: Path) -> dict[int, str]:
    """Return a fingerprint for each finding, by the id of its value.

    It is made of the mistake's name, the file's path below the root, the text of the line, and
    a number among the findings that agree in those: a line that moves keeps it.

    Args:
        files: what was audited.
        root: the project's folder.
    """
    repeats: Counter[str] = Counter()
    prints = {}
    for audited in files:
        path = below(audited.path, root)
        for entry in audited.findings:
            stem = _stem(path, entry)
            prints[id(entry)] = hashlib.sha256(f"{stem}\0{repeats[stem]}".encode()).hexdigest()[:32]
            repeats[stem] += 1
    return prints


def below(path: str, root: Path) -> str:
    """Return a path relative to a folder, with slashes; unchanged if it is outside the folder."""
    real = os.path.realpath(path)
    inside = Path(real).is_relative_to(root)
    return (os.path.relpath(real, root) if inside else path).replace(os.sep, "/")


def _stem(path: str, entry: Located) -> str:
    text = " ".join(entry.excerpt.split())
    return f"{entry.finding.name}\0{path}\0{text}".encode(errors="replace").decode()


def write_baseline(place: Path, files: Iterable[Audited], root: Path) -> int:
    """Write a baseline, so that later audits report only new findings.

    Args:
        place: the file.
        files: what was audited.
        root: the project's folder.

    Returns:
        The number of findings in it.
    """
    files = list(files)
    prints = fingerprints(files, root)
    entries = [
        {
            "fingerprint": prints[id(entry)],
            "name": entry.finding.name,
            "path": below(audited.path, root),
            "line": entry.place.line,
        }
        for audited in files
        for entry in audited.findings
    ]
    content = {"schema": SCHEMA, "findings": entries}
    write_file(place, json.dumps(content, indent=1) + "\n")
    return len(entries)


def read_baseline(place: Path) -> frozenset[str]:
    """Return the fingerprints of a baseline.

    Args:
        place: a file that write_baseline wrote.

    Raises:
        SettingError: if it is missing, or not a baseline.
    """
    try:
        content = json.loads(place.read_bytes())
        entries = {SCHEMA: content["findings"]}[content["schema"]]
        return frozenset(str(entry["fingerprint"]) for entry in entries)
    except FileNotFoundError:
        remedy = f"make it with --write-baseline {place}"
        raise SettingError(f"the baseline {place} is missing; {remedy}.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(
            f"{place} is not a baseline ({reason}); write a new one with --write-baseline {place}."
        ) from None
