"""The report of a watched run: findings, what was seen to be right, and what was not followed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from batchproof._errors import MistakeFoundError
from batchproof._files import json_text, save_text
from batchproof.page import Text, fragment
from batchproof.watch._document import Section, sections_of, to_page, to_terminal, to_text
from batchproof.watch._events import Finding, StepEvent

SCHEMA = "batchproof-watch-1"


@dataclass(frozen=True)
class WatchReport:
    """The findings and records of a watched run.

    Attributes:
        findings: what is wrong, then what is worth knowing.
        steps: the optimiser steps, with the share of each micro-batch.
        numbers: those that reached a person, each with its meaning where that is certain.
        right: sentences about what was seen to be right.
        not_followed: sentences about what could not be followed.
        name: what was watched.
    """

    findings: tuple[Finding, ...]
    steps: tuple[StepEvent, ...] = ()
    numbers: tuple[dict[str, Any], ...] = ()
    right: tuple[str, ...] = ()
    not_followed: tuple[str, ...] = ()
    name: str = field(default="this run", kw_only=True)

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """Return the findings that are mistakes; the others are notes."""
        return tuple(finding for finding in self.findings if finding.grade == "wrong")

    @property
    def ok(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.wrong

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the mistakes, each once."""
        return tuple(dict.fromkeys(finding.name for finding in self.wrong))

    @property
    def verdict(self) -> str:
        """Return the report in one sentence."""
        if not self.ok:
            things = "1 thing is" if len(self.wrong) == 1 else f"{len(self.wrong)} things are"
            return f"{things} wrong in {self.name}: {', '.join(self.names)}."
        if not self.steps and not self.right and not self.findings:
            return f"Nothing was seen in {self.name}: it computed no loss that can be followed."
        return f"Nothing is wrong in {self.name} as far as it was followed."

    def __repr__(self) -> str:
        return f"WatchReport({', '.join(self.names) or 'nothing wrong'})"

    def __str__(self) -> str:
        return to_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        verdict = Text(self.verdict, tone="exact" if self.ok else "wrong")
        return to_terminal(verdict, self._sections())

    def _sections(self) -> list[Section]:
        return sections_of(self.findings, self.right, self.not_followed)

    def _repr_html_(self) -> str:
        verdict = Text(self.verdict, tone="exact" if self.ok else "wrong")
        return fragment([("", (verdict,)), *self._sections()])

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON, and write it where a path is given.

        Args:
            path: the file to write.
        """
        content = {
            "schema": SCHEMA,
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "steps": [step.to_json() for step in self.steps],
            "numbers": list(self.numbers),
        }
        return save_text(json_text(content), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one self-contained page, and write it where a path is given.

        Args:
            path: the file to write.
        """
        return save_text(to_page(self.verdict, self._sections()), path)

    def raise_if_failed(self) -> None:
        """Raise the report if anything is wrong.

        Raises:
            MistakeFoundError: whose text is the report.
        """
        __tracebackhide__ = True  # pytest shows the line that called it
        if not self.ok:
            raise MistakeFoundError(str(self))


def report_of(watcher: Any, numbers: Any = None, *, name: str = "this run") -> WatchReport:
    """Return the report of what was seen so far.

    Args:
        watcher: that of the run.
        numbers: the Numbers of the same run, or None where none were captured.
        name: what was watched.
    """
    gaps: list[str] = []
    findings: list[Finding] = _judged(watcher.findings, gaps)
    right: list[str] = _judged(watcher.right, gaps)
    readings: list[dict[str, Any]] = []
    if numbers is not None:
        findings += _judged(numbers.findings, gaps)
        readings = _judged(numbers.seen, gaps)
        right += _right_numbers(readings)
    gaps = [*_judged(watcher.not_followed, gaps), *_unknown_numbers(readings), *gaps]
    once: dict[tuple[str, str], Finding] = {}
    for one in sorted(findings, key=lambda finding: finding.grade != "wrong"):
        once.setdefault((one.name, one.place), one)
    return WatchReport(
        tuple(once.values()),
        tuple(watcher.steps),
        tuple(readings),
        tuple(right),
        tuple(gaps),
        name=name,
    )


def _judged(judge: Callable[[], Iterable[Any]], gaps: list[str]) -> list[Any]:
    """Return the findings of a judge; if it fails, the others still report."""
    try:
        return list(judge())
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        line = f"Not judged: {getattr(judge, '__qualname__', judge)} failed with {what}"
        if line not in gaps:
            gaps.append(line)
        return []


def _right_numbers(readings: Sequence[dict[str, Any]]) -> list[str]:
    sentences = [
        f"{one['place']}: {_called(one)} is {one['is']}, of the {one['of']} at {one['loss']}."
        for one in readings
        if one["grade"] == "right"
    ]
    # a number that is printed and logged is said once
    return list(dict.fromkeys(sentences))


def _called(one: dict[str, Any]) -> str:
    label = one["label"].strip()
    example = one["examples"][0]["shown"] if one["examples"] else ""
    return f"`{label}`" if label else example


def _unknown_numbers(readings: Sequence[dict[str, Any]]) -> list[str]:
    strangers = [one for one in readings if one["grade"] == "unknown"]
    if not strangers:
        return []
    names = ", ".join(dict.fromkeys(_called(one) for one in strangers[:5]))
    more = ", ..." if len(strangers) > 5 else ""
    what = "1 kind of number" if len(strangers) == 1 else f"{len(strangers)} kinds of numbers"
    return [f"{what} matched nothing, and nothing is said of them: {names}{more}."]
