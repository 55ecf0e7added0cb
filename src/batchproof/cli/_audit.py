"""`batchproof audit PATH...`: read training code, and name the lines that get the loss wrong."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchproof._errors import SettingError

if TYPE_CHECKING:
    from batchproof.audit._audit import Report
    from batchproof.audit._settings import Settings

STDIN = Path("-")


class Format(StrEnum):
    """The form in which findings are written."""

    TEXT = "text"
    CONCISE = "concise"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"
    JUNIT = "junit"


_Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="files, notebooks, folders, - for the standard input"),
]
_Format = Annotated[Format, typer.Option("--output-format", help="how findings are written")]
_Select = Annotated[
    list[str] | None,
    typer.Option("--select", metavar="RULE", help="report these alone: names, codes, ALL"),
]
_Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="RULE", help="leave these out")
]
_Extend = Annotated[
    list[str] | None,
    typer.Option("--extend-select", metavar="RULE", help="report these too"),
]
_Likely = Annotated[
    bool, typer.Option("--likely", help="report what the code alone does not decide, too")
]
_Fix = Annotated[bool, typer.Option("--fix", help="rewrite what can be rewritten safely")]
_Unsafe = Annotated[
    bool, typer.Option("--unsafe-fixes", help="with --fix or --diff: whatever can be rewritten")
]
_Diff = Annotated[bool, typer.Option("--diff", help="show what --fix would do, and do nothing")]
_Zero = Annotated[bool, typer.Option("--exit-zero", help="exit with 0 whatever is found")]
_Statistics = Annotated[bool, typer.Option("--statistics", help="count findings by rule")]
_Explain = Annotated[
    str | None, typer.Option("--explain", metavar="RULE", help="show a rule's page")
]
_Show = Annotated[bool, typer.Option("--show-files", help="list the files, and audit none")]
_Cache = Annotated[bool, typer.Option("--no-cache", help="keep and use no earlier findings")]
_Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="leave known findings out")
]
_Write = Annotated[
    Path | None,
    typer.Option("--write-baseline", metavar="FILE", help="write the findings down as known"),
]
_Name = Annotated[
    Path | None,
    typer.Option("--stdin-filename", metavar="FILE", help="what the standard input is called"),
]
_Lsp = Annotated[bool, typer.Option("--lsp", help="serve an editor over the standard streams")]


def audit(
    paths: _Paths = None,
    output_format: _Format = Format.TEXT,
    select: _Select = None,
    ignore: _Ignore = None,
    extend_select: _Extend = None,
    likely: _Likely = False,
    fix: _Fix = False,
    unsafe_fixes: _Unsafe = False,
    diff: _Diff = False,
    exit_zero: _Zero = False,
    statistics: _Statistics = False,
    explain: _Explain = None,
    show_files: _Show = False,
    no_cache: _Cache = False,
    baseline: _Baseline = None,
    write_baseline: _Write = None,
    stdin_filename: _Name = None,
    lsp: _Lsp = False,
) -> None:
    """Read training code without running it, and point at the lines that get it wrong."""
    if explain is not None:
        return _show_page(explain)
    if lsp:
        return _serve()
    from batchproof.audit._settings import read_settings

    stdin, targets = _named(paths, stdin_filename)
    settings = read_settings(targets, Path.cwd()).over(
        select=select or (),
        ignore=ignore or (),
        extend_select=extend_select or (),
        likely=likely,
        baseline=baseline,
    )
    if show_files:
        return _show_files(targets, settings)
    auditor = _Audit(targets, settings, cached=not no_cache, stdin=stdin)
    if write_baseline is not None:
        return auditor.write_baseline(write_baseline)
    if fix or diff:
        status = auditor.fix(output_format, unsafe=unsafe_fixes, diff=diff)
    else:
        status = auditor.show(output_format, statistics=statistics)
    raise typer.Exit(0 if exit_zero else status)


def _named(paths: list[Path] | None, stdin_filename: Path | None) -> tuple[bool, list[Path]]:
    """Return whether the standard input is audited, and the paths that are."""
    targets = paths or [Path()]
    stdin = STDIN in targets
    if stdin and len(targets) > 1:
        raise SettingError("- is the standard input, which is audited alone; name no other path.")
    if stdin_filename is not None and not stdin:
        raise SettingError("--stdin-filename names the standard input; add the path -.")
    return stdin, [stdin_filename or Path("stdin.py")] if stdin else targets


class _Audit:
    """One call of the command: what is audited, and how that is shown."""

    def __init__(
        self, targets: Sequence[Path], settings: "Settings", *, cached: bool, stdin: bool
    ) -> None:
        self._targets = targets
        self._settings = settings
        self._cached = cached
        self._content = sys.stdin.buffer.read() if stdin else None

    def _report(self) -> "Report":
        from batchproof.audit._audit import audit_paths, audit_text

        if self._content is not None:
            return audit_text(self._targets[0], self._content, self._settings)
        return audit_paths(self._targets, self._settings, cached=self._cached)

    def show(self, output_format: Format, *, statistics: bool) -> int:
        """Show what is found, and return the exit status."""
        report = self._report()
        (_write_statistics if statistics else _write)(report, output_format)
        return report.status

    def fix(self, output_format: Format, *, unsafe: bool, diff: bool) -> int:
        """Fix what can be fixed, or show how, and return the exit status."""
        from batchproof.audit._fixes import fix_report

        report, fixed = fix_report(self._report(), unsafe=unsafe, content=self._content)
        if diff:
            _say_notices(report)
            _write_out("".join(file.diff() for file in fixed))
            return 1 if fixed else 2 * (report.status == 2)
        if self._content is not None:
            _say_notices(report)
            sys.stdout.flush()
            sys.stdout.buffer.write(fixed[0].after if fixed else self._content)
            return report.status
        for file in fixed:
            file.write()
        for message in (message for file in fixed for message in file.messages):
            typer.echo(f"fixed {message}", err=True)
        _write(report, output_format)
        return report.status

    def write_baseline(self, place: Path) -> None:
        """Write the findings down as known."""
        from batchproof.audit._fingerprint import write_baseline

        self._settings = replace(self._settings, baseline=None)
        report = self._report()
        _say_notices(report)
        count = write_baseline(place, report.files, self._settings.root)
        typer.echo(f"wrote {count} finding{'s' * (count != 1)} to {place}")


def _write(report: "Report", output_format: Format) -> None:
    from batchproof.audit._formats import FORMATS
    from batchproof.audit._text import as_lines, as_text, coloured, plain

    _say_notices(report)
    paint = coloured if _is_coloured() else plain
    if output_format is Format.TEXT:
        _write_out(as_text(report, paint))
    elif output_format is Format.CONCISE:
        _write_out(as_lines(report, paint))
    else:
        _write_out(FORMATS[output_format](report))


def _write_statistics(report: "Report", output_format: Format) -> None:
    from batchproof.audit._text import statistics, summary

    _say_notices(report)
    rows = statistics(report)
    if output_format is Format.JSON:
        _write_out(json.dumps(rows, indent=1) + "\n")
        return
    for row in rows:
        star = "[*]" if row["fixable"] else "   "
        typer.echo(f"{row['count']:>5}  {row['code']}  {star}  {row['name']}")
    typer.echo(summary(report))


def _say_notices(report: "Report") -> None:
    from batchproof.audit._text import printable

    for notice in report.notices:
        typer.echo(printable(str(notice)), err=True)


def _write_out(text: str) -> None:
    sys.stdout.write(text.encode(errors="replace").decode())


def _is_coloured() -> bool:
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _show_files(targets: Sequence[Path], settings: "Settings") -> None:
    from batchproof.audit._discover import discover

    files = discover(targets, settings.root, excluded=settings.excluded)
    for path, reason in files.unreadable:
        typer.echo(f"{path}: {reason}", err=True)
    for path in files.files:
        typer.echo(path)
    if files.unreadable and not files.files:
        raise typer.Exit(2)


def _show_page(rule: str) -> None:
    text = _page_of(rule)
    if not sys.stdout.isatty():
        _write_out(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def _page_of(rule: str) -> str:
    """Return a rule's page in Markdown, or the catalogue's entry of the mistake if it has none."""
    from batchproof.audit import __file__ as package
    from batchproof.audit._settings import CODES, names_of
    from batchproof.mistakes import mistake

    names = sorted(names_of([rule]))
    if len(names) != 1:
        raise SettingError(f"{rule} is {len(names)} rules; name one: {', '.join(names[:3])} ...")
    (name,) = names
    folder = Path(package).parent
    for place in (folder / "rules" / f"{name.replace('-', '_')}.md", folder / f"{name}.md"):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    about = mistake(name)
    code = f"\n```python\n{about.remedy.code}\n```\n" if about.remedy.code else ""
    head = f"# {name} ({CODES[name]})\n\n{about.sentence}\n\n{about.remedy.sentence}\n"
    return f"{head}{code}\nMore: {about.page}\n"


def _serve() -> None:
    try:
        from batchproof.audit._server import serve
    except ModuleNotFoundError as error:
        raise SettingError(
            f"the language server needs {error.name}; install it: pip install 'batchproof[lsp]'."
        ) from None
    serve()
