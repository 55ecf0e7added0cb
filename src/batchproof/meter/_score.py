"""Metrics that are not means: a state over a pass over data, and one number worked out at its end.

F1 of batches does not average to F1, nor AUROC to AUROC. What adds is a metric's state, its counts
or its scores; the ratio is taken once. A metric is any object of two methods,

    update(outputs, targets)    adds a batch to the state
    compute()                   gives the number, or several

and so are those of torchmetrics and torcheval. Over ranks states are combined by their own rule:
merge_state, as here and in torcheval, or the reduction that torchmetrics has for each state.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from batchproof._errors import BatchproofError, SettingError, kind_of, shown
from batchproof.ranks import in_a_group, of_all

# numbers of one metric that a log is to hold: a confusion matrix of 100 classes
MOST = 10_000


@runtime_checkable
class Metric(Protocol):
    """The interface of a metric that is not a mean.

    Examples:
        >>> class Largest:
        ...     def __init__(self):
        ...         self.value = 0.0
        ...     def update(self, outputs, targets):
        ...         self.value = max(self.value, (outputs - targets).abs().max().item())
        ...     def compute(self):
        ...         return self.value
        >>> isinstance(Largest(), Metric)
        True
    """

    def update(self, outputs: Any, targets: Any, /) -> Any:
        """Add the model's outputs and the targets of a batch."""

    def compute(self) -> Any:
        """Return the metric over all that was added: a Score, numbers, or a dict of them."""


@dataclass(frozen=True, slots=True)
class Score:
    """A metric over a pass over data, with its standard error where that is known.

    Attributes:
        value: a number, or a tensor of several on the host.
        standard_error: of value, of the same form; None where it is not known.

    Examples:
        >>> print(Score(0.91234, 0.0123))
        0.9123 ± 0.012
        >>> float(Score(torch.tensor(0.5)))
        0.5
    """

    value: Any
    standard_error: Any = None

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        """Return the value in this form; without one, with its standard error."""
        return format(float(self), spec) if spec else str(self)

    def __str__(self) -> str:
        if isinstance(self.value, Tensor) and self.value.ndim:
            return str(self.value.tolist())
        error = self.standard_error
        return f"{float(self):.4g}" + ("" if error is None else f" ± {float(error):.2g}")

    def numbers(self, name: str) -> dict[str, "Score"]:
        """Return each number by name: of several "name/0", "name/1"; of a matrix "name/0/1".

        Raises:
            SettingError: if there are more than a log is to hold.
        """
        if not isinstance(self.value, Tensor) or not self.value.ndim:
            return {name: self}
        if self.value.numel() > MOST:
            raise SettingError(
                f"metric {name!r} gives {self.value.numel():,} numbers, and a log is to hold "
                f"{MOST:,} at most; measure it after training, with evaluate(metrics=...)."
            )
        places = torch.cartesian_prod(*map(torch.arange, self.value.shape)).reshape(
            -1, self.value.ndim
        )
        errors = self.standard_error
        return {
            "/".join([name, *map(str, place)]): Score(
                float(self.value[tuple(place)]),
                None if errors is None else float(errors[tuple(place)]),
            )
            for place in places.tolist()
        }


def expect_metrics(metrics: Mapping[str, Any] | None) -> None:
    """Refuse what are not metrics by name.

    Raises:
        SettingError: if they are not.
    """
    if not isinstance(metrics, Mapping | None):
        raise SettingError(
            f'metrics is {shown(metrics)}; expected metrics by name: {{"f1": F1()}}.'
        )
    for name, metric in (metrics or {}).items():
        if isinstance(metric, type) or not isinstance(metric, Metric):
            cls = metric if isinstance(metric, type) else type(metric)
            text = getattr(metric, "__name__", cls.__name__)
            raise SettingError(
                f"metrics[{name!r}] is {text}; expected an object with update(outputs, targets) "
                "and compute(), such as batchproof.meter.F1(). A function that returns a Mean "
                "goes to supervised(metrics=...), or into the Outcome."
            )


class Scores:
    """Metrics over one pass over data: copies of the given ones, which stay unchanged.

    Args:
        metrics: by name.
        device: of the outputs.
        group: the ranks that share the pass.

    Raises:
        SettingError: if there are several ranks, and a metric says nothing of how to combine them.
    """

    def __init__(
        self, metrics: Mapping[str, Any] | None, device: torch.device, group: Any = None
    ) -> None:
        expect_metrics(metrics)
        self._group = group
        self._metrics = {n: _on(deepcopy(m), device) for n, m in (metrics or {}).items()}
        for name, metric in self._metrics.items() if in_a_group(group) else ():
            if not (hasattr(metric, "merge_state") or _states(metric)):
                raise SettingError(
                    f"metric {name!r} ({type(metric).__name__}) has no merge_state(metrics), by "
                    "which it would take in the states of other ranks; give it one, or evaluate "
                    "in one process."
                )

    def update(self, outputs: Any, targets: Any) -> None:
        """Add a batch.

        Raises:
            SettingError: if there are no outputs, or a metric raises.
        """
        if self._metrics and outputs is None:
            names = ", ".join(self._metrics)
            raise SettingError(
                f"metrics {names} need outputs and targets, which the loss function does not "
                "return; have it return batchproof.Outcome(loss, outputs=..., targets=...)."
            )
        for name, metric in self._metrics.items():
            with _named(
                name, "update", f" with outputs {_form(outputs)}, targets {_form(targets)}"
            ):
                metric.update(outputs, targets)

    def compute(self) -> dict[str, Score]:
        """Return the metrics over all ranks by name; every rank calls it.

        Raises:
            SettingError: if a metric raises, or computes something else than numbers.
        """
        scores: dict[str, Score] = {}
        for name, metric in self._metrics.items():
            with _named(name, "compute", ""):
                if in_a_group(self._group):
                    _merge(metric, of_all(_on(metric, torch.device("cpu")), self._group))
                value = metric.compute()
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            scores |= {f"{name}/{key}" if key else name: _score(name, part) for key, part in parts}
        return scores


def _on(metric: Any, device: torch.device) -> Any:
    """Return a metric with its state on a device, where it can move it."""
    return metric.to(device) if hasattr(metric, "to") else metric


@contextmanager
def _named(name: str, method: str, arguments: str) -> Iterator[None]:
    """Raise what a metric raises as one line that names it."""
    try:
        yield
    except BatchproofError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SettingError(f"metric {name!r} raised in {method}{arguments}: {reason}") from error


def _form(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _score(name: str, value: Any) -> Score:
    if isinstance(value, Score):
        return value
    if isinstance(value, Tensor):
        return Score(value.detach().cpu() if value.numel() > 1 else value.item())
    try:
        return Score(float(value))
    except (TypeError, ValueError):
        raise SettingError(
            f"metric {name!r} computed {kind_of(value)}; expected a number, a tensor, or a "
            "dict of them."
        ) from None


def _states(metric: Any) -> list[Any]:
    """Return the parts of a metric of torchmetrics that have states; a collection has several."""
    parts = metric.modules() if isinstance(metric, torch.nn.Module) else ()
    return [part for part in parts if hasattr(part, "_reductions")]


def _merge(metric: Any, of_ranks: list[Any]) -> None:
    """Take the states of all ranks into a metric, in the order of ranks."""
    own = _states(metric)
    if not own:
        first, *others = of_ranks
        vars(metric).update(vars(first))
        metric.merge_state(others)
        return
    for part, *parts in zip(own, *map(_states, of_ranks), strict=True):
        for state, reduction in part._reductions.items():  # noqa: SLF001
            values = [getattr(each, state) for each in parts]
            setattr(part, state, _reduced(values, reduction))
        part._update_count = sum(each._update_count for each in parts)  # noqa: SLF001
        part._computed = None  # noqa: SLF001
        # its own way to combine ranks would combine them a second time
        part._to_sync = part.sync_on_compute = False  # noqa: SLF001


def _reduced(values: list[Any], reduction: Any) -> Any:
    """Return the state of all ranks as torchmetrics' sync makes it of theirs."""
    if isinstance(values[0], Tensor):
        of_ranks = torch.stack(values)
        return of_ranks if reduction is None else reduction(of_ranks)
    whole = list(chain.from_iterable(values))
    return reduction(whole) if whole and callable(reduction) else whole
