"""The same samples in other micro-batches: cut by plan, with padding trimmed or left out.

Nothing is trimmed that is not proved to be padding, and a batch that is not understood is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import DataError, SettingError, kind_of
from batchproof._plan import CostOf, expect_whole, plan
from batchproof.data._layout import (
    HINT,
    IGNORED,
    SEGMENTS,
    Layout,
    Lengths,
    Side,
    Table,
    constant,
    is_label,
    layouts_of,
    name_of,
)
from batchproof.data._pack import Pack, are_inputs, packed
from batchproof.data._window import Padding, Window

Layouts = dict[str, Layout]


def recut(
    batches: Sequence[Any],
    *,
    tokens: int | None = None,
    rows: int | None = None,
    lengths: Lengths | None = None,
    cost: CostOf | None = None,
    alone: bool = True,
    pack: Pack = False,
) -> Window[Any]:
    """Return the samples of a window in the cheapest micro-batches, with padding trimmed.

    Args:
        batches: a window's micro-batches as a loader gives them: tensors, or dicts, tuples and
            dataclasses of tensors, with samples in the first dimension and positions in the second.
        tokens: the most positions of a micro-batch, its rows times its longest sample. Where a
            batch has positions of several kinds, such as a decoder's, of each kind.
        rows: the most samples of a micro-batch.
        lengths: lengths(batch) -> one number per sample. Without it they are read from a mask (a
            boolean tensor, or attention_mask), from a column named length, from segments, or from
            labels of -100.
        cost: as plan takes it.
        alone: whether a sample longer than tokens gets a micro-batch of its own, or is refused.
        pack: True to lay the samples of each micro-batch end to end in one row, (1, positions),
            with what tells them apart: position_ids that restart, segments as reduce takes them,
            and cu_seqlens; attention_mask is left out. "shifted" for a loss that shifts the labels
            by itself: the first label of each sample, which it would take for the next token of
            the sample before, becomes -100.

    Returns:
        Micro-batches of the same structure, costliest first, a list that knows how much of it is
        padding. The gradient of their mean is the same; BatchNorm, dropout and losses that couple
        samples depend on the cut by nature.

    Raises:
        DataError: if the layout of a batch is not understood, or lengths and padding disagree.
        SettingError: if a budget is below 1, lengths is not a function, or a sample is longer than
            tokens and may not be alone.

    Examples:
        >>> import torch
        >>> ids = torch.tensor([[5, 6, 7, 8], [9, 0, 0, 0], [4, 3, 0, 0]])
        >>> window = [{"input_ids": ids, "attention_mask": (ids > 0).long()}]
        >>> [batch["input_ids"].tolist() for batch in recut(window, tokens=6)]
        [[[9, 0], [4, 3]], [[5, 6, 7, 8]]]
        >>> (row,) = recut(window, pack=True)
        >>> row["input_ids"].tolist(), row["segments"].tolist()
        ([[5, 6, 7, 8, 9, 4, 3]], [[0, 0, 0, 0, 1, 2, 2]])
    """
    expect_whole(tokens=tokens, rows=rows)
    if not batches:
        return Window()
    rows_of = _Rows.of(batches, lengths)
    sizes = [rows_of.size(place) for place in rows_of.places]
    (cut,) = plan(sizes, tokens=tokens, rows=rows, cost=cost, alone=alone, packed=bool(pack))
    window = Window(rows_of.micro_batch([rows_of.places[i] for i in part], pack) for part in cut)
    after = sum(sizes) if pack else sum(len(part) * max(sizes[i] for i in part) for part in cut)
    window.padding = Padding(sum(sizes), rows_of.positions(), after)
    return window


Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a window's batches, of which micro-batches are made.

    Attributes:
        tables: the batches as columns.
        layouts: of each batch.
        columns: by path, whose positions each has.
        places: the batch and the row of each sample, in order.
    """

    tables: Sequence[Table]
    layouts: Sequence[Layouts]
    columns: dict[str, "_Column"]
    places: Sequence[Place]

    @classmethod
    def of(cls, batches: Sequence[Any], lengths: Lengths | None) -> "_Rows":
        if lengths is not None and not callable(lengths):
            raise SettingError(
                f"lengths is {kind_of(lengths)}; expected a function: lambda batch: "
                "..., one number per sample."
            )
        tables = [Table.of(batch) for batch in batches]
        _expect_alike(tables)
        layouts = layouts_of(tables, batches, lengths)
        for table, own in zip(tables, layouts, strict=True):
            for layout in own.values():
                _expect_no_first(table, layout)
        places = [(b, i) for b, table in enumerate(tables) for i in range(table.count())]
        return cls(tables, layouts, _columns(tables, layouts), places)

    def size(self, place: Place) -> int:
        """Return the length of a sample; of one with positions of several kinds, the longest."""
        batch, row = place
        return max(layout.lengths[row] for layout in self.layouts[batch].values())

    def positions(self) -> int:
        """Return the positions of the batches, padding included."""
        widths = (max(layout.width for layout in own.values()) for own in self.layouts)
        return sum(t.count() * width for t, width in zip(self.tables, widths, strict=True))

    def micro_batch(self, places: Sequence[Place], pack: Pack) -> Any:
        """Return the micro-batch of some samples: one row for each, or one for all."""
        if pack:
            axes = {path: column.axis for path, column in self.columns.items()}
            return packed(self.tables, self.layouts, axes, places, pack)
        values: dict[str, Any] = {}
        for path, column in self.columns.items():
            whole = [table.tensors[path] for table in self.tables]
            if column.axis is None:
                values[path] = _taken(whole, column, places, 0, "right")
                continue
            axis = [own[column.axis] for own in self.layouts]
            longest = max(axis[b].lengths[i] for b, i in places)
            values[path] = _taken(whole, column, places, longest, _side(axis))
            if column.numbered:
                rows = torch.arange(len(places), device=values[path].device)[:, None]
                values[path] = rows.where(values[path] >= 0, -1)
        for path in self.tables[0].lists:
            values[path] = [self.tables[b].lists[path][i] for b, i in places]
        return self.tables[0].rebuilt(values)


def _expect_no_first(table: Table, layout: Layout) -> None:
    """Refuse labels whose first is predicted from the padding before it, where a loss shifts."""
    if layout.side == "right":
        return
    for path, column in table.tensors.items():
        if is_label(path) and column.shape == (layout.count, layout.width):
            padded = [i for i, length in enumerate(layout.lengths) if length < layout.width]
            firsts = column[padded, [layout.inside(i).start for i in padded]] != IGNORED
            if are_inputs(path, table.tensors) and bool(firsts.any()):
                raise DataError(
                    f"{path} are the inputs, and the first counts in {int(firsts.sum())} samples "
                    "padded on the left; a loss that shifts them predicts it from the padding, "
                    "which is trimmed. Set it to -100."
                )


def _side(layouts: Sequence[Layout]) -> Side:
    """Return the end at which the batches of a window are padded."""
    sides = {layout.side for layout in layouts if min(layout.lengths) < layout.width}
    if len(sides) > 1:
        raise DataError(f"the window has batches padded on the left and on the right. {HINT}")
    return sides.pop() if sides else "right"


def _expect_alike(tables: Sequence[Table]) -> None:
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


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the window.

    Attributes:
        axis: the layout whose positions its second dimension has; None where it has none.
        fill: the value of padding.
        numbered: whether it holds the number of its row, which changes.
    """

    axis: str | None
    fill: Any = 0
    numbered: bool = False


def _columns(tables: Sequence[Table], layouts: Sequence[Layouts]) -> dict[str, _Column]:
    """Return each column's padding value, and whose positions it has."""
    return {
        path: _column(
            path, [(t.tensors[path], own) for t, own in zip(tables, layouts, strict=True)]
        )
        for path in tables[0].tensors
    }


def _column(path: str, parts: list[tuple[Tensor, Layouts]]) -> _Column:
    first, layouts = parts[0]
    axis = _axis(path, first, layouts)
    wide = axis is not None and all(
        column.ndim > 1 and column.shape[1] == own[axis].width for column, own in parts
    )
    if axis is not None and any(_is_padded(column, own[axis]) for column, own in parts):
        raise DataError(
            f"{path} has shape {tuple(first.shape)}, whose further dimensions may be positions "
            "too; make it in the model, from the lengths."
        )
    if axis is None or not wide:
        shapes = {column.shape[1:] for column, _ in parts}
        if len(shapes) > 1:
            widths = sorted({layout.width for _, own in parts for layout in own.values()})
            raise DataError(
                f"{path} has rows of shapes {sorted(map(tuple, shapes))} in one window, which are "
                f"not the {widths} positions of its batches. {HINT}"
            )
        return _Column(None)
    layout = layouts[axis]
    padding = [own[axis].values(column) for column, own in parts]
    if not layout.exempt(path) and not constant(padding):
        raise DataError(
            f"{path} holds more than one value in positions that are padding; it may not be a "
            "column of positions. Name its padding, or leave it out of the batch."
        )
    return _Column(axis, _fill(path, padding, layout), numbered=name_of(path) == SEGMENTS)


def _is_padded(column: Tensor, layout: Layout) -> bool:
    """Return whether a further dimension may be padded as that of positions is."""
    sizes = enumerate(column.shape[2:], start=2)
    further = [dim for dim, size in sizes if size == layout.width > min(layout.lengths)]
    return any(constant([layout.values(column.movedim(dim, 1))]) for dim in further)


def _axis(path: str, column: Tensor, layouts: Layouts) -> str | None:
    """Return the layout that a column's name belongs to; None where it has no positions."""
    if column.ndim < 2:
        return None
    if is_label(path) and column.ndim == 2:
        own = next((axis for axis in ("labels", "decoder_") if axis in layouts), None)
        if own is not None:
            return own
    begins = [axis for axis in layouts if name_of(path).startswith(axis)]
    return max(begins, key=len, default=None)


def _fill(path: str, padding: Sequence[Tensor], layout: Layout) -> Any:
    rows = torch.cat(list(padding))
    if len(rows) and constant(padding):
        return rows[0]
    if name_of(path) == SEGMENTS:
        return -1
    if name_of(path).endswith("padding_mask"):
        return True
    labels = is_label(path) or (path == layout.proof and not layout.by_mask)
    return IGNORED if labels and rows.dtype == torch.int64 else 0


def _taken(
    whole: Sequence[Tensor],
    column: _Column,
    places: Sequence[tuple[int, int]],
    longest: int,
    side: Side,
) -> Tensor:
    """Return the rows of a column, trimmed or padded to the longest sample.

    They are a view where they are next to each other and nothing is trimmed. What is trimmed is
    copied, for models flatten labels by view(-1).
    """
    pieces = []
    for batch in sorted({b for b, _ in places}):
        rows = _rows(whole[batch], [i for b, i in places if b == batch])
        pieces.append(_widened(rows, column, longest, side))
    return pieces[0].contiguous() if len(pieces) == 1 else torch.cat(pieces)


def _rows(tensor: Tensor, rows: list[int]) -> Tensor:
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return tensor[rows[0] : rows[0] + len(rows)]
    return tensor[torch.tensor(rows, device=tensor.device)]


def _widened(part: Tensor, column: _Column, longest: int, side: Side) -> Tensor:
    if column.axis is None:
        return part
    width = part.shape[1]
    if longest <= width:
        return part[:, width - longest :] if side == "left" else part[:, :longest]
    missing = torch.as_tensor(column.fill, dtype=part.dtype, device=part.device)
    missing = missing.expand(part.shape[0], longest - width, *part.shape[2:])
    return torch.cat([missing, part] if side == "left" else [part, missing], 1)
