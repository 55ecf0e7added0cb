"""A Keras metric that is the weighted mean of a loss, and exact accumulation, on torch.

Keras reports as `loss` the mean over batches of what its loss returns, weighed by rows, so that
with sample weights, or a mask, the number depends on the batches. The metric keeps the sums of
weighted losses and of weights, in float64, and divides once.

Its optimizers average the gradients of gradient_accumulation_steps batches, whatever they hold, and
what is left at the end of an epoch waits for the next. The callback weighs each batch's gradient by
what its loss was divided by, and divides once:

    g = sum_m W_m g_m / sum_m W_m        g_m = grad X_m / W_m
"""

import math
import os
from functools import partial
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor

from batchproof._errors import CriterionError, NonFiniteError, SettingError
from batchproof._plan import expect_whole
from batchproof.integrations._given import framework
from batchproof.integrations._loss_calls import expect_one_ratio
from batchproof.mean import exact_dtype, reduce
from batchproof.step._gradients import scale


class LossSums:
    """The sums; comes before Keras' Metric among the bases of `ExactLoss`.

    Args:
        loss: a loss of Keras, its name, or a function of (y_true, y_pred) that returns one loss for
            each sample or position.
        name: under which the metric is shown.

    Raises:
        SettingError: if Keras has another backend than torch.
    """

    def __init__(self, loss: Any, *, name: str = "exact_loss") -> None:
        keras = _on_torch()
        super().__init__(name=name)  # type: ignore[call-arg]
        function = keras.losses.get(loss)
        # a class of Keras, or a function of (y_true, y_pred)
        self._loss = getattr(function, "call", function)
        self.reset_state()

    def reset_state(self) -> None:
        """Begin with no losses."""
        self._total = self._weight = torch.zeros((), dtype=exact_dtype(torch.device("cpu")))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the losses of a batch.

        Args:
            y_true: targets.
            y_pred: outputs, with the mask of Keras where they have one.
            sample_weight: of each sample, or of each of its losses.
        """
        with torch.no_grad():
            losses = self._loss(_tensor(y_true), _tensor(y_pred))
        losses = losses[None] if losses.ndim == 0 else losses
        mask = getattr(y_pred, "_keras_mask", None)
        weight = None if sample_weight is None else _spread(_tensor(sample_weight), losses)
        mean = reduce(
            losses.double(),
            weight=weight,
            mask=None if mask is None else _spread(_tensor(mask).bool(), losses),
        ).pool()
        self._total = self._total + mean.total.to(self._total)
        self._weight = self._weight + mean.weight.to(self._weight)

    def result(self) -> Tensor:
        """Return the mean over all that was added; 0 of nothing, as Keras has it."""
        return self._total / torch.where(self._weight == 0, 1, self._weight)


class Accumulated:
    """The events; comes before Keras' Callback among the bases of `ExactAccumulation`.

    Args:
        accumulate: batches of a step; the last step of an epoch has those that are left.
    """

    model: Any

    def __init__(self, accumulate: int) -> None:
        expect_whole(accumulate=accumulate)
        super().__init__()
        self.accumulate = accumulate
        self._begin()

    def _begin(self) -> None:
        """Begin a window without batches."""
        self._sums: list[Tensor | None] = []
        # of each loss of each batch, what it was divided by, and its mean
        self._losses: list[list[tuple[float, Tensor]]] = []

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Begin a window.

        Raises:
            SettingError: if an exact step cannot be taken by the model.
        """
        _on_torch()
        self._module: Any = framework("keras.src.losses.loss", "keras")
        # Keras looks for its backend whenever a callback is asked for the model
        self._trained = model = self.model
        steps = model.optimizer.gradient_accumulation_steps
        if steps:
            raise SettingError(
                f"the optimizer has gradient_accumulation_steps={steps} beside ExactAccumulation; "
                "expected one of them. Leave the optimizer's out."
            )
        if model.jit_compile:
            raise SettingError(
                "the model has jit_compile=True, whose step is compiled; expected False. Compile "
                "it without, or leave ExactAccumulation out."
            )
        self._begin()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take over the next step of the model."""
        vars(self._trained)["train_step"] = self._step

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Take the last step of an epoch before a validation."""
        self._close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take the last step of an epoch."""
        self._close()

    def _step(self, data: Any) -> Any:
        """Run the model's own step, and add its gradients to the window."""
        model, optimizer = self._trained, self._trained.optimizer
        del vars(model)["train_step"]
        module = self._module
        losses: list[tuple[float, Tensor]] = []
        original = module.reduce_weighted_values

        def reduce_weighted_values(values: Any, *args: Any, **options: Any) -> Any:
            mean = original(values, *args, **options)
            losses.append((_divisor(module, values, *args, **options), mean.detach()))
            return mean

        module.reduce_weighted_values = reduce_weighted_values
        vars(optimizer)["apply"] = partial(self._add, losses)
        try:
            return model.train_step(data)
        finally:
            module.reduce_weighted_values = original
            vars(optimizer).pop("apply", None)

    def _add(
        self, losses: list[tuple[float, Tensor]], gradients: Any, variables: Any = None
    ) -> None:
        """Add the gradients of a batch, in place of the optimizer's step.

        Raises:
            CriterionError: if no loss of Keras was called.
        """
        if not losses:
            raise CriterionError(
                f"the training step of {type(self.model).__name__} called no loss of Keras, so its "
                "gradient cannot be weighed; expected model.compile(loss=...). Leave "
                "ExactAccumulation out."
            )
        self._losses.append(losses)
        self._variables = variables
        if self.accumulate == 1:
            # the mean of a batch is right as it is
            self._sums = gradients
        else:
            before = self._sums or [None] * len(gradients)
            weight = losses[0][0]
            self._sums = [_sum(a, b, weight) for a, b in zip(before, gradients, strict=True)]
        if len(self._losses) == self.accumulate:
            self._close()

    def _close(self) -> None:
        """Step by the mean over the window; not where its weight is 0.

        Raises:
            MissingCountError: if several losses have weights that are not in one ratio.
            NonFiniteError: if a loss is NaN or infinite; before the weights of the model move.
        """
        if not self._losses:
            return
        losses, sums = self._losses, self._sums
        self._begin()
        if len(losses) > 1 and len(losses[0]) > 1:
            weights = [[weight for weight, _ in batch] for batch in losses]
            expect_one_ratio(torch.tensor(weights, dtype=torch.float64))
        total = math.fsum(batch[0][0] for batch in losses)
        if not total:
            return
        values = [mean for batch in losses for weight, mean in batch if weight]
        if not math.isfinite(value := float(sum(values[1:], start=values[0]))):
            raise NonFiniteError(
                f"the loss of this step is {value}, so no step was taken. Look for NaN in the "
                "data, or a learning rate that is too large."
            )
        optimizer = self._trained.optimizer
        vars(optimizer).pop("apply", None)
        with torch.no_grad():
            if self.accumulate > 1:
                scale([s for s in sums if s is not None], 1 / total)
            optimizer.apply(sums, self._variables)


def _sum(total: Tensor | None, gradient: Tensor | None, weight: float) -> Tensor | None:
    """Return the sum of gradients with that of a batch, times its weight."""
    if gradient is None:
        return total
    return gradient * weight if total is None else total.add_(gradient, alpha=weight)


def _divisor(
    losses: Any,
    values: Any,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "sum_over_batch_size",
    dtype: Any = None,
) -> float:
    """Return what a loss of Keras divides the sum of its values by.

    Raises:
        CriterionError: if it divides by nothing.
    """
    if reduction not in {"sum_over_batch_size", "mean", "mean_with_sample_weight"}:
        raise CriterionError(
            f"a loss of Keras has reduction={reduction!r}; expected a mean, as by "
            'reduction="sum_over_batch_size". Leave ExactAccumulation out.'
        )
    values = _tensor(values)
    if reduction == "mean_with_sample_weight" and (sample_weight is not None or mask is not None):
        weights = losses.apply_mask(sample_weight, mask, dtype=dtype, reduction=reduction)
        return float(_tensor(weights).detach().sum())
    if mask is not None:
        return float(_tensor(mask).bool().sum())
    return float(values.numel())


def _on_torch() -> Any:
    """Return Keras.

    Raises:
        SettingError: if it has another backend than torch.
    """
    keras = framework("keras", "keras")
    if keras.config.backend() != "torch":
        raise SettingError(
            f"Keras runs on {keras.config.backend()}; expected torch. Set KERAS_BACKEND=torch "
            f"before keras is imported; it is {os.environ.get('KERAS_BACKEND', 'unset')}."
        )
    return keras


def _tensor(value: Any) -> Tensor:
    value = getattr(value, "value", value)
    return value if isinstance(value, Tensor) else torch.as_tensor(value)


def _spread(values: Tensor, losses: Tensor) -> Tensor:
    """Return weights of samples as weights of each of their losses."""
    if values.ndim == losses.ndim + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    return values.reshape(*values.shape, *[1] * (losses.ndim - values.ndim)).expand_as(losses)


def __getattr__(name: str) -> Any:
    if name not in {"ExactLoss", "ExactAccumulation"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    keras = framework("keras", "keras")
    if name == "ExactLoss":
        bases: tuple[type, ...] = (LossSums, keras.metrics.Metric)
    else:
        bases = (Accumulated, keras.callbacks.Callback)
    globals()[name] = type(name, bases, {"__module__": __name__})
    return globals()[name]
