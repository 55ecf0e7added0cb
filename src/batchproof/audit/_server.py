"""A language server: findings as an editor shows them while one writes, with quick fixes.

References:
    Microsoft, "Language Server Protocol Specification 3.17", 2022.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from batchproof._version import __version__
from batchproof.audit._audit import Report, all_rules
from batchproof.audit._auditor import Analyse
from batchproof.audit._diagnostics import SOURCE, actions, diagnostic, report_of
from batchproof.audit._open_notebooks import NOTEBOOKS, PAUSE, Notebooks


def serve() -> None:
    """Serve an editor over the standard streams, until it asks to exit."""
    # the server closes the streams that it is given
    with os.fdopen(os.dup(0), "rb") as reader, os.fdopen(os.dup(1), "wb") as writer:
        server_of(all_rules()).start_io(reader, writer)


def server_of(analyse: Analyse) -> LanguageServer:
    """Return a server.

    Args:
        analyse: returns the findings of a source.
    """
    server = LanguageServer(SOURCE, __version__, notebook_document_sync=NOTEBOOKS)
    notebooks = Notebooks(server, analyse)
    texts = _Texts(server, analyse, notebooks)
    handlers: dict[str, Callable[..., Any]] = {
        lsp.TEXT_DOCUMENT_DID_OPEN: texts.on_open,
        lsp.TEXT_DOCUMENT_DID_SAVE: texts.on_save,
        lsp.TEXT_DOCUMENT_DID_CHANGE: texts.on_change,
        lsp.TEXT_DOCUMENT_DID_CLOSE: texts.on_close,
        lsp.NOTEBOOK_DOCUMENT_DID_OPEN: notebooks.on_open,
        lsp.NOTEBOOK_DOCUMENT_DID_CHANGE: notebooks.on_change,
        lsp.NOTEBOOK_DOCUMENT_DID_CLOSE: notebooks.on_close,
    }
    for name, handler in handlers.items():
        # pygls sets an attribute on each handler, which a method refuses
        server.feature(name)(partial(handler))
    options = lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
    server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, options)(partial(texts.on_code_action))
    return server


class _Texts:
    """The texts that an editor has open, and their findings."""

    def __init__(self, server: LanguageServer, analyse: Analyse, notebooks: Notebooks) -> None:
        self._server = server
        self._analyse = analyse
        self._reports: dict[str, tuple[str, Report]] = {}
        self._notebooks = notebooks

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
        if self._server.workspace.get_notebook_document(cell_uri=document.uri) is not None:
            return self._notebooks.actions(document, params.range)
        report = self._report(document)
        return actions(report.findings if report else [], document, params.range)

    def _publish(self, uri: str) -> None:
        document = self._server.workspace.get_text_document(uri)
        report = self._report(document)
        if report is None:
            return
        self._server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(
                uri,
                [diagnostic(entry, document) for entry in report.findings],
                document.version,
            )
        )

    def _report(self, document: TextDocument) -> Report | None:
        """Return the findings of a Python file; None for any other, or for invalid settings."""
        name = to_fs_path(document.uri)
        if name is None or name.endswith(".ipynb"):
            return None
        last = self._reports.get(document.uri)
        if last is None or last[0] != document.source:
            report = report_of(self._server, Path(name), document.source, self._analyse)
            if report is None:
                return None
            self._reports[document.uri] = last = document.source, report
        return last[1]
