"""What is known about the samples before any cut is made: shapes, widths, masks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from batchproof._errors import ProbeError
from batchproof.check._cuts import Facts, Piece
from batchproof.check._masks import evident_mask, likely_masks, masks_all
from batchproof.check._samples import keeps_order, leaves, shape_of
from batchproof.check._shot import Kit, make_batch, one_line


def gather_facts(
    kit: Kit, *, window: int | None, mask: Callable[[object], object] | None
) -> tuple[Kit, Facts]:
    """Look at the samples, and add the fully masked one where one can be made.

    Args:
        kit: the user's parts.
        window: micro-batches a window.
        mask: the user's own way to mask a sample.
    """
    count = len(kit.samples)
    singles = [make_batch(kit, Piece((i,))) for i in range(count)]
    sizes = [sum(leaf.numel() for _, leaf in leaves(batch)) for batch in singles]
    shapes = {shape_of(batch) for batch in singles}
    beside = None
    if len(shapes) > 1 and kit.pad is None:
        longest = max(range(count), key=sizes.__getitem__)
        beside = longest if _slices(kit, longest, singles) else None
    facts = Facts(count, tuple(sizes), beside=beside, padding=kit.pad is not None, window=window)
    if mask is not None:
        return _with_masked(kit, mask), replace(facts, masked=True)
    found = evident_mask(kit.samples)
    likely = likely_masks(kit) if found is None else []
    found = found or next((one for one in likely if masks_all(kit, one)), None)
    if found is not None:
        return _with_masked(kit, found.emptied), replace(facts, masked=True, mask=found)
    ragged = len(shapes) > 1
    return kit, replace(facts, unmasked=ragged or bool(likely))


def _with_masked(kit: Kit, mask: Callable[[Any], object]) -> Kit:
    try:
        return replace(kit, samples=(*kit.samples, mask(kit.samples[0])))
    except Exception as error:
        raise ProbeError(f"mask(sample) failed: {one_line(error)}.") from error


def _slices(kit: Kit, longest: int, singles: list[Any]) -> bool:
    """Tell whether rows can be taken out of a batch: samples lead, in the order given."""
    for index, single in enumerate(singles):
        if index == longest:
            continue
        try:
            row = make_batch(kit, Piece((index,), beside=(longest,)))
        except ProbeError:
            return False
        if row is None or not keeps_order(single, row):
            return False
    return True
