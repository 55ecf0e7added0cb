"""The outputs of a model over a data set, one row per sample, in the order of the data.

Ranks draw the samples of a data set in turn, as batchproof.data deals them out:

    rank r of R draws the samples   r, r + R, r + 2R, ...

so what each of them gives goes back to the places r, r + R, r + 2R, ... of the whole.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import RandomSampler

from batchproof._errors import DataError, SettingError, ShapeError, kind_of
from batchproof._trees import is_branch, items, rebuild, tensors, tree_map
from batchproof.data._shards import refuse_repeated, shard
from batchproof.ranks import blaming, in_a_group, of_all, unwrapped
from batchproof.train._batches import device_of
from batchproof.train._evaluate import counted, drawn_on, evaluating, evenly

Forward = Callable[[Any, Any], Any]


def predict(
    model: Any, loader: Iterable[Any], forward: Forward | None = None, *, group: Any = None
) -> Any:
    """Return a model's outputs over a data set, on the host, in the order of the data.

    Over ranks that share the data set in turn, as those of batchproof.data.ShardSampler do, every
    rank gets all outputs, also where ranks have unequal numbers of samples.

    Args:
        model: called in evaluation mode and without gradient.
        loader: any iterable of batches, not shuffled.
        forward: called as forward(model, batch); by default the model is called on a batch that
            is a tensor, and on the first part of a tuple or list.
        group: the process group whose ranks share the data.

    Returns:
        What forward returns, each tensor over all samples: shape (samples, ...).

    Raises:
        SettingError: if the loader cannot be iterated or shuffles, or forward is needed.
        ShapeError: if outputs of batches cannot be joined, or ranks do not share the data in turn.
        DataError: if there is no batch.

    Examples:
        >>> batches = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])]
        >>> predict(torch.nn.Identity(), batches).flatten().tolist()
        [1.0, 2.0, 3.0]
    """
    _refuse_shuffled(loader)
    model, call = unwrapped(model), forward or call_on_first
    with blaming(group):
        if in_a_group(group):
            refuse_repeated(loader, evaluated=True)
        outputs = []
        with evaluating(model), counted(group) as count:
            for batch, counts in evenly(model, drawn_on(loader, device_of(model), count), group):
                output = call(model, batch)
                if counts:
                    outputs.append(tree_map(lambda tensor: tensor.detach().cpu(), output))
                count()
        of_ranks = of_all(_joined(outputs) if outputs else None, group)
    return _in_turn(of_ranks)


def _refuse_shuffled(loader: Any) -> None:
    sampler = getattr(loader, "sampler", None)
    parts = (loader, sampler)
    marks = [getattr(part, name, None) for part in parts for name in ("shuffle", "_shuffle")]
    if isinstance(sampler, RandomSampler) or any(mark is True for mark in marks):
        raise SettingError(
            f"the {type(loader).__name__} shuffles, so outputs would not be in the order of the "
            "data; pass one that does not."
        )


def call_on_first(model: Any, batch: Any) -> Any:
    """Return the output on a batch that is a tensor, or on its first part.

    Raises:
        SettingError: if it is neither a tensor nor a tuple or list.
    """
    if isinstance(batch, Tensor):
        return model(batch)
    if isinstance(batch, tuple | list) and batch:
        return model(batch[0])
    raise SettingError(
        f"the batch is {kind_of(batch)}; expected a tensor or (input, ...). Say how the "
        "model is called: predict(loader, lambda model, batch: model(**batch))."
    )


def _joined(outputs: list[Any]) -> Any:
    """Return the outputs of batches as one, joined along their first dimension."""
    first = outputs[0]
    if isinstance(first, Tensor):
        shapes = {tuple(output.shape[1:]) for output in outputs}
        if not first.ndim or len(shapes) > 1:
            pair = " and ".join(map(str, [tuple(o.shape) for o in outputs if o.ndim][:2] or [()]))
            raise ShapeError(
                f"outputs of batches have shapes {pair}; expected (samples, ...), alike but for "
                "the first dimension. Have forward pad them, or return one row per sample."
            )
        return torch.cat(outputs)
    if is_branch(first):
        parts = zip(*([part for _, part in items(output)] for output in outputs), strict=True)
        return rebuild(first, [_joined(list(part)) for part in parts])
    raise SettingError(
        f"the model returned {kind_of(first)}; expected tensors, or a tuple, list or "
        "mapping of them."
    )


def _in_turn(of_ranks: list[Any]) -> Any:
    """Return the outputs of all ranks in the order of the data, which they drew in turn."""
    outputs_of_ranks = [outputs for outputs in of_ranks if outputs is not None]
    if not outputs_of_ranks:
        raise DataError("the loader gave no batch; expected one or more.")
    if len(of_ranks) == 1:
        return outputs_of_ranks[0]
    sizes = [0 if outputs is None else len(tensors(outputs)[0]) for outputs in of_ranks]
    places = [shard(sum(sizes), rank, len(sizes)) for rank in range(len(sizes))]
    if [len(place) for place in places] != sizes:
        raise ShapeError(
            f"ranks gave outputs of {', '.join(map(str, sizes))} samples, which they did not draw "
            "in turn; share the data by batchproof.data.ShardSampler, without shuffling."
        )
    order = torch.cat([torch.arange(place.start, place.stop, place.step) for place in places])
    return tree_map(lambda tensor: tensor[order.argsort()], _joined(outputs_of_ranks))
