"""The same samples in other micro-batches: cut by plan, with padding trimmed.

Padding is proved and never assumed. A position is padding where a mask says so, or where the labels
are ignored and everything else in it is the padding value, or beyond the lengths that the user
gives; and only at one end of a row. A batch that is not understood is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from batchproof._errors import DataError
from batchproof._trees import is_branch, items, leaves, rebuild
from batchproof.data._plan import CostOf, plan

IGNORED = -100
# columns of transformers' collators that are not constant under the mask
_POSITIONAL = ("position_ids", "token_type_ids", "special_tokens_mask")
_HINT = "Give the lengths: lengths=lambda batch: ..., one number a sample."

Side = Literal["left", "right"]
Lengths = Callable[[Any], "Tensor | Sequence[int]"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one padded batch.

    Attributes:
        count: number of samples, the length of every tensor's first dimension.
        width: number of positions of a row, padding included; 0 where no tensor has positions.
        lengths: of each sample, at least 1.
        side: the end at which rows are padded.
        proved: whether a mask or the user says where padding is, so that its values may differ.
    """

    count: int
    width: int
    lengths: tuple[int, ...]
    side: Side = "right"
    proved: bool = False

    def padding(self) -> Tensor:
        """Return a boolean mask of the padding, shape (count, width)."""
        place = torch.arange(self.width)
        place = place.flip(0) if self.side == "left" else place
        return place[None] >= torch.tensor(self.lengths)[:, None]


def recut(
    batches: Sequence[Any],
    *,
    tokens: int | None = None,
    rows: int | None = None,
    lengths: Lengths | None = None,
    cost: CostOf | None = None,
) -> list[Any]:
    """Return the samples of a window in the cheapest micro-batches, with padding trimmed.

    Args:
        batches: a window's micro-batches as a loader gives them: tensors, or dicts, tuples and
            dataclasses of tensors, with samples in the first dimension and positions in the second.
        tokens: the most positions of a micro-batch, its rows times its longest sample.
        rows: the most samples of a micro-batch.
        lengths: lengths(batch) -> one number a sample. Without it they are read from a mask (a
            boolean tensor, or attention_mask), from a column named length, or from labels of -100.
        cost: as plan takes it.

    Returns:
        Micro-batches of the same structure, costliest first. The gradient of their mean is the
        same; BatchNorm, dropout and losses that couple samples depend on the cut by nature.

    Raises:
        DataError: if the layout of a batch is not understood, or lengths and padding disagree.
        SettingError: if a budget is below 1.

    Examples:
        >>> import torch
        >>> ids = torch.tensor([[5, 6, 7, 8], [9, 0, 0, 0], [4, 3, 0, 0]])
        >>> window = [{"input_ids": ids, "attention_mask": (ids > 0).long()}]
        >>> [batch["input_ids"].tolist() for batch in recut(window, tokens=6)]
        [[[9, 0], [4, 3]], [[5, 6, 7, 8]]]
    """
    if not batches:
        return []
    tables = [_Table.of(batch) for batch in batches]
    _expect_alike(tables)
    layouts = [_layout(table, batch, lengths) for table, batch in zip(tables, batches, strict=True)]
    side = _side(layouts)
    columns = _columns(tables, layouts)
    places = [(b, i) for b, layout in enumerate(layouts) for i in range(layout.count)]
    every = [length for layout in layouts for length in layout.lengths]
    (cut,) = plan(every, tokens=tokens, rows=rows, cost=cost)
    return [
        _assembled(tables, columns, [places[i] for i in part], max(every[i] for i in part), side)
        for part in cut
    ]


def _side(layouts: Sequence[Layout]) -> Side:
    """Return the end at which the batches of a window are padded."""
    sides = {layout.side for layout in layouts if min(layout.lengths) < layout.width}
    if len(sides) > 1:
        raise DataError(f"the window has batches padded on the left and on the right. {_HINT}")
    return sides.pop() if sides else "right"


@dataclass(frozen=True, slots=True)
class _Table:
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
    def of(cls, batch: Any) -> "_Table":
        tensors = {path: leaf for path, leaf in leaves(batch) if leaf.ndim > 0}
        counts = {len(leaf) for leaf in tensors.values()}
        if "cu_seqlens" in {path.rsplit(".", 1)[-1] for path in tensors}:
            raise DataError(
                "the batch is packed already (it has cu_seqlens); recut takes padded batches."
            )
        if len(counts) != 1:
            raise DataError(
                f"the tensors of a batch have lengths {sorted(counts)}; expected one row a sample "
                "in each. Leave out the others, or cut the samples before they are collated."
            )
        lists: dict[str, Sequence[Any]] = {}
        rest: dict[str, Any] = {}
        _sort_out(batch, counts.pop(), "", lists, rest)
        return cls(batch, tensors, lists, rest)

    def count(self) -> int:
        return len(next(iter(self.tensors.values())))


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


def _expect_alike(tables: Sequence[_Table]) -> None:
    """Refuse batches of a window whose columns differ in name, type or further dimensions."""
    first = tables[0]
    for number, table in enumerate(tables):
        if table.tensors.keys() != first.tensors.keys() or table.lists.keys() != first.lists.keys():
            raise DataError(
                f"batch {number} of the window has the columns {sorted(table.tensors)} and batch 0 "
                f"{sorted(first.tensors)}; expected the same in each."
            )
        for path, column in table.tensors.items():
            other = first.tensors[path]
            if column.dtype != other.dtype or column.shape[2:] != other.shape[2:]:
                raise DataError(
                    f"{path} is {column.dtype} {tuple(column.shape)} in batch {number} of the "
                    f"window and {other.dtype} {tuple(other.shape)} in batch 0; expected the same "
                    "type and features."
                )
        for path, value in table.rest.items():
            reference = first.rest.get(path)
            if not _equal(value, reference):
                raise DataError(
                    f"{path.lstrip('.')} is {value!r} in batch {number} of the window and "
                    f"{reference!r} in batch 0; it belongs to no sample, so it cannot be recut."
                )


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.equal(left, right)
    return bool(left == right)


def _layout(table: _Table, batch: Any, lengths: Lengths | None) -> Layout:
    """Return the layout of a batch, from the first thing that proves where its padding is."""
    if lengths is not None:
        return _from_lengths(table, lengths(batch), "lengths=")
    masks = {path: column for path, column in table.tensors.items() if _is_mask(path, column)}
    if masks:
        path = next((p for p in masks if "attention_mask" in p), next(iter(masks)))
        return _from_mask(table, path, masks[path])
    named = {p: c for p, c in table.tensors.items() if _is_length(p, c)}
    if named:
        path, column = next(iter(named.items()))
        return _from_lengths(table, column, path)
    labels = {p: c for p, c in table.tensors.items() if _is_ignored(c)}
    if labels:
        return _from_labels(table, next(iter(labels)))
    ragged = [p for p, c in table.tensors.items() if c.ndim > 1]
    raise DataError(
        f"nothing in the batch says where its padding is (columns {', '.join(table.tensors)}; "
        f"{len(ragged)} with a second dimension). {_HINT}"
    )


def _is_mask(path: str, column: Tensor) -> bool:
    if column.ndim != 2:
        return False
    return column.dtype == torch.bool or path.rsplit(".", 1)[-1] == "attention_mask"


def _is_length(path: str, column: Tensor) -> bool:
    name = path.rsplit(".", 1)[-1].lower()
    whole = not column.is_floating_point() and column.dtype != torch.bool
    return column.ndim == 1 and whole and name in {"length", "lengths", "input_lengths", "seq_len"}


def _is_ignored(column: Tensor) -> bool:
    whole = column.ndim == 2 and column.dtype == torch.int64
    return whole and bool((column[:, [0, -1]] == IGNORED).any()) if column.numel() else False


def _from_mask(table: _Table, path: str, mask: Tensor) -> Layout:
    counts = mask.cpu() != 0
    width = counts.shape[1]
    right = _last(counts)
    left = _last(counts.flip(1))
    if bool((right == width).all()) and not bool((left == width).all()):
        layout = Layout(len(counts), width, _whole(left), "left", proved=True)
    else:
        layout = Layout(len(counts), width, _whole(right), proved=True)
    for other, column in table.tensors.items():
        label = "label" in other.rsplit(".", 1)[-1] and path.endswith("attention_mask")
        if label and column.shape == mask.shape:
            counted = int(((column.cpu() != IGNORED) & layout.padding()).sum())
            if counted:
                raise DataError(
                    f"{other} has {counted} labels where {path} is 0; they count in the loss, so "
                    "those positions are not padding. Set them to -100."
                )
    return layout


def _last(counts: Tensor) -> Tensor:
    """Return for each row one more than the last position that counts, 0 where none does."""
    place = torch.arange(1, counts.shape[1] + 1)
    return (counts * place).amax(1) if counts.shape[1] else torch.zeros(len(counts))


def _whole(lengths: Tensor) -> tuple[int, ...]:
    return tuple(max(1, length) for length in lengths.tolist())


def _from_lengths(table: _Table, lengths: Any, name: str) -> Layout:
    given = [int(length) for length in torch.as_tensor(lengths).flatten().tolist()]
    count, widths = table.count(), {c.shape[1] for c in table.tensors.values() if c.ndim > 1}
    if len(given) != count or min(given, default=0) < 0:
        raise DataError(
            f"{name} gave {given[:8]} for {count} samples; expected a length of 0 or more for each."
        )
    longest = max(given)
    width = longest if longest in widths else min((w for w in widths if w > longest), default=0)
    if not width:
        raise DataError(
            f"{name} says that a sample has {longest} positions, but the tensors have "
            f"{sorted(widths)}; expected lengths within one of them."
        )
    sides: tuple[Side, ...] = ("right", "left")
    layouts = [Layout(count, width, _whole(torch.tensor(given)), side) for side in sides]
    for layout in layouts:
        columns = [c for c in table.tensors.values() if c.ndim > 1 and c.shape[1] == width]
        if all(_constant([(column, layout)]) for column in columns):
            return layout
    raise DataError(
        f"positions behind the lengths of {name} hold more than one value, so they are not "
        "padding. Check that the lengths are those of this batch."
    )


def _from_labels(table: _Table, path: str) -> Layout:
    labels = table.tensors[path]
    width = labels.shape[1]
    others = [c for c in table.tensors.values() if c.ndim > 1 and c.shape[1] == width]
    for side, last in (("right", -1), ("left", 0)):
        edge = labels[:, last] == IGNORED
        if not bool(edge.any()):
            continue
        counts = torch.zeros(labels.shape, dtype=torch.bool)
        for column in others:
            fill = column[edge][0, last]
            differs = (column != fill).flatten(2).any(2) if column.ndim > 2 else column != fill
            counts |= differs.cpu()
        if bool(counts[edge.cpu(), last].any()):
            break
        counts = counts if side == "right" else counts.flip(1)
        return Layout(len(labels), width, _whole(_last(counts)), side)  # type: ignore[arg-type]
    raise DataError(
        f"{path} is -100 at the end of rows where other columns hold more than one value, so it "
        f"may not be padding. {_HINT}"
    )


def _constant(parts: Sequence[tuple[Tensor, Layout]]) -> bool:
    """Return whether padding holds one value everywhere."""
    values = [column[layout.padding().to(column.device)] for column, layout in parts]
    rows = torch.cat(values)
    return len(rows) == 0 or bool((rows == rows[0]).all()) or bool(rows.isnan().all())


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the window.

    Attributes:
        ragged: whether its second dimension is that of positions.
        fill: the value of padding.
    """

    ragged: bool
    fill: Any = 0


def _columns(tables: Sequence[_Table], layouts: Sequence[Layout]) -> dict[str, _Column]:
    """Return each column's padding value, and whether it has positions."""
    return {
        path: _column(path, [(t.tensors[path], la) for t, la in zip(tables, layouts, strict=True)])
        for path in tables[0].tensors
    }


def _column(path: str, parts: list[tuple[Tensor, Layout]]) -> _Column:
    wide = [column.ndim > 1 and column.shape[1] == layout.width for column, layout in parts]
    if not all(wide):
        shapes = {column.shape[1:] for column, _ in parts}
        if len(shapes) > 1:
            raise DataError(
                f"{path} has rows of shapes {sorted(map(tuple, shapes))} in one window, which are "
                f"not the {sorted({la.width for _, la in parts})} positions of its batches. {_HINT}"
            )
        return _Column(ragged=False)
    first, layout = parts[0]
    if any(size == layout.width > 1 for size in first.shape[2:]):
        raise DataError(
            f"{path} has shape {tuple(first.shape)}, whose further dimensions may be positions "
            "too; make it in the model, from the lengths."
        )
    name = path.rsplit(".", 1)[-1]
    masked = _is_mask(path, first) and layout.proved
    if masked or name in _POSITIONAL:
        return _Column(ragged=True)
    if not _constant(parts):
        raise DataError(
            f"{path} holds more than one value in positions that are padding; it may not be a "
            "column of positions. Name its padding, or leave it out of the batch."
        )
    return _Column(ragged=True, fill=_fill(name, parts))


def _fill(name: str, parts: list[tuple[Tensor, Layout]]) -> Any:
    for column, layout in parts:
        values = column[layout.padding().to(column.device)]
        if len(values):
            return values[0]
    return IGNORED if "label" in name and not parts[0][0].is_floating_point() else 0


def _assembled(
    tables: Sequence[_Table],
    columns: dict[str, _Column],
    places: Sequence[tuple[int, int]],
    longest: int,
    side: Side,
) -> Any:
    """Return the micro-batch of some samples, given by batch and row."""
    values: dict[str, Any] = {}
    for path, column in columns.items():
        whole = [table.tensors[path] for table in tables]
        values[path] = _taken(whole, column, places, longest, side)
    for path in tables[0].lists:
        values[path] = [tables[b].lists[path][i] for b, i in places]
    return _rebuilt(tables[0].tree, values, "")


def _rebuilt(tree: Any, values: dict[str, Any], path: str) -> Any:
    name = path if path in values else path.lstrip(".") or "batch"
    if name in values:
        value = values[name]
        return tuple(value) if isinstance(tree, tuple) else value
    if is_branch(tree):
        return rebuild(tree, [_rebuilt(part, values, path + step) for step, part in items(tree)])
    return tree


def _taken(
    whole: Sequence[Tensor],
    column: _Column,
    places: Sequence[tuple[int, int]],
    longest: int,
    side: Side,
) -> Tensor:
    """Return the rows of a column, trimmed or padded to the longest sample; a view where it can."""
    pieces: list[Tensor] = []
    order: list[int] = []
    for batch in sorted({b for b, _ in places}):
        wanted = [(at, i) for at, (b, i) in enumerate(places) if b == batch]
        order += [at for at, _ in wanted]
        pieces.append(_widened(_rows(whole[batch], [i for _, i in wanted]), column, longest, side))
    if len(pieces) == 1:
        return pieces[0]
    joined = torch.cat(pieces)
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return joined[back.to(joined.device)]


def _rows(tensor: Tensor, rows: list[int]) -> Tensor:
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return tensor[rows[0] : rows[0] + len(rows)]
    return tensor[torch.tensor(rows, device=tensor.device)]


def _widened(part: Tensor, column: _Column, longest: int, side: Side) -> Tensor:
    if not column.ragged:
        return part
    width = part.shape[1]
    if longest <= width:
        return part[:, width - longest :] if side == "left" else part[:, :longest]
    missing = torch.as_tensor(column.fill, dtype=part.dtype, device=part.device)
    missing = missing.expand(part.shape[0], longest - width, *part.shape[2:])
    return torch.cat([missing, part] if side == "left" else [part, missing], 1)
