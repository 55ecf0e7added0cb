"""The laws of one quantity that predict every cut, each searched for when it is first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from batchproof.check._laws._entered import Entered, find_entered
from batchproof.check._laws._laws import Micro
from batchproof.check._laws._quantity import Quantity
from batchproof.check._laws._rules import EXACT, SUM
from batchproof.check._laws._search import Law, Search, search_for
from batchproof.check._laws._several_terms import Split, find_split
from batchproof.check._laws._shares import CutShares, shares_of
from batchproof.check._laws._units import tell_sum_from_mean, unit_of
from batchproof.check._measure._cuts import Cut, Facts
from batchproof.check._measure._runner import Runner

# the most that rounding may make where two terms, of which one is free, are told apart
_WIDEST = 1e-3
_FUNCTIONS = ((torch.log, "exponential"), (torch.square, "square root"))


@dataclass(eq=False)
class Laws:
    """The laws of the gradient, or of an evaluation's number.

    Attributes:
        runner: runs the step, without draws, batch statistics and clipping where they matter.
        facts: what is known about the samples.
        cuts: cuts that gave a result.
    """

    runner: Runner
    facts: Facts
    cuts: Sequence[Cut]

    @property
    def evaluation(self) -> bool:
        """Return whether it is the number of an evaluation."""
        return self.runner.subject.kind == "evaluate"

    @cached_property
    def search(self) -> Search:
        """The search for the law, of a number's logarithm or square where that is a mean."""
        return self._of_a_function[0]

    @cached_property
    def notes(self) -> list[str]:
        """The note that the number is the exponential or the root of a mean."""
        words = self._of_a_function[1]
        return [f"the number is the {words} of a mean, and judged as that mean"] if words else []

    @cached_property
    def _of_a_function(self) -> tuple[Search, str]:
        search = search_for(Quantity(self.runner, self.facts), self.cuts)
        if not self.evaluation or search.plain is not None or search.padding is not None:
            return search, ""
        for undo, words in _FUNCTIONS:
            mean = search_for(Quantity(self.runner, self.facts, undo=undo), self.cuts)
            cuts = [cut for cut in mean.quantity.finite(self.cuts) if len(cut.ranks) == 1]
            if cuts and mean.plain is not None and mean.law(mean.plain, cuts) is not None:
                return mean, words
        return search, ""

    @cached_property
    def loss(self) -> Search:
        """The search for the law of the loss that a step reports."""
        return search_for(Quantity(self.runner, self.facts, loss=True), self.cuts)

    @cached_property
    def finite(self) -> list[Cut]:
        """The cuts under which it is finite."""
        return self.search.quantity.finite(self.cuts)

    @cached_property
    def single(self) -> list[Cut]:
        """Those of the finite cuts that are on one process."""
        return [cut for cut in self.finite if len(cut.ranks) == 1]

    @cached_property
    def law(self) -> Law | None:
        """The law that predicts every cut, or every cut on one process, if one does."""
        for micro_law in ("plain", "padding"):  # measured when they are asked for
            micro = getattr(self.search, micro_law)
            law = self.over(micro, self.finite, self.single) if micro is not None else None
            if law is not None:
                return law
        return None

    @cached_property
    def scaled(self) -> Law | None:
        """The law of means divided by, or times, their numbers of samples, which are then added."""
        micro = self.search.scaled if self.search.plain is None else None
        law = self.over(micro, self.single) if micro is not None else None
        adds = law is not None and law.rule == (SUM if law.micro.kind == "times" else EXACT)
        return law if adds else None

    def over(self, micro: Micro, *cuts: Sequence[Cut]) -> Law | None:
        """Return the law of a micro-batch over the first of these lists of cuts that has one."""
        laws = (self.search.law(micro, some) for some in cuts)
        return next((law for law in laws if law is not None), None)

    @cached_property
    def split(self) -> Split | None:
        """Two laws that share the quantity between them, if no single law does."""
        if self.law is not None or self.doubtful or self.runner.tolerance > _WIDEST:
            return None
        return find_split(self.search, self.finite)

    def entered(self, off: Sequence[Cut]) -> Entered | None:
        """Return the samples that entered under each cut of one process, if these predict them all.

        Args:
            off: the cuts under which the quantity is not what it is uncut.
        """
        cuts = [c for c in self.single if c.reference == "whole" and not c.before]
        return find_entered(self.search, cuts, [cut for cut in off if cut in cuts])

    @property
    def doubtful(self) -> bool:
        """Return whether rounding hides which of several laws it is."""
        return self.law is None and self.search.doubtful

    def shares(self, cut: Cut) -> CutShares | None:
        """Return the share of each micro-batch of a cut in its gradient, where that is determined.

        Args:
            cut: one of the finite cuts.
        """
        micro = self.law.micro if self.law is not None else self.search.plain or self.search.scaled
        if micro is None and self.search.atoms:
            micro = self.search.as_measured()
        return shares_of(self.search, micro, cut, self.law) if micro is not None else None

    @cached_property
    def unit(self) -> tuple[str, str]:
        """The unit that a single micro-batch is a mean over, and the same in words."""
        micro = self.search.plain or self.search.padding
        masks = micro is not None and not self.evaluation
        edit = tell_sum_from_mean(self.search.quantity) if masks else None
        return unit_of(self.search, micro, edit)
