"""The notebooks that an editor has open: their cells are audited as one text."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from batchproof.audit._auditor import Analyse, Located
from batchproof.audit._diagnostics import actions, diagnostic, report_of
from batchproof.audit._finding import Fix

PAUSE = 0.2  # seconds without a change after which a text is audited
_JUPYTER = lsp.NotebookDocumentFilterNotebookType("jupyter-notebook")
NOTEBOOKS = lsp.NotebookDocumentSyncOptions(
    [
        lsp.NotebookDocumentFilterWithNotebook(
            _JUPYTER, [lsp.NotebookCellLanguage(language="python")]
        )
    ]
)


class Notebooks:
    """The open notebooks, and the findings in their cells.

    Args:
        server: what has their text.
        analyse: returns the findings of a source.
    """

    def __init__(self, server: LanguageServer, analyse: Analyse) -> None:
        self._server = server
        self._analyse = analyse
        self._findings: dict[str, list[Located]] = {}

    def on_open(self, params: lsp.DidOpenNotebookDocumentParams) -> None:
        """Show the findings of a notebook that is opened."""
        self._publish(params.notebook_document.uri)

    async def on_change(self, params: lsp.DidChangeNotebookDocumentParams) -> None:
        """Show the findings of a notebook some time after its last change."""
        uri, version = params.notebook_document.uri, params.notebook_document.version
        await asyncio.sleep(PAUSE)
        notebook = self._server.workspace.get_notebook_document(notebook_uri=uri)
        if notebook is not None and notebook.version == version:
            self._publish(uri)

    def on_close(self, params: lsp.DidCloseNotebookDocumentParams) -> None:
        """Forget the cells of a notebook."""
        for cell in params.cell_text_documents:
            self._findings.pop(cell.uri, None)
            self._show(cell.uri, [])

    def actions(self, document: TextDocument, lines: lsp.Range) -> list[lsp.CodeAction]:
        """Return the quick fixes in lines of a cell."""
        return actions(self._findings.get(document.uri, []), document, lines)

    def _publish(self, uri: str) -> None:
        notebook = self._server.workspace.get_notebook_document(notebook_uri=uri)
        name = to_fs_path(uri)
        if notebook is None or name is None:
            return
        cells = [
            self._server.workspace.get_text_document(cell.document)
            if cell.kind == lsp.NotebookCellKind.Code
            else None
            for cell in notebook.cells
        ]
        parts = [
            {"cell_type": "code", "source": cell.source} if cell else {"cell_type": "markdown"}
            for cell in cells
        ]
        path = Path(name).with_suffix(".ipynb")
        content = json.dumps({"cells": parts}).encode()
        report = report_of(self._server, path, content, self._analyse)
        if report is None:
            return
        for number, cell in enumerate(cells, 1):
            if cell is not None:
                inside = [_in_cell(f) for f in report.findings if f.place.cell == number]
                self._findings[cell.uri] = inside
                self._show(cell.uri, [diagnostic(f, cell) for f in inside], cell.version)

    def _show(self, uri: str, marks: list[lsp.Diagnostic], version: int | None = None) -> None:
        params = lsp.PublishDiagnosticsParams(uri, marks, version)
        self._server.text_document_publish_diagnostics(params)


def _in_cell(entry: Located) -> Located:
    """Return a finding in the lines of its cell, with its fix where that stays in the cell."""
    finding, first = entry.finding, entry.place.cell_line or 1
    before = finding.line - first
    fix = finding.fix
    if fix is not None:
        inside = all(before < edit.line <= finding.end_line for edit in fix.edits)
        edits = tuple(
            replace(edit, line=edit.line - before, end_line=edit.end_line - before)
            for edit in fix.edits
        )
        fix = Fix(fix.message, edits, fix.safe) if inside else None
    inner = replace(finding, line=first, end_line=finding.end_line - before, fix=fix)
    return replace(entry, finding=inner)
