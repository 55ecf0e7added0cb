"""Nested batches: tensors in mappings, lists, tuples, named tuples and dataclasses.

This module alone defines the structure of a batch. A path names a tensor in it as Python would
access it: `inputs.ids`, `batch[0].mask`; the path of a batch that is one tensor is "batch".
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

WHOLE = "batch"


def is_branch(tree: Any) -> bool:
    """Return whether a part of a batch holds further parts to walk."""
    if isinstance(tree, Mapping | list | tuple):
        return True
    return is_dataclass(tree) and not isinstance(tree, type)


def items(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a branch, each with the suffix that its path adds to the branch's."""
    if isinstance(tree, Mapping):
        yield from ((f".{key}", part) for key, part in tree.items())
    elif isinstance(tree, list | tuple):
        names = getattr(tree, "_fields", None)
        keys = [f".{name}" for name in names] if names else [f"[{i}]" for i in range(len(tree))]
        yield from zip(keys, tree, strict=True)
    else:
        yield from ((f".{field.name}", getattr(tree, field.name)) for field in fields(tree))


def rebuild(tree: Any, parts: Sequence[Any]) -> Any:
    """Return a branch of the same type with other parts, in the order of `items`."""
    if isinstance(tree, Mapping):
        return _mapping_like(tree, dict(zip(tree, parts, strict=True)))
    if isinstance(tree, list | tuple):
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    names = [field.name for field in fields(tree)]
    return replace(tree, **dict(zip(names, parts, strict=True)))


def tree_map(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """Return the tree with every tensor changed, and everything else unchanged."""
    if isinstance(tree, Tensor):
        return change(tree)
    if is_branch(tree):
        return rebuild(tree, [tree_map(change, part) for _, part in items(tree)])
    return tree


def in_own_containers(tree: Any) -> Any:
    """Return the tree with the same tensors in new containers, which a loss may change."""
    return tree_map(lambda tensor: tensor, tree)


def leaves(tree: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Return every tensor of the tree with its path."""
    if isinstance(tree, Tensor):
        return [(path.lstrip(".") or WHOLE, tree)]
    if not is_branch(tree):
        return []
    return [leaf for step, part in items(tree) for leaf in leaves(part, path + step)]


def tensors(tree: Any) -> list[Tensor]:
    """Return every tensor of the tree."""
    return [tensor for _, tensor in leaves(tree)]


def length(tree: Any) -> int | None:
    """Return the length that every tensor of one dimension or more has in common, or None."""
    lengths = {len(tensor) for tensor in tensors(tree) if tensor.ndim > 0}
    return lengths.pop() if len(lengths) == 1 else None


def rows(tree: Any, indices: Sequence[int] | Tensor) -> Any:
    """Return the tree with only the rows at indices of every tensor of one dimension or more."""
    index = torch.as_tensor(indices, dtype=torch.int64)

    def take(tensor: Tensor) -> Tensor:
        return tensor[index.to(tensor.device)] if tensor.ndim > 0 else tensor

    return tree_map(take, tree)


def between(tree: Any, start: int, stop: int) -> Any:
    """Return the rows from start to stop of a batch of rows, as views; see `rowless`."""
    return _between(tree, length(tree), start, stop)


def rowless(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a batch that are not a row per sample, each with its path.

    Tensors are a row per sample if they share their first length; a list of that length without
    tensors is, too. Texts, flags and None belong to the batch as a whole.
    """
    yield from _rowless(tree, length(tree), "")


def _between(tree: Any, count: int | None, start: int, stop: int) -> Any:
    if isinstance(tree, Tensor) or _is_column(tree, count):
        return tree[start:stop]
    if is_branch(tree):
        return rebuild(tree, [_between(part, count, start, stop) for _, part in items(tree)])
    return tree


def _rowless(tree: Any, count: int | None, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Tensor):
        if tree.ndim == 0 or len(tree) != count:
            yield path.lstrip(".") or WHOLE, tree
    elif is_branch(tree) and not isinstance(tree, PackedSequence):
        if not _is_column(tree, count):
            for step, part in items(tree):
                yield from _rowless(part, count, path + step)
    elif not isinstance(tree, str | bytes | bool | None):
        yield path.lstrip(".") or WHOLE, tree


def _is_column(tree: Any, count: int | None) -> bool:
    """Return whether a part of a batch is a list that holds something for each sample."""
    plain = isinstance(tree, list | tuple) and not hasattr(tree, "_fields")
    return plain and len(tree) == count and not tensors(tree)


def to_device(tree: Any, device: torch.device) -> Any:
    """Return the tree with every tensor on a device.

    An object that is not a branch but has a method `to` moves itself.
    """
    if isinstance(tree, Tensor):
        return tree.to(device, non_blocking=True)
    if hasattr(tree, "to") and not isinstance(tree, type):
        return tree.to(device)
    if is_branch(tree):
        return rebuild(tree, [to_device(part, device) for _, part in items(tree)])
    return tree


def first_nonfinite(tree: Any) -> tuple[int, Tensor] | None:
    """Return the index of the first sample that holds NaN or infinity, and its tensor; or None."""
    first: tuple[int, Tensor] | None = None
    for tensor in tensors(tree):
        if (
            tensor.ndim == 0
            or not tensor.numel()
            or not (tensor.is_floating_point() or tensor.is_complex())
        ):
            continue
        bad = ~tensor.isfinite().reshape(len(tensor), -1).all(1)
        if bool(bad.any()):
            sample = int(bad.nonzero()[0])
            first = (sample, tensor) if first is None or sample < first[0] else first
    return first


def digest(tree: Any) -> str:
    """Return a digest of everything in the tree: shapes, types and values."""
    running = hashlib.sha256()
    _feed(running, tree)
    return running.hexdigest()[:16]


def _feed(running: Any, part: Any) -> None:
    if isinstance(part, Tensor):
        values = part.detach().cpu().contiguous()
        running.update(f"{values.dtype}{tuple(values.shape)}".encode())
        running.update(values.flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(part, Mapping):
        for key in part:
            running.update(str(key).encode())
            _feed(running, part[key])
    elif isinstance(part, tuple | list):
        for each in part:
            _feed(running, each)
    elif isinstance(part, np.ndarray):
        _feed(running, [str(part.dtype), *part.shape])
        running.update(str(part.tolist()).encode() if part.dtype.hasobject else part.tobytes())
    elif hasattr(part, "__dict__") and vars(part):
        _feed(running, vars(part))
    elif is_branch(part):  # a dataclass with slots
        _feed(running, dict(items(part)))
    else:
        running.update(type(part).__name__.encode())
        running.update(repr(part).encode() if isinstance(part, str | int | float) else b"")


def _mapping_like(tree: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    if type(tree) is dict:
        return values
    try:
        twin: Any = copy.copy(tree)
        for key, value in values.items():
            twin[key] = value
    except TypeError:  # a read-only mapping
        return values
    return twin
