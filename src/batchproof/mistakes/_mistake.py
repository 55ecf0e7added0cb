"""A mistake: its name, its sentence and how to fix it."""

from dataclasses import dataclass
from typing import Literal

Group = Literal["gradient", "number", "model", "loop", "nature"]

GROUPS: dict[Group, str] = {
    "gradient": "The gradient is another one",
    "number": "The number is another one",
    "model": "Another model is kept",
    "loop": "The loop",
    "nature": "By nature, or more than the samples",
}

PAGES = "https://github.com/batchproof/batchproof/blob/main/docs/mistakes"


@dataclass(frozen=True, slots=True)
class Remedy:
    """A way to fix a mistake.

    Attributes:
        sentence: what to do, one imperative sentence.
        code: the lines to write, or "".
    """

    sentence: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake of a training or evaluation loop.

    Attributes:
        name: as check, watch and audit print it.
        code: as audit prints it and `noqa` takes it: BP and three digits.
        group: which kind it is; the keys of GROUPS.
        sentence: what is wrong, in one sentence that holds for every case of it.
        remedy: how to fix it in a training step, or wherever it occurs.
        evaluation: how to fix it in an evaluation, where that differs.
    """

    name: str
    code: str
    group: Group
    sentence: str
    remedy: Remedy
    evaluation: Remedy | None = None

    @property
    def page(self) -> str:
        """Return the address of its page."""
        return f"{PAGES}/{self.name}.md"

    def remedy_for(self, *, evaluation: bool) -> Remedy:
        """Return the remedy for an evaluation, or for a training step."""
        return self.evaluation if evaluation and self.evaluation else self.remedy
