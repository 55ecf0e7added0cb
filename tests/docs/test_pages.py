"""Blocks of code in the pages run, and print what the page says that they print."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from batchproof.mistakes import CATALOGUE
from batchproof.train._options import Keywords

ROOT = Path(__file__).resolve().parents[2]
MISTAKES = sorted((ROOT / "docs" / "mistakes").glob("*.md"))
DOCS = ROOT / "docs"
# their blocks are parts of a program; tests of frameworks and of ranks run them
PARTS = {DOCS / "frameworks.md", DOCS / "scale.md", *(DOCS / "integrations").glob("*.md")}
PAGES = [ROOT / "README.md", *sorted(set(DOCS.rglob("*.md")) - PARTS)]
BLOCK = re.compile(r"^```(python[^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^\s*print\(.*?\)\s+# (.*)$", re.MULTILINE)
# the page works out what shows it
SEEN_OTHERWISE = {"gradient-of-another-loss"}
SECTIONS = ["What it looks like", "What it does", "How to see it", "The remedy", "References"]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def expect_printed(code: str, said: str) -> None:
    """Fail unless each printed line is the beginning of the comment behind its print."""
    comments = PRINTED.findall(code)
    lines = said.splitlines()
    if not comments:
        return
    assert len(lines) == len(comments), f"{len(lines)} lines printed, {len(comments)} in the page"
    for line, comment in zip(lines, comments, strict=True):
        assert comment == line or comment.startswith(f"{line}, "), f"{line!r}, page: {comment!r}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for kind, code in blocks(page):
        compiled = compile(code, str(page), "exec")
        if kind == "python fragment":
            continue
        assert kind == "python", f"```{kind} in {page.name}"
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compiled, names)
        expect_printed(code, said.getvalue())


def test_every_mistake_has_its_page_and_its_row_in_the_index():
    pages = {page.stem for page in MISTAKES} - {"README"}
    assert pages == set(CATALOGUE)
    index = (ROOT / "docs" / "mistakes" / "README.md").read_text(encoding="utf-8")
    for mistake in CATALOGUE.values():
        row = f"| {mistake.code} | [{mistake.name}]({mistake.name}.md) | {mistake.sentence} |"
        assert row in index


@pytest.mark.parametrize("page", [p for p in MISTAKES if p.stem != "README"], ids=lambda p: p.stem)
def test_a_page_has_the_parts_that_all_have(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    ways = (f"'{page.stem}'", "-m batchproof watch", "batchproof watch", "batchproof audit")
    assert any(way in text for way in ways) or page.stem in SEEN_OTHERWISE


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_other_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_a_page_that_prints_something_else_is_caught():
    with pytest.raises(AssertionError, match="page: '2'"):
        expect_printed("print(1)  # 2", "1\n")


def test_the_guide_of_the_trainer_names_every_option():
    guide = (DOCS / "guides" / "trainer.md").read_text(encoding="utf-8")
    assert [name for name in Keywords.__annotations__ if f"`{name}`" not in guide] == []


def test_every_page_is_in_the_navigation_of_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert [
        page for page in pages if not re.search(rf"(^|\s){re.escape(page)}$", site, re.MULTILINE)
    ] == []


def test_the_table_of_trainers_is_that_of_the_newest_result():
    newest = max((ROOT / "benchmarks" / "results").glob("exactness-*.md"))
    rows = [line for line in newest.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert "\n".join(rows) in (DOCS / "exactness.md").read_text(encoding="utf-8")
