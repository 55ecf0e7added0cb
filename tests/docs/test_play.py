"""The picture whose boundaries one drags, in a real browser without a network."""

import json
import re
from fractions import Fraction
from pathlib import Path

import browser

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "play.md").read_text(encoding="utf-8")
PICTURE = PAGE[PAGE.index("<div") : PAGE.index("</div>") + len("</div>")]
SCRIPT = (DOCS / "assets" / "play.js").read_text(encoding="utf-8")
LOSSES = [
    Fraction(loss)
    for loss in json.loads(re.findall(r"LOSSES = (\[.*?\])", SCRIPT)[0], parse_float=str)
]


def after(tmp_path: Path, done: str) -> dict[str, str]:
    """Return what the picture says after a user's deeds, which are lines of JavaScript."""
    page = f"<!doctype html><body>{PICTURE}<script>{SCRIPT}</script><script>{done}</script>"
    document = browser.rendered(page, tmp_path)
    return dict(re.findall(r'<output class="(\w+)">(.*?)</output>', document))


def said(*sizes: int) -> dict[str, str]:
    """Return what the picture should say of batches of these sizes."""
    parts, start = [], 0
    for size in sizes:
        parts.append(sum(LOSSES[start : start + size]) / size)
        start += size
    usual, exact = sum(parts) / len(parts), sum(LOSSES) / len(LOSSES)
    return {
        "sizes": " + ".join(map(str, sizes)),
        "usual": f"{float(usual):.4f}",
        "exact": f"{float(exact):.4f}",
    }


def test_the_picture_begins_as_the_page_without_scripts_says(tmp_path):
    printed = dict(re.findall(r'<output class="(\w+)">(.*?)</output>', PICTURE))
    assert after(tmp_path, "") == printed == said(5, 5, 2)


def test_a_button_sets_the_cut(tmp_path):
    assert after(tmp_path, "document.querySelectorAll('button')[2].click()") == said(5, 6, 1)


def test_a_boundary_is_dragged_and_stops_at_its_neighbour(tmp_path):
    drag = """
      const svg = document.querySelector("svg"), box = svg.getBoundingClientRect();
      svg.setPointerCapture = () => {};
      const at = (name, target, x) => target.dispatchEvent(new PointerEvent(name, {
        bubbles: true, pointerId: 1, clientX: box.left + box.width * x }));
      at("pointerdown", svg.querySelector("[data-index='0']"), 0);
      at("pointermove", svg, %s);
      at("pointerup", svg, 0);
      at("pointermove", svg, 0.1);
    """
    assert after(tmp_path, drag % 0.27) == said(3, 7, 2)
    assert after(tmp_path, drag % 0.99) == said(9, 1, 2)


def test_a_boundary_moves_with_the_arrow_keys_and_keeps_the_focus(tmp_path):
    press = """
      document.querySelector("[data-index='1']").focus();
      for (let i = 0; i < 3; i++)
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
    """
    assert after(tmp_path, press) == said(5, 2, 5)


def test_the_picture_needs_no_network():
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", PICTURE + SCRIPT)
