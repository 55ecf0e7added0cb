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
    copy              buffers, to ranks that had no data

Each rank counts its progress: with each window, each pass through the model, each loss, and once it
only waits for the others. When a collective fails, the rank with the least progress is late.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._errors import NonFiniteError, RankError, SettingError
from batchproof.data import Window
from batchproof.mean import Mean, Outcome, Pairs
from batchproof.ranks import Watch, is_broken_collective, is_sharded, watch_of
from batchproof.step._number import Number, number
from batchproof.step._ranks._agreement import (
    OwnCollectives,
    compare,
    expect_as_many,
    expect_as_often,
    expect_reduced,
    factor_of,
)
from batchproof.step._ranks._exchange import Exchange
from batchproof.step._ranks._layout import ranks_named
from batchproof.step._ranks._replicated import Replicated
from batchproof.step._ranks._statistics import share_statistics
from batchproof.step._ranks._unwrapped import Unwrapped
from batchproof.step._ranks._wrappers import Wrapper
from batchproof.step._tally import Tally
from batchproof.step._update import Update

Loss = Callable[[Any, Any], Any]


@dataclass(slots=True)
class Passes:
    """The passes of one window through the model, on this rank.

    Attributes:
        loss: the loss function; one that refuses where backward(mean) is called pass by pass.
        total: the number of passes to make; None where they are made pass by pass.
        number: the number of passes made so far.
        filled: the ranks that have data in this window, where the window knows.
    """

    loss: Loss
    total: int | None = None
    number: int = 0
    filled: Sequence[int] | None = None

    @property
    def last_is_next(self) -> bool:
        """Whether the pass to come is the last."""
        return self.number + 1 == self.total


class Many:
    """Ranks that take steps together.

    Args:
        wrapper: the wrapper that sums their gradients.
        model: the model given to the loss, in its wrapper.
        description: lines that must be the same on every rank.
        update: the optimiser's side, whose parameters must all be reduced.
        counts: whether each term's weight is counted before the backward pass.
        has_scaler: whether a scaler wants totals divided on the way.
        splits: whether a rank may begin its passes again. All of them are then made before ranks
            send each other anything, so that the others only wait for it.

    Attributes:
        alone: False.
        divisor: d of the law above.
    """

    alone = False

    def __init__(
        self,
        wrapper: Wrapper,
        model: Any,
        description: Sequence[str],
        update: Update,
        *,
        counts: bool,
        has_scaler: bool,
        splits: bool,
    ) -> None:
        self.divisor = math.nan
        self._has_scaler, self._splits = has_scaler, splits
        self._wrapper = wrapper
        self._model = model
        self._group = wrapper.group
        self._description = list(description)
        self._update = update
        self._watch = watch_of(self._group.process_group)
        self._own = OwnCollectives(self._group, told_apart=_is_eager(wrapper, model))
        self._exchange = Exchange(self._group, self._own, counts=counts)
        self._passes = Passes(_no_loss)
        self._weights: dict[str, Number] | None = None
        self._hooks = ExitStack()
        self._started = False

    def begin(self) -> None:
        """Open a window; the first time, compare models and measure the wrapper's factor."""
        self._watch.enter()
        self._own.forget()
        if not self._started:
            self._group.set_apart()
            compare(self._group, self._description)
            expect_reduced(self._wrapper, self._update.parameters())
            self.divisor = factor_of(self._wrapper)
            self._started = True
        self._exchange.forget()
        self._passes, self._weights = Passes(_no_loss), None
        self._wrapper.begin()
        if self._splits:
            self._wrapper.share_buffers()
        for module in _entered(self._wrapper, self._model):
            self._hooks.callback(_before_each(module, self._watch.advance))
        if isinstance(self._wrapper, Replicated) and _is_eager(self._wrapper, self._model):
            enter = partial(_enter, self._wrapper, self._own, self._passes)
            self._hooks.callback(_before_each(self._wrapper.model, enter))
            self._hooks.callback(_before_each(self._wrapper.model.module, self._own.resume))

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
        """Return the weights over all ranks, by one collective that is waited for."""
        # a rank that begins again would meet nobody
        if self._weights is None:
            self._weights = self._exchange.counted(weights)
        return self._weights

    def micro_batches(self, batches: Sequence[Any], loss: Loss) -> Iterator[Any]:
        """Yield the micro-batches, each with the wrapper set to reduce in the last pass only."""
        passes = self._passes
        passes.loss, passes.number = loss, 0
        if passes.total is None or self._splits:
            passes.total = _rounds(self._wrapper, self._own, batches, apart=self._splits)
        passes.filled = batches.filled if isinstance(batches, Window) else None
        for batch in batches:
            self._wrapper.synchronise(on=passes.last_is_next)
            self._own.resume()
            yield batch

    def plain(self, model: Any) -> Any:
        """Return a model that runs without taking part in collectives, if there is one."""
        return self._wrapper.inner(model)

    def further(self, batches: Sequence[Any]) -> Sequence[Any]:
        """Return further micro-batches to run, so that every rank runs the model as often."""
        self._passes.total = _rounds(self._wrapper, self._own, batches, apart=self._splits)
        return self._wrapper.padding(self._passes.total - len(batches))

    def join(self, tally: Tally, pairs: Pairs, micro_batches: int) -> None:
        """Exchange what all ranks need to know before one micro-batch's backward pass.

        Raises:
            RankError: if ranks have different terms, metrics or units.
            MissingCountError: if there are several terms, whose weights were not counted.
            SettingError: if the loss gives other terms than in the first window.
        """
        self._watch.advance()
        self._own.pause()
        if isinstance(self._wrapper, Replicated) and self._wrapper.model.require_backward_grad_sync:
            _expect_open(self._wrapper, self._passes)
        exchange = self._exchange
        if exchange.layout is not None:
            exchange.layout.expect(pairs.terms, pairs.metrics)
        elif any(mean.total.requires_grad for mean in pairs.terms.values()):
            exchange.meet(pairs.terms, pairs.metrics, micro_batches)
        if self._has_scaler and tally.weights is None:
            tally.provisional = exchange.provisional

    def before_backward(self, tally: Tally) -> None:
        """Send this rank's numbers if the backward pass to come is its last."""
        self._passes.number += 1
        last = self._passes.number == self._passes.total
        if last and not self._splits and not self._wrapper.sharded:
            self._send_before_the_last(tally)

    def complete(self, tally: Tally) -> None:
        """Take part in the remaining passes, and in the reduction."""
        missing = _missing(self._passes, self._wrapper, self._watch)
        for index in range(missing):
            last = index == missing - 1
            self._wrapper.synchronise(on=last)
            with self._wrapper.rerun(self._passes.loss) as rerun:
                self._watch.advance()
                self._exchange.meet_late(tally)
                if last and not self._wrapper.sharded:
                    self._send_before_the_last(tally)
                seeds = [_seed(self._update, root, rerun.seed) for root in rerun.roots]
                torch.autograd.backward(rerun.roots, seeds)
        self._exchange.meet_late(tally)
        if not self._exchange.sent and not self._wrapper.sharded:
            self._exchange.send(tally)
        if not self._passes.number:
            # a scaler makes its scale when it is first used
            _seed(self._update, torch.zeros((), device=self._group.device), 1.0)
        if self._has_scaler and tally.weights is None:
            tally.provisional = self._exchange.provisional
        self._watch.arrive()
        self._wrapper.reduce()

    def collect(
        self, tally: Tally, norm: Number
    ) -> tuple[dict[str, Mean], dict[str, Mean], Number]:
        """Return the terms, metrics and norm of the gradients over all ranks."""
        self._leave()
        if self._wrapper.sharded:
            self._exchange.send(tally, norm * norm / self._wrapper.shares())
        sums = self._exchange.receive()
        if sums is None:
            return {}, {}, norm
        terms, metrics, last = sums
        share_statistics(self._group, self._model, self._passes.filled, self._exchange.filled)
        return terms, metrics, number(last.sqrt()) if self._wrapper.sharded else norm

    def suspects(self) -> Callable[[], str]:
        """Return a function that names the ranks whose loss was not finite in this window."""
        marks, size = self._exchange.marks, self._group.size
        return lambda: ranks_named(marks, size)

    def failed(self, error: BaseException) -> None:
        """Report to the other ranks why this one ends, or find the rank that is the cause.

        Raises:
            RankError: if another rank is.
        """
        self._leave()
        if isinstance(error, NonFiniteError | RankError):
            # every rank raises these alike
            return
        if is_broken_collective(error):
            raise self._watch.explain(error) from error
        self._watch.report(error)

    def _send_before_the_last(self, tally: Tally) -> None:
        """Send the numbers; under DDP the backward pass to come waits for the other ranks."""
        if not isinstance(self._wrapper, Unwrapped):
            self._watch.arrive()
        self._exchange.send(tally)
        if self._own.has_any or (not tally.pairs and self._group.device.type == "cpu"):
            # a forward pass of another rank may make collectives, which gloo takes for DDP's
            self._exchange.wait()

    def _leave(self) -> None:
        self._hooks.close()
        self._wrapper.end()


def _before_each(module: nn.Module, act: Callable[[], None]) -> Callable[[], None]:
    """Act before each forward pass of a module; return a function that ends it."""
    return module.register_forward_pre_hook(lambda *_: act(), prepend=True).remove


def _enter(wrapper: Replicated, own: OwnCollectives, passes: Passes) -> None:
    """Prepare for the collectives that a wrapper makes before the model's forward pass."""
    own.pause()
    if wrapper.model.will_sync_module_buffers():  # type: ignore[no-untyped-call]
        _expect_open(wrapper, passes)


def _expect_open(wrapper: Wrapper, passes: Passes) -> None:
    """Refuse another rank that has closed the window, where the caller makes the passes."""
    if passes.total is None:
        expect_as_often(wrapper.group, passes.number, closed=False)


def _rounds(wrapper: Wrapper, own: OwnCollectives, batches: Sequence[Any], *, apart: bool) -> int:
    """Return the number of passes of a window; one more reduces where that is kept apart."""
    if apart:
        return len(batches) + wrapper.rounds(())
    if own.has_any:
        expect_as_many(wrapper.group.gather(len(batches)))
    return wrapper.rounds(batches)


def _missing(passes: Passes, wrapper: Wrapper, watch: Watch) -> int:
    """Return the number of passes left to make."""
    if passes.total is None:
        # the caller made them one by one; only DDP reduces what they left, in one more
        watch.arrive()
        passes.total = passes.number
        if not isinstance(wrapper, Unwrapped):
            expect_as_often(wrapper.group, passes.number, closed=True)
            passes.total += 0 if wrapper.sharded else wrapper.rounds(())
    return passes.total - passes.number


def _seed(update: Update, root: Tensor, seed: float) -> Tensor | None:
    return update.seed(root.new_tensor(seed), root)


def _entered(wrapper: Wrapper, model: Any) -> list[nn.Module]:
    """Return the modules in whose forward pass ranks may wait for each other."""
    if isinstance(wrapper, Unwrapped) or not isinstance(model, nn.Module):
        return []
    # a hook on a compiled module would be compiled, too
    shards = [m for m in model.modules() if is_sharded(m) and m._compiled_call_impl is None]  # noqa: SLF001
    return [model, *(m for m in shards if m is not model and not hasattr(model, "_orig_mod"))]


def _is_eager(wrapper: Wrapper, model: Any) -> bool:
    """Return whether hooks tell a wrapper's own collectives from those of the model and loss."""
    if isinstance(wrapper, Replicated):
        # a hook on a compiled module would be compiled, too
        return model is wrapper.model and wrapper.model.module._compiled_call_impl is None  # noqa: SLF001
    return isinstance(wrapper, Unwrapped)


def _no_loss(model: Any, batch: Any) -> Outcome:
    del model, batch
    raise SettingError(
        "backward(mean) over fully_shard needs as many calls on every rank; hand whole windows to "
        "step(window, loss), which evens them out."
    )
