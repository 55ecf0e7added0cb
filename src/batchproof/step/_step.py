"""One optimiser step is the gradient of one mean, over any cut of its samples.

    L = sum_m X_m / sum_m W_m          grad L = sum_m grad X_m / sum_m W_m

Micro-batches are back-propagated as sums, as they come, and the rest of the division when the
last one is done is part of the optimiser's own pass over the gradients. A window of one micro-batch
knows its weight before its backward pass, which then starts from 1 / W and leaves nothing over.

Over several ranks r the sums run over them too, and the law is the same: see step/_ranks.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, SupportsFloat

import torch
from torch import Tensor, distributed
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from batchproof._errors import SettingError, shown
from batchproof._trees import in_own_containers
from batchproof.mean import Mean, Outcome, Pairs, refuse_criterion
from batchproof.step._count import Count, count_window, refuse_count
from batchproof.step._gradients import clip_factor, gradients, scale, total_norm
from batchproof.step._memory import Halving, Memory, Whole
from batchproof.step._number import (
    Flag,
    Number,
    nonzero,
    not_finite,
    number,
    power_of_two_above,
)
from batchproof.step._objective import (
    Objective,
    known_weight,
    miscounted,
    refuse_several,
    refuse_weight,
    weights_of,
)
from batchproof.step._ranks import ranks_of
from batchproof.step._result import StepResult
from batchproof.step._tally import Tally
from batchproof.step._update import ClosureUpdate, Update, Updater, named, updating
from batchproof.step._verdict import Verdict, Verdicts
from batchproof.step._windows import micro_batches_of

Loss = Callable[[Any, Any], Mean | Mapping[str, Mean] | Outcome]


class Step:
    """Takes optimiser steps whose gradient does not depend on how the samples are cut.

    Args:
        model: handed to the loss; its parameters are named in errors.
        optimizer: any torch optimiser, or a callable updater(batch_weight) that updates parameters
            from summed gradients and divides by the weight itself. One whose step() requires a
            closure, such as LBFGS, gets the objective over the whole window, as often as it asks.
        coefficients: what each term of an objective is multiplied by; 1 where not given.
        max_grad_norm: the largest 2-norm of the mean's gradient, which is clipped to it; or None.
        scaler: a torch.amp.GradScaler for float16.
        group: the ranks that take steps together, which then all call this as often; without it
            those of the model's wrapper, or torch.distributed's default group where one is
            initialised. The model is bare, in DistributedDataParallel, or sharded by fully_shard.
        count: for several terms over several micro-batches or ranks: a callable that gives the
            weights of a batch by term, or "forward" for one extra forward pass without gradient.
        nonfinite: "raise", or "skip" to count windows whose loss or gradient is not finite. In
            both the parameters stay unchanged.
        out_of_memory: "raise", or "split" to halve a micro-batch that does not fit in memory, begin
            the window again with nothing of the failed pass left, and cut later micro-batches to
            the size that fits. Batches hold one row per sample in every tensor, in the first
            dimension; those that cannot be split so are refused.

    Attributes:
        steps: the number of windows so far.
        memory: what fits in memory: memory.fits, and memory.splits, the micro-batches that did not.

    Raises:
        SettingError: if a setting is invalid.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=1.0))
        >>> mse = bp.exact(torch.nn.MSELoss())
        >>> batches = [(torch.ones(3, 1), torch.ones(3, 1)), (torch.ones(1, 1), torch.zeros(1, 1))]
        >>> result = step(batches, lambda model, batch: mse(model(batch[0]), batch[1]))
        >>> result.loss.item(), model.weight.item()
        (0.75, 1.5)
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer | Updater,
        *,
        coefficients: Mapping[str, float] | None = None,
        max_grad_norm: float | None = None,
        scaler: GradScaler | None = None,
        group: distributed.ProcessGroup | None = None,
        count: Count | Literal["forward"] | None = None,
        nonfinite: Literal["raise", "skip"] = "raise",
        out_of_memory: Literal["raise", "split"] = "raise",
    ) -> None:
        if max_grad_norm is not None and not _is_positive(max_grad_norm):
            raise SettingError(
                f"max_grad_norm is {shown(max_grad_norm)}; expected a positive norm, or None."
            )
        refuse_count(count)
        if nonfinite not in ("raise", "skip"):
            raise SettingError(f"nonfinite is {nonfinite!r}; expected 'raise' or 'skip'.")
        if out_of_memory not in ("raise", "split"):
            raise SettingError(f"out_of_memory is {out_of_memory!r}; expected 'raise' or 'split'.")
        self.model = model
        self.steps = 0
        self._update = updating(optimizer, model, scaler)
        splits = out_of_memory == "split"
        self.memory: Memory = Halving(model, self._update) if splits else Whole()
        self._objective = Objective(coefficients)
        self._max_grad_norm = max_grad_norm
        self._count = count
        self._nonfinite = nonfinite
        self._has_scaler = scaler is not None and scaler.is_enabled()
        self._tally: Tally | None = None
        self._verdicts = Verdicts(tolerate_nonfinite=nonfinite == "skip")
        self._ranks = ranks_of(
            model,
            self._update,
            group,
            {
                "coefficients": coefficients,
                "max_grad_norm": max_grad_norm,
                "nonfinite": nonfinite,
                "out_of_memory": out_of_memory,
            },
            counts=count is not None,
            has_scaler=self._has_scaler,
            splits=splits,
        )

    def __call__(self, window: Iterable[Any], loss: Loss) -> StepResult:
        """Take one optimiser step over a window of micro-batches.

        Args:
            window: micro-batches, of any sizes; none at all is a step not taken.
            loss: called as loss(model, batch); returns a Mean, a dict of Means or an Outcome.

        Returns:
            The window's numbers, on the device.

        Raises:
            MissingCountError: if several terms meet several micro-batches and count is None.
            DataError: if out_of_memory is "split" and a micro-batch cannot be split by samples.
            SampleTooLargeError: if it is "split" and one sample alone does not fit in memory.
            NonFiniteError: if the loss or gradient was not finite and nonfinite is "raise"; on the
                CPU at once, elsewhere at a later call or read, which never waits for the device.
            SettingError: if the window is a batch, the loss a criterion, or the loss has weight but
                no gradient reached any parameter.
            RankError: if ranks train different things, or one of them failed.
        """
        batches = window if isinstance(window, list) else micro_batches_of(window)
        try:
            if not self.steps:
                refuse_criterion(loss)
            whole = isinstance(self.memory, Whole)
            if self._count == "forward" or isinstance(self._update, ClosureUpdate) or not whole:
                # the loss meets a batch more than once
                loss = _on_copies(loss)
            passes = self._summed if whole else self._fitted
            if isinstance(self._update, ClosureUpdate):
                result = _search(self._update, lambda: self._close(passes(batches, loss)))
            else:
                result, factor, weight = self._close(passes(batches, loss))
                self._update.apply(factor, weight, result.verdict)
            return self._remembered(result)
        except BaseException as error:
            self._tally = None
            self._ranks.failed(error)
            raise

    def __repr__(self) -> str:
        names = [type(part).__name__ for part in (self.model, self._update.optimizer)]
        return f"Step({', '.join(names)}, steps={self.steps})"

    def backward(self, mean: Mean | Mapping[str, Mean] | Outcome) -> None:
        """Back-propagate one micro-batch of the open window, opening one where there is none.

        An error ends the window, since it leaves the gradients of a part of the micro-batch behind.

        Over ranks in DistributedDataParallel or fully_shard every rank calls it as often in each
        window; hand windows that differ to step(window, loss), which evens them out.

        Args:
            mean: what a loss function returns.

        Raises:
            MissingCountError: if it has several terms, whose weights over the window are unknown.
            SettingError: if out_of_memory is "split", which needs the whole window.
        """
        if isinstance(self.memory, Halving):
            raise SettingError(
                "out_of_memory is 'split', which repeats passes that do not fit, but "
                "backward(mean) is given each once; hand whole windows to step(window, loss)."
            )
        try:
            tally = self._tally or self._begin()
            self._backward(tally, Pairs.of(mean), micro_batches=None)
        except BaseException as error:
            self._tally = None
            self._ranks.failed(error)
            raise

    def apply(self) -> StepResult:
        """Divide, clip and update: close the open window.

        Returns:
            The window's numbers, on the device.

        Raises:
            SettingError: if no window is open, the optimiser evaluates a window several times, or
                no gradient reached any parameter.
            NonFiniteError: as __call__ does.
        """
        if isinstance(self._update, ClosureUpdate):
            raise SettingError(
                f"{type(self._update.optimizer).__name__} evaluates a window several times, which "
                "backward(mean) does once; hand it the window: step(window, loss)."
            )
        try:
            if self._tally is None:
                self._ranks.expect_a_pass()
            result, factor, weight = self._close(self._tally or self._begin())
            self._update.apply(factor, weight, result.verdict)
            return self._remembered(result)
        except BaseException as error:
            self._ranks.failed(error)
            raise

    def _fitted(self, batches: list[Any], loss: Loss) -> Tally:
        """Return the window's pairs as _summed does, of micro-batches that fit in memory."""
        assert isinstance(self.memory, Halving)
        self._begin()
        passes = partial(self._summed, loss=self.memory.guarded(loss), continues=True)
        return self.memory.fitted(self.steps + 1, batches, passes)

    def _summed(self, batches: list[Any], loss: Loss, *, continues: bool = False) -> Tally:
        """Return the window's pairs, and leave the gradients of its sums in the parameters."""
        tally, ranks, count = Tally() if continues else self._begin(), self._ranks, self._count
        if count is not None:
            model = ranks.plain(self.model)
            further = ranks.further(batches) if count == "forward" else ()
            weights = count_window(count, batches, model, loss, further=further)
            tally.weights = ranks.counted(weights)
        for batch in ranks.micro_batches(batches, loss):
            pairs = Pairs.of(loss(self.model, batch))
            self._backward(tally, pairs, micro_batches=len(batches))
        return tally

    def _remembered(self, result: StepResult) -> StepResult:
        """Count the window, and raise its error as soon as that is known."""
        self.steps += 1
        self._verdicts.add(result.verdict)
        return result

    def _close(self, tally: Tally) -> tuple[StepResult, Number | None, Number]:
        """Return the window's numbers, the factor still missing from its gradients, and W."""
        self._tally = None
        self._ranks.complete(tally)
        self._update.unscale()
        grads = gradients(self._update.parameters())
        terms, metrics, norm = self._ranks.collect(tally, total_norm(grads))
        if not grads and self._ranks.alone:
            refuse_weight(self.steps + 1, terms)
        loss = self._objective.mean(terms) if terms else Mean.zero(device=_device(self._update))
        weight = 1.0 if tally.weights is not None else number(loss.weight)
        to_mean, factor = _factors(tally, weight, self._ranks.divisor, divides=self._update.divides)
        if to_mean is not None:
            norm = norm * to_mean
        if self._max_grad_norm is not None:
            clip = clip_factor(norm, self._max_grad_norm)
            factor = clip if factor is None else factor * clip
        counts = None if self._count is None else tally.weights
        flags = _flags(
            counts, weights_of(terms), number(loss.total), norm, has_scaler=self._has_scaler
        )
        blame = partial(_blame, self, self._update, self.steps + 1)
        verdict = Verdict(self.steps + 1, flags, tally.totals, blame, self._ranks.suspects())
        if not isinstance(factor, Tensor) and factor == 1.0:
            factor = None
        if self._nonfinite == "skip":
            loss = _emptied(loss, verdict)
            terms = {name: _emptied(mean, verdict) for name, mean in terms.items()}
        return StepResult(loss, terms, metrics, norm, verdict), factor, weight

    def check(self) -> None:
        """Wait for every window so far, and raise the error of the first that had one.

        Raises:
            NonFiniteError: if a loss or gradient was not finite and nonfinite is "raise".
        """
        self._verdicts.check()

    @property
    def skipped(self) -> int:
        """The number of windows that took no step so far. Read on the host."""
        return int(self._verdicts.skipped)

    def state_dict(self) -> dict[str, int | None]:
        """Return the counters and the size that fits in memory, for a checkpoint."""
        return {"steps": self.steps, "skipped": self.skipped, "fits": self.memory.fits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the counters of a checkpoint, and the size that fits in memory."""
        self.steps, self._verdicts.skipped = state["steps"], state["skipped"]
        self.memory.fits = state.get("fits")

    def _begin(self) -> Tally:
        self._verdicts.check_arrived()
        self._update.zero()
        self._ranks.begin()
        self._tally = Tally()
        return self._tally

    def _backward(self, tally: Tally, pairs: Pairs, *, micro_batches: int | None) -> None:
        if self._ranks.alone:
            if tally.weights is None:
                divides = micro_batches == 1 and self._update.divides
                _settle_divisors(
                    tally,
                    pairs.terms,
                    micro_batches or 1,
                    divides=divides,
                    has_scaler=self._has_scaler,
                )
        else:
            self._ranks.join(tally, pairs, micro_batches or 1)
        roots, seeds = [], []
        for name, mean in pairs.terms.items():
            if mean.total.requires_grad:
                divisor = tally.provisional
                if tally.weights is not None:
                    divisor = known_weight(tally.weights, name) * self._ranks.divisor
                seed = self._objective.seed(name, mean.total, divisor)
                roots.append(mean.total)
                seeds.append(self._update.seed(seed, mean.total) if self._has_scaler else seed)
        tally.add(pairs)
        if roots:
            self._ranks.before_backward(tally)
            with self.memory.guard:
                torch.autograd.backward(roots, seeds)


def _factors(
    tally: Tally, weight: Number, divisor: float, *, divides: bool
) -> tuple[Number | None, Number | None]:
    """Return the factor from the gradients to the mean's, and the factor to apply now.

    wanted       grad( sum_m X_m ) / W
    there is     d * grad( sum_m X_m ) / P    P: the provisional divisor, or 1
                                              d: the factor of the ranks' wrapper, or 1
    so           to_mean = P / (d * W);  an updater divides by W itself: only P / d is undone
    """
    if tally.weights is not None:
        return None, None
    provisional = 1.0 if tally.provisional is None else tally.provisional
    to_mean = provisional / (nonzero(weight) * divisor)
    return to_mean, to_mean if divides else provisional / divisor


def _on_copies(loss: Loss) -> Loss:
    """Return a loss that is given each batch in containers of its own."""
    return lambda model, batch: loss(model, in_own_containers(batch))


def _search(
    update: ClosureUpdate, close: Callable[[], tuple[StepResult, Number | None, Number]]
) -> StepResult:
    """Let an optimiser evaluate a window as often as it asks, with the mean's gradient."""

    def evaluate() -> StepResult:
        result, factor, _ = close()
        if factor is not None:
            scale(gradients(update.parameters()), factor)
        return result

    return update.search(evaluate)


def _settle_divisors(
    tally: Tally, terms: Mapping[str, Mean], micro_batches: int, *, divides: bool, has_scaler: bool
) -> None:
    """Choose, at the first micro-batch, the divisors of totals on the way."""
    if divides:
        tally.weights = weights_of(terms)
        return
    refuse_several(terms)
    if has_scaler and not tally.pairs:
        (weight,) = weights_of(terms).values()
        tally.provisional = power_of_two_above(weight * micro_batches)


def _flags(
    counts: Mapping[str, Number] | None,
    weights: Mapping[str, Number],
    total: Number,
    norm: Number,
    *,
    has_scaler: bool,
) -> dict[str, Flag]:
    """Return the reasons to hold a window back, by name: see Verdict."""
    empty: Flag = True
    for weight in weights.values():
        empty = empty & (weight == 0)
    nonfinite, nonfinite_gradient = not_finite(total), not_finite(norm)
    return {
        "empty": empty,
        "nonfinite": nonfinite if has_scaler else nonfinite | nonfinite_gradient,
        "overflowed": nonfinite_gradient if has_scaler else False,
        "miscounted": miscounted(counts, weights),
    }


def _blame(step: Step, update: Update, number_of_step: int) -> str | None:
    """Return the name of a parameter whose gradient is not finite, if it is still there."""
    if number_of_step != step.steps:
        return None
    for parameter, name in named(step.model, update.parameters()).items():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return name
    return None


def _is_positive(value: Any) -> bool:
    return isinstance(value, SupportsFloat) and not isinstance(value, bool) and float(value) > 0


def _device(update: Update) -> torch.device:
    return next((p.device for p in update.parameters()), torch.device("cpu"))


def _emptied(mean: Mean, verdict: Verdict) -> Mean:
    """Return the pair, or (0, 0) where the window was not finite."""
    nonfinite = torch.as_tensor(verdict.flags["nonfinite"])
    return Mean(
        torch.where(nonfinite, 0, mean.total), torch.where(nonfinite, 0, mean.weight), mean.unit
    )
