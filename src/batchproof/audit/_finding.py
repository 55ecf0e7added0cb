"""A finding: where a mistake is, what the code computes there, what was meant, how to fix it."""

from dataclasses import dataclass
from typing import Literal

from batchproof.mistakes import CATALOGUE

Grade = Literal["sure", "likely"]


@dataclass(frozen=True, slots=True)
class Edit:
    """A stretch of text to replace.

    Attributes:
        line: where it starts, from 1.
        column: where it starts, in characters of that line, from 1.
        end_line: where it ends, from 1.
        end_column: the first column that is not replaced, from 1; an insertion has start = end.
        text: what takes its place.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Edits that remove a mistake.

    Attributes:
        message: what they do, an imperative sentence.
        edits: the stretches to replace; they do not overlap.
        safe: whether nothing but the mistake changes.
    """

    message: str
    edits: tuple[Edit, ...]
    safe: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake at a place in a file.

    Attributes:
        name: the mistake's, of the catalogue.
        code: BP and three digits.
        grade: "sure", or "likely" where the code alone does not decide.
        path: the file.
        line: where it starts, from 1; in a notebook a line of its cells joined to one text.
        column: where it starts, in characters, from 1.
        end_line: where it ends, from 1.
        end_column: the first column after it, from 1.
        sentence: what is wrong here.
        computes: what the code computes, as a formula.
        meant: what was meant, as a formula.
        evidence: the facts that decide it, a sentence each.
        remedy: the code to write, in the style of the file.
        fix: how to rewrite it, None if that takes a person.
        script: the script of another file that leads there; "" where none does.
    """

    name: str
    code: str
    grade: Grade
    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    sentence: str
    computes: str
    meant: str
    evidence: tuple[str, ...]
    remedy: str
    fix: Fix | None
    script: str = ""

    @property
    def safe(self) -> bool:
        """Return whether --fix rewrites it; a likely finding needs --unsafe-fixes."""
        return self.fix is not None and self.fix.safe and self.grade == "sure"

    @property
    def page(self) -> str:
        """Return the address of the mistake's page; "" where the catalogue has none."""
        return CATALOGUE[self.name].page if self.name in CATALOGUE else ""
