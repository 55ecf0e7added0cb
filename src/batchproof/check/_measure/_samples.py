"""Samples and batches: cast, cut into rows, edited, and what in them a loss could be a mean over.

The check knows nothing of the user's data but its form, which is that of batchproof's batches
everywhere: see _trees.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from batchproof import _trees
from batchproof._trees import leaves, tree_map

IGNORED = -100
# of labels of several heads, some of which are missing, that are counted each
_COLUMNS = 6
_LABEL_KEYS = ("label", "target")


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Return the tree with floating-point tensors in dtype."""
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def rows(batch: Any, places: Sequence[int], count: int) -> Any | None:
    """Return the batch with only the wanted rows, or None where tensors do not lead with samples.

    Args:
        batch: what collate made of count samples.
        places: the rows to keep.
        count: the number of samples in the batch.
    """
    return _trees.rows(batch, places) if _trees.length(batch) == count else None


def keeps_order(single: Any, row: Any) -> bool:
    """Return whether a row of a padded batch is its own sample, padded on one side."""
    pairs = list(zip(leaves(single), leaves(row), strict=False))
    return all(_padded_from(small, wide) for (_, small), (_, wide) in pairs)


def _padded_from(small: Tensor, wide: Tensor) -> bool:
    if small.ndim != wide.ndim or any(s > w for s, w in zip(small.shape, wide.shape, strict=True)):
        return False
    left = wide[tuple(slice(0, size) for size in small.shape)]
    right = wide[tuple(slice(w - s, w) for s, w in zip(small.shape, wide.shape, strict=True))]
    return torch.equal(left, small) or torch.equal(right, small)


def shape_of(batch: Any) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a batch without their first dimension: equal where padding is equal."""
    return tuple(tuple(leaf.shape[1:]) for _, leaf in leaves(batch))


def outermost(trees: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    """Return the least and the largest value of each integer tensor, which a loss may ignore.

    Args:
        trees: samples, or batches of them.
    """
    values: dict[str, set[int]] = {}
    for path, leaf in (one for tree in trees for one in leaves(tree)):
        if leaf.ndim > 0 and leaf.numel() and not leaf.is_floating_point():
            values.setdefault(path, set()).update((int(leaf.min()), int(leaf.max())))
    return {path: (min(some), max(some)) for path, some in values.items()}


def counts(batch: Any, ignored: Mapping[str, Sequence[int]] | None = None) -> dict[str, float]:
    """Count what a loss could be a mean over, in every tensor of a batch.

    Args:
        batch: what collate made of samples.
        ignored: by tensor, further values of which a loss may ignore one.

    Returns:
        By a phrase for a sentence: elements, unmasked elements (labels other than -100, True
        entries), the same without the first position (shifted labels), and sums of weights; of
        labels first, then of what comes last in a batch, as labels do.
    """
    phrases: dict[str, float] = {}
    labels_first = sorted(
        enumerate(leaves(batch)), key=lambda one: (not is_label(one[1][0]), -one[0])
    )
    for _, (path, leaf) in labels_first:
        if leaf.ndim == 0:
            continue
        where = f"batch{path}" if path.startswith("[") else path
        if leaf.dtype == torch.bool:
            _count_in(phrases, "unmasked elements of {}", where, leaf)
        elif leaf.is_floating_point():
            if not _flags(leaf):
                phrases[f"sum of {where}"] = float(leaf.double().sum())
            phrases[f"entries of {where} that are not 0"] = float((leaf != 0).sum())
            if leaf.ndim == 2 and leaf.shape[1] <= _COLUMNS:
                for column, there in enumerate((~leaf.isnan()).sum(0).tolist()):
                    phrases[f"entries of {where} in column {column} that are there"] = float(there)
        else:
            _count_in(phrases, f"elements of {{}} other than {IGNORED}", where, leaf != IGNORED)
            for value in dict.fromkeys((0, -1, *(ignored or {}).get(path, ()))):
                _count_in(phrases, f"entries of {{}} that are not {value}", where, leaf != value)
            if not _flags(leaf):
                phrases[f"sum of {where}"] = float(leaf.double().sum())
        phrases[f"all elements of {where}"] = float(leaf.numel())
    return dict(sorted(phrases.items(), key=_likelihood))


def _flags(leaf: Tensor) -> bool:
    """Return whether a tensor holds zeros and ones only, as a mask does."""
    return bool(((leaf == 0) | (leaf == 1)).all())


_LIKELY = ("unmasked", "elements of", "all elements", "sum", "entries")


def _likelihood(count: tuple[str, float]) -> int:
    """Return a phrase's place in the order in which weights are compared with counts."""
    return next(place for place, word in enumerate(_LIKELY) if count[0].startswith(word))


def _count_in(phrases: dict[str, float], phrase: str, where: str, mask: Tensor) -> None:
    phrases[phrase.format(where)] = float(mask.sum())
    if mask.ndim > 1:
        rest = phrase.format(where) + ", the first position left out"
        phrases[rest] = float(mask[:, 1:].sum())


def is_label(path: str) -> bool:
    """Return whether a key says that it holds labels.

    Args:
        path: of a tensor in a sample or batch.
    """
    return path.rsplit(".", maxsplit=1)[-1].rstrip("s") in _LABEL_KEYS


def edited(tree: Any, path: str, change: Callable[[Tensor], Tensor], at: str = "") -> Any:
    """Return the tree with one of its tensors, or lists of numbers, changed.

    Args:
        tree: a sample.
        path: of what is changed.
        change: what is done to it, as a tensor.
        at: the path of the tree in the sample.
    """
    if (at.lstrip(".") or _trees.WHOLE) == path and (at or isinstance(tree, Tensor)):
        if isinstance(tree, list):
            return change(torch.tensor(tree)).tolist()
        return change(tree) if isinstance(tree, Tensor) else _number(tree, change)
    if not _trees.is_branch(tree):
        return tree
    parts = [edited(part, path, change, at + step) for step, part in _trees.items(tree)]
    return _trees.rebuild(tree, parts)


def _number(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return type(value)(change(torch.tensor(value)).item())


def as_tensors(tree: Any) -> Any:
    """Return the tree with numbers, and lists of them, read as tensors, as tokenisers leave them.

    Args:
        tree: a sample.
    """
    if isinstance(tree, int | float):
        return torch.tensor(tree)
    if isinstance(tree, list) and tree and all(isinstance(v, bool | int | float) for v in tree):
        return torch.tensor(tree)
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return [as_tensors(part) for part in tree]
    if not _trees.is_branch(tree):
        return tree
    return {step.removeprefix("."): as_tensors(part) for step, part in _trees.items(tree)}
