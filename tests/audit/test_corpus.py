"""Every rule on code that it must report, on code that is right, and on what it cannot see.

A file of the corpus has functions `finds_*`, `passes_*` and `misses_*`. A line that must be
reported ends in a comment with the rule's code, as `# BP401` or `# BP401 likely`; one that is
wrong and goes unseen ends in `# missed BP401`. Nothing else may be reported, by any rule.
"""

import ast
import re
from pathlib import Path

import pytest

from batchproof.audit import audit_text
from batchproof.audit._settings import CODES, Settings

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(CORPUS.glob("*.py"))
LEAST = {"finds": 8, "passes": 8, "misses": 2}
_MARK = re.compile(r"(missed )?(BP\d{3})( likely)?")
_COMMENT = re.compile(r"# ((?:missed )?BP\d{3}(?: likely)?(?:, (?:missed )?BP\d{3}(?: likely)?)*)$")


def marks(text: str) -> dict[tuple[int, str], str]:
    """Return the grade that each marked line must be reported with, or "missed"."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        comment = _COMMENT.search(line)
        for missed, code, likely in _MARK.findall(comment[1] if comment else ""):
            found[number, code] = "missed" if missed else "likely" if likely else "sure"
    return found


def reported(text: str, folder: Path) -> dict[tuple[int, str], str]:
    """Return the grade of each finding in a text."""
    report = audit_text(folder / "train.py", text, Settings(folder, likely=True))
    assert not report.notices
    return {(f.finding.line, f.finding.code): f.finding.grade for f in report.findings}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_marked_is_reported_and_nothing_else(path, tmp_path):
    text = path.read_text()
    expected = {place: grade for place, grade in marks(text).items() if grade != "missed"}
    assert reported(text, tmp_path) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_rule_has_enough_cases_of_each_kind(path):
    text, code = path.read_text(), CODES[path.stem.replace("_", "-")]
    own = {line: grade for (line, c), grade in marks(text).items() if c == code}
    counts = dict.fromkeys(LEAST, 0)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.partition("_")[0] in LEAST:
            inside = {own[n] for n in range(node.lineno, node.end_lineno + 1) if n in own}
            counts["misses" if inside == {"missed"} else "finds" if inside else "passes"] += 1
    assert all(counts[kind] >= LEAST[kind] for kind in LEAST), counts
