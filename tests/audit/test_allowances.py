"""Comments let findings pass, and those that let none pass are found."""

import pytest

from audit_rule import analyse
from batchproof.audit._audit import audit_text
from batchproof.audit._settings import Settings, names_of


@pytest.fixture
def found(tmp_path):
    def audit(text, **settings):
        path = tmp_path / "a.py"
        report = audit_text(path, text.encode(), Settings(tmp_path, **settings), analyse=analyse)
        assert not report.notices
        return [(f.finding.code, f.finding.line) for f in report.findings]

    return audit


@pytest.mark.parametrize(
    "text",
    [
        "wrong(x)  # batchproof: allow[graph-kept] it is small",
        "wrong(x)  # batchproof: allow[BP401]",
        "wrong(x)  #batchproof:allow[ graph-kept , ]",
        "wrong(x)  # noqa: BP401",
        "wrong(x)  # noqa: E501, BP401",
        "wrong(x)  # noqa:bp401 why",
        "wrong(x)  # noqa",
        "wrong(x)  # a word first  # noqa: BP401",
        "# batchproof: allow[graph-kept] it is small\nwrong(x)",
        "y = [\n  wrong(x),\n  1,\n]  # noqa: BP401",
        "y = [\n  # batchproof: allow[graph-kept]\n  wrong(x),\n]",
        "if y:\n    # batchproof: allow[graph-kept]\n\n    wrong(x)",
        "wrong(bare(x))  # batchproof: allow[graph-kept, last-batch-reported]",
        "wrong(x)\f  # noqa: BP401",
    ],
)
def test_a_comment_lets_its_finding_pass(found, text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("wrong(x)  # noqa: E501", [("BP401", 1)]),
        ("s = '# noqa: BP401'; wrong(x)", [("BP401", 1)]),
        ("wrong(x)\n# noqa: BP401\n", [("BP401", 1), ("BP000", 2)]),
        ("# noqa: BP401\nwrong(x)", [("BP000", 1), ("BP401", 2)]),
        ("wrong(x)  # noqa: BP402", [("BP401", 1), ("BP000", 1)]),
        ("x = 1  # batchproof: allow[graph-kept]", [("BP000", 1)]),
        ("x = 1  # batchproof: allow[graph-keept]", [("BP000", 1)]),
        ("x = 1  # noqa", []),
        ("x = 1  # noqa: BP999", [("BP000", 1)]),
    ],
)
def test_a_comment_that_allows_nothing_is_found_and_no_finding_lost(found, text, left):
    assert sorted(found(text)) == sorted(left)


def test_a_comment_is_used_by_a_finding_that_is_only_likely(found):
    assert found("maybe(x)  # noqa: BP103") == []


def test_a_comment_for_a_rule_that_is_not_looked_for_is_left_alone(found):
    assert found("x = 1  # noqa: BP401", names=names_of(["BP1", "BP000"])) == []
    assert found("x = 1  # noqa: BP401", names=names_of(["BP4"])) == []


def test_an_unknown_name_is_answered_by_the_nearest(tmp_path):
    text = b"x = 1  # batchproof: allow[graph-keept]"
    (one,) = audit_text(tmp_path / "a.py", text, Settings(tmp_path), analyse=analyse).findings
    assert "nearest name is graph-kept" in one.finding.sentence
    assert one.excerpt[one.finding.column - 1 :].startswith("# batchproof")
