"""A rule of the tests' own, in place of those of batchproof: it reports calls by their name.

wrong(x)     sure, with a safe fix to right(x)
odd(x)       sure, with an unsafe fix to even(x)
stuck(x)     sure, with a fix that does not remove it
torn(x)      sure, with a fix that leaves no Python
bare(x)      sure, without a fix
maybe(x)     likely
follow(x)    sure if the file beside, named by an import, holds "yes"
slow(), fails(), deep(), kills()    a rule that misbehaves
"""

import ast
import os

from batchproof.audit._finding import Edit, Finding, Fix
from batchproof.audit._project import Project, Source

NAMES = {
    "wrong": ("graph-kept", "right", True),
    "odd": ("mean-of-batch-means", "even", False),
    "stuck": ("wrong-divisor", "stuck", True),
    "torn": ("not-divided", "((", True),
    "bare": ("last-batch-reported", None, True),
    "maybe": ("leftover-window", None, True),
    "follow": ("best-by-reference", None, True),
}
CODES = {
    "graph-kept": "BP401", "mean-of-batch-means": "BP201", "wrong-divisor": "BP202",
    "not-divided": "BP105", "last-batch-reported": "BP205", "leftover-window": "BP103",
    "best-by-reference": "BP301",
}  # fmt: skip


def analyse(source: Source, path: str, project: Project) -> list[Finding]:
    findings = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            _misbehave(node.func.id)
            if node.func.id in NAMES and _holds(node.func.id, source, project):
                findings.append(_finding(node, source, path))
    return findings


def _misbehave(name: str) -> None:
    if name == "slow":
        while True:
            pass
    if name == "fails":
        raise KeyError("no such thing")
    if name == "deep":
        _misbehave(name)
    if name == "kills":
        os._exit(3)


def _holds(name: str, source: Source, project: Project) -> bool:
    if name != "follow":
        return True
    modules = [n.names[0].name for n in source.tree.body if isinstance(n, ast.Import)]
    return any("yes" in m.text for m in (project.module(n, source.path) for n in modules) if m)


def _finding(node: ast.Call, source: Source, path: str) -> Finding:
    name, new, safe = NAMES[node.func.id]  # type: ignore[attr-defined]
    fix = None
    if new is not None:
        line, column, end_line, end_column = source.span(node.func)
        fix = Fix(f"Write {new}.", (Edit(line, column, end_line, end_column, new),), safe=safe)
    return Finding(
        name=name,
        code=CODES[name],
        grade="likely" if node.func.id == "maybe" else "sure",  # type: ignore[attr-defined]
        path=path,
        line=source.span(node)[0],
        column=source.span(node)[1],
        end_line=source.span(node)[2],
        end_column=source.span(node)[3],
        sentence=f"{node.func.id} is called.",  # type: ignore[attr-defined]
        computes="a / b",
        meant="a / c",
        evidence=("the loader at line 1 has no drop_last",),
        remedy=f"{new or 'other'}(x)",
        fix=fix,
    )
