"""Fixes applied to files: edits that remove the mistake and change nothing else.

A fix counts only if the file that it leaves still parses and has fewer findings of that name than
before; else it is undone. Rounds follow until nothing more can be fixed.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchproof._files import write_file
from batchproof.audit._audit import Report, all_rules, without_known
from batchproof.audit._auditor import Analyse, Audited, Auditor
from batchproof.audit._cache import Cache
from batchproof.audit._callers import shown_in
from batchproof.audit._document import OverlapError, read_content, read_document
from batchproof.audit._finding import Finding
from batchproof.audit._reading import UnreadableError

ROUNDS = 20

Again = Callable[[Path, bytes], Audited]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A file before and after its fixes.

    Attributes:
        path: the file.
        before: its bytes as they were.
        after: its bytes with every fix.
        messages: what was fixed, a line each.
        result: the audit of what the file holds now.
    """

    path: Path
    before: bytes
    after: bytes
    messages: tuple[str, ...]
    result: Audited

    def diff(self) -> str:
        """Return the change as a unified diff."""
        name = self.path.as_posix()
        old, new = (read_document(self.path, content=c).raw.text for c in (self.before, self.after))
        lines = difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), name, name
        )
        note = "\n\\ No newline at end of file\n"
        return "".join(line if line.endswith("\n") else f"{line}{note}" for line in lines)

    def write(self) -> None:
        """Write the file whole, with the mode that it had; a link stays a link.

        Raises:
            OSError: if it cannot be written; it is then as it was.
        """
        target = self.path.resolve()
        mode = target.stat().st_mode
        write_file(target, self.after)
        target.chmod(mode & 0o7777)


def fix_report(
    report: Report, *, unsafe: bool, content: bytes | None = None, analyse: Analyse | None = None
) -> tuple[Report, list[Fixed]]:
    """Return the report after its files were fixed, and those files.

    Args:
        report: the report.
        unsafe: whether to apply fixes that change more than the mistake.
        content: of its only file, where that is not on disk.
        analyse: returns the findings of a source; by default every rule of batchproof.
    """
    auditor = Auditor(analyse or all_rules(), report.settings, Cache(None))
    showing = [file for file in (*report.files, *report.callers) if file.elsewhere]

    def again(path: Path, content_now: bytes) -> Audited:
        auditor.hold(path, content_now)
        callers = [Path(file.path) for file in showing if shown_in(path, [file])]
        by_callers = shown_in(path, [auditor.file(caller) for caller in callers])
        result = auditor.file(path, content=content_now, by_callers=by_callers)
        (file,) = without_known(Report((result,), report.settings)).files
        return file

    files, fixed = list[Audited](), list[Fixed]()
    for audited in report.files:
        fixable = any(entry.finding.fix for entry in audited.findings)
        one = fix_file(audited.path, again, unsafe=unsafe, content=content) if fixable else None
        files.append(one.result if one else audited)
        fixed += [one] if one else []
    return replace(report, files=tuple(files)), fixed


def fix_file(
    name: str, again: Again, *, unsafe: bool, content: bytes | None = None
) -> Fixed | None:
    """Return a file with its findings fixed, None where none can be.

    Args:
        name: the file, as it was named.
        again: audits its content again.
        unsafe: whether to apply fixes that change more than the mistake.
        content: what it holds; read where that is None.
    """
    path = Path(name)
    try:
        before = read_content(path) if content is None else content
    except UnreadableError:
        return None
    after, audited, messages = before, again(path, before), list[str]()
    for _ in range(ROUNDS):
        step = _round(path, after, audited, again, unsafe=unsafe)
        if step is None:
            break
        after, audited, lines = step
        messages += lines
    return Fixed(path, before, after, tuple(messages), audited) if messages else None


def _round(
    path: Path, content: bytes, audited: Audited, again: Again, *, unsafe: bool
) -> tuple[bytes, Audited, list[str]] | None:
    """Return a file after one round of fixes: all that fit together, else a single one."""
    findings = [entry.finding for entry in audited.findings]
    fixable = [f for f in findings if f.fix is not None and (unsafe or f.safe)]
    together: list[Finding] = []
    for finding in fixable:
        if _edited(path, content, [*together, finding]) is not None:
            together.append(finding)
    for fixes in (together, *([finding] for finding in fixable)):
        after = _edited(path, content, fixes) if fixes else None
        if after is None or after == content:
            continue
        result = again(path, after)
        if _fewer(audited, result, fixes):
            return after, result, [_message(audited, finding) for finding in fixes]
    return None


def _edited(path: Path, content: bytes, findings: Sequence[Finding]) -> bytes | None:
    """Return a file's bytes with the fixes of findings, None where they clash or do not parse."""
    edits = [edit for finding in findings if finding.fix for edit in finding.fix.edits]
    try:
        document = read_document(path, content=content)
        if document.notebook is None and document.faults:
            return None  # what is not Python is for its author to repair first
        after = document.edited(list(dict.fromkeys(edits)))
        again = read_document(path, content=after)
        again.source()
    except (OverlapError, UnreadableError, UnicodeEncodeError):
        return None
    return None if len(again.faults) > len(document.faults) else after


def _fewer(before: Audited, after: Audited, fixes: Sequence[Finding]) -> bool:
    """Return whether the findings that were fixed are gone, and there is no new one."""
    if after.unread:
        return False
    count = Counter(f.finding.name for f in before.findings)
    count.subtract(Counter(finding.name for finding in fixes))
    rest = Counter(f.finding.name for f in after.findings)
    return all(rest[name] <= count[name] for name in rest)


def _message(audited: Audited, finding: Finding) -> str:
    message = finding.fix.message if finding.fix else ""
    return f"{audited.path}:{finding.line}: {finding.name}: {message}"
