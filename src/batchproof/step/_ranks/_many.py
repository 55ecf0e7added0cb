"""A window over several ranks: one collective of a few numbers, and everyone takes part.

    wanted      grad( sum_r sum_m X_rm ) / W          W = sum_r sum_m W_rm
    there is    d * grad( sum_r sum_m X_rm / P )      d: the wrapper's factor, measured at the start
    so          to_mean = P / (d * W)

Every rank sends, in one tensor of float64, each term's total and weight, each metric's, and a mark
of its own if its loss is not finite. It is on its way while the last backward pass runs. The
order of collectives is the same on every rank, with or without data:

    first forward     the wrapper's own: buffers, gathered parameters
    meet              only until the ranks know each other's terms
    send              after the last forward, before the last backward
    last backward     the wrapper's own: buckets, shards
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from batchproof._errors import NonFiniteError, RankError, SettingError
from batchproof.mean import Mean, Outcome, Pairs
from batchproof.ranks import is_broken_collective, watch_of
from batchproof.step._number import Number, number, power_of_two_above
from batchproof.step._objective import refuse_several
from batchproof.step._ranks._agreement import compare
from batchproof.step._ranks._layout import Layout, agreed, mark_of, pack, ranks_named
from batchproof.step._ranks._unwrapped import Unwrapped
from batchproof.step._ranks._wrappers import Wrapper
from batchproof.step._tally import Tally
from batchproof.step._update import Update

Loss = Callable[[Any, Any], Any]


class Many:
    """Ranks that take steps together.

    Args:
        wrapper: how their gradients come to be summed.
        description: what must be the same on every rank, line by line.
        update: the optimiser's side, whose parameters must all be reduced.
        counts: whether each term's weight is counted before the backward pass.
        scaled: whether a scaler wants totals divided on the way.

    Attributes:
        alone: False.
        divisor: d of the law above.
    """

    alone = False

    def __init__(
        self,
        wrapper: Wrapper,
        description: Sequence[str],
        update: Update,
        *,
        counts: bool,
        scaled: bool,
    ) -> None:
        self.divisor = math.nan
        self._marks: Number = 0.0
        self._counts_given = counts
        self._scaled = scaled
        self._wrapper = wrapper
        self._group = wrapper.group
        self._description = list(description)
        self._update = update
        self._watch = watch_of(self._group.process_group)
        self._layout: Layout | None = None
        self._counted: list[str] | None = None
        self._provisional: Number = 1.0
        self._started = False
        self._loss: Loss = _no_loss
        self._rounds: int | None = None
        self._done = 0
        self._packed: Tensor | None = None
        self._work: distributed.Work | None = None

    def begin(self) -> None:
        """Open a window; the first time, compare models and measure the wrapper's factor."""
        if not self._started:
            compare(self._group, self._description)
            self._expect_reduced()
            self.divisor = self._measured()
            self._started = True
        self._expect_counts()
        self._forget()
        self._watch.place += 2
        self._wrapper.begin()

    def expect_a_pass(self) -> None:
        """Let a rank that made no pass close the window with the others, where it can.

        Raises:
            SettingError: if the other ranks have made passes through a wrapper, which it missed.
        """
        if not isinstance(self._wrapper, Unwrapped):
            raise SettingError(
                f"apply() has no window to close on rank {self._group.rank}, for which "
                f"backward(mean) was not called; under {self._wrapper.name} every rank calls it as "
                "often. Hand whole windows to step(window, loss), which evens them out."
            )

    def counted(self, weights: dict[str, Number]) -> dict[str, Number]:
        """Return the weights over all ranks, by one collective that is waited for.

        Raises:
            RankError: if ranks count different terms.
        """
        if self._counted is None:
            named = [names for names in self._group.gather(sorted(weights)) if names]
            if any(names != named[0] for names in named):
                raise RankError(f"ranks count weights of different terms: {named}; count alike.")
            if not named:
                return weights
            self._counted = named[0]
        if unknown := weights.keys() - set(self._counted):
            raise SettingError(
                f"count gave weights of {sorted(unknown)}, which ranks have not agreed on; give "
                f"those of {self._counted} for every batch."
            )
        sums = pack([weights.get(name, 0.0) for name in self._counted], self._group.device)
        self._group.sum(sums)
        return {name: number(n) for name, n in zip(self._counted, sums.unbind(), strict=True)}

    def micro_batches(self, batches: Sequence[Any], loss: Loss) -> Iterator[Any]:
        """Yield the micro-batches, each with the wrapper set to reduce in the last pass only."""
        self._loss = loss
        if self._rounds is None:
            self._rounds = self._wrapper.rounds(batches)
        for batch in batches:
            self._wrapper.synchronise(on=self._done + 1 == self._rounds)
            yield batch

    def plain(self, model: Any) -> Any:
        """Return what can be run over data without taking part in collectives, where there is."""
        return self._wrapper.inner(model)

    def further(self, batches: Sequence[Any]) -> Sequence[Any]:
        """Return what to run the model over besides, so that every rank runs it as often."""
        self._rounds = self._wrapper.rounds(batches)
        return self._wrapper.padding(self._rounds - len(batches))

    def join(self, tally: Tally, pairs: Pairs, micro_batches: int) -> None:
        """Settle, for one micro-batch's backward pass, what all ranks have to know.

        Raises:
            RankError: if ranks have different terms, metrics or units.
            MissingCountError: if there are several terms, whose weights were not counted.
            SettingError: if the loss gives other terms than in the first window.
        """
        if self._layout is not None:
            self._layout.expect(pairs.terms, pairs.metrics)
        elif any(mean.total.requires_grad for mean in pairs.terms.values()):
            self._meet(pairs.terms, pairs.metrics, micro_batches)
        if self._scaled and tally.counted is None:
            tally.provisional = self._provisional

    def before_backward(self, tally: Tally) -> None:
        """Send this rank's numbers if the backward pass to come is its last."""
        self._done += 1
        if self._done == self._rounds and not self._wrapper.sharded:
            self._send(tally)

    def complete(self, tally: Tally) -> None:
        """Take part in whatever passes are left, and in the reduction."""
        missing = self._missing()
        for index in range(missing):
            self._wrapper.synchronise(on=index == missing - 1)
            with self._wrapper.rerun(self._loss) as rerun:
                self._meet_late(tally)
                if index == missing - 1 and not self._wrapper.sharded:
                    self._send(tally)
                seeds = [self._seed(root, rerun.seed) for root in rerun.roots]
                torch.autograd.backward(rerun.roots, seeds)
        self._meet_late(tally)
        if self._packed is None and not self._wrapper.sharded:
            self._send(tally)
        if not self._done:
            # a scaler makes its scale when it is first used
            self._seed(torch.zeros((), device=self._group.device), 1.0)
        if self._scaled and tally.counted is None:
            tally.provisional = self._provisional
        self._watch.place += 1
        self._wrapper.reduce()

    def collect(
        self, tally: Tally, norm: Number
    ) -> tuple[dict[str, Mean], dict[str, Mean], Number]:
        """Return the terms, metrics and norm of the gradients over all ranks."""
        self._wrapper.end()
        if self._wrapper.sharded:
            self._send(tally, norm * norm / self._wrapper.shares())
        if self._packed is None or self._layout is None:
            return {}, {}, norm
        if self._work is not None:
            self._work.wait()
        numbers = self._packed.unbind()
        terms, metrics = self._layout.means(numbers)
        self._marks = numbers[2 * (len(terms) + len(metrics))]
        self._provisional = power_of_two_above(number(next(iter(terms.values())).weight))
        if self._wrapper.sharded:
            norm = number(numbers[-1].sqrt())
        return terms, metrics, norm

    def suspects(self) -> Callable[[], str]:
        """Return what names the ranks whose loss was not finite in this window, when called."""
        marks, size = self._marks, self._group.size
        return lambda: ranks_named(marks, size)

    def failed(self, error: BaseException) -> None:
        """Tell the other ranks why this one ends, or find out which of them is the cause.

        Raises:
            RankError: if another rank is.
        """
        self._wrapper.end()
        if isinstance(error, NonFiniteError | RankError):
            # these every rank raises alike
            return
        if is_broken_collective(error):
            raise self._watch.explain(error) from error
        self._watch.report(error)

    def _forget(self) -> None:
        self._loss, self._rounds, self._done = _no_loss, None, 0
        self._packed, self._work = None, None

    def _missing(self) -> int:
        if self._rounds is not None:
            return self._rounds - self._done
        # passes were made by the caller, one by one; only DDP reduces what they left in one more
        return 0 if self._wrapper.sharded else self._wrapper.rounds(())

    def _meet_late(self, tally: Tally) -> None:
        if self._layout is None:
            self._meet(tally.terms(), tally.metrics(), 1)

    def _meet(
        self, terms: Mapping[str, Mean], metrics: Mapping[str, Mean], micro_batches: int
    ) -> None:
        """Learn the terms of all ranks, and about what they weigh, by one collective."""
        mine = Layout.of(terms, metrics) if terms else None
        weight = sum((float(m.weight) for m in terms.values()), 0.0) * micro_batches
        met = self._group.gather((mine, weight))
        self._layout = agreed(layout for layout, _ in met)
        self._provisional = power_of_two_above(sum((weight for _, weight in met), 0.0))
        self._expect_counts()

    def _expect_counts(self) -> None:
        # every rank knows the terms, so that every rank raises
        if self._layout is not None and not self._counts_given:
            refuse_several(self._layout.terms)

    def _seed(self, root: Tensor, seed: float) -> Tensor | None:
        return self._update.seed(root.new_tensor(seed), root)

    def _send(self, tally: Tally, *further: Number) -> None:
        if self._layout is None:
            return
        device = self._group.device
        terms = tally.terms()
        numbers = self._layout.numbers(terms, tally.metrics(), device)
        mark = mark_of(self._group.rank, self._group.size)
        numbers.append(_mark_if_not_finite([mean.total for mean in terms.values()], mark))
        self._packed = pack([*numbers, *further], device)
        self._work = self._group.sum(self._packed, wait=False)

    def _measured(self) -> float:
        """Return the factor that the wrapper multiplies the sum over ranks by.

        The first rank back-propagates 1 to one element, the others 0; what all ranks then hold of
        it is the factor.

        Raises:
            SettingError: if it is neither 1, nor 1 / world, nor 1 over a whole number.
        """
        size = self._group.size
        held = self._wrapper.probe(1.0 if self._group.rank == 0 else 0.0)
        sums = pack([held], self._group.device)
        self._group.sum(sums)
        measured = sums.item() / (1 if self._wrapper.sharded else size)
        if measured > 0:
            for whole in (1, size, round(1 / measured)):
                # reduced in bfloat16, a third is off by a 400th
                if whole and abs(measured * whole - 1) < 0.01:
                    return 1.0 / whole
        raise SettingError(
            f"{self._wrapper.name} turns a gradient of 1 on one of {size} ranks into {measured:g}; "
            f"expected 1 or 1/{size}. Look for a communication hook that scales gradients."
        )

    def _expect_reduced(self) -> None:
        reduced = set(self._wrapper.reduced())
        apart = [p for p in self._update.parameters() if p.requires_grad and p not in reduced]
        if apart:
            raise SettingError(
                f"the optimiser has {len(apart)} parameters (the first of shape "
                f"{tuple(apart[0].shape)}) that {self._wrapper.name} does not hold; their "
                "gradients would differ between ranks. Put them inside the wrapped model."
            )


def _mark_if_not_finite(totals: Sequence[Tensor], mark: float) -> Number:
    if not totals:
        return 0.0
    if all(total.device.type == "cpu" for total in totals):
        return 0.0 if all(math.isfinite(total.item()) for total in totals) else mark
    finite = torch.stack([total.isfinite().all() for total in totals]).all()
    return torch.where(finite, 0.0, mark)


def _no_loss(model: Any, batch: Any) -> Outcome:
    del model, batch
    raise SettingError(
        "backward(mean) over fully_shard needs as many calls on every rank; hand whole windows to "
        "step(window, loss), which evens them out."
    )
