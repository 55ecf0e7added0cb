"""The samples of a micro-batch end to end in one row, as models without padding take them.

The layout is that of transformers' DataCollatorWithFlattening: columns of positions have one row,
position_ids restart with every sample, and there is no attention_mask. `segments` gives the sample
of each position, as batchproof.reduce takes it, so that the unit of a mean stays exact; cu_seqlens
are the bounds of the samples, as attention over sequences of unequal length takes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from batchproof._errors import DataError, kind_of
from batchproof.data._layout import IGNORED, MASK, SEGMENTS, Layout, Table, is_label, name_of

Pack = bool | Literal["shifted"]
Places = Sequence[tuple[int, int]]
# labels that all equal their inputs are those of a loss that shifts them
_ENOUGH = 8


def packed(
    tables: Sequence[Table],
    layouts: Sequence[Mapping[str, Layout]],
    axes: Mapping[str, str | None],
    places: Places,
    pack: Pack,
) -> Any:
    """Return samples in one row.

    Args:
        tables: the batches of a window.
        layouts: of each batch.
        axes: by path, the layout whose positions a column has; None where it has none.
        places: the batch and the row of each sample.
        pack: True, or "shifted" for labels that the loss shifts.

    Raises:
        DataError: if the batch has positions of several kinds, no place for segments, or labels
            that a loss would shift from one sample into the next.
    """
    tree, several = tables[0].tree, [axis for axis in layouts[0] if axis]
    if several:
        raise DataError(
            f"the batch has positions of several kinds ({', '.join(several)}); packing lays out "
            "one. Leave pack out."
        )
    lengths = [layouts[b][""].lengths[i] for b, i in places]
    values: dict[str, Any] = {
        path: [tables[b].lists[path][i] for b, i in places] for path in tables[0].lists
    }
    for path, axis in axes.items():
        pieces = [_piece(tables[b], layouts[b][""], path, axis, i) for b, i in places]
        values[path] = torch.stack(pieces) if axis is None else torch.cat(pieces)[None]
    device = next(iter(tables[0].tensors.values())).device
    own = next((path for path in axes if name_of(path) == SEGMENTS), None)
    segments = torch.arange(len(places)).repeat_interleave(torch.tensor(lengths))[None].to(device)
    if own is not None:
        values[own] = segments
    elif not isinstance(tree, Mapping):
        raise DataError(
            f"the batch is {kind_of(tree)} without a field named segments; packing has "
            "to say which sample a position is of. Make it a dict, or add the field."
        )
    if pack == "shifted":
        _ignore_first(values, lengths)
    else:
        _expect_unshifted(values, lengths)
    if not isinstance(tree, Mapping):
        return tables[0].rebuilt(values)
    return _with_bounds(dict(tables[0].rebuilt(values)), segments, lengths)


def _piece(table: Table, layout: Layout, path: str, axis: str | None, row: int) -> Tensor:
    column = table.tensors[path][row]
    return column if axis is None else column[layout.inside(row)]


def _with_bounds(batch: dict[str, Any], segments: Tensor, lengths: list[int]) -> dict[str, Any]:
    sizes = torch.tensor(lengths)
    ends = sizes.cumsum(0)
    positions = torch.arange(int(sizes.sum())) - (ends - sizes).repeat_interleave(sizes)
    bounds = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
    batch = {name: value for name, value in batch.items() if name != MASK}
    batch.setdefault("position_ids", positions[None].to(segments.device))
    return {**batch, SEGMENTS: segments, "cu_seqlens": bounds.to(segments.device)}


def _labels(values: Mapping[str, Any]) -> list[str]:
    return [
        path
        for path, value in values.items()
        if is_label(path) and isinstance(value, Tensor) and value.dtype == torch.int64
    ]


def are_inputs(path: str, columns: Mapping[str, Any]) -> bool:
    """Return whether labels are their inputs wherever they count, as those of a loss that shifts.

    Few labels may be so by chance.
    """
    labels, inputs = columns[path], columns.get(path[: path.rfind(".") + 1] + "input_ids")
    if not isinstance(inputs, Tensor) or inputs.shape != labels.shape:
        return False
    counts = labels != IGNORED
    return int(counts.sum()) >= _ENOUGH and bool((labels == inputs)[counts].all())


def _firsts(lengths: Sequence[int]) -> Tensor:
    sizes = torch.tensor(lengths)
    return sizes.cumsum(0) - sizes


def _ignore_first(values: dict[str, Any], lengths: Sequence[int]) -> None:
    for path in _labels(values):
        if values[path].shape == (1, sum(lengths)):
            values[path][0, _firsts(lengths)] = IGNORED


def _expect_unshifted(values: Mapping[str, Any], lengths: Sequence[int]) -> None:
    """Refuse labels that are their inputs, of which the first of a sample counts."""
    for path in _labels(values):
        if values[path].shape != (1, sum(lengths)) or not are_inputs(path, values):
            continue
        firsts = int((values[path][0, _firsts(lengths)] != IGNORED).sum())
        if firsts:
            raise DataError(
                f"{path} are the inputs, and the first counts in {firsts} samples; a loss that "
                "shifts them would take it for the next token of the sample before. Pass "
                'pack="shifted", or set it to -100.'
            )
