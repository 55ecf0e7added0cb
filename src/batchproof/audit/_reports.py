"""The report of a rule: where, what is computed, what was meant, the facts that decide it."""

import ast
from dataclasses import dataclass
from typing import Literal

from batchproof.audit._dimensions._trace import Event
from batchproof.audit._finding import Fix


@dataclass(frozen=True, slots=True)
class Report:
    """A mistake that a rule found.

    Attributes:
        event: where it happens.
        computes: what the code computes, as a formula.
        meant: what was meant, as a formula.
        evidence: the facts that decide it, a sentence each.
        sure: False where the code alone does not decide.
        node: the place, where that is not the event's own.
        remedy: code in the style of the file; "" for that of the catalogue.
        fix: how to rewrite it.
    """

    event: Event
    computes: str
    meant: str
    evidence: tuple[str, ...] = ()
    sure: bool = True
    node: ast.AST | None = None
    remedy: str = ""
    fix: Fix | None = None

    @property
    def grade(self) -> Literal["sure", "likely"]:
        """Return the grade of the finding."""
        return "sure" if self.sure else "likely"
