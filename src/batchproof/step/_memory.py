"""Micro-batches that do not fit in memory: halved by samples, and the window begun again.

A micro-batch of a plan is planned again, under the smaller budget, and its padding trimmed; one
that comes from a loader is not trimmed, since nobody asked for it.

The gradient of a window does not depend on its cut, so a smaller cut may always replace it. The
state that the failed pass changed is restored and its memory is freed, so that the window's result
is, bit for bit, that of the smaller cut from the start. The size of the half is remembered, and
every later micro-batch is cut to it before it is run.

Ranks need not agree on a cut. They send each other nothing of a window before all their passes are
done, so a rank that begins its window again only arrives later.
"""

import gc
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from batchproof._errors import DataError, SampleTooLargeError
from batchproof._random import Generator, generators_in
from batchproof._trees import between, leaves, length, rowless, tensors
from batchproof.data import Window, recut
from batchproof.data._layout import refuse_pairs
from batchproof.ranks import first_line
from batchproof.step._snapshot import Snapshot
from batchproof.step._tally import Tally
from batchproof.step._update import Update

Loss = Callable[[Any, Any], Any]
Passes = Callable[[list[Any]], Tally]

# messages of allocators and libraries that have no exception of their own
_SAY = ("DefaultCPUAllocator", "out of memory", "_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class Split:
    """A micro-batch that did not fit in memory, and was halved.

    Attributes:
        step: the number of the optimiser step, from 1.
        samples: the number of samples of the micro-batch.
        fits: the number of samples of its half, which is tried next.
        reason: the first line of the error.
        layers: those whose result depends on the cut by nature; named at the first split only.

    Examples:
        >>> print(Split(step=3, samples=64, fits=32, reason="out of memory"))
        step 3: a micro-batch of 64 samples did not fit in memory, so ...
    """

    step: int
    samples: int
    fits: int
    reason: str
    layers: Sequence[str] = ()

    def __str__(self) -> str:
        text = (
            f"step {self.step}: a micro-batch of {self.samples} samples did not fit in memory, so "
            f"the step began again with at most {self.fits} of that size, as later ones do."
        )
        if not self.layers:
            return text
        more = f" and {len(self.layers) - 3} more" if len(self.layers) > 3 else ""
        return (
            f"{text} The gradient is the same, but what depends on the cut by nature is not: "
            f"{', '.join(self.layers[:3])}{more}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers and the reason, for a log."""
        return {"samples": self.samples, "fits": self.fits, "reason": self.reason}


class Whole:
    """Micro-batches as they come: one that does not fit is an error.

    Attributes:
        fits: None.
        splits: none.
        guard: a context that does nothing.
    """

    fits: int | None = None
    splits: Sequence[Split] = ()
    guard = nullcontext()


class Halving:
    """Micro-batches that are halved where they do not fit, with what fits remembered.

    Args:
        model: the model of the step.
        update: the optimiser's side.

    Attributes:
        fits: the largest micro-batch that is tried, in elements of all its tensors; None for any.
        splits: the micro-batches that did not fit so far.
        guard: a context in which running out of memory is the fault of the micro-batch at hand.
    """

    def __init__(self, model: Any, update: Update) -> None:
        self.fits: int | None = None
        self.splits: list[Split] = []
        self.guard = self
        self._model, self._update = model, update
        self._batch: Any = None
        self._generators: list[Generator] | None = None

    def guarded(self, loss: Loss) -> Loss:
        """Return the loss within the guard, which notes the micro-batch at hand."""
        if self._generators is None:
            self._generators = generators_in(loss, self._model)

        def within(model: Any, batch: Any) -> Any:
            self._batch = batch
            with self:
                return loss(model, batch)

        return within

    def __enter__(self) -> None:
        """Enter the guard."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise that the micro-batch does not fit, if memory ran out."""
        if error is not None and is_out_of_memory(error):
            raise _TooLargeError(self._batch) from error

    def fitted(self, step: int, window: list[Any], passes: Passes) -> Tally:
        """Make the passes of a window, again with smaller micro-batches until all of them fit.

        Args:
            step: the number of the optimiser step, from 1.
            window: the micro-batches.
            passes: makes the passes over some micro-batches, and returns their pairs.

        Raises:
            DataError: if a micro-batch cannot be split by samples.
            SampleTooLargeError: if one sample alone does not fit.
        """
        for batch in window if step == 1 else ():
            _expect_samples(batch)
        own = set(self._update.parameters())
        others = self._model.parameters() if isinstance(self._model, nn.Module) else ()
        before = Snapshot(
            self._model,
            parameters=[p for p in others if p not in own],
            generators=self._generators or (),
        )
        try:
            while True:
                try:
                    return passes(self.cut(window))
                except _TooLargeError as error:
                    self._halve(step, error)
                    _free(error)
                self._update.zero()
                before.restore()
        finally:
            self._batch = None

    def cut(self, window: list[Any]) -> list[Any]:
        """Return a window's micro-batches, those that are too large in equal parts."""
        if self.fits is None:
            return window
        planned = isinstance(window, Window) and window.padding is not None
        parts = [part for batch in window for part in self._parts(batch, planned=planned)]
        return window.like(parts) if isinstance(window, Window) else parts

    def _parts(self, batch: Any, *, planned: bool) -> list[Any]:
        size = _size(batch)
        if self.fits is None or size <= self.fits:
            return [batch]
        if planned and (parts := _planned(batch, self.fits / size)):
            return [less for part in parts for less in self._parts(part, planned=False)]
        samples = _expect_samples(batch)
        count = -(-samples // max(1, self.fits * samples // size))
        bounds = [samples * part // count for part in range(count + 1)]
        return [between(batch, *pair) for pair in pairwise(bounds)]

    def _halve(self, step: int, error: "_TooLargeError") -> None:
        samples, reason = _expect_samples(error.batch), first_line(error.__cause__ or error)
        if samples < 2:
            raise SampleTooLargeError(
                f"step {step}: one row alone, a sample, does not fit in memory "
                f"({_shown(error.batch)}; {reason}). Shorten or drop it, or checkpoint activations."
            ) from error.__cause__
        half = -(-samples // 2)
        self.fits = _size(error.batch) * half // samples
        layers = () if self.splits else tuple(_dependent(self._model))
        self.splits.append(Split(step, samples, half, reason, layers))


Memory = Whole | Halving


class _TooLargeError(Exception):
    """Ends the passes of a window over a micro-batch that does not fit."""

    def __init__(self, batch: Any) -> None:
        super().__init__("a micro-batch does not fit in memory")
        self.batch = batch


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocator has raised an error."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAY)


def _free(error: BaseException | None) -> None:
    """Free what the frames of a failed pass hold, and the blocks that a device keeps unused."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _size(batch: Any) -> int:
    return sum(tensor.numel() for tensor in tensors(batch))


def _planned(batch: Any, share: float) -> list[Any] | None:
    """Return a micro-batch of a plan cut by plan again, padding trimmed; None where it is unclear.

    Args:
        batch: of one row per sample.
        share: of its positions, the most that a part may have.
    """
    positions = max((t.shape[0] * t.shape[1] for t in tensors(batch) if t.ndim > 1), default=0)
    try:
        return recut([batch], tokens=max(1, int(share * positions)))
    except DataError:
        return None


def _expect_samples(batch: Any) -> int:
    """Return the number of samples of a micro-batch that can be split by them."""
    refuse_pairs(dict(leaves(batch)))
    samples = length(batch)
    other = next(rowless(batch), None)
    if samples is not None and other is None:
        return samples
    path, part = other or ("the batch", batch)
    kind = f"a tensor {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
    raise DataError(
        f"out_of_memory is 'split', but {path} is {kind}, which is not a row per sample; expected "
        "tensors, or lists, of one length. Leave it out of the batch, or compute it in the loss."
    )


def _shown(batch: Any) -> str:
    return ", ".join(f"{path} {tuple(leaf.shape)} {leaf.dtype}" for path, leaf in leaves(batch))


def _dependent(model: Any) -> list[str]:
    """Return the layers whose result depends on the cut: batch statistics, and random draws."""
    modules = model.named_modules() if isinstance(model, nn.Module) else ()
    return [
        f"{type(module).__name__} {name!r}"
        for name, module in modules
        if module.training and (isinstance(module, _BatchNorm) or _drops(module))
    ]


def _drops(module: nn.Module) -> bool:
    # of layers that drop inside, such as attention and LSTM, the rate is an attribute
    rate = module.p if isinstance(module, _DropoutNd) else getattr(module, "dropout", 0.0)
    return isinstance(rate, float) and rate > 0
