"""The blocks of code in docs/frameworks.md, so that the tests run what the page shows."""

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frameworks.md"


def blocks(heading: str) -> list[str]:
    """Return the Python blocks under a heading of the page, in order."""
    sections = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_heading = dict(zip(["", *sections[1::2]], sections[::2], strict=True))
    return re.findall(r"```python\n(.*?)```", by_heading[heading], flags=re.DOTALL)


def run(block: str, names: dict[str, Any]) -> dict[str, Any]:
    """Execute a block with these names, and return all names after it."""
    exec(compile(block, str(PAGE), "exec"), names)
    return names
