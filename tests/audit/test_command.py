"""`batchproof audit` as a person calls it, over a rule of the tests' own."""

import io
import json
import sys
from pathlib import Path

import pytest

import audit_rule
from command_line import CommandLine

NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# text"]},
        {"cell_type": "code", "source": ["%time\n", "x = 1\n", "bare(x)"]},
    ],
    "nbformat": 4,
}


@pytest.fixture
def audit(capsys, tmp_path, monkeypatch):
    """The command in an empty folder, `audit(arguments)`; `audit(..., stdin=...)` feeds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "batchproof.audit._analyse", audit_rule)
    run = CommandLine(capsys)

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return run("audit", *arguments)

    return call


def write(**files):
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_finding_shows_its_line_a_caret_the_formulas_and_the_remedy(audit):
    write(a="y = 1\nz = y + bare(1) + 2  # é\n")
    done = audit("a.py")
    assert done.status == 1
    assert done.err == ""
    assert done.out == (
        "a.py:2:9: BP205 last-batch-reported: bare is called.\n"
        "  |\n"
        "2 | z = y + bare(1) + 2  # é\n"
        "  |         ^^^^^^^\n"
        "  | computes: a / b\n"
        "  | meant:    a / c\n"
        "  | because:  the loader at line 1 has no drop_last\n"
        "  | remedy:   other(x)\n"
        "  | see it:   batchproof watch SCRIPT\n"
        "  | explain:  batchproof audit --explain last-batch-reported\n"
        "\n"
        "Found 1 mistake in 1 file.\n"
    )


def test_the_caret_is_below_wide_characters_and_tabs(audit):
    write(a="if 1:\n\tx = '变量' + bare(1)\n")
    lines = audit("a.py").out.split("\n")
    assert lines[2] == "2 |     x = '变量' + bare(1)"
    assert lines[3] == "  |     " + " " * 13 + "^^^^^^^"


def test_a_terminal_is_not_steered_by_what_is_audited(audit):
    write(a="bare('\\x1b[31m')  # \x1b[31m red\n")
    out = audit("a.py").out
    assert "\x1b" not in out
    assert "\\x1b[31m red" in out


def test_what_is_likely_is_shown_when_asked_for(audit):
    write(a="maybe(1)\n")
    done = audit("a.py")
    assert (done.status, done.out) == (
        0, "No mistake found in 1 file; 1 more is likely: --likely shows them.\n"
    )  # fmt: skip
    done = audit("a.py", "--likely")
    assert done.status == 1
    assert "leftover-window (likely):" in done.out


def test_a_loop_of_links_is_said_and_the_rest_audited(audit):
    write(a="bare(1)\n")
    Path("loop.py").symlink_to("loop.py")
    done = audit("loop.py", "a.py")
    assert "loop.py: symbolic link that leads nowhere" in done.err
    assert "Found 1 mistake" in done.out


def test_a_script_says_how_to_see_it_happen(audit):
    write(a="bare(1)\nif __name__ == '__main__':\n    pass\n", b="bare(1)\n")
    done = audit("a.py", "--output-format", "json")
    assert json.loads(done.out)[0]["proof"] == "batchproof watch a.py"
    assert "batchproof watch a.py" in audit("a.py").out
    assert "batchproof watch SCRIPT" in audit("b.py").out


def test_a_file_with_a_loop_outside_functions_is_a_script(audit):
    write(a="bare(1)\nfor x in batches:\n    pass\n")
    assert "batchproof watch a.py" in audit("a.py").out


@pytest.mark.parametrize("kind", ["text", "json", "sarif", "github", "junit"])
def test_every_format_with_room_for_it_says_how_to_see_it_happen(audit, kind):
    write(a="bare(1)\nif __name__ == '__main__':\n    pass\n")
    assert "batchproof watch a.py" in audit("a.py", "--output-format", kind).out


def test_concise_is_one_line_each(audit):
    write(a="wrong(1)\n", b="bare(1)\n")
    assert audit("--output-format", "concise").out == (
        "a.py:1:1: BP401 graph-kept: [*] wrong is called.\n"
        "b.py:1:1: BP205 last-batch-reported: bare is called.\n"
        "Found 2 mistakes in 2 files; 1 can be fixed with --fix.\n"
    )


def test_json_has_every_field_and_the_cell_of_a_notebook(audit):
    Path("n.ipynb").write_text(json.dumps(NOTEBOOK, indent=1))
    done = audit("n.ipynb", "--output-format", "json")
    (one,) = json.loads(done.out)
    line = Path("n.ipynb").read_text().split("\n")[one["line"] - 1]
    assert "bare(x)" in line
    place = ("path", "cell", "cell_line", "column", "end_column", "end_line")
    assert [one[key] for key in place] == ["n.ipynb", 2, 3, 1, 8, one["line"]]
    assert set(one) == {
        "path", "line", "column", "end_line", "end_column", "cell", "cell_line", "name", "code",
        "grade", "sentence", "computes", "meant", "evidence", "remedy", "fix", "proof", "page",
        "fingerprint",
    }  # fmt: skip
    assert one["page"].endswith("last-batch-reported.md")
    assert "n.ipynb:cell 2:3:1:" in audit("n.ipynb").out


def test_nothing_found_is_an_empty_list_and_0(audit):
    write(a="x = 1\n")
    done = audit("--output-format", "json")
    assert (done.status, done.out) == (0, "[]\n")
    assert audit("a.py").out == "No mistake found in 1 file.\n"


def test_an_empty_folder_is_0(audit):
    done = audit()
    assert (done.status, done.out) == (0, "No Python file and no notebook was found.\n")


def test_rules_are_selected_and_ignored_by_name_code_and_beginning(audit):
    write(a="wrong(1), bare(1), odd(1)\n")

    def names(*arguments):
        return [f["code"] for f in json.loads(audit("--output-format", "json", *arguments).out)]

    assert names("--select", "BP2") == ["BP205", "BP201"]
    assert names("--select", "graph-kept,BP205") == ["BP401", "BP205"]
    assert names("--select", "BP4", "--extend-select", "BP201") == ["BP401", "BP201"]
    assert names("--ignore", "BP4", "--ignore", "BP201") == ["BP205"]
    done = audit("--select", "graph-keept")
    assert done.status == 2
    assert "no rule is called 'graph-keept'; the nearest are graph-kept" in done.err


def test_statistics_count_by_rule(audit):
    write(a="wrong(1), wrong(2), bare(1)\n")
    done = audit("--statistics")
    assert done.status == 1
    assert done.out.splitlines()[:2] == [
        "    2  BP401  [*]  graph-kept",
        "    1  BP205       last-batch-reported",
    ]
    rows = json.loads(audit("--statistics", "--output-format", "json").out)
    assert rows[0] == {"count": 2, "code": "BP401", "name": "graph-kept", "fixable": 2}


def test_exit_zero_is_0(audit):
    write(a="wrong(1)\n")
    assert audit("--exit-zero").status == 0


def test_show_files_lists_them_and_audits_none(audit):
    write(a="fails()\n", b__c="x\n")
    done = audit("--show-files")
    assert (done.status, done.out) == (0, "a.py\nb/c.py\n")
    assert audit("--show-files", "nowhere").status == 2


@pytest.mark.parametrize("rule", ["graph-kept", "BP401", "unused-allowance", "BP000"])
def test_explain_shows_a_page(audit, rule):
    done = audit("--explain", rule)
    assert done.status == 0
    assert done.out.startswith("# ")
    assert "BP" in done.out


def test_explain_takes_one_rule(audit):
    assert audit("--explain", "nothing-like-it").status == 2
    assert "name one" in audit("--explain", "BP1").err


def test_the_standard_input_is_audited_under_a_name(audit):
    done = audit("-", stdin=b"bare(1)\n")
    assert done.status == 1
    assert done.out.startswith("stdin.py:1:1: BP205")
    done = audit(
        "-", "--stdin-filename", "pkg/a.py", stdin="# coding: latin-1\nbare('é')".encode("latin-1")
    )
    assert done.out.startswith("pkg/a.py:2:1: BP205")
    notebook = json.dumps(NOTEBOOK).encode()
    assert "cell 2:3" in audit("-", "--stdin-filename", "n.ipynb", stdin=notebook).out
    assert audit("-", stdin=b"def f(:").status == 2
    assert audit("-", "a.py").status == 2
    assert audit("a.py", "--stdin-filename", "b.py").status == 2


def test_the_standard_input_is_fixed_to_the_standard_output(audit):
    done = audit("-", "--fix", stdin=b"wrong(1)\r\nx = 1")
    assert (done.status, done.out) == (0, "right(1)\r\nx = 1")
    assert audit("-", "--fix", stdin=b"bare(1)\n").out == "bare(1)\n"
    assert "+right(1)" in audit("-", "--diff", stdin=b"wrong(1)\n").out


# what cannot be read


def test_each_file_that_cannot_be_read_is_one_line_and_the_rest_is_audited(audit):
    write(a="bare(1)\n", b="x = (\n", c="fails()\n", d="deep()\n")
    Path("e.py").write_bytes(b"x = '\xff'\n")
    Path("f.py").write_bytes(b"\0")
    Path("g.ipynb").write_text("{")
    Path("h.py").symlink_to("h.py")
    done = audit(".", "missing.py", "--output-format", "concise")
    assert done.status == 1
    assert done.out.startswith("a.py:1:1: BP205")
    assert sorted(done.err.splitlines()) == [
        "b.py:1: invalid syntax: '(' was never closed",
        "c.py: a rule failed here, which is a bug of batchproof: KeyError: 'no such thing'",
        "d.py: is nested too deeply",
        "e.py:1: invalid or missing encoding declaration",
        "f.py:1: holds a null byte",
        "g.ipynb:1: is not a notebook: expecting value",
        "h.py: too many levels of symbolic links",
        "missing.py: no such file",
    ]


def test_2_only_where_nothing_could_be_read(audit):
    write(a="x = (\n", b="x = 1\n")
    assert audit("a.py", "missing.py").status == 2
    assert audit("a.py", "b.py").status == 0
    done = audit("missing.py")
    assert (done.status, done.out) == (2, "Nothing was audited; 1 could not be read.\n")


def test_a_broken_cell_is_a_line_and_the_other_cells_are_audited(audit):
    cells = [{"cell_type": "code", "source": [text]} for text in ("x = (", "bare(1)")]
    Path("n.ipynb").write_text(json.dumps({"cells": cells}))
    done = audit("n.ipynb")
    assert done.status == 1
    assert done.err == "n.ipynb:1: cell 1: invalid syntax: '(' was never closed\n"


def test_a_broken_statement_is_a_line_and_the_rest_of_the_file_is_audited(audit):
    write(a="bare(1)\n\n\ndef f(:\n    pass\n\n\nwrong(1)\n")
    done = audit("a.py", "--output-format", "concise")
    assert done.status == 1
    assert [line.split(" ")[0] for line in done.out.splitlines()[:2]] == ["a.py:1:1:", "a.py:8:1:"]
    assert done.err == "a.py:4: invalid syntax; lines 4 to 7 are not read\n"
    assert "right(1)" not in audit("a.py", "--diff").out  # a file is repaired before it is fixed


def test_an_enormous_file_is_left(audit, monkeypatch):
    write(a="x = 1\n" * 200_000, b="bare(1)\n")
    done = audit(".")
    assert done.err == "a.py: has 1200000 bytes; at most 1048576 are read\n"
    assert done.status == 1


def test_a_wrong_pyproject_is_2(audit):
    Path("pyproject.toml").write_text("[tool.batchproof.audit]\nselekt = []\n")
    done = audit(".")
    assert done.status == 2
    assert "no key 'selekt'; the nearest is 'select'" in done.err


def test_no_code_of_the_tree_is_run_or_imported(audit):
    for name in ("conftest", "sitecustomize", "torch", "a", "__init__"):
        write(**{name: "open('ran', 'w')\nimport a\nfollow(a)\n"})
    Path("pyproject.toml").write_text("[tool.batchproof.audit]\n")
    audit(".")
    assert not Path("ran").exists()


# a baseline


def test_a_baseline_keeps_back_what_is_known_though_lines_move(audit):
    write(a="bare(1)\nbare(1)\n", b="wrong(1)\n")
    done = audit("--write-baseline", "known.json")
    assert (done.status, done.out) == (0, "wrote 3 findings to known.json\n")
    write(a="x = 1\n\nbare(1)\n  \nbare(1)\nbare(1)\n")
    done = audit("--baseline", "known.json", "--output-format", "concise")
    assert done.status == 1
    assert done.out.splitlines()[0] == "a.py:6:1: BP205 last-batch-reported: bare is called."
    assert "3 known to the baseline" in done.out


def test_a_baseline_is_named_in_the_settings_and_made_anew(audit):
    write(a="bare(1)\n")
    Path("pyproject.toml").write_text("[tool.batchproof.audit]\nbaseline = 'known.json'\n")
    done = audit()
    assert done.status == 2
    assert "make it with --write-baseline" in done.err
    assert audit("--write-baseline", "known.json").status == 0
    assert audit().status == 0
    Path("known.json").write_text('{"schema": "another"}')
    assert "is not a baseline" in audit().err


# fixes


def test_fix_rewrites_what_is_safe_and_reports_what_is_left(audit):
    write(a="x = wrong(odd(1))\n")
    done = audit("--fix", "--output-format", "concise")
    assert done.status == 1
    assert done.err == "fixed a.py:1: graph-kept: Write right.\n"
    assert done.out.startswith("a.py:1:11: BP201")
    assert Path("a.py").read_text() == "x = right(odd(1))\n"
    assert audit("--fix", "--unsafe-fixes").status == 0
    assert Path("a.py").read_text() == "x = right(even(1))\n"


def test_diff_shows_what_fix_would_do_and_does_nothing(audit):
    write(a="x = 1\nwrong(1)")
    done = audit("--diff")
    assert done.status == 1
    assert done.out == (
        "--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n x = 1\n-wrong(1)\n\\ No newline at end of file\n"
        "+right(1)\n\\ No newline at end of file\n"
    )
    assert Path("a.py").read_text() == "x = 1\nwrong(1)"
    write(a="bare(1)\n")
    assert audit("--diff").status == 0


def test_a_fix_that_breaks_the_file_or_changes_nothing_is_taken_back(audit):
    write(a="torn(1), stuck(1), wrong(1)\n")
    assert audit("--fix").status == 1
    assert Path("a.py").read_text() == "torn(1), stuck(1), right(1)\n"


def test_a_fixed_file_keeps_its_mode_and_a_link_stays_one(audit):
    write(real="wrong(1)\n")
    Path("real.py").chmod(0o751)
    Path("a.py").symlink_to("real.py")
    audit("a.py", "--fix")
    assert Path("a.py").is_symlink()
    assert Path("real.py").read_text() == "right(1)\n"
    assert Path("real.py").stat().st_mode & 0o777 == 0o751


def test_what_a_baseline_knows_is_not_fixed(audit):
    write(a="wrong(1)\n")
    audit("--write-baseline", "known.json")
    write(a="wrong(1)\nwrong(2)\n")
    assert audit("--baseline", "known.json", "--fix").status == 0
    assert Path("a.py").read_text() == "wrong(1)\nright(2)\n"


def test_an_unused_comment_is_fixed_away(audit):
    write(a="x = 1  # noqa: BP401\ny = 1  # batchproof: allow[graph-kept] for a reason\n")
    assert audit("--fix").status == 0
    assert Path("a.py").read_text() == "x = 1\ny = 1\n"
