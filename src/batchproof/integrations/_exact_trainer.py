"""A transformers Trainer whose steps and evaluations are those of one mean.

The Trainer's own loop runs. Five of its methods are wrapped, each calling the one below it:

    get_batch_samples       a window begins: repeated rows are taken out, and it is recut
    _get_num_items_in_batch no count of labels: heads return means of micro-batches
    training_step           the calls of torch's losses are recorded, and their gradients weighed;
                            the last micro-batch divides, before the gradients are clipped
    prediction_step         the pairs of a batch go to a meter
    evaluation_loop         the meter's mean becomes eval_loss

What a head computes is found out once, on the first two rows of the first micro-batch and on the
first: a sum of means that torch's losses return, with coefficients that do not change, or it is
refused.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from inspect import getmro
from typing import Any

import torch
from torch import Tensor, distributed

from batchproof._errors import CriterionError, SettingError
from batchproof.integrations._exact_evaluation import Evaluation
from batchproof.integrations._loss_calls import (
    LossCall,
    LossCalls,
    OpenWindow,
    coefficients_of,
    provisional_for,
)
from batchproof.integrations._recut_parts import Budget, Part, counting_of, refuse_collectives
from batchproof.integrations._trainer_losses import Places, Router, head_of, places_of
from batchproof.ranks import device_of, in_a_group, world_size
from batchproof.step._number import power_of_two_above
from batchproof.step._snapshot import leaving_no_trace

# TRL's trainers count what went through compute_loss
_COUNTS = ("_metrics", "_total_train_tokens")
_WRAPPED = (
    "get_batch_samples",
    "training_step",
    "prediction_step",
    "evaluation_loop",
    "_inner_training_loop",
)


class Slot(dict[str, Any]):
    """One batch of the Trainer's loop, with the micro-batches that are trained on in its place.

    Attributes:
        parts: each with whether its samples count, or only repeat others.
    """

    parts: list[Part]


@dataclass(slots=True)
class Exactness:
    """What an exact Trainer remembers of its training.

    Attributes:
        budget: of the micro-batches, or None to leave the batches.
        coefficients: c_k of each loss that the model calls; None until the first batch.
        window: the one that is open.
        load: f_e of the open window, where it was counted beforehand.
        evaluation: the one that runs.
        places: where the model calls its losses; None where they are to be looked for.
    """

    budget: Budget | None = None
    coefficients: Sequence[float] | None = None
    provisional: float = 1.0
    window: OpenWindow | None = None
    load: Tensor | None = None
    evaluation: Evaluation | None = None
    places: Places | None = None


class ExactTraining:
    """Wraps the methods of a transformers Trainer; comes before it among the bases."""

    args: Any
    model: Any
    model_wrapped: Any
    is_fsdp_enabled: bool
    accelerator: Any
    label_smoother: Any
    compute_loss_func: Any
    compute_loss: Any
    compute_loss_context_manager: Any
    _prepare_inputs: Any
    tokens: int | None = None
    lengths: Any = None
    _exact: Exactness | None = None

    @property
    def exactness(self) -> Exactness:
        """What is remembered of the training."""
        if self._exact is None:
            refuse_unsupported(self)
            budget = None if self.tokens is None else Budget(self.tokens, self.lengths)
            self._exact = Exactness(budget)
        return self._exact

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, exactly; as Trainer.train."""
        refuse_unsupported(self)
        # the loss is divided here, and nowhere else
        self.loss_is_scaled_for_ga = True
        self.exactness.coefficients = self.exactness.places = None
        if world_size() > 1 and self.model_wrapped is self.model and not self.is_fsdp_enabled:
            # an evaluation before marks the bare model as prepared, and it would train unwrapped:
            # every rank for itself
            vars(self.model).pop("_is_accelerate_prepared", None)
        return super().train(*args, **kwargs)  # type: ignore[misc]

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> None:  # noqa: ARG002
        return None

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Begin a window; as Trainer.get_batch_samples."""
        exact = self.exactness
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        if not batches:
            return batches, None
        parts = [(batch, True) for batch in batches]
        real = self._real_rows()
        if real is not None:
            parts[-1] = (_first_rows(batches[-1], max(real, 1)), real > 0)
        if exact.coefficients is None:
            self._look(parts[0][0])
        slots = [Slot(batch) for batch in batches]
        for slot, part in zip(slots, parts, strict=True):
            slot.parts = [part]
        if exact.budget is not None:
            parts = exact.budget.cut(parts)
            for slot in slots:
                slot.parts = []
            slots[-1].parts = parts
        exact.window = self._begun([part for slot in slots for part in slot.parts])
        return slots, None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Back-propagate one batch of the loop; as Trainer.training_step.

        Returns:
            The mean over the window from its last batch, 0 from the others: the loop adds them up.
        """
        window = self.exactness.window
        if window is None or not isinstance(inputs, Slot):
            raise CriterionError(
                f"training_step of {type(self).__name__} was called outside the Trainer's loop; "
                "call trainer.train()."
            )
        for number, (part, counts) in enumerate(inputs.parts, 1):
            waits = number < len(inputs.parts)
            syncing = self.accelerator.no_sync(model=model) if waits else nullcontext()
            with syncing, self._recording(window.add, counts=counts):
                super().training_step(model, part, num_items_in_batch)  # type: ignore[misc]
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        self.exactness.window = None
        return torch.tensor(window.close(model.parameters()), device=self.args.device)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: Any, ignore_keys: Any = None
    ) -> Any:
        """Evaluate one batch; as Trainer.prediction_step."""
        step = super().prediction_step  # type: ignore[misc]
        evaluation = self.exactness.evaluation
        if evaluation is None:
            return step(model, inputs, prediction_loss_only, ignore_keys=ignore_keys)
        if not evaluation.coefficients and _labelled(self, inputs):
            evaluation.coefficients = self._coefficients(_first_rows(inputs, 1), training=False)
        with self._recording(by_row=True) as recorded:
            result = step(model, inputs, prediction_loss_only, ignore_keys=ignore_keys)
        real = self._real_rows()
        if real is not None and recorded[0].calls:
            inputs = _first_rows(inputs, max(real, 1))
            # the predictions are those of all rows, whose repeated ones gather_for_metrics drops
            with self._recording(counts=real > 0, by_row=True) as recorded:
                step(model, inputs, True, ignore_keys=ignore_keys)  # noqa: FBT003
        calls, router = recorded
        if calls.calls:
            labels = inputs.get("labels")
            width = labels[0].numel() if isinstance(labels, Tensor) else 1
            evaluation.add(calls.calls, router.sums if router else (), _rows(inputs), width)
        return result

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate, exactly; as Trainer.evaluation_loop."""
        exact = self.exactness
        outer, exact.evaluation, exact.places = exact.evaluation, Evaluation(), None
        try:
            output = super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]
            if exact.evaluation.meters or f"{_prefix(kwargs)}_loss" in output.metrics:
                output.metrics.update(exact.evaluation.result(_prefix(kwargs)))
        finally:
            exact.evaluation = outer
        return output

    @contextmanager
    def _recording(
        self,
        saw: Callable[[LossCall], None] | None = None,
        *,
        counts: Any = True,
        leaves: bool = False,
        by_row: bool = False,
    ) -> Iterator[tuple[LossCalls, Router | None]]:
        """Record the losses that the model, the smoother or a function of the user's calls."""
        exact, counting = self.exactness, None if counts else (0, 1)
        with LossCalls(saw, counting=counting, leaves=leaves, by_row=by_row) as calls:
            if exact.places is None or exact.places.model is not self.model:
                exact.places = places_of(self.model)
            router = exact.places.stand_in(self, calls, exact.load, is_compared=leaves)
            yield calls, router

    def _look(self, batch: Any) -> None:
        """Find out what the loss is made of, and refuse one that cannot be split."""
        two = self._coefficients(_first_rows(batch, 2), training=True)
        one = self._coefficients(_first_rows(batch, 1), training=True)
        if len(two) != len(one) or any(
            abs(a - b) > 1e-4 * abs(a) for a, b in zip(two, one, strict=True)
        ):
            raise CriterionError(
                f"{head_of(self.model).__name__} multiplies what torch's losses return by {two} on "
                f"two rows and by {one} on the first of them; expected the same on every batch."
            )
        self.exactness.coefficients = two
        # that of one row, until here
        self.exactness.provisional *= float(power_of_two_above(self.args.train_batch_size))

    def _coefficients(self, batch: Any, *, training: bool) -> list[float]:
        model = self.model
        was = model.training
        model.train(training)
        try:
            with leaving_no_trace(model), torch.enable_grad():
                with self._recording(leaves=True) as (recorded, _):
                    loss = self._loss(batch)
                    calls = recorded.calls
                coefficients = coefficients_of(loss, calls, head_of(model).__name__)
        finally:
            model.train(was)
        if training:
            lead = next(call.weight for call, c in zip(calls, coefficients, strict=True) if c)
            self.exactness.provisional = provisional_for([lead])
        return coefficients

    def _loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch that is only looked at: the trainer's counts stay."""
        counts = {name: copy.deepcopy(vars(self)[name]) for name in _COUNTS if name in vars(self)}
        inputs = self._prepare_inputs(dict(batch))
        with self.compute_loss_context_manager():
            loss: Tensor = self.compute_loss(self.model, inputs)
        vars(self).update(counts)
        return loss

    def _begun(self, parts: Sequence[Part]) -> OpenWindow:
        """Return the window over these micro-batches, with the weights that must be known."""
        exact = self.exactness
        coefficients = exact.coefficients or ()
        exact.load = None
        alone = len(parts) == 1 and world_size() == 1 and parts[0][1]
        weights = None
        if sum(map(bool, coefficients)) > 1 and not alone:
            weights = self._counted(parts)
        return OpenWindow(coefficients, exact.provisional, weights, alone, micro_batches=len(parts))

    def _counted(self, parts: Sequence[Part]) -> list[float]:
        """Return each call's weight over the window of all ranks, by a pass without gradient."""
        exact = self.exactness
        self.model.train()
        totals: list[Tensor] = []
        with torch.no_grad(), leaving_no_trace(self.model):
            for part, counts in parts:
                with self._recording(counts=counts) as (recorded, router):
                    self._loss(part)
                weights = [float(call.weight) for call in recorded.calls]
                loads = [(sums * counts).cpu() for sums in router.sums] if router else []
                totals.append(torch.cat([torch.tensor(weights, dtype=torch.float64), *loads]))
        window = torch.stack(totals).sum(0)
        if in_a_group():
            window = window.to(device_of())
            distributed.all_reduce(window)
        calls = len(exact.coefficients or ())
        if len(window) > calls:
            routed = window[calls:]
            exact.load = routed[: len(routed) // 2] / routed[-1]
        result: list[float] = window[:calls].tolist()
        return result

    def _real_rows(self) -> int | None:
        """Return the number of rows that repeat no others, or None where none is repeated."""
        counting = counting_of(self.accelerator.gradient_state)
        return None if counting is None else counting[0]


def refuse_unsupported(trainer: Any) -> None:
    """Refuse a Trainer that an exact step or evaluation cannot be made of, in one line.

    Raises:
        SettingError: if its settings or its overrides do not allow it.
    """
    args = trainer.args
    names = ("DataParallel", "deepspeed", "torch_compile", "use_liger_kernel")
    states = (args.n_gpu > 1, args.deepspeed, args.torch_compile, args.use_liger_kernel)
    refused = [name for name, state in zip(names, states, strict=True) if state]
    if hasattr(trainer, "reward_funcs"):
        # a batch that is looked at beforehand would be generated twice
        raise SettingError(
            f"{type(trainer).__name__} generates its batches while it trains, and weighs them by "
            "advantages; expected losses that are means. Leave exactly() out, and say its "
            "aggregation as a unit of batchproof.reduce (the guide RL fine-tuning)."
        )
    optimizer = str(getattr(args.optim, "value", args.optim))
    if "layerwise" in optimizer or "lomo" in optimizer:
        refused.append(f"optim={optimizer}, which steps within the backward pass")
    if trainer.tokens is not None:
        refuse_collectives([trainer.model], "FSDP" if trainer.is_fsdp_enabled else None)
    sizes = {n: getattr(trainer, f"get_{n}_size", int)() for n in ("tp", "cp", "sp")}
    refused += [f"{name}_size={size}" for name, size in sizes.items() if size > 1]
    if refused:
        raise SettingError(
            f"{type(trainer).__name__} has {', '.join(refused)}; expected one process a device "
            "whose losses are torch's own. Switch it off, or leave exactly() out."
        )
    kinds = getmro(type(trainer))
    for number, kind in enumerate(kinds):
        if kind.__module__.partition(".")[0] in {"transformers", "batchproof"}:
            continue
        # around an override that is further down in the order, what is recorded is the same
        inside = ExactTraining in kinds[:number]
        for name in sorted({*_WRAPPED} - ({"prediction_step"} if inside else set())):
            code = getattr(vars(kind).get(name), "__code__", None)
            if code is not None and not {"super", name} <= {*code.co_names}:
                raise SettingError(
                    f"{kind.__name__} overrides {name} without calling super().{name}, which an "
                    "exact step needs. Call it, or override compute_loss instead."
                )


def _labelled(trainer: Any, inputs: Any) -> bool:
    return all(inputs.get(name) is not None for name in trainer.label_names)


def _prefix(options: Mapping[str, Any]) -> str:
    return str(options.get("metric_key_prefix", "eval"))


def _rows(batch: Any) -> int:
    """Return the number of samples of a batch: the length of its tensors' first dimension."""
    return next(len(value) for value in batch.values() if isinstance(value, Tensor) and value.ndim)


def _first_rows(batch: Any, rows: int) -> dict[str, Any]:
    """Return the first rows of a batch."""
    size = _rows(batch)
    return {
        name: value[:rows]
        if isinstance(value, Tensor) and value.ndim and len(value) == size
        else value
        for name, value in batch.items()
    }
