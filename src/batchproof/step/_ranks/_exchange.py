"""The terms that ranks have agreed on, and the numbers of a window, sent in one collective."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed

from batchproof._errors import RankError, SettingError
from batchproof.mean import Mean
from batchproof.ranks import Group
from batchproof.step._number import Number, number, power_of_two_above
from batchproof.step._objective import refuse_several
from batchproof.step._ranks._agreement import OwnCollectives, expect_as_many
from batchproof.step._ranks._layout import Layout, agreed, mark_of, marked, pack
from batchproof.step._tally import Tally


class Exchange:
    """The terms that ranks have agreed on, and the numbers of a window, sent in one collective.

    Args:
        group: the ranks.
        own: the collectives that this rank's model or loss makes itself.
        counts: whether each term's weight is counted before the backward pass.

    Attributes:
        layout: the terms and metrics of all ranks; None until they have met.
        provisional: the approximate weights of the terms, for totals that are divided on the way.
        marks: the sum of the marks of ranks whose loss was not finite in the last window.
        filled: the sums of the marks of ranks that had data in the last window.
        own: the collectives that a model or loss makes itself, on any rank that is known.
    """

    def __init__(self, group: Group, own: OwnCollectives, *, counts: bool) -> None:
        self.layout: Layout | None = None
        self.provisional: Number = 1.0
        self.marks: Number = 0.0
        self.filled: Sequence[Number] = ()
        self.own = own
        self._group = group
        self._counts_given = counts
        self._names: list[str] | None = None
        self._packed: Tensor | None = None
        self._work: distributed.Work | None = None

    @property
    def sent(self) -> bool:
        """Whether this rank has sent its numbers of this window."""
        return self._packed is not None

    def forget(self) -> None:
        """Begin a window.

        Raises:
            MissingCountError: if ranks have several terms, whose weights are not counted.
        """
        self._expect_counts()
        self._packed, self._work = None, None

    def meet(
        self,
        terms: Mapping[str, Mean],
        metrics: Mapping[str, Mean],
        micro_batches: int,
        *,
        count: int = 1,
    ) -> None:
        """Learn the terms of all ranks, and their approximate weights, by one collective.

        Args:
            terms: this rank's, of the micro-batches so far.
            metrics: likewise.
            micro_batches: the number in this rank's window.
            count: the number of micro-batches that terms and metrics hold.

        Raises:
            RankError: if ranks have different terms, metrics or units, or make collectives
                themselves and have unequal windows.
            MissingCountError: if there are several terms, whose weights are not counted.
        """
        mine = Layout.of(terms, metrics) if terms else None
        weight = sum((float(m.weight) for m in terms.values()), 0.0) * micro_batches / count
        messages = self._group.gather((mine, weight, micro_batches, self.own.has_any))
        layouts, weights, windows, own = zip(*messages, strict=True)
        self.own.has_any = any(own)
        if self.own.has_any:
            expect_as_many(windows)
        self.layout = agreed(layouts)
        self.provisional = power_of_two_above(sum(weights, 0.0))
        self._expect_counts()

    def meet_late(self, tally: Tally) -> None:
        """Meet with this rank's pairs so far, if the ranks have not met yet."""
        if self.layout is None:
            count = len(tally.pairs)
            self.meet(tally.terms(), tally.metrics(), count, count=count or 1)

    def counted(self, weights: dict[str, Number]) -> dict[str, Number]:
        """Return the weights over all ranks, by one collective that is waited for.

        Raises:
            RankError: if ranks count different terms.
            SettingError: if this rank counts others than before.
        """
        if self._names is None:
            term_lists = [names for names in self._group.gather(sorted(weights)) if names]
            if any(names != term_lists[0] for names in term_lists):
                raise RankError(
                    f"ranks count weights of different terms: {term_lists}; count alike."
                )
            if not term_lists:
                return weights
            self._names = term_lists[0]
        if extra := weights.keys() - set(self._names):
            raise SettingError(
                f"count gave weights of {sorted(extra)}, which ranks have not agreed on; give "
                f"those of {self._names} for every batch."
            )
        sums = pack([weights.get(name, 0.0) for name in self._names], self._group.device)
        self._group.sum(sums)
        return {name: number(n) for name, n in zip(self._names, sums.unbind(), strict=True)}

    def send(self, tally: Tally, *further: Number) -> None:
        """Start this window's sums on their way; nothing where no rank has a term yet."""
        if self.layout is None:
            return
        rank, size, device = self._group.rank, self._group.size, self._group.device
        terms = tally.terms()
        numbers = self.layout.numbers(terms, tally.metrics(), device)
        totals = [mean.total for mean in terms.values()]
        numbers.append(_mark_if_not_finite(totals, mark_of(rank, size)))
        numbers += marked(rank, size) if tally.pairs else [0.0] * len(marked(rank, size))
        numbers.append(float(self.own.has_any))
        self._packed = pack([*numbers, *further], device)
        self._work = self._group.sum(self._packed, wait=False)

    def wait(self) -> None:
        """Wait until every rank has sent its numbers."""
        if self._work is not None:
            self._work.wait()
            self._work = None

    def receive(self) -> tuple[dict[str, Mean], dict[str, Mean], Tensor] | None:
        """Return terms, metrics and the last further number over all ranks; None if none has any.

        Where nothing further was sent, the last number means nothing.
        """
        if self._packed is None or self.layout is None:
            return None
        self.wait()
        numbers = self._packed.unbind()
        terms, metrics = self.layout.means(numbers)
        after = 2 * (len(terms) + len(metrics))
        self.marks = numbers[after]
        words = len(marked(self._group.rank, self._group.size))
        self.filled = numbers[after + 1 : after + 1 + words]
        if self._group.device.type == "cpu":
            self.own.has_any = numbers[after + 1 + words].item() > 0
        self.provisional = power_of_two_above(number(next(iter(terms.values())).weight))
        return terms, metrics, numbers[-1]

    def _expect_counts(self) -> None:
        # every rank knows the terms, so that every rank raises
        if self.layout is not None and not self._counts_given:
            refuse_several(self.layout.terms)


def _mark_if_not_finite(totals: Sequence[Tensor], mark: float) -> Number:
    if not totals:
        return 0.0
    if all(total.device.type == "cpu" for total in totals):
        return 0.0 if all(math.isfinite(total.item()) for total in totals) else mark
    finite = torch.stack([total.isfinite().all() for total in totals]).all()
    return torch.where(finite, 0.0, mark)
