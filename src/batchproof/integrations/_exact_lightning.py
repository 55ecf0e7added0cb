# ruff: noqa: ARG002
"""A Lightning callback that makes automatic optimisation, and what is logged, exact.

    on_train_batch_start      torch's losses are recorded while training_step runs
    on_before_backward        their gradients are weighed
    on_before_optimizer_step  the window is over: gradients are divided, before they are clipped

A value that is handed to self.log and is the mean of a loss, or a batchproof.Mean, is kept as a
pair; what is logged is the mean over the window, over the epoch, over all ranks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from batchproof._errors import CriterionError, SettingError
from batchproof._trees import length
from batchproof.integrations._loss_calls import LossCall, LossCalls, OpenWindow, coefficients_of
from batchproof.mean import Mean, pool
from batchproof.meter import Meter
from batchproof.meter._meter import sync_all
from batchproof.ranks import largest, world_size
from batchproof.step._number import power_of_two_above


class Exactly:
    """The hooks; comes before Lightning's Callback among the bases of `Exact`."""

    def __init__(self) -> None:
        self._calls: LossCalls | None = None
        self._window: OpenWindow | None = None
        self._coefficients: list[float] | None = None
        self._provisional = 1.0
        self._rows = 0
        self._meters: dict[str, Meter] = {}
        self._logged: dict[str, tuple[list[Mean], dict[str, Any]]] = {}

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

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the losses of training_step."""
        self._record(pl_module, batch, trainer.train_dataloader, batch_idx)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Weigh the gradients of the losses that were called."""
        calls = self._stop()
        accumulate = trainer.accumulate_grad_batches
        if self._coefficients is None or (self._window is None and trainer.global_step < 2):
            found = coefficients_of(loss, calls, f"{type(pl_module).__name__}.training_step")
            if self._coefficients is None:
                weights = [float(call.mean.weight.sum()) for call in calls]
                (most,) = largest([max(weights)])
                self._provisional = float(power_of_two_above(most))
            self._coefficients = found
        if self._window is None:
            alone = accumulate == 1 and world_size() == 1
            self._window = OpenWindow(
                self._coefficients, self._provisional, alone=alone, further=float(accumulate)
            )
        for call in calls:
            self._window.add(call)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Divide the gradients by the weight of the window, and log its means."""
        if self._window is None:
            raise CriterionError(
                f"{type(pl_module).__name__}.training_step called no loss of torch; expected one. "
                "Leave this callback out."
            )
        window, self._window = self._window, None
        window.close([p for group in optimizer.param_groups for p in group["params"]])
        meters = {}
        for name, (means, named) in self._logged.items():
            if named.get("on_step", True):
                meters[name] = Meter()
                meters[name].add(pool(means))
        sync_all(meters)
        for name, meter in meters.items():
            self._log(pl_module, name, meter, on_step=True, on_epoch=False)
        self._logged = {name: ([], named) for name, (_, named) in self._logged.items()}

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop recording where training_step returned no loss."""
        self._stop()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the means over the epoch."""
        self._log_epoch(pl_module)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Record the losses of validation_step."""
        self._record(pl_module, batch, _loader(trainer.val_dataloaders, dataloader_idx), batch_idx)

    def on_validation_batch_end(self, *_: Any) -> None:
        """Stop recording."""
        self._stop()

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the means of the training aside."""
        self._aside = self._meters, self._logged
        self._meters, self._logged = {}, {}

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the means over the validation."""
        self._log_epoch(pl_module)
        self._meters, self._logged = self._aside

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Record the losses of test_step."""
        self._record(pl_module, batch, _loader(trainer.test_dataloaders, dataloader_idx), batch_idx)

    def on_test_batch_end(self, *_: Any) -> None:
        """Stop recording."""
        self._stop()

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the means over the test."""
        self._log_epoch(pl_module)

    def on_exception(self, *_: Any) -> None:
        """Leave torch's functions as they were."""
        self._stop()

    def _record(self, module: Any, batch: Any, loader: Any, batch_idx: int) -> None:
        self._rows = length(batch) or 0
        counting = _counting(loader, batch_idx, self._rows)
        self._calls = LossCalls(counting=counting)
        self._calls.__enter__()
        log = module.log

        def keep(name: str, value: Any, *args: Any, **named: Any) -> None:
            mean = self._mean_of(value)
            if mean is None or args:
                log(name, value, *args, **named)
                return
            self._meters.setdefault(name, Meter()).add(mean)
            self._logged.setdefault(name, ([], named))[0].append(mean.pool())

        self._calls.replace(module, "log", keep)

    def _mean_of(self, value: Any) -> Mean | None:
        """Return the pairs of a value that is logged, where it is the mean of a recorded loss."""
        if isinstance(value, Mean):
            return value.detach()
        for call in self._calls.calls if self._calls is not None else ():
            if _is(value, call):
                return call.by_sample(self._rows)
        return None

    def _stop(self) -> list[LossCall]:
        calls, self._calls = self._calls, None
        if calls is None:
            return []
        calls.__exit__()
        return calls.calls

    def _log_epoch(self, module: Any) -> None:
        wanted = {
            name: meter
            for name, meter in self._meters.items()
            if self._logged[name][1].get("on_epoch", not module.training)
        }
        sync_all(wanted)
        for name, meter in wanted.items():
            self._log(module, name, meter, on_step=False, on_epoch=True)
        self._meters.clear()
        self._logged.clear()

    def _log(self, module: Any, name: str, meter: Meter, *, on_step: bool, on_epoch: bool) -> None:
        named = dict(self._logged.get(name, ([], {}))[1])
        both = named.get("on_step", module.training) and named.get("on_epoch", not module.training)
        unused = ("on_step", "on_epoch", "sync_dist", "batch_size", "reduce_fx")
        kept = {key: value for key, value in named.items() if key not in unused}
        value = torch.tensor(meter.estimate().value, dtype=torch.float32)
        # Lightning's own names for a value that is logged by step and by epoch
        names = [name] if not both else [f"{name}_step"] if on_step else [name, f"{name}_epoch"]
        for shown in names:
            module.log(shown, value, on_step=on_step, on_epoch=on_epoch, **kept)


def _is(value: Any, call: LossCall) -> bool:
    (returned,) = call.returned
    if isinstance(value, Tensor):
        return value.data_ptr() == returned.data_ptr()
    return isinstance(value, float) and value == returned.item()


def _loader(loaders: Any, index: int) -> Any:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[index] if isinstance(loaders, list | tuple) else loaders


def _counting(loader: Any, batch_idx: int, rows: int) -> tuple[int, int] | None:
    """Return (how many rows of a batch repeat no others, rows), or None where none does.

    The sampler that Lightning puts in fills up the samples with the first ones, and deals them out
    in turn: place i of rank r is sample i * world + r.
    """
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last:
        return None
    first = batch_idx * (loader.batch_size or rows)
    count = len(sampler.dataset)  # type: ignore[arg-type]
    real = sum((first + i) * sampler.num_replicas + sampler.rank < count for i in range(rows))
    return None if real == rows else (real, rows)
