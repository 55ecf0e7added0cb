"""A headless Chromium that looks at pages; tests that need it skip where it is absent."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]

# Each page is in a frame as wide as a telephone; the title holds the measures.
FRAME = '<iframe style="width:360px;height:900px;border:0" srcdoc="{page}"></iframe>'
HARNESS = """<!doctype html><title></title>{frames}<script>
function measured(page) {
  const svgs = [...page.querySelectorAll("svg")], texts = [...page.querySelectorAll("svg text")];
  const upright = texts.filter(t => !t.hasAttribute("transform"));
  const out = upright.filter(t => {
    const box = t.getBBox(), view = t.ownerSVGElement.viewBox.baseVal;
    return box.x < -1 || box.x + box.width > view.width + 1;
  });
  return {
    wide: page.documentElement.scrollWidth,
    svgs: svgs.length,
    flat: svgs.filter(s => !(s.getBoundingClientRect().height > 10)).length,
    out: out.map(t => t.textContent),
    smallest: Math.min(...upright.filter(t => t.classList.contains("words")).map(
      t => t.getBoundingClientRect().height)),
  };
}
addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")];
  document.title = JSON.stringify(frames.map(f => measured(f.contentDocument)));
});
</script>"""


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no Chromium: apt-get install chromium")


def rendered(page: str, folder: Path) -> str:
    """Return a page's document as it is after its scripts have run."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [chromium(), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"file://{file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def looked_at(pages: list[str], folder: Path) -> list[dict]:
    """Return what is measured of each page as a telephone shows it."""
    frames = "".join(FRAME.format(page=html.escape(page)) for page in pages)
    document = rendered(HARNESS.replace("{frames}", frames), folder)
    title = re.search(r"<title>(\[.*?)</title>", document, re.DOTALL)
    assert title, document[:500]
    return json.loads(html.unescape(title[1]))


def expect_readable(seen: dict) -> None:
    """Fail if a page sticks out of a telephone, or its pictures are empty, cut off or too small."""
    assert seen["svgs"] >= 1
    assert seen["wide"] <= 360
    assert seen["flat"] == 0
    assert seen["out"] == []
    assert seen["smallest"] >= 10.5


def screenshot(page: str, folder: Path, *, width: int = 1000, height: int = 1400) -> Path:
    """Return a picture of a page."""
    file, picture = folder / "page.html", folder / "page.png"
    file.write_text(page, encoding="utf-8")
    command = [chromium(), *FLAGS, f"--user-data-dir={folder / 'picture-profile'}"]
    command += [f"--window-size={width},{height}", f"--screenshot={picture}", f"file://{file}"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    return picture
