"""The batches of a cut, handed on to a framework in the form that it takes.

A trainer that is fed batches takes a loader of them. One that must batch for itself, because its
own loader and sampler are what is checked, takes their rows and their size, and makes the same
batches again.
"""

import importlib
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader

from batchproof._errors import ProbeError, SettingError, kind_of
from batchproof._trees import is_branch, items, length, rebuild, tensors, tree_map
from batchproof.mean import Mean

IGNORED = -100


def framework(module: str, extra: str) -> ModuleType:
    """Import a framework.

    Args:
        module: the module to import.
        extra: the extra of batchproof that installs it.

    Raises:
        ProbeError: if it is not installed, older than what the integration wraps, or cannot be
            imported beside what else is installed.
    """
    _expect_versions(extra)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        if isinstance(error, ModuleNotFoundError):
            reason = f"{error.name} is not installed"
        raise ProbeError(
            f"{reason}, and batchproof.integrations.{extra} runs it; "
            f"install it with: pip install 'batchproof[{extra}]'."
        ) from error


@cache
def _expect_versions(extra: str) -> None:
    """Refuse a package that is older than an extra of batchproof allows."""
    with suppress(metadata.PackageNotFoundError):
        _expect_extra(extra, metadata.requires("batchproof") or [])


def _expect_extra(extra: str, lines: Sequence[str]) -> None:
    pattern = re.compile(rf"""([\w-]+)>=([\d.]+) *; *extra == ["']{extra}["']""")
    for line in lines:
        if (match := pattern.fullmatch(line)) is None:
            continue
        name, least = match.groups()
        version = metadata.version(name)
        if _numbers(version) < _numbers(least):
            raise ProbeError(
                f"{name} {version} is installed; batchproof.integrations.{extra} expects {least} "
                f"or later. Install it with: pip install -U 'batchproof[{extra}]'."
            )


def _numbers(version: str) -> list[int]:
    """Return the numbers that a version begins with."""
    match = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in match.group().split(".")] if match else []


class Factory:
    """The user's own object, or what a function of theirs makes, once in every process.

    Args:
        source: the object, or a function without arguments that returns it.
        kind: what it must be.
        words: the same in words.
    """

    def __init__(self, source: Any, kind: type, words: str) -> None:
        self.source, self.kind, self.words = source, kind, words
        self._value: Any = None

    def __call__(self) -> Any:
        """Return the object, making it at the first call in this process.

        Raises:
            ProbeError: if it is something else.
        """
        if self._value is None:
            value = self.source if isinstance(self.source, self.kind) else self._call()
            if not isinstance(value, self.kind):
                raise ProbeError(f"got {type(value).__name__}; expected {self.words}.")
            self._value = value
        return self._value

    def _call(self) -> Any:
        return self.source() if callable(self.source) else self.source

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_value": None}


def sums_of(mean: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the total and the weight of a batch, summed in a type, for a metric to add.

    Raises:
        SettingError: if it is not a Mean.
    """
    if not isinstance(mean, Mean):
        raise SettingError(
            f"update was given {kind_of(mean)}; expected a batchproof.Mean. Make one "
            "with batchproof.exact(criterion) or batchproof.reduce(losses)."
        )
    return mean.total.detach().sum(dtype=dtype), mean.weight.detach().sum(dtype=dtype)


def count_of(micro_batches: Sequence[Any], who: str) -> int:
    """Return the number of micro-batches.

    Args:
        micro_batches: those of this rank.
        who: the framework that is to take a step over them.

    Raises:
        ProbeError: if there are none.
    """
    if not micro_batches:
        raise ProbeError(f"{who} takes no step on a rank that has no micro-batch")
    return len(micro_batches)


def loader_of(batches: Sequence[Any]) -> DataLoader[Any]:
    """Return a loader that gives these batches, as they are and in this order."""
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]


def rows_of(batches: Sequence[Any]) -> tuple[list[Any], int]:
    """Return the rows of batches, and the batch size that makes these batches of them again.

    Raises:
        ProbeError: if the batches are not of one size, the last one at most that size.
    """
    sizes = [_length(batch) for batch in batches]
    if any(size != sizes[0] for size in sizes[:-1]) or sizes[-1] > sizes[0]:
        raise ProbeError(
            f"batches of sizes {sizes} were asked of a loader that takes one batch size; "
            "choose cuts whose batches are equal but for a shorter last one."
        )
    rows = [_row(batch, i) for batch, size in zip(batches, sizes, strict=True) for i in range(size)]
    return rows, sizes[0]


def stack(rows: Sequence[Any], key: str = "") -> Any:
    """Return the batch of these rows; shorter ones are padded on the right, labels with -100."""
    first = rows[0]
    if is_branch(first):
        steps = [step for step, _ in items(first)]
        columns = zip(*([part for _, part in items(row)] for row in rows), strict=True)
        keys = (key if step.startswith("[") else step for step in steps)
        return rebuild(first, [stack(column, k) for column, k in zip(columns, keys, strict=True)])
    if not isinstance(first, Tensor):
        return first
    if first.ndim > 0:
        longest = max(row.shape[0] for row in rows)
        fill = IGNORED if "label" in key and not first.is_floating_point() else 0
        rows = [_widened(row, longest, fill) for row in rows]
    return torch.stack(list(rows))


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Return the tree with floating-point tensors in dtype."""
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def _widened(row: Tensor, longest: int, fill: int) -> Tensor:
    right = [0, 0] * (row.ndim - 1) + [0, longest - row.shape[0]]
    return pad(row, right, value=fill)


def _length(batch: Any) -> int:
    size = length(batch)
    if size is None:
        lengths = sorted({len(leaf) for leaf in tensors(batch) if leaf.ndim > 0})
        raise ProbeError(
            f"the tensors of a batch have lengths {lengths}; expected one row per sample in each, "
            "so that a loader can batch them again."
        )
    return size


def _row(tree: Any, index: int) -> Any:
    return tree_map(lambda leaf: leaf[index] if leaf.ndim > 0 else leaf, tree)
