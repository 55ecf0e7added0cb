"""The layout of padded batches: which of their positions are padding, and what proves it.

A position is padding where a mask says so, or where the labels are ignored and everything else in
it is the padding value, or beyond the lengths that the user gives; and only at one end of a row.
The columns of a batch may have positions of several kinds, such as those of an encoder and of a
decoder: columns that begin as a mask does, like chosen_input_ids and chosen_attention_mask, share
their positions with it, and labels share those of a decoder where there is one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from batchproof._errors import DataError, kind_of
from batchproof._trees import WHOLE, is_branch, items, leaves, rebuild

IGNORED = -100
HINT = "Give the lengths: lengths=lambda batch: ..., one number per sample."
MASK, SEGMENTS, DECODER = "attention_mask", "segments", "decoder_"
# columns of transformers' collators that are not constant under the mask
_POSITIONAL = ("position_ids", "token_type_ids", "special_tokens_mask")
_LENGTHS = {"length", "lengths", "input_lengths", "seq_len", "seq_lens"}

Side = Literal["left", "right"]
Lengths = Callable[[Any], "Tensor | Sequence[int]"]


@dataclass(frozen=True, slots=True)
class Table:
    """A batch as columns: tensors with a row per sample, lists of that length, and the rest.

    Attributes:
        tree: the batch.
        tensors: by path, those of one dimension or more.
        lists: by path, lists and tuples that hold something else for each sample.
        rest: by path, everything else.
    """

    tree: Any
    tensors: dict[str, Tensor]
    lists: dict[str, Sequence[Any]]
    rest: dict[str, Any]

    @classmethod
    def of(cls, batch: Any) -> "Table":
        """Return a batch as columns.

        Raises:
            DataError: if its tensors do not have one row per sample.
        """
        if isinstance(batch, list) and batch and all(isinstance(b, Mapping) for b in batch):
            raise DataError(
                f"the batch is a list of {len(batch)} dicts: a window, or samples that are "
                "not collated; expected a batch. Give a loader of batches."
            )
        tensors = {path: leaf for path, leaf in leaves(batch) if leaf.ndim > 0}
        if not tensors:
            raise DataError(
                f"the batch is {kind_of(batch)} without a tensor that recut can see; "
                "expected tensors, or dicts, tuples and dataclasses of them. Cut the samples "
                "before they are collated: batchproof.data.windows_of."
            )
        if any(name_of(path).startswith("cu_seq") for path in tensors):
            raise DataError(
                "the batch is packed already (it has cu_seqlens); recut takes padded batches."
            )
        counts = {len(leaf) for leaf in tensors.values()}
        if len(counts) != 1:
            raise DataError(
                f"the tensors of a batch have lengths {sorted(counts)}; expected one row per "
                "sample in each. Leave out the others, or cut the samples before they are collated."
            )
        refuse_pairs(tensors)
        lists: dict[str, Sequence[Any]] = {}
        rest: dict[str, Any] = {}
        _sort_out(batch, counts.pop(), "", lists, rest)
        return cls(batch, tensors, lists, rest)

    def count(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.tensors.values())))

    def rebuilt(self, values: Mapping[str, Any]) -> Any:
        """Return a batch of the same structure with other columns, given by path."""
        return _rebuilt(self.tree, values, "")


def refuse_pairs(columns: Mapping[str, Tensor]) -> None:
    """Refuse rows of which the second half answers the prompts of the first, as pairs do.

    Preference data has this form: a completion_mask tells each answer from its prompt, and the loss
    takes row i and row i + S together.

    Args:
        columns: the tensors of a batch by path.

    Raises:
        DataError: if each row of the first half has the prompt of its row of the second half.
    """
    by_name = {name_of(path): column for path, column in columns.items()}
    ids, answers = by_name.get("input_ids"), by_name.get("completion_mask")
    if ids is None or answers is None or "labels" in by_name or ids.shape != answers.shape:
        return
    in_prompt = (answers == 0) & (by_name.get(MASK, torch.ones_like(ids)) != 0)
    half = len(ids) // 2
    prompts = [row[mask].tolist() for row, mask in zip(ids, in_prompt, strict=True)]
    if half and len(ids) % 2 == 0 and all(prompts) and prompts[:half] == prompts[half:]:
        raise DataError(
            f"rows 0 and {half} of the batch answer one prompt, as preference pairs in two halves "
            "do, and cutting by rows would separate them. Collate a pair as one row, with columns "
            "chosen_input_ids, chosen_attention_mask, rejected_input_ids and so on, or cut before "
            "it is collated: batchproof.data.windows_of."
        )


def _rebuilt(tree: Any, values: Mapping[str, Any], path: str) -> Any:
    name = path if path in values else path.lstrip(".") or WHOLE
    if name in values:
        value = values[name]
        return tuple(value) if isinstance(tree, tuple) else value
    if is_branch(tree):
        return rebuild(tree, [_rebuilt(part, values, path + step) for step, part in items(tree)])
    return tree


def _sort_out(
    tree: Any, count: int, path: str, lists: dict[str, Sequence[Any]], rest: dict[str, Any]
) -> None:
    if isinstance(tree, Tensor):
        if tree.ndim == 0:
            rest[path] = tree
    elif isinstance(tree, list | tuple) and len(tree) == count and not leaves(tree):
        lists[path] = tree
    elif is_branch(tree):
        for step, part in items(tree):
            _sort_out(part, count, path + step, lists, rest)
    else:
        rest[path] = tree


def name_of(path: str) -> str:
    """Return the last name of a path."""
    return path.rsplit(".", 1)[-1].lower()


def is_label(path: str) -> bool:
    """Return whether a column is named as labels are."""
    return "label" in name_of(path)


@dataclass(frozen=True, slots=True)
class Layout:
    """The positions that some columns of one padded batch share.

    Attributes:
        count: number of samples, the length of every tensor's first dimension.
        width: number of positions of a row, padding included.
        lengths: of each sample, at least 1.
        side: the end at which rows are padded.
        proof: the path of the mask, segments or labels that say where padding is; or the name of
            what gave the lengths.
        by_mask: whether a mask says so, so that columns of places may hold anything there.
    """

    count: int
    width: int
    lengths: tuple[int, ...]
    side: Side = "right"
    proof: str = ""
    by_mask: bool = False

    def padding(self) -> Tensor:
        """Return a boolean mask of the padding, shape (count, width)."""
        place = torch.arange(self.width)
        place = place.flip(0) if self.side == "left" else place
        return place[None] >= torch.tensor(self.lengths)[:, None]

    def values(self, column: Tensor) -> Tensor:
        """Return the values of a column in the padding."""
        return column[self.padding().to(column.device)]

    def inside(self, row: int) -> slice:
        """Return the positions of a sample."""
        if self.side == "left":
            return slice(self.width - self.lengths[row], self.width)
        return slice(self.lengths[row])

    def exempt(self, path: str) -> bool:
        """Return whether a column may hold anything in the padding."""
        return path == self.proof or (self.by_mask and name_of(path) in _POSITIONAL)


def layouts_of(
    tables: Sequence[Table], batches: Sequence[Any], lengths: Lengths | None
) -> list[dict[str, Layout]]:
    """Return for each batch of a window its layouts, by the beginning of their columns' names.

    Under "" is that of columns whose names begin with no other; where labels have positions of
    their own, theirs is under "labels".

    Raises:
        DataError: if the layout of a batch is not understood, or lengths and padding disagree.
    """
    first = tables[0]
    prefixes = {name_of(p).removesuffix(MASK) for p in first.tensors if name_of(p).endswith(MASK)}
    decoder = any(name_of(path).startswith(DECODER) for path in first.tensors)
    prefixes = (prefixes | ({DECODER} if decoder else set())) - {""}
    proof = _common_proof(tables)
    by_batch: list[dict[str, Layout]] = []
    for table, batch in zip(tables, batches, strict=True):
        by_prefix: dict[str, list[str]] = {"": [], **{prefix: [] for prefix in sorted(prefixes)}}
        for path in table.tensors:
            by_prefix[_prefix(path, prefixes, decoder=decoder)].append(path)
        layouts: dict[str, Layout] = {}
        for prefix, paths in by_prefix.items():
            columns = {path: table.tensors[path] for path in paths}
            if not prefix and lengths is not None:
                layouts[prefix] = _from_lengths(columns, lengths(batch), "lengths=")
            elif any(column.ndim > 1 for column in columns.values()) or not prefixes:
                layouts[prefix] = _proved(columns, proof)
        by_batch.append(layouts)
    return by_batch if decoder or "" not in by_batch[0] else _with_labels(tables, by_batch)


def _prefix(path: str, prefixes: Iterable[str], *, decoder: bool) -> str:
    name = name_of(path)
    own = next((p for p in sorted(prefixes, key=len, reverse=True) if name.startswith(p)), "")
    return DECODER if decoder and not own and is_label(path) else own


def _common_proof(tables: Sequence[Table]) -> str | None:
    """Return the column of labels that shows padding in some batch of the window, if one does."""
    for table in tables:
        for path, column in table.tensors.items():
            if _is_ignored(column):
                return path
    first = tables[0].tensors
    integers = [p for p, c in first.items() if c.ndim == 2 and c.dtype == torch.int64]
    labels = [p for p in integers if is_label(p) or "target" in name_of(p)]
    columns = [p for p in integers if p.endswith("]")]
    # targets of a window without padding: the last of several columns of one shape
    alike = len({first[p].shape for p in columns}) == 1 and len(columns) > 1
    return labels[-1] if labels else columns[-1] if alike else None


def _proved(columns: Mapping[str, Tensor], labels: str | None) -> Layout:
    """Return the layout of columns, from the first thing that proves where their padding is."""
    masks = [path for path, column in columns.items() if _is_mask(path, column)]
    if masks:
        path = next((p for p in masks if name_of(p).endswith(MASK)), masks[0])
        return _from_mask(path, columns[path])
    for path, column in columns.items():
        if _is_length(path, column):
            return _from_lengths(columns, column, path)
    for path, column in columns.items():
        if name_of(path) == SEGMENTS and column.ndim == 2:
            return _from_segments(path, column)
    if labels is not None and labels in columns:
        return _from_labels(columns, labels)
    ragged = [path for path, column in columns.items() if column.ndim > 1]
    raise DataError(
        f"nothing in the batch says where its padding is (columns {', '.join(columns)}; "
        f"{len(ragged)} with a second dimension). {HINT}"
    )


def _is_mask(path: str, column: Tensor) -> bool:
    if column.ndim != 2:
        return False
    return column.dtype == torch.bool or name_of(path).endswith(MASK)


def _is_length(path: str, column: Tensor) -> bool:
    whole = not column.is_floating_point() and column.dtype != torch.bool
    return column.ndim == 1 and whole and name_of(path) in _LENGTHS


def _is_ignored(column: Tensor) -> bool:
    whole = column.ndim == 2 and column.dtype == torch.int64
    return whole and bool((column[:, [0, -1]] == IGNORED).any()) if column.numel() else False


def _from_mask(path: str, mask: Tensor) -> Layout:
    counts = mask.cpu() != 0
    if name_of(path).endswith("padding_mask"):
        # torch's convention: True is padding
        counts = ~counts
    width = counts.shape[1]
    right, left = _last(counts), _last(counts.flip(1))
    if bool((right == width).all()) and not bool((left == width).all()):
        return Layout(len(counts), width, _whole(left), "left", path, by_mask=True)
    return Layout(len(counts), width, _whole(right), "right", path, by_mask=True)


def _from_segments(path: str, segments: Tensor) -> Layout:
    counts = segments.cpu() >= 0
    rows = torch.arange(len(counts))[:, None]
    if bool((counts & (segments.cpu() != rows)).any()):
        raise DataError(
            f"{path} has other samples in row i than sample i, so the batch is packed already; "
            "recut takes padded batches."
        )
    return Layout(len(counts), counts.shape[1], _whole(_last(counts)), "right", path)


def _last(counts: Tensor) -> Tensor:
    """Return for each row one more than the last position that counts, 0 where none does."""
    place = torch.arange(1, counts.shape[1] + 1)
    return (counts * place).amax(1) if counts.shape[1] else torch.zeros(len(counts))


def _whole(lengths: Tensor) -> tuple[int, ...]:
    return tuple(max(1, int(length)) for length in lengths.tolist())


def _from_lengths(columns: Mapping[str, Tensor], lengths: Any, name: str) -> Layout:
    numbers = [int(length) for length in torch.as_tensor(lengths).flatten().tolist()]
    wide = [column for column in columns.values() if column.ndim > 1]
    count, widths = len(next(iter(columns.values()))), {column.shape[1] for column in wide}
    if len(numbers) != count or min(numbers, default=0) < 0:
        raise DataError(
            f"{name} gave {numbers[:8]} for {count} samples; "
            "expected a length of 0 or more for each."
        )
    longest = max(numbers)
    width = longest if longest in widths else min((w for w in widths if w > longest), default=0)
    if not width:
        raise DataError(
            f"{name} says that a sample has {longest} positions, but the tensors have "
            f"{sorted(widths)}; expected lengths within one of them."
        )
    sides: tuple[Side, ...] = ("right", "left")
    for side in sides:
        layout = Layout(count, width, _whole(torch.tensor(numbers)), side, name)
        if all(constant([layout.values(c)]) for c in wide if c.shape[1] == width):
            _expect_masked(layout, columns)
            return layout
    raise DataError(
        f"positions behind the lengths of {name} hold more than one value, so they are not "
        "padding. Check that the lengths are those of this batch."
    )


def _expect_masked(layout: Layout, columns: Mapping[str, Tensor]) -> None:
    """Refuse lengths behind which the attention mask counts positions."""
    for path, column in columns.items():
        if name_of(path).endswith(MASK) and column.shape[1:] == (layout.width,):
            number = int((layout.values(column) != 0).sum())
            if number:
                raise DataError(
                    f"{path} counts {number} positions behind the lengths of {layout.proof}; "
                    "expected lengths that agree with the mask."
                )


def _from_labels(columns: Mapping[str, Tensor], path: str) -> Layout:
    """Return the layout that ignored labels prove, with the other columns of their width.

    Inputs may be a position longer than their labels. What follows that position has to be one
    value in each column, and some row has to be whole, for else all rows may just end alike.
    """
    labels = columns[path].cpu()
    count, width = labels.shape
    wide = [c.cpu() for c in columns.values() if c.ndim > 1 and c.shape[1] == width]
    sides: tuple[Side, ...] = ("right", "left")
    for side in sides:
        on_right = wide if side == "right" else [column.flip(1) for column in wide]
        is_ignored = labels == IGNORED if side == "right" else labels.flip(1) == IGNORED
        ends = _last(~is_ignored)
        if bool((ends == width).all()):
            continue
        if len(wide) == 1:
            return Layout(count, width, _whole(ends), side, path)
        behind = torch.arange(width)[None] > ends[:, None]
        if not bool(behind.any()):
            break
        if not all(constant([column[behind]]) for column in on_right):
            raise _unproved(path)
        fills = [column[behind][0] for column in on_right]
        differs = [column != fill for column, fill in zip(on_right, fills, strict=True)]
        counts = torch.stack([d.flatten(2).any(2) if d.ndim > 2 else d for d in differs]).any(0)
        lengths = _last(counts)
        if not bool((lengths == width).any()):
            raise _unproved(path)
        return Layout(count, width, _whole(lengths), side, path)
    return Layout(count, width, (max(1, width),) * count, "right", path)


def _unproved(path: str) -> DataError:
    return DataError(
        f"{path} is -100 at the end of rows where other columns hold more than one value, so it "
        f"may not be padding. {HINT}"
    )


def _with_labels(
    tables: Sequence[Table], by_batch: list[dict[str, Layout]]
) -> list[dict[str, Layout]]:
    """Add the layout of labels that have positions of their own, as those of a decoder."""
    labels = [p for p, c in tables[0].tensors.items() if is_label(p) and c.ndim == 2]
    whole = [
        (p, table, own[""]) for p in labels for table, own in zip(tables, by_batch, strict=True)
    ]
    if any(la.proof == p for p, _, la in whole) or not any(_own_positions(*one) for one in whole):
        for path, table, layout in whole:
            _expect_ignored(path, table.tensors[path], layout)
        return by_batch
    return [
        {**layouts, "labels": _from_labels({p: table.tensors[p] for p in labels}, labels[0])}
        for table, layouts in zip(tables, by_batch, strict=True)
    ]


def _own_positions(path: str, table: Table, layout: Layout) -> bool:
    """Return whether labels cannot have the positions of a layout: other ones, or more."""
    labels = table.tensors[path]
    if labels.shape[1] != layout.width:
        return labels.dtype == torch.int64
    if layout.side == "left" or labels.dtype != torch.int64:
        return False
    lengths = _last(labels.cpu() != IGNORED)
    return bool(((lengths > torch.tensor(layout.lengths)) & (lengths < layout.width)).any())


def _expect_ignored(path: str, labels: Tensor, layout: Layout) -> None:
    is_attention_mask = name_of(layout.proof).endswith(MASK) and labels.dtype == torch.int64
    if not is_attention_mask or labels.shape[1] != layout.width:
        return
    number = int((layout.values(labels) != IGNORED).sum())
    if number:
        raise DataError(
            f"{path} has {number} labels where {layout.proof} is 0; they count in the loss, so "
            "those positions are not padding. Set them to -100; beside labels of a decoder give "
            "decoder_input_ids, too."
        )


def constant(parts: Sequence[Tensor]) -> bool:
    """Return whether padding holds one value everywhere."""
    rows = torch.cat(list(parts))
    return len(rows) == 0 or bool((rows == rows[0]).all()) or bool(rows.isnan().all())
