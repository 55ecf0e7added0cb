"""Parts as HTML, and the page around them: one file, no network, no script.

The content comes from users' files and names, so everything is escaped here, once.
"""

from collections.abc import Sequence
from importlib.resources import files

from batchproof.page import _svg
from batchproof.page._parts import (
    Bars,
    Blocks,
    Code,
    Curves,
    Formula,
    Part,
    Table,
    Text,
    Tone,
    escaped,
)

# whatever a page contains, it loads, sends and runs nothing, and uses its own style alone
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LONG = 24  # a cell of more letters is text, which wraps


def to_html(part: Part) -> str:
    """Return a part as HTML.

    Examples:
        >>> to_html(Text("a < b"))
        '<p>a &lt; b</p>'
    """
    match part:
        case Text():
            return _text(part)
        case Formula():
            return f'<pre class="formula">{escaped(part.text)}</pre>'
        case Code():
            return f'<pre class="code">{escaped(part.text)}</pre>'
        case Table():
            return _table(part)
        case _:
            return _picture(part)


def _picture(part: Bars | Blocks | Curves) -> str:
    match part:
        case Bars():
            return _figure(part.title, [], _svg.bars(part))
        case Blocks():
            return _figure(part.title, list(part.legend), _svg.blocks(part))
        case Curves():
            legend: list[tuple[Tone, str]] = [(s.tone, s.label) for s in part.series]
            legend += [(mark.tone, f"◯ {mark.label}") for mark in part.marks]
            return _figure(part.title, legend, _svg.curves(part))


def fragment(sections: Sequence[tuple[str, Sequence[Part]]]) -> str:
    """Return sections as HTML for a notebook's cell; the notebook's own style is left as it is.

    Args:
        sections: (heading, parts); a heading of "" has none.
    """
    body = "\n".join(_section(heading, parts) for heading, parts in sections)
    # a scope without a name is the element that holds the style
    style = _style().replace(":root", ":scope").replace("body {", ":scope {")
    # notebooks have rules of their own for code, by a class
    style = style.replace("\npre {", "\n:scope pre {")
    return f'<div style="padding: 12px">\n<style>\n@scope {{\n{style}}}\n</style>\n{body}\n</div>'


def _style() -> str:
    return files("batchproof.page").joinpath("style.css").read_text(encoding="utf-8")


def page(title: str, lede: str, sections: Sequence[tuple[str, Sequence[Part]]]) -> str:
    """Return a whole page.

    Args:
        title: its heading.
        lede: one sentence under it.
        sections: (heading, parts); a heading of "" has none.

    Returns:
        Self-contained HTML: style and pictures are in it.
    """
    body = "\n".join(_section(heading, parts) for heading, parts in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{escaped(title)}</h1>\n<p class="lede">{escaped(lede)}</p></header>\n'
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def _section(heading: str, parts: Sequence[Part]) -> str:
    head = f"<h2>{escaped(heading)}</h2>\n" if heading else ""
    html, figures = [], []
    for part in parts:
        if isinstance(part, Bars | Blocks | Curves):
            figures.append(to_html(part))
            continue
        html += _side_by_side(figures)
        figures = []
        html.append(to_html(part))
    html += _side_by_side(figures)
    return f"<section>\n{head}" + "\n".join(html) + "\n</section>"


def _side_by_side(figures: list[str]) -> list[str]:
    return ['<div class="figures">' + "\n".join(figures) + "</div>"] if figures else []


def _text(part: Text) -> str:
    head = f"<h3>{escaped(part.heading)}</h3>" if part.heading else ""
    tone = "" if part.tone == "plain" else f' class="verdict {part.tone}"'
    return f"{head}<p{tone}>{escaped(part.text)}</p>"


def _table(part: Table) -> str:
    head = "".join(f'<th scope="col">{escaped(column)}</th>' for column in part.columns)
    rows = []
    for index, row in enumerate(part.rows):
        first, *others = (escaped(cell) for cell in row)
        cells = "".join(_cell(cell) for cell in others)
        rows.append(f'<tr class="{part.tone(index)}"><th scope="row">{first}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(cell: str) -> str:
    return f'<td class="long">{cell}</td>' if len(cell) > _LONG else f"<td>{cell}</td>"


def _figure(title: str, legend: Sequence[tuple[Tone, str]], picture: str) -> str:
    keys = "".join(f'<li class="{tone}">{escaped(meaning)}</li>' for tone, meaning in legend)
    key = f'<ul class="legend">{keys}</ul>' if keys else ""
    return f"<figure><figcaption>{escaped(title)}</figcaption>{key}{picture}</figure>"
