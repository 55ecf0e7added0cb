"""An evaluation in which the ranks of a sharded model run it equally often."""

from collections.abc import Iterable, Iterator
from typing import Any

from batchproof._trees import to_device
from batchproof.ranks import from_rank, in_a_group, is_sharded, of_all
from batchproof.step import windows
from batchproof.train._place import device_of


def evenly(model: Any, loader: Iterable[Any], group: Any) -> Iterator[tuple[Any, bool]]:
    """Yield batches, and whether each counts: the ranks of a sharded model run it equally often.

    A rank with fewer batches runs its last one again, and one without any runs one that it is
    sent; these do not count.
    """
    if not (is_sharded(model) and in_a_group(group)):
        for batch in loader:
            yield batch, True
        return
    last = None
    for number, window in enumerate(windows(loader, 1, group=group)):
        last = window[0] if window else last
        if number == 0:
            last = _one_for_all(last, model, group, there=bool(window))
        yield last, bool(window)


def _one_for_all(batch: Any, model: Any, group: Any, *, there: bool) -> Any:
    """Return this rank's batch, or one of a rank that has one; every rank calls it."""
    have = of_all(there, group)
    if all(have):
        return batch
    sent = from_rank(have.index(True), batch, group)
    return batch if there else to_device(sent, device_of(model))
