"""A language server: findings as an editor shows them while one writes, with quick fixes.

References:
    Microsoft, "Language Server Protocol Specification 3.17", 2022.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from batchproof import __version__
from batchproof._errors import SettingError
from batchproof.audit._allowances import UNUSED
from batchproof.audit._audit import Report, all_rules, audit_text
from batchproof.audit._auditor import Analyse, Located
from batchproof.audit._finding import Edit
from batchproof.audit._reading import lines_of
from batchproof.audit._settings import read_settings

PAUSE = 0.2  # seconds without a change after which a text is audited
SOURCE = "batchproof"


def serve() -> None:
    """Serve an editor over the standard streams, until it asks to exit."""
    # the server closes the streams that it is given
    with os.fdopen(os.dup(0), "rb") as taken, os.fdopen(os.dup(1), "wb") as sent:
        server_of(all_rules()).start_io(taken, sent)


def server_of(analyse: Analyse) -> LanguageServer:
    """Return a server.

    Args:
        analyse: returns the findings of a source.
    """
    server = LanguageServer(SOURCE, __version__)
    texts = _Texts(server, analyse)
    handlers: dict[str, Callable[..., Any]] = {
        lsp.TEXT_DOCUMENT_DID_OPEN: texts.on_open,
        lsp.TEXT_DOCUMENT_DID_SAVE: texts.on_save,
        lsp.TEXT_DOCUMENT_DID_CHANGE: texts.on_change,
        lsp.TEXT_DOCUMENT_DID_CLOSE: texts.on_close,
    }
    for name, handler in handlers.items():
        # pygls sets an attribute on each handler, which a method refuses
        server.feature(name)(partial(handler))
    options = lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
    server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, options)(partial(texts.on_code_action))
    return server


class _Texts:
    """The texts that an editor has open, and their findings."""

    def __init__(self, server: LanguageServer, analyse: Analyse) -> None:
        self._server = server
        self._analyse = analyse
        self._reports: dict[str, tuple[str, Report]] = {}

    def on_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        self._publish(params.text_document.uri)

    def on_save(self, params: lsp.DidSaveTextDocumentParams) -> None:
        self._reports.clear()  # other files may follow an import into this one
        self._publish(params.text_document.uri)

    async def on_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        uri, version = params.text_document.uri, params.text_document.version
        await asyncio.sleep(PAUSE)
        documents = self._server.workspace.text_documents
        if uri in documents and documents[uri].version == version:
            self._publish(uri)

    def on_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        self._reports.pop(uri, None)
        self._server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))

    def on_code_action(self, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        document = self._server.workspace.get_text_document(params.text_document.uri)
        report = self._report(document)
        first, last = params.range.start.line + 1, params.range.end.line + 1
        return [
            action
            for located in (report.findings if report else [])
            if located.finding.line <= last and first <= located.finding.end_line
            for action in _actions(located, document)
        ]

    def _publish(self, uri: str) -> None:
        document = self._server.workspace.get_text_document(uri)
        report = self._report(document)
        if report is None:
            return
        self._server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(
                uri,
                [_diagnostic(located, document) for located in report.findings],
                document.version,
            )
        )

    def _report(self, document: TextDocument) -> Report | None:
        """Return the findings of a Python file; None for any other, or for invalid settings."""
        name = to_fs_path(document.uri)
        if name is None or name.endswith(".ipynb"):
            return None
        kept = self._reports.get(document.uri)
        if kept is None or kept[0] != document.source:
            path = Path(name)
            try:
                settings = read_settings([path], path.parent)
                report = audit_text(path, document.source, settings, analyse=self._analyse)
            except SettingError as error:
                message = lsp.ShowMessageParams(lsp.MessageType.Error, f"batchproof: {error}")
                self._server.window_show_message(message)
                return None
            self._reports[document.uri] = kept = document.source, report
        return kept[1]


def _diagnostic(located: Located, document: TextDocument) -> lsp.Diagnostic:
    finding = located.finding
    span = Edit(finding.line, finding.column, finding.end_line, finding.end_column, "")
    sure = finding.grade == "sure"
    return lsp.Diagnostic(
        range=_range(span, document),
        message=located.message,
        severity=lsp.DiagnosticSeverity.Error if sure else lsp.DiagnosticSeverity.Warning,
        code=f"{finding.code} {finding.name}",
        code_description=lsp.CodeDescription(finding.page) if finding.page else None,
        source=SOURCE,
    )


def _actions(located: Located, document: TextDocument) -> list[lsp.CodeAction]:
    """Return the quick fixes of a finding: its fix, and a comment that allows it."""
    finding = located.finding
    actions = []
    if finding.fix is not None:
        note = "" if finding.safe else " (unsafe)"
        title = f"{finding.fix.message.rstrip('.')}{note}"
        edits = finding.fix.edits
        actions.append(_action(located, document, title, edits, preferred=finding.safe))
    if finding.name != UNUSED:
        end = len(lines_of(document.source)[finding.line - 1]) + 1
        comment = f"  # batchproof: allow[{finding.name}] "
        edits = (Edit(finding.line, end, finding.line, end, comment),)
        title = f"Allow {finding.name} here"
        actions.append(_action(located, document, title, edits, preferred=False))
    return actions


def _action(
    located: Located,
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
        diagnostics=[_diagnostic(located, document)],
        is_preferred=preferred,
        edit=lsp.WorkspaceEdit(changes={document.uri: changes}),
    )


def _range(span: Edit, document: TextDocument) -> lsp.Range:
    lines, units = lines_of(document.source), document.position_codec.client_num_units

    def position(line: int, column: int) -> lsp.Position:
        return lsp.Position(line - 1, units(lines[line - 1][: column - 1]))

    return lsp.Range(position(span.line, span.column), position(span.end_line, span.end_column))
