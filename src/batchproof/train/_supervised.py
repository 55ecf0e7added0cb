"""The loss of supervised learning: a criterion between the model's output and a target."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from batchproof._errors import SettingError
from batchproof.data import check_labels
from batchproof.mean import Outcome, exact

Criterion = Callable[..., Any]

_BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss)


class Supervised:
    """Calls the model on the input, and the criterion on its output and the target.

    Attributes:
        criterion: called as criterion(output, target); returns a Mean or a dict of Means.
        metrics: called likewise, each returning a Mean.
    """

    def __init__(self, criterion: Criterion, metrics: Mapping[str, Criterion]) -> None:
        self.criterion = criterion
        self.metrics = dict(metrics)

    def predict(self, model: Any, batch: Any) -> tuple[Any, Any]:
        """Return the model's output on a batch, and the batch's target.

        Raises:
            SettingError: if the batch is not a pair.
        """
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise SettingError(
                f"the batch is a {type(batch).__name__}{size}; supervised expects (input, target). "
                "Write a function loss(model, batch) that returns a Mean for other batches; a "
                "batch that is a window by itself goes in a list: step([batch], loss)."
            )
        return model(batch[0]), batch[1]

    def classes(self, output: Any, target: Any, *, where: str) -> int | None:
        """Return how many classes there are, None where the criterion is not one of classes.

        Raises:
            DataError: if a label is no class; its sample is named.
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
            DataError: if a label is no class; its sample is named.
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
        return Outcome(terms, {name: of(output, target) for name, of in self.metrics.items()})


def supervised(
    criterion: Criterion, *, metrics: Mapping[str, Criterion] | None = None
) -> Supervised:
    """Return loss(model, batch) for batches (input, target).

    Args:
        criterion: a torch criterion, module or functional, which is taken through
            batchproof.exact; or any callable(output, target) that returns a Mean.
        metrics: what to watch beside it, by name, as callables(output, target) that return a
            Mean, such as {"accuracy": batchproof.accuracy}.

    Returns:
        A callable for Trainer, evaluate and Step.

    Raises:
        SettingError: if the criterion or a metric cannot be called.

    Example:
        >>> import torch
        >>> import batchproof as bp
        >>> loss = bp.supervised(torch.nn.MSELoss())
        >>> batch = (torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1))
        >>> loss(torch.nn.Identity(), batch).terms.item()
        2.5
    """
    for name, of in {"the criterion": criterion, **(metrics or {})}.items():
        if not callable(of):
            raise SettingError(
                f"{name} is {type(of).__name__}; expected a callable(output, target), such as "
                "torch.nn.CrossEntropyLoss() or batchproof.accuracy."
            )
    return Supervised(exact(criterion) if _of_torch(criterion) else criterion, metrics or {})


def refuse_criterion(loss: Any) -> None:
    """Refuse a criterion in the place of a loss, for it cannot be called as loss(model, batch).

    Raises:
        SettingError: if it is one.
    """
    if _of_torch(loss) or (getattr(loss, "__module__", None) or "").startswith("batchproof.mean"):
        name = getattr(loss, "__name__", type(loss).__name__)
        raise SettingError(
            f"loss is the criterion {name}, but is called as loss(model, batch); "
            "pass batchproof.supervised(criterion)."
        )


def _of_torch(criterion: Criterion) -> bool:
    """Return whether this is a loss of torch's, or a module that reduces as those do."""
    function = criterion.func if isinstance(criterion, partial) else criterion
    module = getattr(function, "__module__", None) or ""
    made_there = module == "torch" or module.startswith(("torch.nn.", "torch._C"))
    return made_there or (isinstance(criterion, nn.Module) and hasattr(criterion, "reduction"))
