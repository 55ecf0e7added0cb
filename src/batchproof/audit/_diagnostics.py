"""Findings as values of the language server protocol: diagnostics and quick fixes."""

from collections.abc import Sequence
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from batchproof._errors import SettingError
from batchproof.audit._allowances import UNUSED
from batchproof.audit._audit import Report, audit_text
from batchproof.audit._auditor import Analyse, Located
from batchproof.audit._finding import Edit
from batchproof.audit._reading import lines_of
from batchproof.audit._settings import read_settings

SOURCE = "batchproof"


def report_of(
    server: LanguageServer, path: Path, content: str | bytes, analyse: Analyse
) -> Report | None:
    """Return the findings of an open text under the settings of its folder.

    Returns:
        None where the settings are invalid, which the editor then shows.
    """
    try:
        settings = read_settings([path], path.parent)
        is_saved = _is_saved(path, content)
        return audit_text(path, content, settings, analyse=analyse, callers=is_saved)
    except SettingError as error:
        message = lsp.ShowMessageParams(lsp.MessageType.Error, f"batchproof: {error}")
        server.window_show_message(message)
        return None


def _is_saved(path: Path, content: str | bytes) -> bool:
    """Return whether a file holds the text that an editor has open."""
    try:
        on_disk = path.read_bytes()
    except OSError:
        return False
    return on_disk == (content if isinstance(content, bytes) else content.encode(errors="replace"))


def diagnostic(entry: Located, document: TextDocument) -> lsp.Diagnostic:
    """Return a finding as an editor marks it in a document."""
    finding = entry.finding
    span = Edit(finding.line, finding.column, finding.end_line, finding.end_column, "")
    sure = finding.grade == "sure"
    return lsp.Diagnostic(
        range=_range(span, document),
        message=entry.message,
        severity=lsp.DiagnosticSeverity.Error if sure else lsp.DiagnosticSeverity.Warning,
        code=f"{finding.code} {finding.name}",
        code_description=lsp.CodeDescription(finding.page) if finding.page else None,
        source=SOURCE,
    )


def actions(
    findings: Sequence[Located], document: TextDocument, lines: lsp.Range
) -> list[lsp.CodeAction]:
    """Return the quick fixes of the findings that touch lines of a document.

    Args:
        findings: those of the document.
        document: the text that they are in.
        lines: what the cursor selects.
    """
    first, last = lines.start.line + 1, lines.end.line + 1
    return [
        action
        for entry in findings
        if entry.finding.line <= last and first <= entry.finding.end_line
        for action in _actions(entry, document)
    ]


def _actions(entry: Located, document: TextDocument) -> list[lsp.CodeAction]:
    """Return the quick fixes of a finding: its fix, and a comment that allows it."""
    finding = entry.finding
    fixes = []
    if finding.fix is not None:
        note = "" if finding.safe else " (unsafe)"
        title = f"{finding.fix.message.rstrip('.')}{note}"
        edits = finding.fix.edits
        fixes.append(_action(entry, document, title, edits, preferred=finding.safe))
    if finding.name != UNUSED:
        end = len(lines_of(document.source)[finding.line - 1]) + 1
        comment = f"  # batchproof: allow[{finding.name}] "
        edits = (Edit(finding.line, end, finding.line, end, comment),)
        title = f"Allow {finding.name} here"
        fixes.append(_action(entry, document, title, edits, preferred=False))
    return fixes


def _action(
    entry: Located,
    document: TextDocument,
    title: str,
    edits: Sequence[Edit],
    *,
    preferred: bool,
) -> lsp.CodeAction:
    changes = [lsp.TextEdit(_range(edit, document), edit.text) for edit in edits]
    return lsp.CodeAction(
        title=title,
        kind=lsp.CodeActionKind.QuickFix,
        diagnostics=[diagnostic(entry, document)],
        is_preferred=preferred,
        edit=lsp.WorkspaceEdit(changes={document.uri: changes}),
    )


def _range(span: Edit, document: TextDocument) -> lsp.Range:
    lines, units = lines_of(document.source), document.position_codec.client_num_units

    def position(line: int, column: int) -> lsp.Position:
        return lsp.Position(line - 1, units(lines[line - 1][: column - 1]))

    return lsp.Range(position(span.line, span.column), position(span.end_line, span.end_column))
