"""Text, tables and pictures, for the terminal or as an HTML page.

A document is a tuple of parts, each a value that does not depend on where it is shown.

Text, Formula, Code, Table     parts to read
Bars, Blocks, Curves           pictures
share_bars                     shares of micro-batches, beside those of a mean
to_rich                        a part for the terminal, pictures made of characters
to_html                        a part as HTML, pictures as inline SVG
fragment                       parts as the result of a notebook's cell
page                           a whole page: no network, no script, light and dark, wide and narrow
number, tone                   a number as people read it; the colour of one curve of several
printable                      a text whose control codes are escaped

Standard library and rich only: no torch is loaded here, and rich where to_rich is first used.
"""

from typing import TYPE_CHECKING, Any

from batchproof.page._html import fragment, page, to_html
from batchproof.page._parts import (
    Bar,
    Bars,
    Blocks,
    Cell,
    Code,
    Curves,
    Formula,
    Mark,
    Part,
    Row,
    Series,
    Table,
    Text,
    Tone,
    number,
    printable,
    tone,
)
from batchproof.page._shares import Share, fraction, share_bars, shares_in_words

if TYPE_CHECKING:
    from batchproof.page._terminal import to_rich

__all__ = [
    "Bar",
    "Bars",
    "Blocks",
    "Cell",
    "Code",
    "Curves",
    "Formula",
    "Mark",
    "Part",
    "Row",
    "Series",
    "Share",
    "Table",
    "Text",
    "Tone",
    "fraction",
    "fragment",
    "number",
    "page",
    "printable",
    "share_bars",
    "shares_in_words",
    "to_html",
    "to_rich",
    "tone",
]


if TYPE_CHECKING:
    from batchproof.page._terminal import to_rich
else:

    def __getattr__(name: str) -> Any:
        if name == "to_rich":
            from batchproof.page._terminal import to_rich  # noqa: PLC0415  # rich takes 50 ms

            return to_rich
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
