"""The loss of a batch: one function, in training and in evaluation alike.

`fit` hands it to Step and `evaluate` calls it itself, so that what is reported is what is
optimised. Autocast is added around the user's loss and nothing else. For supervised learning it is
made of a criterion between the model's output and a target.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast

from batchproof._errors import SettingError, kind_of, shown
from batchproof.data import check_labels
from batchproof.mean import Mean, Outcome, exact, of_torch

Loss = Callable[[Any, Any], Any]
Returned = Mean | Mapping[str, Mean] | Outcome
Precision = Literal["fp32", "bf16", "fp16"]
Criterion = Callable[..., Any]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss)


def under_precision(loss: Loss, precision: Precision, device: torch.device) -> Loss:
    """Return the loss as it is called under a precision.

    Args:
        loss: called as loss(model, batch).
        precision: "fp32" leaves it as it is; "bf16" and "fp16" wrap it in autocast.
        device: where it runs.

    Raises:
        SettingError: if float16 was asked for on the CPU, whose operations lack it.
    """
    if precision == "fp32":
        return loss
    if precision == "fp16" and device.type == "cpu":
        raise SettingError(
            "precision is 'fp16' on the CPU, which trains in 'bf16' or 'fp32' only; choose one."
        )

    dtype = _DTYPES[precision]

    def autocast_loss(model: Any, batch: Any) -> Any:
        with autocast(device.type, dtype=dtype):
            return loss(model, batch)

    return autocast_loss


class Supervised:
    """Calls the model on the input, and the criterion on its output and the target.

    Attributes:
        criterion: called as criterion(output, target); returns a Mean or a dict of Means.
        metrics: called likewise, each returning a Mean.
    """

    def __init__(self, criterion: Criterion, metrics: Mapping[str, Criterion]) -> None:
        self.criterion = criterion
        self.metrics = dict(metrics)

    def __repr__(self) -> str:
        inner = getattr(self.criterion, "module", None) or getattr(self.criterion, "function", None)
        name = getattr(inner or self.criterion, "__name__", None) or repr(inner or self.criterion)
        metrics = f", metrics={list(self.metrics)}" if self.metrics else ""
        return f"supervised({name}{metrics})"

    def predict(self, model: Any, batch: Any) -> tuple[Any, Any]:
        """Return the model's output on a batch, and the batch's target.

        Raises:
            SettingError: if the batch is not a pair.
        """
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise SettingError(
                f"the batch is {kind_of(batch)}{size}; supervised expects (input, target). "
                "Write a function loss(model, batch) that returns a Mean for other batches; a "
                "batch that is a window by itself goes in a list: step([batch], loss)."
            )
        return model(batch[0]), batch[1]

    def classes(self, output: Any, target: Any, *, where: str) -> int | None:
        """Return the number of classes, None where the criterion is not one of classes.

        Raises:
            DataError: if a label is not a class; its sample is named.
        """
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return None
        if getattr(getattr(self.criterion, "spec", None), "module", None) not in _BY_CLASS:
            return None
        if target.is_floating_point() or output.shape[:1] + output.shape[2:] != target.shape:
            return None
        classes = int(output.shape[1])
        check_labels(target, classes, ignore_index=self._ignored(), where=where)
        return classes

    def _ignored(self) -> int:
        """Return the label that a criterion made by exact leaves out."""
        bound = getattr(self.criterion, "bound", {}).get("ignore_index", -100)
        return int(getattr(getattr(self.criterion, "module", None), "ignore_index", bound))

    def __call__(self, model: Any, batch: Any) -> Outcome:
        """Return the loss and the metrics of one batch.

        Raises:
            SettingError: if the criterion gives a tensor, whose denominator is lost.
            DataError: if a label is not a class; its sample is named.
        """
        output, target = self.predict(model, batch)
        try:
            terms = self.criterion(output, target)
        except IndexError:
            self.classes(output, target, where="the batch")
            raise
        if isinstance(terms, Tensor):
            raise SettingError(
                f"the criterion returned a tensor of shape {tuple(terms.shape)}; expected a Mean. "
                'Wrap it: batchproof.exact(criterion, unit="element").'
            )
        metrics = {name: of(output, target) for name, of in self.metrics.items()}
        return Outcome(terms, metrics, output, target)


def supervised(
    criterion: Criterion, *, metrics: Mapping[str, Criterion] | None = None
) -> Supervised:
    """Return loss(model, batch) for batches (input, target).

    Args:
        criterion: a torch criterion, module or functional, which is taken through
            batchproof.exact; or any callable(output, target) that returns a Mean.
        metrics: what to watch beside it, by name, as callables(output, target) that return a
            Mean, such as {"accuracy": batchproof.accuracy}. One that is not a mean, such as F1,
            goes to Trainer(metrics=...) or evaluate(metrics=...).

    Returns:
        A callable for Trainer, evaluate and Step.

    Raises:
        SettingError: if the criterion or a metric cannot be called.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> loss = bp.supervised(torch.nn.MSELoss())
        >>> batch = (torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1))
        >>> loss(torch.nn.Identity(), batch).terms.item()
        2.5
    """
    if not isinstance(metrics, Mapping | None):
        raise SettingError(
            f"metrics is {shown(metrics)}; expected functions by name: "
            '{"accuracy": batchproof.accuracy}.'
        )
    for name, of in {"the criterion": criterion, **(metrics or {})}.items():
        if not callable(of):
            raise SettingError(
                f"{name} is {shown(of)}; expected a callable(output, target), such as "
                "torch.nn.CrossEntropyLoss() or batchproof.accuracy; metrics that are not means, "
                "such as F1, go to Trainer(metrics=...) or evaluate(metrics=...)."
            )
    return Supervised(exact(criterion) if of_torch(criterion) else criterion, metrics or {})
