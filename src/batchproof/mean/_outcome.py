"""The result of one batch: the mean to optimise, and metrics beside it that nothing optimises.

A loss function may return a Mean, a dict of Means (the terms of an objective, each over its own
weight), or an Outcome, which adds metrics to either.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any

from torch import Tensor, nn

from batchproof._errors import SettingError, shown
from batchproof.mean._mean import Mean

LOSS = "loss"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The terms of the objective on one batch, and metrics that nothing optimises.

    Attributes:
        terms: the Mean to optimise, or a dict of them, one per term, each over its own weight.
        metrics: further Means, such as accuracy; they take no gradient.
        outputs: the model's outputs for the batch, for metrics that are not means; or None.
        targets: the targets that those metrics compare them with; or None.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> logits, target = torch.tensor([[2.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1])
        >>> loss = bp.exact(torch.nn.CrossEntropyLoss())(logits, target)
        >>> outcome = Outcome(loss, {"accuracy": bp.accuracy(logits, target)})
        >>> outcome.metrics["accuracy"].item()
        0.5
    """

    terms: Mean | Mapping[str, Mean]
    metrics: Mapping[str, Mean] = field(default_factory=dict)
    outputs: Any = field(default=None, repr=False)
    targets: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The result of a loss function in one form: pooled pairs by name.

    Attributes:
        terms: the pair of each term, scalar, with its graph; a single Mean is the term "loss".
        metrics: the pair of each metric, scalar and without a graph.
    """

    terms: Mapping[str, Mean]
    metrics: Mapping[str, Mean]

    @classmethod
    def of(cls, result: Mean | Mapping[str, Mean] | Outcome) -> "Pairs":
        """Bring what a loss function returned into this form.

        Raises:
            SettingError: if it is not a Mean, dict of Means or Outcome.
        """
        if isinstance(result, Mean):
            return cls({LOSS: result.pool()}, {})
        outcome = result if isinstance(result, Outcome) else Outcome(result)
        terms = {LOSS: outcome.terms} if isinstance(outcome.terms, Mean) else outcome.terms
        if not isinstance(terms, Mapping) or not terms:
            raise SettingError(
                f"the loss returned {type(result).__name__}; expected a Mean, a dict of Means "
                "or an Outcome. Wrap a criterion with batchproof.exact, or losses with "
                "batchproof.reduce."
            )
        for name, mean in (*terms.items(), *outcome.metrics.items()):
            if not isinstance(mean, Mean):
                raise SettingError(
                    f"the loss returned {type(mean).__name__} for {name!r}; expected a Mean. "
                    "Wrap a criterion with batchproof.exact, or losses with batchproof.reduce."
                )
        metrics = {name: mean.detach().pool() for name, mean in outcome.metrics.items()}
        return cls({name: mean.pool() for name, mean in terms.items()}, metrics)

    def detach(self) -> "Pairs":
        """Return the same pairs without their graphs."""
        return Pairs({name: mean.detach() for name, mean in self.terms.items()}, self.metrics)


def refuse_criterion(loss: Any) -> None:
    """Refuse what cannot be called as loss(model, batch), such as a criterion or its name.

    Raises:
        SettingError: if it cannot.
    """
    if not callable(loss):
        raise SettingError(
            f"loss is {shown(loss)}; expected a function loss(model, batch) that returns a Mean, "
            "such as batchproof.supervised(torch.nn.CrossEntropyLoss())."
        )
    ours = (getattr(loss, "__module__", None) or "").startswith("batchproof.mean")
    if ours or of_torch(loss):
        function = loss.func if isinstance(loss, partial) else loss
        name = getattr(function, "__name__", repr(loss) if ours else type(loss).__name__)
        raise SettingError(
            f"loss is the criterion {name}, but is called as loss(model, batch); "
            "pass batchproof.supervised(criterion)."
        )


def of_torch(criterion: Callable[..., Any]) -> bool:
    """Return whether this is a loss of torch's, or a module that reduces as those do."""
    function = criterion.func if isinstance(criterion, partial) else criterion
    module = getattr(function, "__module__", None) or ""
    made_there = module == "torch" or module.startswith(("torch.nn.", "torch._C"))
    return made_there or (isinstance(criterion, nn.Module) and hasattr(criterion, "reduction"))


def expect_coefficients(coefficients: Mapping[str, float] | None) -> None:
    """Refuse coefficients that are not finite real numbers by name.

    Raises:
        SettingError: if they are not.
    """
    if not isinstance(coefficients, Mapping | None):
        raise SettingError(
            f'coefficients is {shown(coefficients)}; expected numbers by name: {{"name": 0.1}}.'
        )
    for name, coefficient in (coefficients or {}).items():
        if not (_is_real(coefficient) and math.isfinite(coefficient)):
            text = " ".join(repr(coefficient).split())
            raise SettingError(
                f"coefficients[{name!r}] is {text}; expected a finite real number, without a "
                "graph. A term whose factor is learned is multiplied before reduce or exact."
            )


def _is_real(value: object) -> bool:
    if isinstance(value, Tensor):
        return not value.ndim and not value.is_complex() and not value.requires_grad
    return isinstance(value, Real)
