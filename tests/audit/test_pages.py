"""The page of each rule is its test: it reports the lines that the page marks, and no other."""

import ast
import re
from pathlib import Path

import pytest

from batchproof.audit import rules
from batchproof.audit._analyse import all_rules, analyse
from batchproof.audit._project import Source
from batchproof.mistakes import mistake

FOLDER = Path(rules.__path__[0])
PAGES = {name: FOLDER / f"{name.replace('-', '_')}.md" for name in all_rules()}
HEADINGS = [
    "What it finds",
    "Why it matters",
    "What it lets pass",
    "What it does not see",
    "References",
]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sections(name: str) -> dict[str, str]:
    """Return the text under each heading of a page."""
    parts = re.split(r"^## (.*)$", PAGES[name].read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(name: str) -> list[str]:
    return _BLOCK.findall(PAGES[name].read_text())


def lines(text: str, mark: str) -> set[int]:
    return {n for n, line in enumerate(text.splitlines(), 1) if line.endswith(f"# {mark}")}


@pytest.mark.parametrize("name", PAGES)
def test_a_rule_reports_the_lines_that_its_page_marks_and_no_other(name):
    for text in blocks(name):
        source = Source(Path("page.py"), text, ast.parse(text))
        reported = {f.line for f in analyse(source, "page.py") if f.name == name}
        assert reported == lines(text, "finds"), text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_is_found_what_passes_and_what_is_missed(name):
    parts = sections(name)
    assert list(parts) == HEADINGS
    assert any(lines(text, "finds") for text in _BLOCK.findall(parts["What it finds"]))
    assert not any(lines(text, "finds") for text in _BLOCK.findall(parts["What it lets pass"]))
    assert _BLOCK.findall(parts["What it lets pass"])
    assert sum(len(lines(text, "misses")) for text in blocks(name)) >= 2


@pytest.mark.parametrize("name", PAGES)
def test_a_page_gives_the_code_and_the_sentence_of_the_catalogue(name):
    text, known = PAGES[name].read_text(), mistake(name)
    assert text.startswith(f"# {name} ({known.code})\n\n{known.sentence}\n")
    assert known.page in text


@pytest.mark.parametrize("name", PAGES)
def test_a_rule_stays_short(name):
    assert PAGES[name].with_suffix(".py").read_text().count("\n") <= 120
