# ruff: noqa: ARG002
"""A Lightning callback that makes automatic optimisation, and what is logged, exact.

    on_train_batch_start      torch's losses are recorded while training_step runs
    on_before_backward        their gradients are weighed
    on_before_optimizer_step  the window is over: gradients are divided, before they are clipped

A value that is handed to self.log and is the mean of a loss, or a batchproof.Mean, is kept as a
pair; what is logged is the mean over the window, over the epoch, over all ranks.

Under a budget the loop still draws its batches one by one, and counts them. They are held until the
last one of the window, in whose place the micro-batches of the cut run: training_step and backward
of the strategy are called once for each.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from inspect import getmro, signature
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from batchproof._errors import CriterionError, SettingError
from batchproof._trees import length
from batchproof.data import Padding
from batchproof.integrations._loss_calls import (
    LossCall,
    LossCalls,
    OpenWindow,
    coefficients_of,
    provisional_for,
)
from batchproof.integrations._recut_parts import Budget, Part, part_of, refuse_collectives
from batchproof.mean import Mean
from batchproof.meter import Meter
from batchproof.meter._meter import sync_all
from batchproof.ranks import world_size


class LoggedMeans:
    """The values that a stage hands to self.log, as pairs.

    Args:
        training: whether the stage is that of training, whose values are logged by step.
    """

    def __init__(self, *, training: bool) -> None:
        self.training = training
        self._epoch: dict[str, Meter] = {}
        self._window: dict[str, Meter] = {}
        self._options: dict[str, dict[str, Any]] = {}

    def add(self, name: str, mean: Mean, options: dict[str, Any]) -> None:
        """Add the pairs of a batch, logged under a name with these further arguments."""
        self._options[name] = options
        self._epoch.setdefault(name, Meter()).add(mean)
        self._window.setdefault(name, Meter()).add(mean.pool())

    def end_window(self, module: Any) -> None:
        """Log the means over the window."""
        self._log(module, self._window, on_step=True)

    def end_epoch(self, module: Any) -> None:
        """Log the means over the epoch."""
        self._log(module, self._epoch, on_step=False)
        self._window.clear()
        self._options.clear()

    def _log(self, module: Any, meters: dict[str, Meter], *, on_step: bool) -> None:
        due = {name: meter for name, meter in meters.items() if self._by(name)[not on_step]}
        sync_all(due)
        for name, meter in due.items():
            if on_step and not meter.mean().weight:
                # a window without labels has no mean
                continue
            unused = ("on_step", "on_epoch", "sync_dist", "batch_size", "reduce_fx")
            options = {key: v for key, v in self._options[name].items() if key not in unused}
            value = torch.tensor(meter.estimate().value, dtype=torch.float32)
            # Lightning's own names for a value that is logged by step and by epoch
            both = [f"{name}_step"] if on_step else [name, f"{name}_epoch"]
            for label in both if all(self._by(name)) else [name]:
                module.log(label, value, on_step=on_step, on_epoch=not on_step, **options)
        meters.clear()

    def _by(self, name: str) -> tuple[bool, bool]:
        """Return whether a value is logged by step, and by epoch."""
        options = self._options[name]
        by_step, by_epoch = options.get("on_step"), options.get("on_epoch")
        return (
            self.training if by_step is None else by_step,
            not self.training if by_epoch is None else by_epoch,
        )


class RecutSteps:
    """The training steps of windows that are recut, in place of those of a Lightning strategy.

    Args:
        trainer: of Lightning.
        budget: of a micro-batch.
        record: record(batch, counting) begins to record the losses of a micro-batch.

    Attributes:
        counting: how many rows of the batch at hand repeat no others, and its rows, or None.

    Raises:
        SettingError: if the module draws its batches by itself, or ranks meet in every pass.
    """

    def __init__(self, trainer: Any, budget: Budget, record: Callable[..., None]) -> None:
        strategy, module = trainer.strategy, trainer.lightning_module
        if "dataloader_iter" in signature(module.training_step).parameters:
            raise SettingError(
                f"{type(module).__name__}.training_step takes dataloader_iter, and tokens was "
                "given; expected a batch. Leave tokens out."
            )
        kinds = {kind.__name__ for kind in getmro(type(strategy))}
        refuse_collectives(
            [module], next(iter(kinds & {"FSDPStrategy", "ModelParallelStrategy"}), None)
        )
        self._trainer, self._budget, self._record = trainer, budget, record
        self._step, self._backward = strategy.training_step, strategy.backward
        self._window: list[Part] = []
        self.counting: tuple[int, int] | None = None
        # micro-batches behind the one that was run; None where none was
        self._further: list[Part] | None = None
        self._rest: tuple[Any, ...] = ()
        strategy.training_step, strategy.backward = self.training_step, self.backward

    def remove(self) -> None:
        """Leave the strategy as it was."""
        for name in ("training_step", "backward"):
            vars(self._trainer.strategy).pop(name, None)

    def begin_epoch(self) -> None:
        """Drop the batches of a window that was left open."""
        self._window.clear()

    def training_step(self, batch: Any, *rest: Any) -> Any:
        """Hold a batch; run the first micro-batch where it is the last one of its window."""
        trainer = self._trainer
        self._window.append(part_of(batch, self.counting))
        if trainer.fit_loop._should_accumulate():  # noqa: SLF001
            return torch.zeros((), device=trainer.strategy.root_device, requires_grad=True)
        first, *self._further = self._budget.cut(self._window)
        self._window.clear()
        self._rest = rest
        with self._until_synced():
            return self._run(first)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Back-propagate the micro-batch that was run; run and back-propagate those behind it."""
        if self._further is None:
            return loss
        with self._until_synced():
            result: Tensor = self._backward(loss, *args, **kwargs)
        while self._further:
            part = self._further.pop(0)
            with self._until_synced():
                output = self._run(part)
                more = output["loss"] if isinstance(output, Mapping) else output
                self._backward(more / self._trainer.accumulate_grad_batches, *args, **kwargs)
        self._further = None
        return result

    def _run(self, part: Part) -> Any:
        batch, counts = part
        module = self._trainer.lightning_module
        self._record(batch, None if counts else (0, length(batch) or 0))
        # self.log asks which hook it is called in
        hook, module._current_fx_name = module._current_fx_name, "training_step"  # noqa: SLF001
        try:
            return self._step(batch, *self._rest)
        finally:
            module._current_fx_name = hook  # noqa: SLF001

    def _until_synced(self) -> AbstractContextManager[Any]:
        """Return a context in which ranks do not add gradients up, while micro-batches follow."""
        if self._further and world_size() > 1:
            blocked: AbstractContextManager[Any] = self._trainer.strategy.block_backward_sync()
            return blocked
        return nullcontext()


class Exactly:
    """The hooks; comes before Lightning's Callback among the bases of `Exact`."""

    def __init__(self, *, tokens: int | None = None, lengths: Any = None) -> None:
        self._budget = None if tokens is None else Budget(tokens, lengths)
        self._recut: RecutSteps | None = None
        # batches that the loader gave since it began
        self._position = 0
        self._calls: LossCalls | None = None
        self._window: OpenWindow | None = None
        self._coefficients: list[float] | None = None
        self._provisional = 1.0
        self._means = {training: LoggedMeans(training=training) for training in (True, False)}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse what no exact step can be made of.

        Raises:
            SettingError: if optimisation is manual, or a strategy divides gradients by itself.
        """
        if stage == "fit" and not pl_module.automatic_optimization:
            raise SettingError(
                f"{type(pl_module).__name__} has manual optimisation; expected automatic. Take "
                "batchproof.Step in its training_step, without this callback."
            )
        if trainer.strategy.handles_gradient_accumulation:
            raise SettingError(
                f"{type(trainer.strategy).__name__} accumulates gradients by itself; expected a "
                "single device or DDP. Leave this callback out."
            )
        self._coefficients = self._window = None

    @property
    def padding(self) -> Padding:
        """How much of the windows so far was padding, and is, where tokens was given."""
        return Padding() if self._budget is None else self._budget.padding

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Recut windows from here on, where tokens was given."""
        self._position = 0
        if self._budget is not None:
            record = partial(self._record, trainer, pl_module)
            self._recut = RecutSteps(trainer, self._budget, record)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin with a window of this epoch's batches."""
        self._position = 0
        if self._recut is not None:
            self._recut.begin_epoch()

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the losses of training_step."""
        loader = trainer.train_dataloader
        # within an epoch that is resumed, batch_idx goes on where another loader begins anew
        place = batch_idx if hasattr(loader, "load_state_dict") else self._position
        self._position += 1
        counting = _counting(loader, place, batch)
        if self._recut is None:
            self._record(trainer, pl_module, batch, counting)
        else:
            self._recut.counting = counting

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Record the losses of validation_step."""
        loader = _loader(trainer.val_dataloaders, dataloader_idx)
        self._record(trainer, pl_module, batch, _counting(loader, batch_idx, batch))

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Record the losses of test_step."""
        loader = _loader(trainer.test_dataloaders, dataloader_idx)
        self._record(trainer, pl_module, batch, _counting(loader, batch_idx, batch))

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Weigh the gradients of the losses that were called."""
        calls = self._stop()
        if self._coefficients is None:
            who = f"{type(pl_module).__name__}.training_step"
            self._coefficients = coefficients_of(loss, calls, who)
            self._provisional = provisional_for(call.weight for call in calls)
        if self._window is None:
            accumulate = trainer.accumulate_grad_batches
            alone = accumulate == 1 and world_size() == 1 and self._recut is None
            self._window = OpenWindow(
                self._coefficients,
                self._provisional,
                alone=alone,
                further=float(accumulate),
                micro_batches=accumulate,
            )
        for call in calls:
            self._window.add(call)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Divide the gradients by the weight of the window, and log its means."""
        window, self._window = self._window, None
        if window is None:
            raise CriterionError(
                f"{type(pl_module).__name__}.training_step called no loss of torch; expected one. "
                "Leave this callback out."
            )
        window.close([p for group in optimizer.param_groups for p in group["params"]])
        self._means[True].end_window(pl_module)

    def on_train_batch_end(self, *_: Any) -> None:
        """Leave torch's functions as they were."""
        self._stop()

    on_validation_batch_end = on_test_batch_end = on_train_batch_end

    def on_train_end(self, *_: Any) -> None:
        """Leave torch's functions, and the strategy, as they were."""
        self._stop()
        if self._recut is not None:
            self._recut.remove()
            self._recut = None

    on_exception = on_train_end

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the means over the epoch."""
        self._means[trainer.training].end_epoch(pl_module)

    on_validation_epoch_end = on_test_epoch_end = on_train_epoch_end

    def _record(
        self, trainer: Any, module: Any, batch: Any, counting: tuple[int, int] | None
    ) -> None:
        rows = length(batch) or 0
        self._calls = calls = LossCalls(counting=counting)
        means, log = self._means[trainer.training], module.log

        def keep(name: str, value: Any, *args: Any, **options: Any) -> None:
            mean = None if args else _mean_of(value, calls)
            if mean is None:
                # else that of the batch of the loop
                log(name, value, *args, **({"batch_size": rows} | options if rows else options))
            else:
                means.add(name, mean, options)

        calls.__enter__()
        calls.replace(module, "log", keep)

    def _stop(self) -> list[LossCall]:
        calls, self._calls = self._calls, None
        if calls is None:
            return []
        calls.__exit__()
        return calls.calls


def _mean_of(value: Any, calls: LossCalls) -> Mean | None:
    """Return the pairs of a value that is logged, where it is the mean of a recorded loss."""
    if isinstance(value, Mean):
        return value.detach()
    return next((call.pooled() for call in calls.calls if call.is_value(value)), None)


def _loader(loaders: Any, index: int) -> Any:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[index] if isinstance(loaders, list | tuple) else loaders


def _counting(loader: Any, batch_idx: int, batch: Any) -> tuple[int, int] | None:
    """Return (how many rows of a batch repeat no others, rows), or None where none does.

    The sampler that Lightning puts in fills up the samples with the first ones, and deals them out
    in turn: place i of rank r is sample i * world + r.
    """
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last:
        return None
    rows = length(batch) or 0
    first = batch_idx * (loader.batch_size or rows)
    count = len(sampler.dataset)  # type: ignore[arg-type]
    real = sum((first + i) * sampler.num_replicas + sampler.rank < count for i in range(rows))
    return None if real == rows else (real, rows)
