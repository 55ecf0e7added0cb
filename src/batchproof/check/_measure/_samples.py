"""Samples and batches as trees of tensors: walked, cast, cut into rows, masked, measured.

The check knows nothing of the user's data but its form: a sample or a batch is a tensor, or a
mapping, sequence or tuple of such. Everything else passes through untouched.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
_LABEL_KEYS = ("label", "target")


def tree_map(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the tree with every tensor changed, containers keeping their type where they can."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        values = {key: tree_map(change, value) for key, value in tree.items()}
        return values if type(tree) is dict else _like_mapping(tree, values)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(change, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(change, value) for value in tree)
    return tree


def _like_mapping(tree: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    twin: Any = copy.copy(tree)
    try:
        for key, value in values.items():
            twin[key] = value
    except TypeError:
        return values
    return twin


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the tree with its path, such as "labels" or "[1]"."""
    if isinstance(tree, Tensor):
        yield path or "batch", tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{path}[{index}]")


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Return the tree with floating-point tensors in dtype."""
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def rows(batch: Any, wanted: Sequence[int], count: int) -> Any | None:
    """Return the batch with only the wanted rows, or None where tensors do not lead with samples.

    Args:
        batch: what collate made of count samples.
        wanted: the rows to keep.
        count: the number of samples in the batch.
    """
    tensors = [leaf for _, leaf in leaves(batch) if leaf.ndim > 0]
    if not tensors or any(len(leaf) != count for leaf in tensors):
        return None
    index = torch.tensor(list(wanted), dtype=torch.int64)
    return tree_map(lambda leaf: leaf[index.to(leaf.device)] if leaf.ndim > 0 else leaf, batch)


def keeps_order(single: Any, row: Any) -> bool:
    """Tell whether a row of a padded batch is the sample that it should be, padded on one side."""
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


def counts(batch: Any) -> dict[str, float]:
    """Count what a loss could be a mean over, in every tensor of a batch.

    Returns:
        By a phrase for a sentence: elements, unmasked elements (labels other than -100, True
        entries), the same without the first position (shifted labels), and sums of weights; of
        labels first, then of what comes last in a batch, as labels do.
    """
    found: dict[str, float] = {}
    labels_first = sorted(
        enumerate(leaves(batch)), key=lambda one: (not is_label(one[1][0]), -one[0])
    )
    for _, (path, leaf) in labels_first:
        if leaf.ndim == 0:
            continue
        if leaf.dtype == torch.bool:
            _count_in(found, "unmasked elements of {}", path, leaf)
        elif leaf.is_floating_point():
            if not bool(((leaf == 0) | (leaf == 1)).all()):
                found[f"sum of {path}"] = float(leaf.double().sum())
            found[f"entries of {path} that are not 0"] = float((leaf != 0).sum())
        else:
            _count_in(found, "elements of {} other than -100", path, leaf != IGNORED)
            _count_in(found, "entries of {} that are not 0", path, leaf != 0)
            _count_in(found, "entries of {} that are not -1", path, leaf != -1)
            found[f"sum of {path}"] = float(leaf.double().sum())
        found[f"all elements of {path}"] = float(leaf.numel())
    return dict(sorted(found.items(), key=_likelihood))


_LIKELY = ("unmasked", "elements of", "all elements", "sum", "entries")


def _likelihood(counted: tuple[str, float]) -> int:
    """Return a phrase's place in the order in which weights are compared with counts."""
    return next(place for place, word in enumerate(_LIKELY) if counted[0].startswith(word))


def _count_in(found: dict[str, float], phrase: str, path: str, kept: Tensor) -> None:
    found[phrase.format(path)] = float(kept.sum())
    if kept.ndim > 1:
        shifted = phrase.format(path) + ", the first position left out"
        found[shifted] = float(kept[:, 1:].sum())


def is_label(path: str) -> bool:
    """Tell whether a key says that it holds labels.

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
        at: where in the sample the tree stands.
    """
    if at == path or (not at and path == "batch" and isinstance(tree, Tensor)):
        if isinstance(tree, list):
            return change(torch.tensor(tree)).tolist()
        return change(torch.as_tensor(tree)) if isinstance(tree, Tensor) else _number(tree, change)
    if isinstance(tree, Mapping):
        values = {
            key: edited(value, path, change, f"{at}.{key}" if at else str(key))
            for key, value in tree.items()
        }
        return values if type(tree) is dict else _like_mapping(tree, values)
    if isinstance(tree, list | tuple):
        values_ = [edited(value, path, change, f"{at}[{i}]") for i, value in enumerate(tree)]
        return type(tree)(*values_) if hasattr(tree, "_fields") else type(tree)(values_)
    return tree


def _number(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return type(value)(change(torch.tensor(value)).item())


def tensors(tree: Any) -> Any:
    """Return the tree with numbers, and lists of them, read as tensors, as tokenisers leave them.

    Args:
        tree: a sample.
    """
    if isinstance(tree, Mapping):
        return {key: tensors(value) for key, value in tree.items()}
    if isinstance(tree, int | float):
        return torch.tensor(tree)
    if isinstance(tree, list) and tree and all(isinstance(v, bool | int | float) for v in tree):
        return torch.tensor(tree)
    if isinstance(tree, list | tuple):
        return [tensors(value) for value in tree]
    return tree
