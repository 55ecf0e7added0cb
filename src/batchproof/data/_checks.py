"""Checks of a data set before training on it, whose errors name the sample."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from batchproof._errors import DataError, SettingError, shown


def expect_iterable(name: str, value: Any, of: str = "batches") -> None:
    """Refuse what cannot be iterated, such as None, and what has other parts than batches.

    A text has letters, a mapping keys, and a tensor rows, each of which would be a batch.

    Raises:
        SettingError: if it is that.
    """
    sequence = hasattr(value, "__getitem__") and not isinstance(value, type)
    if isinstance(value, str | Mapping | Tensor) or not (isinstance(value, Iterable) or sequence):
        raise SettingError(
            f"{name} is {shown(value)}; expected an iterable of {of}, such as a list"
            f"{' or a DataLoader' if of == 'batches' else ''}."
        )


def check_labels(
    labels: Int[Tensor, "samples *elements"] | UInt8[Tensor, "samples *elements"],
    classes: int,
    *,
    ignore_index: int | None = None,
    where: str = "labels",
) -> None:
    """Refuse labels that are not classes.

    Args:
        labels: one or more per sample.
        classes: their number; labels are from 0 to classes - 1.
        ignore_index: a further label that is allowed.
        where: a name for them, for the error.

    Raises:
        DataError: if one is out of range; its sample is named.

    Examples:
        >>> import torch
        >>> check_labels(torch.tensor([0, 2, 3]), 3)
        Traceback (most recent call last):
        batchproof._errors.DataError: labels: sample 2 has label 3; expected 0 to 2. ...
    """
    wrong = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if not wrong.any():
        return
    sample = int(wrong.nonzero()[0, 0])
    label = int(labels[sample][wrong[sample]].flatten()[0])
    raise DataError(
        f"{where}: sample {sample} has label {label}; expected 0 to {classes - 1}. "
        f"Correct that sample, or leave it out ({int(wrong.sum())} labels in all are out of range)."
    )


def check_finite(values: Float[Tensor, "samples *elements"], *, where: str = "values") -> None:
    """Refuse values that are NaN or infinite.

    Args:
        values: one or more per sample.
        where: a name for them, for the error.

    Raises:
        DataError: if one is; its sample is named.

    Examples:
        >>> import torch
        >>> check_finite(torch.tensor([[1.0], [float("nan")]]))
        Traceback (most recent call last):
        batchproof._errors.DataError: values: sample 1 has nan; expected finite numbers. ...
    """
    finite = values.isfinite()
    if finite.all():
        return
    sample = int((~finite).nonzero()[0, 0])
    value = float(values[sample][~finite[sample]].flatten()[0])
    raise DataError(
        f"{where}: sample {sample} has {value}; expected finite numbers. "
        f"Correct that sample, or leave it out ({int((~finite).sum())} values in all are not)."
    )
