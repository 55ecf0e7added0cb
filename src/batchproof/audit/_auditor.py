"""The audit of a file: it is read, analysed within a time limit, compared with its comments.

Whatever a file holds, an audit of it ends, and ends in findings or in a notice of one line.
"""

import ast
import hashlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from batchproof.audit._allowances import UNUSED, allowances, split, unused_allowance
from batchproof.audit._cache import Cache, Kept
from batchproof.audit._document import Document, Place, read_content, read_document
from batchproof.audit._finding import Finding
from batchproof.audit._lines import name_in
from batchproof.audit._project import Project, Source
from batchproof.audit._reading import Text, UnreadableError
from batchproof.audit._settings import CODES, Settings
from batchproof.mistakes import CATALOGUE

SECONDS = 20.0  # of processor time, for one file

_LINE = re.compile(r"\bline (\d+)\b(?! of )")  # not those of another file

WATCHED = frozenset({"gradient", "number", "loop"})  # groups of mistakes that a watched run shows

Analyse = Callable[[Source, str, Project], list[Finding]]


@dataclass(frozen=True, slots=True)
class Located:
    """A finding, and its place as a reader of the file sees it.

    Attributes:
        finding: the finding.
        place: its line, and cell.
        end_line: its last line, in the file.
        excerpt: the text of its first line.
        proof: how to see the mistake happen, "" where no command shows it.
    """

    finding: Finding
    place: Place
    end_line: int
    excerpt: str
    proof: str = ""

    @property
    def message(self) -> str:
        """Return what is wrong, the evidence, the formulas, the remedy and the proof, as lines."""
        finding = self.finding
        facts = {
            "computes": finding.computes,
            "meant": finding.meant,
            "remedy": finding.remedy,
            "see it": self.proof,
        }
        lines = [f"{name}: {fact}" for name, fact in facts.items() if fact]
        return "\n".join([finding.sentence, *finding.evidence, *lines])


@dataclass(frozen=True, slots=True)
class Notice:
    """A file or folder, or a part of one, that could not be read or audited.

    Attributes:
        path: the file or folder.
        line: where in it, from 1; 0 where it is not a single line.
        reason: why, in lower case.
        unread: whether nothing of the file was audited.
    """

    path: str
    line: int
    reason: str
    unread: bool = True

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Audited:
    """The result of auditing one file.

    Attributes:
        path: the file, as it was named.
        findings: what is to be reported.
        notices: what could not be read.
        unasked: the number of further findings, of a grade that was not asked for.
        elsewhere: what it shows in files that it imports, which they name by absolute paths.
    """

    path: str
    findings: tuple[Located, ...] = ()
    notices: tuple[Notice, ...] = ()
    unasked: int = 0
    elsewhere: tuple[Finding, ...] = ()

    @property
    def unread(self) -> bool:
        """Return whether nothing of the file was audited."""
        return any(notice.unread for notice in self.notices)


class _LateError(BaseException):
    """The time limit of a file is exceeded; no handler of a rule catches this."""


class Auditor:
    """Audits files of one project.

    Args:
        analyse: returns the findings of a source.
        settings: what is reported.
        cache: of earlier audits.
        seconds: the most processor time that one file may take.
    """

    def __init__(
        self, analyse: Analyse, settings: Settings, cache: Cache, *, seconds: float = SECONDS
    ) -> None:
        self._analyse = analyse
        self._settings = settings
        self._cache = cache
        self._seconds = seconds
        self._project = Project(settings.root)

    def hold(self, path: Path, content: bytes) -> None:
        """Take a file to hold what is not saved there yet, wherever an import leads to it."""
        self._project.hold(path, content)

    def file(
        self, path: Path, *, content: bytes | None = None, by_callers: Sequence[Finding] = ()
    ) -> Audited:
        """Return the result of auditing a file.

        Args:
            path: the file, as its findings are to name it.
            content: what it holds, or is to hold; read where that is None.
            by_callers: what other files show in it.
        """
        name = path.as_posix()
        try:
            content = read_content(path) if content is None else content
            analysis, document = self._from_cache(path, content) or self._from_rules(path, content)
            if by_callers:
                document = document or read_document(path, content=content)
            return self._report(name, _joined(analysis, by_callers), document)
        except UnreadableError as error:
            return Audited(name, notices=(Notice(name, error.line, error.reason),))

    def text(self, path: Path, text: str, *, by_callers: Sequence[Finding] = ()) -> Audited:
        """Return the result of auditing Python text that is decoded already.

        Args:
            path: the file that holds it, or will hold it.
            text: the text; its coding line is ignored.
            by_callers: what other files show in it.
        """
        name = path.as_posix()
        document = Document(path, Text(text, "utf-8"), None)
        try:
            return self._report(name, _joined(self._analysis(document), by_callers), document)
        except UnreadableError as error:
            return Audited(name, notices=(Notice(name, error.line, error.reason),))

    def _from_cache(self, path: Path, content: bytes) -> tuple[Kept, Document | None] | None:
        entry = self._cache.get(str(path.absolute()), hashlib.sha256(content).hexdigest())
        if entry is None or not self._project.still(entry[1]):
            return None
        analysis = entry[0]
        if any(finding.path != path.as_posix() for finding in analysis.findings):
            return None
        speaks = analysis.findings or b"batchproof:" in content or b"noqa" in content.lower()
        return analysis, read_document(path, content=content) if speaks else None

    def _from_rules(self, path: Path, content: bytes) -> tuple[Kept, Document]:
        document = read_document(path, content=content)
        analysis = self._analysis(document)
        digest, imports = hashlib.sha256(content).hexdigest(), self._project.followed(path)
        self._cache.put(str(path.absolute()), digest, analysis, imports)
        return analysis, document

    def _analysis(self, document: Document) -> Kept:
        """Return every finding of a document, and what in it is not Python."""
        path = document.path
        findings, script = list[Finding](), False
        try:
            with _time_limit(self._seconds):
                source = document.source()
                script = path.suffix == ".py" and _is_script(source.tree)
                findings = self._analyse(source, path.as_posix(), self._project)
        except _LateError:
            raise UnreadableError(f"took longer than {self._seconds:g} seconds to audit") from None
        except (RecursionError, MemoryError):
            raise UnreadableError("is nested too deeply") from None
        except UnreadableError:
            raise
        except Exception as error:  # a rule that fails on one file must not keep the rest unread
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            reason = f"a rule failed here, which is a bug of batchproof: {what}"
            raise UnreadableError(reason) from error
        name = path.as_posix()
        own = tuple(finding for finding in findings if finding.path == name)
        others = (finding for finding in findings if finding.path != name)
        elsewhere = tuple(_told(finding, document, self._project.root) for finding in others)
        return Kept(own, tuple(document.faults), script, elsewhere)

    def _report(self, path: str, analysis: Kept, document: Document | None) -> Audited:
        notices = tuple(
            Notice(path, line, reason, unread=False) for line, reason in analysis.notices
        )
        script = path if analysis.script else ""
        elsewhere = tuple(replace(finding, script=script) for finding in analysis.elsewhere)
        if document is None:
            return Audited(path, (), notices, elsewhere=elsewhere)
        settings = self._settings
        candidates = [
            finding for finding in analysis.findings if settings.covers(finding.name, path)
        ]
        comments = allowances(document.text)
        rest, unused = split(candidates, comments)
        findings = [finding for finding in rest if settings.reports(finding)]
        further = len(rest) - len(findings)
        if settings.covers(UNUSED, path):
            findings += [
                unused_allowance(comment, path, document.lines[comment.line - 1])
                for comment in unused
                if self._could_be_used(comment.rule, path)
            ]
        findings.sort(key=lambda finding: (finding.line, finding.column, finding.code))
        script = script or ("SCRIPT" if path.endswith(".py") else "")
        items = tuple(_locate(document, finding, finding.script or script) for finding in findings)
        return Audited(path, items, notices, further, elsewhere)

    def _could_be_used(self, rule: str, path: str) -> bool:
        """Return whether findings that a comment names would be looked for, or cannot exist."""
        names = [name for name, code in CODES.items() if rule == name or rule.upper() == code]
        return all(self._settings.covers(name, path) for name in names)


def _joined(analysis: Kept, by_callers: Sequence[Finding]) -> Kept:
    """Return an analysis with what other files show in the file; of two at a place the sure one."""
    if not by_callers:
        return analysis
    findings: dict[tuple[str, int, int], Finding] = {}
    for finding in (*analysis.findings, *by_callers):
        key = finding.name, finding.line, finding.column
        if key not in findings or (findings[key].grade, finding.grade) == ("likely", "sure"):
            findings[key] = finding
    return replace(analysis, findings=tuple(findings.values()))


def _told(finding: Finding, document: Document, root: Path) -> Finding:
    """Return a finding in another file, in which lines of a notebook are named as cell:line."""
    if document.notebook is None:
        return finding
    name = name_in(os.path.realpath(document.path), root)

    def cell(match: re.Match[str]) -> str:
        place = document.place(int(match[1]))
        return f"cell {place.cell}:{place.cell_line} of {name}"

    pattern = re.compile(rf"\bline (\d+) of {re.escape(name)}")
    return replace(finding, evidence=tuple(pattern.sub(cell, fact) for fact in finding.evidence))


def _locate(document: Document, finding: Finding, script: str) -> Located:
    line = min(finding.line, len(document.lines))
    end = min(max(line, finding.end_line), len(document.lines))
    shows = finding.name in CATALOGUE and CATALOGUE[finding.name].group in WATCHED
    evidence = tuple(_in_cells(document, fact) for fact in finding.evidence)
    return Located(
        replace(finding, evidence=evidence),
        document.place(line),
        document.place(end).line,
        document.lines[line - 1],
        f"batchproof watch {script}" if script and shows else "",
    )


def _in_cells(document: Document, fact: str) -> str:
    """Return a sentence whose lines of a notebook are named as cell:line."""
    if document.notebook is None:
        return fact

    def cell(match: re.Match[str]) -> str:
        place = document.place(int(match[1]))
        return f"cell {place.cell}:{place.cell_line}"

    return _LINE.sub(cell, fact)


def _is_script(tree: ast.Module) -> bool:
    """Return whether running a file does something: it loops, or asks whether it is __main__."""
    return any(
        isinstance(node, ast.For | ast.While | ast.With)
        or (
            isinstance(node, ast.If)
            and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))
        )
        for node in tree.body
    )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End what runs within after some seconds of processor time, on a main thread with timers."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise _LateError

    former = signal.signal(signal.SIGPROF, late)
    timer = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)
        signal.setitimer(signal.ITIMER_PROF, *timer)
