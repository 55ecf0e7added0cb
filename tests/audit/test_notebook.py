"""A notebook's cells are one Python text whose lines are places in its file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchproof.audit._audit import audit_paths
from batchproof.audit._document import apply_edits, read_document
from batchproof.audit._finding import Edit
from batchproof.audit._notebook import read_notebook
from batchproof.audit._reading import UnreadableError, parse
from batchproof.audit._settings import Settings


def notebook(*cells, indent=1, lists=True, **more):
    def source(text):
        return text.splitlines(keepends=True) if lists else text

    content = {
        "cells": [
            {"cell_type": kind, "metadata": {}, "source": source(text)} for kind, text in cells
        ],
        "metadata": {"kernelspec": {"language": "python", "name": "python3"}},
        "nbformat": 4,
        **more,
    }
    return json.dumps(content, indent=indent)


def test_each_line_knows_its_cell_and_its_line_in_the_file():
    raw = notebook(("markdown", "# title\ntext"), ("code", "a = 1\n\nb = 2"), ("code", "c = 3\n"))
    read = read_notebook(raw)
    assert read.text == "a = 1\n\nb = 2\nc = 3\n"
    lines = raw.split("\n")
    for number, text in enumerate(read.text.split("\n")[:-1], 1):
        cell, line = read.place(number)
        assert json.loads(lines[cell.places[line - 1] - 1].strip().rstrip(",")).rstrip("\n") == text
    assert [read.place(n)[0].number for n in range(1, 5)] == [2, 2, 2, 3]
    assert [read.place(n)[1] for n in range(1, 5)] == [1, 2, 3, 1]


def test_a_source_that_is_one_text_is_all_at_its_line():
    raw = notebook(("code", "a = 1\nb = 2\n"), lists=False)
    (cell,) = read_notebook(raw).cells
    assert cell.lines == ("a = 1", "b = 2")
    assert '"a = 1' in raw.split("\n")[cell.places[0] - 1]
    assert cell.places[0] == cell.places[1]


def test_a_line_in_two_parts_is_where_it_begins():
    raw = '{"cells": [{"cell_type": "code", "source": [\n"a =",\n" 1\\n",\n"b"]}]}'
    (cell,) = read_notebook(raw).cells
    assert (cell.lines, cell.places) == (("a = 1", "b"), (2, 4))


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("%matplotlib inline\nx = 1", "\nx = 1"),
        ("!pip install \\\n  torch\nx = 1", "\n\nx = 1"),
        ("if x:\n    !ls\n    %cd a", "if x:\n    pass\n    pass"),
        ("files = !ls\ny = 1", "files = None\ny = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("%%bash\nls -l", "\n"),
        ("%time f(x)", "if 1: f(x)"),
        ("if x:\n    %timeit  f(x)", "if x:\n    if 1111: f(x)"),
        ("%time cat a.txt\nx = 1", "\nx = 1"),
        ("%timeit -n 3 f(x)\nx = 1", "\nx = 1"),
        ("torch.nn?\nx = 1", "\nx = 1"),
        ("x = (a\n  % b)", "x = (a\n  % b)"),
        ('x = """\n%s\n!"""', 'x = """\n%s\n!"""'),
        ("x: = 1\n", ""),
    ],
)
def test_magics_are_blanked_and_nothing_else(source, python):
    (cell,) = read_notebook(notebook(("code", source))).cells
    assert "\n".join(cell.python) == python


def test_a_broken_cell_is_named_and_the_others_are_kept():
    good, broken = read_notebook(notebook(("code", "x = 1"), ("code", "def f(:\n  pass"))).cells
    assert (good.wrong, broken.python) == ("", ("", ""))
    assert "invalid syntax" in broken.wrong


@pytest.mark.parametrize(
    "raw",
    [
        "", "[]", "{", '{"cells": 1}', '{"cells": [1]}', '{"cells": [{]}', '{"a": ', "null",
        '{"cells": [{"cell_type": "code", "source": [1]}]}', '{"cells": [', "[" * 100_000,
        '{"cells": ' + "[" * 100_000, '{"a": ' + "1" * 5000 + "}",
    ],
)  # fmt: skip
def test_what_is_no_notebook_says_so(raw):
    with pytest.raises(UnreadableError, match=r"is not a notebook|nested"):
        read_notebook(raw)


def test_a_notebook_in_another_language_has_no_cells():
    raw = notebook(("code", "x <- 1"), metadata={"kernelspec": {"language": "R"}})
    assert read_notebook(raw).cells == ()


LINES = st.lists(st.sampled_from(["x = 1", "", "y = 'é'", "%time", 'z = "\\n"']), max_size=4)


@given(st.lists(LINES.map("\n".join), max_size=4), st.sampled_from([None, 1, 4]), st.booleans())
def test_its_text_is_python_with_a_line_for_each_line(cells, indent, lists):
    raw = notebook(*(("code", cell) for cell in cells), indent=indent, lists=lists)
    read = read_notebook(raw)
    parse(read.text)
    assert read.text.count("\n") == sum(len(cell.lines) for cell in read.cells)
    assert all(len(cell.lines) == len(cell.places) for cell in read.cells)
    assert [list(cell.lines) for cell in read.cells] == [
        (c.removesuffix("\n") if c != "\n" else "").split("\n") for c in cells
    ]


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("indent", [1, None])
def test_an_edit_changes_its_cell_alone_and_keeps_the_form(tmp_path, lists, indent):
    cells = ("code", "%time\nx = 'é'\n"), ("markdown", "x"), ("code", "y = f(x)\nz = 1")
    raw = notebook(*cells, indent=indent, lists=lists)
    path = tmp_path / "a.ipynb"
    path.write_text(raw, encoding="utf-8")
    document = read_document(path)
    assert document.text == "\nx = 'é'\ny = f(x)\nz = 1\n"
    after = document.edited([Edit(3, 5, 3, 6, "g")]).decode()
    assert after == raw.replace("f(x)", "g(x)")
    assert document.edited([Edit(2, 5, 2, 8, "1")]).decode() == raw.replace("'\\u00e9'", "1")


def test_an_edit_across_cells_is_refused(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(notebook(("code", "a"), ("code", "b")))
    with pytest.raises(ValueError, match="not in the text"):
        read_document(path).edited([Edit(1, 1, 2, 1, "")])


def test_edits_keep_line_endings_and_encoding(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes("# coding: latin-1\r\nx = 'é'\r\ny = 1".encode("latin-1"))
    after = read_document(path).edited([Edit(3, 1, 3, 2, "a = 2\nz")])
    assert after == "# coding: latin-1\r\nx = 'é'\r\na = 2\r\nz = 1".encode("latin-1")


@pytest.mark.parametrize(
    "edits",
    [
        [Edit(1, 1, 1, 3, "x"), Edit(1, 2, 1, 4, "y")],
        [Edit(1, 3, 1, 2, "x")],
        [Edit(9, 1, 9, 1, "x")],
        [Edit(1, 1, 1, 99, "x")],
        [Edit(0, 1, 1, 1, "x")],
    ],
)
def test_edits_that_overlap_or_are_outside_are_refused(edits):
    with pytest.raises(ValueError, match=r"overlap|not in the text"):
        apply_edits("abcdef\n", edits)


@given(st.text(alphabet="ab\n\ré", max_size=30), st.data())
def test_replacing_a_stretch_by_itself_changes_nothing(text, data):
    from batchproof.audit._reading import lines_of

    lines = lines_of(text)
    line = data.draw(st.integers(1, len(lines)))
    start = data.draw(st.integers(1, len(lines[line - 1]) + 1))
    end = data.draw(st.integers(start, len(lines[line - 1]) + 1))
    same = lines[line - 1][start - 1 : end - 1]
    assert apply_edits(text, [Edit(line, start, line, end, same)]) == text


def test_what_proves_a_finding_is_named_by_its_cell(tmp_path):
    loader = "from torch.utils.data import DataLoader\nloader = DataLoader(data, batch_size=64)"
    loop = "total = 0.0\nfor x, y in loader:\n    total += F.mse_loss(model(x), y).item()"
    cells = ["import torch.nn.functional as F", loader, loop, "print(total / len(loader))"]
    path = tmp_path / "train.ipynb"
    path.write_text(notebook(("markdown", "# Train"), *(("code", text) for text in cells)))
    (found,) = audit_paths([path], Settings(tmp_path), processes=1).findings
    assert (found.place.cell, found.place.cell_line) == (5, 1)
    first, second = found.finding.evidence
    assert first == "mse_loss (cell 4:3) is a mean over one batch"
    assert second.startswith("the loader at cell 3:2 has no drop_last")


_CELL = """def evaluate(model, loader):
    total = 0.0
    with torch.no_grad():
        for x, y in loader:
            total += F.mse_loss(model(x), y, reduction="{}").item()
    return total / len({})
"""


def test_each_definition_of_one_name_is_read_and_a_call_sees_the_one_before_it(tmp_path):
    imports = (
        "import torch\nimport torch.nn.functional as F\nfrom torch.utils.data import DataLoader"
    )
    call = "model.eval()\nprint(evaluate(model, DataLoader(data, batch_size=32)))"
    wrong, right = _CELL.format("mean", "loader.dataset"), _CELL.format("sum", "loader.dataset")
    for order, calls in ((wrong, right), "11"), ((right, wrong), "11"), ((right, wrong), "10"):
        cells = [("code", imports)]
        for cell, is_called in zip(order, calls, strict=True):
            cells += [("code", cell), ("code", call if is_called == "1" else "")]
        path = tmp_path / "train.ipynb"
        path.write_text(notebook(*cells))
        found = audit_paths([path], Settings(tmp_path)).findings
        assert [(f.finding.name, f.place.cell) for f in found] == [
            ("wrong-divisor", 2 if order[0] is wrong else 4)
        ]
