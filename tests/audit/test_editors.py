"""The rules in an editor, by a real session over the standard streams; and in flake8."""

import ast
import asyncio
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

import audit_rule
from batchproof.audit import _flake8

TEXT = "y = 1\nx = '𝄞', wrong(1)\nodd(2)\n"
SERVER = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from audit_rule import analyse\n"
    "from batchproof.audit._server import server_of\n"
    "server_of(analyse).start_io()\n"
)


# the client leaves the pipes of a server that has ended to the collector
QUIET = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Editor:
    """A client and what the server has published to it."""

    def __init__(self):
        self.client = LanguageClient("tests", "1")
        self.published = asyncio.Queue()
        self.shown = asyncio.Queue()
        self.client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(
            partial(self.published.put_nowait)
        )
        self.client.feature(lsp.WINDOW_SHOW_MESSAGE)(partial(self.shown.put_nowait))

    async def start(self, root):
        support = str(Path(audit_rule.__file__).parent)
        await self.client.start_io(sys.executable, "-c", SERVER, support)
        await self.client.initialize_async(
            lsp.InitializeParams(capabilities=lsp.ClientCapabilities(), root_uri=root.as_uri())
        )
        self.client.initialized(lsp.InitializedParams())

    def open(self, uri, text):
        document = lsp.TextDocumentItem(uri, "python", 1, text)
        self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(document))

    def change(self, uri, version, text):
        self.client.text_document_did_change(
            lsp.DidChangeTextDocumentParams(
                lsp.VersionedTextDocumentIdentifier(version, uri),
                [lsp.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    def open_notebook(self, uri, sources):
        kinds = {"python": lsp.NotebookCellKind.Code, "markdown": lsp.NotebookCellKind.Markup}
        documents = [
            lsp.TextDocumentItem(f"{uri}#cell{i}", language, 1, text)
            for i, (language, text) in enumerate(sources)
        ]
        cells = [lsp.NotebookCell(kinds[d.language_id], d.uri) for d in documents]
        notebook = lsp.NotebookDocument(uri, "jupyter-notebook", 1, cells)
        self.client.notebook_document_did_open(
            lsp.DidOpenNotebookDocumentParams(notebook, documents)
        )

    def change_cell(self, uri, cell, text):
        change = lsp.NotebookDocumentCellContentChanges(
            lsp.VersionedTextDocumentIdentifier(2, cell),
            [lsp.TextDocumentContentChangeWholeDocument(text)],
        )
        self.client.notebook_document_did_change(
            lsp.DidChangeNotebookDocumentParams(
                lsp.VersionedNotebookDocumentIdentifier(2, uri),
                lsp.NotebookDocumentChangeEvent(
                    cells=lsp.NotebookDocumentCellChanges(text_content=[change])
                ),
            )
        )

    async def actions(self, uri, line):
        place = lsp.Position(line, 0)
        return await self.client.text_document_code_action_async(
            lsp.CodeActionParams(
                lsp.TextDocumentIdentifier(uri), lsp.Range(place, place), lsp.CodeActionContext([])
            )
        )

    async def next(self):
        return await asyncio.wait_for(self.published.get(), 30)

    async def stop(self):
        await self.client.shutdown_async(None)
        self.client.exit(None)
        await self.client.stop()


def session(root, talk):
    async def run():
        editor = Editor()
        await editor.start(root)
        try:
            await talk(editor)
        finally:
            await editor.stop()

    asyncio.run(run())


@QUIET
def test_a_session_shows_findings_fixes_them_and_follows_changes(tmp_path):
    uri = (tmp_path / "a.py").as_uri()

    async def talk(editor):
        editor.open(uri, TEXT)
        first = await editor.next()
        assert [d.code for d in first.diagnostics] == [
            "BP401 graph-kept",
            "BP201 mean-of-batch-means",
        ]
        one = first.diagnostics[0]
        assert one.range == lsp.Range(lsp.Position(1, 10), lsp.Position(1, 18))  # UTF-16: 𝄞 is two
        assert one.severity == lsp.DiagnosticSeverity.Error
        assert one.code_description.href.endswith("graph-kept.md")
        assert "computes: a / b" in one.message

        fix, allow = await editor.actions(uri, 1)
        assert (fix.title, fix.is_preferred) == ("Write right", True)
        (edit,) = fix.edit.changes[uri]
        assert (edit.new_text, edit.range.start.character, edit.range.end.character) == (
            "right",
            10,
            15,
        )
        assert allow.edit.changes[uri][0].new_text == "  # batchproof: allow[graph-kept] "
        unsafe, _ = await editor.actions(uri, 2)
        assert unsafe.title == "Write even (unsafe)"
        assert not unsafe.is_preferred
        assert not await editor.actions(uri, 0)

        editor.change(uri, 2, "wrong(1)\n")
        editor.change(uri, 3, "x = 1\n")
        assert not (await editor.next()).diagnostics
        assert editor.published.empty()
        editor.client.text_document_did_close(
            lsp.DidCloseTextDocumentParams(lsp.TextDocumentIdentifier(uri))
        )
        assert not (await editor.next()).diagnostics

    session(tmp_path, talk)


@QUIET
def test_a_notebook_is_audited_cell_by_cell(tmp_path):
    uri = (tmp_path / "a.ipynb").as_uri()
    sources = [
        ("markdown", "# wrong(1)"),
        ("python", "%time\ny = 1"),
        ("python", "y\nx = wrong(1)"),
    ]

    async def talk(editor):
        editor.open_notebook(uri, sources)
        shown = {p.uri: p.diagnostics for p in [await editor.next(), await editor.next()]}
        assert shown.keys() == {f"{uri}#cell1", f"{uri}#cell2"}
        assert not shown[f"{uri}#cell1"]
        (one,) = shown[f"{uri}#cell2"]
        assert (one.code, one.range.start.line) == ("BP401 graph-kept", 1)
        fix, allow = await editor.actions(f"{uri}#cell2", 1)
        (edit,) = fix.edit.changes[f"{uri}#cell2"]
        assert (edit.new_text, edit.range.start) == ("right", lsp.Position(1, 4))
        assert allow.edit.changes[f"{uri}#cell2"][0].range.start.line == 1

        editor.change_cell(uri, f"{uri}#cell2", "y\nx = 1")
        later = {p.uri: p.diagnostics for p in [await editor.next(), await editor.next()]}
        assert not any(later.values())
        editor.client.notebook_document_did_close(
            lsp.DidCloseNotebookDocumentParams(
                lsp.NotebookDocumentIdentifier(uri),
                [lsp.TextDocumentIdentifier(f"{uri}#cell{i}") for i in (1, 2)],
            )
        )
        assert not (await editor.next()).diagnostics

    session(tmp_path, talk)


@QUIET
def test_text_that_is_no_python_and_wrong_settings_end_no_session(tmp_path):
    uri, broken = (tmp_path / "a.py").as_uri(), (tmp_path / "sub/b.py").as_uri()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/pyproject.toml").write_text("[tool.batchproof.audit]\nselekt = []\n")

    async def talk(editor):
        editor.open(uri, "def f(:")
        assert not (await editor.next()).diagnostics
        editor.open(broken, "bare(1)")
        shown = await asyncio.wait_for(editor.shown.get(), 30)
        assert "no key 'selekt'" in shown.message
        editor.change(uri, 2, "bare(1)")
        assert len((await editor.next()).diagnostics) == 1

    session(tmp_path, talk)


def test_the_flake8_plugin_yields_findings(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "batchproof.audit._analyse", audit_rule)
    text = "# coding: latin-1\nx = 'é', bare(1)\nwrong(1)  # batchproof: allow[graph-kept]\n"
    plugin = _flake8.Plugin(ast.parse(text), str(tmp_path / "a.py"), text.splitlines(keepends=True))
    assert [found[:3] for found in plugin.run()] == [
        (2, 9, "BP205 last-batch-reported: bare is called.")
    ]


def test_flake8_loads_the_plugin(tmp_path):
    (tmp_path / "a.py").write_text("x = 1  # batchproof: allow[graph-kept]\n")
    (tmp_path / "setup.cfg").write_text("[flake8]\nselect = BP\n")
    main = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import audit_rule\n"
        "sys.modules['batchproof.audit._analyse'] = audit_rule\n"
        "from flake8.main.cli import main; sys.exit(main())"
    )
    support = str(Path(audit_rule.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", main, support, "-j1", "a.py"], cwd=tmp_path, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == (
        "a.py:1:8: BP000 unused-allowance: "
        "Nothing here is graph-kept; the comment allows nothing.\n"
    )
    assert done.stderr == ""


def test_a_server_that_is_asked_to_exit_ends_well():
    messages = [
        {"id": 1, "method": "initialize", "params": {"processId": None, "capabilities": {}}},
        {"method": "initialized", "params": {}},
        {"id": 2, "method": "shutdown"},
        {"method": "exit"},
    ]
    sent = b""
    for message in messages:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        sent += b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
    command = [sys.executable, "-m", "batchproof", "audit", "--lsp"]
    ended = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
