"""The fingerprint of a run: settings, model, optimiser, schedule and data, the same on resume."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, StackDataset, Subset, TensorDataset

from batchproof._trees import digest
from batchproof.data import Batches, Ragged
from batchproof.ranks import is_sharded, unwrapped
from batchproof.train._batches import Epochs
from batchproof.train._options import Options
from batchproof.train._state import Parts

# the entries of a schedule's state that move, unlike those it was made with
_MOVING = {
    "last_epoch",
    "_step_count",
    "_last_lr",
    "_get_lr_called_within_step",
    "_is_initial",
    "best",
    "num_bad_epochs",
    "cooldown_counter",
    "T_cur",
    "T_i",
    "base_lrs",
}
# entries of a parameter group that it was not made with
_MODE = {"params", "initial_lr", "train_mode"}
_ABSENT = object()
# entries that checkpoints of older versions lack, which are then not compared
_ADDED = {"content"}
# samples whose content is compared, of data sets that are looked into
_COMPARED = 16
_IN_MEMORY = (TensorDataset, Subset, ConcatDataset, StackDataset, list, tuple, Tensor, np.ndarray)


def fingerprint_of(parts: Parts, options: Options) -> dict[str, Any]:
    """Return the fingerprint of a trainer before it trains, as plain values."""
    return {
        "settings": options.compared(),
        "config": plain(dict(options.saving.config or {})),
        "model": _model(unwrapped(parts.model)),
        "optimizer": _optimizer(parts.optimizer),
        "scheduler": _schedule(parts),
    }


def fingerprint_of_data(train: Epochs, vals: Mapping[str, Epochs]) -> dict[str, Any]:
    """Return the fingerprint of the data sets, as plain values."""
    by_name = {name: _data(val) for name, val in vals.items()}
    return {"training data": _data(train), "validation data": by_name.get("", by_name or None)}


def dealt_again(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint without the parts that depend on how samples are dealt out."""
    rest = {name: value for name, value in fingerprint.items() if name != "first batch"}
    for name in ("training data", "validation data"):
        data = rest[name] or {}
        several = data and all(isinstance(part, Mapping) for part in data.values())
        rest[name] = {k: _dealt(part) for k, part in data.items()} if several else _dealt(data)
    settings = rest["settings"].items()
    rest["settings"] = {key: value for key, value in settings if key != "accumulate"}
    return rest


def _dealt(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in ("samples", "digest") if key in data}


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Return the differences of two fingerprints, one line each: what it was, and what it is."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        keys = [*then, *(key for key in now if key not in then and key not in _ADDED)]
        return [
            line
            for key in keys
            for line in differences(
                then.get(key, _ABSENT), now.get(key, _ABSENT), f"{name}.{key}" if name else str(key)
            )
        ]
    if then == now:
        return []
    return [f"{name} was {_shown(then)} and is {_shown(now)}"]


def plain(value: Any) -> Any:
    """Return a value as JSON holds it; what JSON cannot hold is given by the name of its type."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return type(value).__name__


def _model(model: nn.Module) -> dict[str, Any]:
    shapes = {
        name: f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    # fully_shard makes a class of its own out of the model's, which it comes before
    kind = type(model).__bases__[-1] if is_sharded(model) else type(model)
    return {"class": kind.__qualname__, "weights": shapes}


def _optimizer(optimizer: Any) -> dict[str, Any]:
    groups = getattr(optimizer, "param_groups", None)
    if groups is None:
        return {"class": type(optimizer).__qualname__}
    return {"class": type(optimizer).__qualname__, "groups": [_group(group) for group in groups]}


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    # a schedule moves lr; initial_lr is what it began with
    made_with = {k: v for k, v in group.items() if k not in _MODE}
    made_with["lr"] = group.get("initial_lr", group.get("lr"))
    return {"parameters": len(group["params"]), **plain(made_with)}


def _schedule(parts: Parts) -> dict[str, Any] | None:
    scheduler = getattr(parts.schedule, "scheduler", None)
    if scheduler is None:
        return None
    return {"class": type(scheduler).__qualname__, **_made_with(parts.schedule.state_dict())}


def _made_with(state: Mapping[str, Any]) -> dict[str, Any]:
    constant = {key: value for key, value in state.items() if key not in _MOVING}
    schedules = constant.pop("_schedulers", [])
    return {
        **plain(constant),
        **({"schedules": [_made_with(s) for s in schedules]} if schedules else {}),
    }


def _data(epochs: Epochs) -> dict[str, Any]:
    loader = epochs.loader
    samples = getattr(loader, "samples", None)
    dataset: Any = getattr(loader, "dataset", None)
    if samples is None and hasattr(dataset, "__len__"):
        samples = len(dataset)
    return {
        "batches": epochs.batches,
        "samples": samples,
        "batch size": getattr(loader, "batch_size", None),
        "digest": plain(getattr(loader, "digest", None)),
        "content": _content(loader if dataset is None else dataset),
    }


def _content(data: Any) -> str | None:
    """Return a digest of samples from the first to the last, None where memory holds none.

    Nothing is drawn and no code of a data set is run, so what one reads or computes is left out.
    """
    if isinstance(data, Batches):
        size = data.samples
    else:
        size = len(data) if isinstance(data, _IN_MEMORY) else 0
    step = max(size - 1, 1) / (_COMPARED - 1)
    indices = sorted({min(round(k * step), size - 1) for k in range(_COMPARED)}) if size else []
    samples = [_stored(data, index) for index in indices]
    if not samples or not all(map(_is_plain, samples)):
        return None
    try:
        return digest(samples)
    except RuntimeError:  # sparse, or on no device: without bytes to compare
        return None


def _stored(data: Any, index: int) -> Any:
    """Return what a data set holds of a sample, without calling its own __getitem__."""
    match data:
        case Batches(columns=parts) | TensorDataset(tensors=parts) | StackDataset(datasets=parts):
            columns = parts.values() if isinstance(parts, Mapping) else parts
            return [_stored(column, index) for column in columns]
        case Subset():
            return _stored(data.dataset, int(data.indices[index]))
        case ConcatDataset():
            number = bisect_right(data.cumulative_sizes, index)
            before = data.cumulative_sizes[number - 1] if number else 0
            return _stored(data.datasets[number], index - before)
        case list() | tuple() | Tensor() | np.ndarray() | Ragged():
            return data[index]
    return _ABSENT


def _is_plain(value: Any) -> bool:
    """Return whether a sample is made of numbers, texts and tensors alone."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, Tensor | np.ndarray | np.generic | str | int | float)


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
