"""The report as one self-contained page: verdict, picture of error against cut, table, remedies.

No scripts, no network; readable in light and dark.
"""

import math
from dataclasses import replace
from html import escape

from batchproof.check._heads import Heads
from batchproof.check._report import CutResult, Report
from batchproof.check._table import number

_STYLE = """
:root{--ink:#1d2330;--dim:#667085;--line:#e3e7ee;--paper:#fff;--ok:#1f8a5b;--bad:#c8352b;
--code:#f5f7fa}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf2;--dim:#97a1b3;--line:#2c3444;--paper:#141923;
--ok:#4cc38a;--bad:#ff6b60;--code:#1d2431}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.5rem;line-height:1.3;margin:.25rem 0 1.5rem}
h2{font-size:1.1rem;margin:2.25rem 0 .5rem}
.tag{display:inline-block;font-weight:600;font-size:.8rem;letter-spacing:.04em;color:var(--paper);
border-radius:4px;padding:.1rem .5rem;background:var(--ok)}.tag.bad{background:var(--bad)}
.dim{color:var(--dim)}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
th{color:var(--dim);font-weight:500}.bad-text{color:var(--bad);font-weight:600}
.ok-text{color:var(--ok)}
pre{background:var(--code);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;
overflow-x:auto;font-size:.85rem;line-height:1.45}
svg{width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .dim{fill:var(--dim)}
"""


def page(report: Report) -> str:
    """Return a report as a page.

    Args:
        report: the report.
    """
    return _document(report.name or "batchproof check", _body(report))


def pages(heads: Heads) -> str:
    """Return many reports as one page, each under its name.

    Args:
        heads: the reports.
    """
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_verdict(report.ok)}</td>"
        f"<td>{escape(report.unit)}</td><td>{escape(', '.join(report.names))}</td></tr>"
        for name, report in heads.reports.items()
    )
    rows += "".join(
        f"<tr><td>{escape(name)}</td><td>not run</td><td></td><td>{escape(reason)}</td></tr>"
        for name, reason in heads.failures.items()
    )
    table = (
        "<div class=scroll><table><tr><th>head</th><th>verdict</th><th>mean over</th>"
        f"<th>why</th></tr>{rows}</table></div>"
    )
    parts = "".join(
        f"<h2>{escape(name)}</h2>{_body(replace(report, name=''))}"
        for name, report in heads.reports.items()
    )
    return _document("batchproof check", f"<h1>{escape(heads.verdict)}</h1>{table}{parts}")


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _verdict(ok: bool) -> str:  # noqa: FBT001
    return "<span class=ok-text>same</span>" if ok else "<span class=bad-text>DEPENDS</span>"


def _body(report: Report) -> str:
    tag = "<span class=tag>SAME</span>" if report.ok else "<span class='tag bad'>DEPENDS</span>"
    name = f" <span class=dim>{escape(report.name)}</span>" if report.name else ""
    parts = [f"<p>{tag}{name}</p><h1>{escape(report.verdict)}</h1>", _picture(report)]
    for diagnosis in report.diagnoses:
        residual = ""
        if diagnosis.residual is not None:
            residual = (
                f" <span class=dim>predicts every cut to {number(diagnosis.residual, 1)}</span>"
            )
        parts.append(
            f"<h2>{escape(diagnosis.name)}{residual}</h2><p>{escape(diagnosis.sentence)}</p>"
        )
        parts.append(f"<p>{escape(diagnosis.remedy)}</p>")
        if diagnosis.code:
            parts.append(f"<pre>{escape(diagnosis.code)}</pre>")
    parts.append(f"<h2>Cuts</h2>{_table(report)}")
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    parts.append(
        f"<p>Mean over: {escape(report.unit_text or report.unit)}.</p><ul>{notes}</ul>"
        f"<p class=dim>{report.samples} samples, {report.runs} runs; the same cut twice: "
        f"{number(report.noise, 1)}; errors above {number(report.tolerance, 1)} count.</p>"
    )
    return "".join(parts)


def _table(report: Report) -> str:
    step = report.kind == "step"
    titles = ["cut", "micro-batches" if step else "batches"]
    titles += ["gradient, x uncut", "cosine"] if step else []
    titles += ["relative error", "reported" if step else "number", ""]
    head = "".join(f"<th>{title}</th>" for title in titles)
    rows = "".join(_row(cut, step=step) for cut in report.cuts)
    return f"<div class=scroll><table><tr>{head}</tr>{rows}</table></div>"


def _row(cut: CutResult, *, step: bool) -> str:
    cells = [escape(cut.name), escape(cut.sizes)]
    if cut.failure:
        cells += ["-"] * (4 if step else 2) + ["not run"]
    else:
        cells += [number(cut.scale, 4), number(cut.cosine, 4)] if step else []
        cells += [number(cut.error, 2), number(cut.loss, 6), _verdict(not cut.dependent)]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


_LEFT, _RIGHT, _ROW, _TOP = 150, 70, 26, 34
_WIDE = 860


def _picture(report: Report) -> str:
    """Draw error against cut, on a logarithmic axis from arithmetic's own error upwards."""
    cuts = [cut for cut in report.cuts if not cut.failure]
    low, high = -17.0, 1.0
    errors = [_error(cut) for cut in cuts]
    finite = [e for e in errors if math.isfinite(e) and e > 0]
    high = max(high, math.ceil(math.log10(max(finite, default=1.0))))
    tall = _TOP + _ROW * len(cuts) + 30

    def across(value: float) -> float:
        if not math.isfinite(value):
            return _WIDE - _RIGHT
        at = max(low, math.log10(value)) if value > 0 else low
        return _LEFT + (at - low) / (high - low) * (_WIDE - _LEFT - _RIGHT)

    parts = [f'<svg viewBox="0 0 {_WIDE} {tall}" role="img" aria-label="error against cut">']
    for power in range(-15, int(high) + 1, 3):
        x = across(10.0**power)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{tall - 26}" '
            f'stroke="var(--line)"/><text class="dim" x="{x:.1f}" y="{tall - 8}" '
            f'text-anchor="middle">1e{power}</text>'
        )
    limit = across(report.tolerance)
    parts.append(
        f'<line x1="{limit:.1f}" y1="{_TOP - 8}" x2="{limit:.1f}" y2="{tall - 26}" '
        'stroke="var(--dim)" stroke-dasharray="4 4"/>'
        f'<text class="dim" x="{limit:.1f}" y="{_TOP - 16}" text-anchor="middle">'
        "arithmetic ends here</text>"
    )
    for index, (cut, error) in enumerate(zip(cuts, errors, strict=True)):
        y = _TOP + _ROW * index + 8
        colour = "var(--bad)" if cut.dependent else "var(--ok)"
        x = across(error)
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(cut.name)}</text>'
            f'<line x1="{_LEFT}" y1="{y}" x2="{x:.1f}" y2="{y}" stroke="{colour}" '
            f'stroke-width="3" stroke-linecap="round"/><circle cx="{x:.1f}" cy="{y}" r="5" '
            f'fill="{colour}"/><text class="dim" x="{x + 10:.1f}" y="{y + 4}">'
            f"{number(error, 2)}</text>"
        )
    what = "relative error" if report.kind == "evaluate" else "largest relative error"
    return (
        "".join(parts) + f"</svg><p class=dim>{what} of gradient and reported number, "
        "against the uncut step</p>"
    )


def _error(cut: CutResult) -> float:
    return max(cut.error, cut.loss_error or 0.0)
