"""Loaders, samplers and data sets: what their construction proves about the sizes of batches."""

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from batchproof.audit._dimensions._lattice import (
    NOTHING,
    UNKNOWN,
    Constant,
    Count,
    Dataset,
    Loader,
    Option,
    Reference,
    Sampler,
    Several,
    Tensor,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._names import dotted, words_of

# training and test samples, as torchvision documents them
SIZES = {
    "MNIST": (60000, 10000),
    "FashionMNIST": (60000, 10000),
    "KMNIST": (60000, 10000),
    "CIFAR10": (50000, 10000),
    "CIFAR100": (50000, 10000),
}
_SPLITS = {"SVHN": {"train": 73257, "test": 26032}, "STL10": {"train": 5000, "test": 8000}}
LOADERS = {
    "torch.utils.data.DataLoader",
    "torch.utils.data.dataloader.DataLoader",
    "torch_geometric.loader.DataLoader",
    "torch_geometric.data.DenseDataLoader",
    "torch_geometric.data.DataLoader",
    "torch_geometric.loader.NeighborLoader",
    "torch_geometric.loader.DenseDataLoader",
    "torch_geometric.loader.DataListLoader",
    "torch_geometric.data.DataListLoader",
    "torchdata.stateful_dataloader.StatefulDataLoader",
    "monai.data.DataLoader",
    "monai.data.dataloader.DataLoader",
    "monai.data.ThreadDataLoader",
    "dgl.dataloading.GraphDataLoader",
}
RAGGED = {
    "torch_geometric.loader.ClusterLoader": "its subgraphs differ in size",
    "torch_geometric.data.ClusterLoader": "its subgraphs differ in size",
    "torch_geometric.loader.GraphSAINTRandomWalkSampler": "its subgraphs differ in size",
    "torch_geometric.loader.GraphSAINTNodeSampler": "its subgraphs differ in size",
    "torch_geometric.loader.GraphSAINTEdgeSampler": "its subgraphs differ in size",
    "torch_geometric.data.GraphSAINTRandomWalkSampler": "its subgraphs differ in size",
    "torch_geometric.data.GraphSAINTNodeSampler": "its subgraphs differ in size",
    "torch_geometric.data.GraphSAINTEdgeSampler": "its subgraphs differ in size",
}
_DATA = "torch.utils.data."
SAMPLERS: dict[str, Literal["all", "part", "ranks", "batches"]] = {
    f"{_DATA}SubsetRandomSampler": "part",
    f"{_DATA}DistributedSampler": "ranks",
    f"{_DATA}distributed.DistributedSampler": "ranks",
    f"{_DATA}SequentialSampler": "all",
    f"{_DATA}RandomSampler": "all",
    f"{_DATA}WeightedRandomSampler": "all",
    f"{_DATA}BatchSampler": "batches",
}
_BATCHES = ("loader", "dataloader", "dl", "batches", "iterator", "iter", "loop", "pbar", "bar")
_ENDLESS = {"infinite", "endless", "forever", "cycle", "inf", "repeat"}
_POSITIONS = ("dataset", "batch_size", "shuffle", "sampler", "batch_sampler")


def number(value: Value) -> int | None:
    """Return the whole number that a value is known to be."""
    if isinstance(value, Constant) and type(value.value) is int:
        return value.value
    if isinstance(value, Count) and value.size is not None:
        return value.size + value.plus
    return None


def whole(value: Value) -> int | None:
    """Return the whole number that a counter is known to be, 0.0 included."""
    match value:
        case Constant(value=float() as size) if size.is_integer():
            return int(size)
    return number(value)


def build_loader(
    name: str,
    node: ast.Call,
    args: list[Value],
    keywords: Mapping[str, Value],
    text: str,
    *,
    open_: bool,
) -> Loader:
    """Return the loader that a call builds.

    Args:
        name: the class, as imports resolve it.
        node: the call.
        args: the values of its positional arguments.
        keywords: the values of its keywords.
        text: the variable that it is assigned to.
        open_: whether it has a `**` or `*` argument.
    """
    options = dict(zip(_POSITIONS, args, strict=False)) if name in LOADERS else {}
    options |= keywords
    dataset = options.get("dataset", args[0] if args else UNKNOWN)
    drop = options.get("drop_last", UNKNOWN if open_ else Constant(value=False))
    size = options.get("batch_size", UNKNOWN if open_ else Constant(1))
    batches = options.get("batch_sampler", NOTHING)
    if isinstance(batches, Sampler) and batches.of is not None:
        kind, size = _sampler(batches.of), batches.batch_size
        drop = UNKNOWN if batches.drop_last is None else Constant(batches.drop_last)
    elif batches != NOTHING:
        kind, size, drop = Sampler("batches"), UNKNOWN, UNKNOWN
    else:
        kind = _sampler(options.get("sampler", NOTHING))
    return Loader(
        f"{node.lineno}:{node.col_offset}",
        text,
        node.lineno,
        size,
        bool(drop.value) if isinstance(drop, Constant) else None,
        kind,
        dataset,
        RAGGED.get(name, ""),
    )


def _sampler(value: Value) -> Sampler | None:
    """Return the sampler that a loader is given, None where it is given none."""
    if value == NOTHING:
        return None
    return value if isinstance(value, Sampler) else Sampler("unknown")


def build_sampler(
    name: str, node: ast.Call, keywords: Mapping[str, Value], args: list[Value]
) -> Sampler:
    """Return the sampler that a call builds."""
    kind = SAMPLERS[name]
    if kind != "batches":
        drops = keywords.get("drop_last") == Constant(value=True)
        part = length_of(args[0]) if kind == "part" and args else None
        return Sampler(kind, node.lineno, drops, size=part)
    names = ("sampler", "batch_size", "drop_last")
    options = dict(zip(names, args, strict=False)) | dict(keywords)
    drop, size = options.get("drop_last"), options.get("batch_size", UNKNOWN)
    last = bool(drop.value) if isinstance(drop, Constant) else None
    return Sampler(kind, node.lineno, last, size, _sampler(options.get("sampler", UNKNOWN)))


def build_dataset(
    name: str, node: ast.Call, args: list[Value], keywords: Mapping[str, Value], text: str
) -> Dataset:
    """Return the data set that a call builds.

    Args:
        name: the class or function, as imports resolve it.
        node: the call.
        args: the values of its positional arguments.
        keywords: the values of its keywords.
        text: the variable that it is assigned to.
    """
    short = name.rsplit(".", 1)[-1]
    size = None
    if short in SIZES:
        train = keywords.get("train", args[1] if len(args) > 1 else Constant(value=True))
        if isinstance(train, Constant):
            size = SIZES[short][0 if train.value else 1]
    elif short in _SPLITS:
        split = keywords.get("split", args[1] if len(args) > 1 else Constant("train"))
        if isinstance(split, Constant):
            size = _SPLITS[short].get(str(split.value))
    elif short == "TensorDataset" and args and isinstance(args[0], Tensor):
        size = args[0].rows
    words = words_of(
        f"{text} {' '.join(str(v.value) for v in keywords.values() if isinstance(v, Constant))}"
    )
    return Dataset(f"{node.lineno}:{node.col_offset}", size, words=words)


def build_subset(node: ast.Call, args: list[Value], text: str) -> Value:
    """Return the part of a data set that Subset(...) is."""
    place, among = f"{node.lineno}:{node.col_offset}", length_of(args[0]) if args else None
    size = length_of(args[1]) if len(args) > 1 else None
    return Dataset(place, size, _key_of(args), words_of(text), among)


def _key_of(args: list[Value]) -> str:
    """Return the key of the data set that is the first argument, "?" where that is not known."""
    first = args[0] if args else UNKNOWN
    return (first.key if isinstance(first, Dataset) else getattr(first, "text", "")) or "?"


def build_split(node: ast.Call, args: list[Value]) -> Value:
    """Return the parts of a data set that random_split(...) gives."""
    if len(args) < 2 or not isinstance(args[1], Several):
        return UNKNOWN
    whole, among = _key_of(args), length_of(args[0])
    parts: list[Value] = []
    for place, size in enumerate(_sizes_of_parts(args[1].items, among)):
        key = f"{node.lineno}:{node.col_offset}:{place}"
        parts.append(Dataset(key, size, whole, among=among))
    return Several(tuple(parts))


def _sizes_of_parts(shares: tuple[Value, ...], whole: int | None) -> list[int | None]:
    """Return the sizes of the parts of a data set, given as numbers or as fractions of it.

    Fractions are rounded down, and what is left over goes to the first parts, one sample each.
    """
    fractions = [s.value for s in shares if isinstance(s, Constant) and type(s.value) is float]
    if whole is None or len(fractions) < len(shares):
        return [number(share) for share in shares]
    sizes = [int(whole * fraction) for fraction in fractions]
    rest = whole - sum(sizes)
    return [size + (place < rest) for place, size in enumerate(sizes)]


def as_loader(value: Value) -> Value:
    """Return a loader that is built out of sight, where a name says that a value is one."""
    if isinstance(value, Reference):  # a name of another file
        value = Unknown(value.name.rpartition(".")[2])
    if isinstance(value, Unknown) and value.text:
        words = words_of(value.text.split("[")[0]).split()
        batches = bool(words) and words[-1] in _BATCHES
        several = {"loaders", "dataloaders"} & set(words) or value.text.endswith("loaders")
        if batches or ("loader" in value.text.lower() and not several):
            return Loader(value.text, value.text)
    return value


def yields_batches(node: ast.Call) -> bool:
    """Return whether a call is named after the batches that it yields, and they come to an end."""
    words = words_of(dotted(node.func).rpartition(".")[2]).split() or [""]
    ends = not _ENDLESS & set(words)
    of_batches = words[-1] in {"batches", "minibatches", "loader", "dataloader"}
    of_data = words[-1] in {"iter", "iterator", "generator"} and bool(
        {"batch", "data"} & set(words)
    )
    return ends and (of_batches or of_data)


def wrap(loader: Loader) -> Loader:
    """Return a loader that accelerate or fabric prepared, so that each rank sees a share."""
    return replace(loader, per_rank=True)


def length_of(value: Value) -> int | None:
    """Return the number of samples of a data set, where it is known."""
    if isinstance(value, Dataset):
        return value.size
    if isinstance(value, Tensor):
        return value.rows
    return None


def equal_batches(loader: Loader) -> tuple[bool | None, str]:
    """Return whether all batches of a loader have one size, and why.

    Args:
        loader: what yields them.

    Returns:
        True, False where one may be smaller, None where that is not known; and a sentence.
    """
    size, samples = number(loader.batch_size), length_of(loader.dataset)
    if loader.ragged:
        return False, f"{loader.ragged} (line {loader.line})"
    if not loader.line:
        return None, f"where {loader.text or 'the loader'} is built is out of sight"
    if loader.drop_last:
        return True, "drop_last=True"
    if of_one_sample(loader):
        return True, "the batch size is 1"
    if loader.batch_size == Constant(None) or loader.drop_last is None or loader.per_rank:
        return None, "its batches are formed out of sight"
    if loader.sampler is not None and loader.sampler.kind in {"batches", "unknown"}:
        return None, "its sampler is out of sight"
    if of_all_samples(loader):
        return True, "one batch holds the whole data set"
    if _of_full_batches(loader):
        return True, "its samples are those of full batches of that size"
    total = samples if loader.sampler is None else loader.sampler.size
    if size and total:
        return _by_numbers(loader, size, total)
    partial = loader.sampler is not None and loader.sampler.kind in {"part", "ranks"}
    why = _perhaps_equal(loader, total if partial else samples, samples if partial else None)
    may_be_smaller = (
        f"the loader at line {loader.line} has no drop_last: its last batch may be smaller"
    )
    return (None, why) if why else (False, may_be_smaller)


def _perhaps_equal(loader: Loader, samples: int | None, among: int | None) -> str:
    """Return why the batches of a loader may all be equal after all, "" where nothing says so.

    Args:
        loader: what yields them.
        samples: how many samples it draws, where that is known.
        among: of how many samples its sampler draws a part, where that is known.
    """
    whole, choices = _sizes_of(loader.dataset)
    if samples is None and (among or whole):
        return f"it draws a part of {among or whole} samples, and how many is out of sight"
    size = loader.batch_size
    usual = size.default if isinstance(size, Option) else number(size)
    if not (isinstance(usual, int) and usual):
        usual = None
    if choices and (usual is None or any(n % usual == 0 or n <= usual for n in choices)):
        return "it draws from one of several data sets, and from which is out of sight"
    if usual and samples and (samples % usual == 0 or samples <= usual):
        return f"{samples} is a multiple of {usual}, the default batch size"
    if samples and usual is None:
        return f"whether {samples} is a multiple of the batch size is out of sight"
    return ""


def _sizes_of(dataset: Value) -> tuple[int | None, tuple[int, ...]]:
    """Return the size of what a data set is a part of, and the sizes that it may have itself."""
    return (dataset.among, dataset.choices) if isinstance(dataset, Dataset) else (None, ())


def of_one_sample(loader: Loader) -> bool:
    """Return whether each batch holds one sample."""
    size = loader.batch_size
    return number(size) == 1 or (isinstance(size, Option) and size.default == 1)


def of_one_batch(loader: Loader) -> bool:
    """Return whether one batch holds all samples, as far as their numbers are in sight."""
    size, samples = loader.batch_size, length_of(loader.dataset)
    each = size.default if isinstance(size, Option) else number(size)
    few = isinstance(each, int) and samples is not None and samples <= each
    return few or of_all_samples(loader)


def of_all_samples(loader: Loader) -> bool:
    """Return whether the batch size is written as the length of the data set."""
    size, dataset = loader.batch_size, loader.dataset
    if not isinstance(size, Count) or size.unit != "data set":
        return False
    return size.key == (
        dataset.key if isinstance(dataset, Dataset) else getattr(dataset, "text", "")
    )


def _of_full_batches(loader: Loader) -> bool:
    """Return whether the samples were collected from full batches of the same size."""
    full = loader.dataset.full if isinstance(loader.dataset, Dataset) else None
    return full is not None and full == loader.batch_size and full != UNKNOWN


def _by_numbers(loader: Loader, size: int, samples: int) -> tuple[bool, str]:
    rest = samples % size
    if samples <= size:
        return True, f"one batch of {size} holds all {samples} samples"
    if not rest:
        return True, f"{samples} is a multiple of {size}"
    times = size / rest
    return False, (
        f"the loader at line {loader.line} has no drop_last and {samples} is not a multiple "
        f"of {size}: the last batch holds {rest} and weighs {times:.3g} times too much"
    )
