"""A mean over a pass over data, whose adding neither waits for the device nor for other ranks."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from batchproof._errors import (
    CheckpointError,
    DataError,
    EmptyMeanError,
    SettingError,
    ShapeError,
    kind_of,
    shown,
)
from batchproof.mean import Mean, expect_integers
from batchproof.meter._accumulator import ROOM_OF_A_PAIR, Accumulator
from batchproof.meter._estimate import Column, Estimate
from batchproof.meter._ranks import gather
from batchproof.meter._sums import WEIGHT, Sums
from batchproof.ranks import is_initialised

# pairs kept before they are folded: 504 pooled ones, or 102 batches of 256 samples
ROOM = 1 << 15


class Meter:
    """The mean over a pass over data, exact however the data is cut.

    Pairs are buffered, and many at a time are folded into sums on their device, in float64 or,
    where there is none, in compensated float32. Adding reads nothing on the host and sends nothing
    to other ranks; estimate reads once, sync communicates once.

    Args:
        by: the groups of a breakdown: their number, or their names.

    Raises:
        SettingError: if by names no group.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> meter = bp.Meter()
        >>> meter.add(bp.reduce(torch.tensor([1.0, 2.0, 3.0])))
        >>> meter.add(bp.reduce(torch.tensor([10.0])))
        >>> estimate = meter.estimate()
        >>> estimate.value, estimate.samples, estimate.mean_of_batch_means
        (4.0, 4, 6.0)
    """

    def __init__(self, *, by: int | Sequence[str] | None = None) -> None:
        self._names = _names(by)
        self._accumulator = _accumulator(self._names)

    def reset(self) -> None:
        """Forget every pair."""
        self._accumulator.clear()

    def add(self, mean: Mean, *, by: Int[Tensor, "*samples"] | None = None) -> None:
        """Add the pairs of a batch.

        Args:
            mean: one pair per sample, or one pooled pair, which leaves no standard error.
            by: the group of each pair, of the shape of mean.total; an index that is not a group is
                refused by estimate.

        Raises:
            UnitError: if the mean is of another unit than those before.
            SettingError: if it is not a Mean, by is missing or not expected, or the sums are those
                of all ranks.
            ShapeError: if by has another shape than mean.total.
        """
        accumulator = self._accumulator
        if by is not None or not isinstance(mean, Mean) or mean.unit != accumulator.ready:
            if not isinstance(mean, Mean):
                raise SettingError(_what_to_add(mean))
            by = _groups(self._names, mean, by)
            accumulator.admit(mean)
        total, weight = mean.total, mean.weight
        if total.requires_grad:
            total = total.detach()
        if not (total.is_cpu and weight.is_cpu):
            # a replayed CUDA graph writes to its outputs unseen
            total, weight = total.clone(), weight.clone()
        try:
            writes = total._version + weight._version  # noqa: SLF001
        except RuntimeError:
            # inference tensors do not count writes
            total, weight = total.clone(), weight.clone()
            writes = 0
        # one append, so that no other thread can separate the parts of an entry
        accumulator.append((total, weight, writes, by))
        accumulator.room -= ROOM_OF_A_PAIR + total.numel()
        if accumulator.room <= 0:
            accumulator.fold()

    def mean(self) -> Mean:
        """Return the pair over all that was added, on the device; nothing is read.

        Raises:
            EmptyMeanError: if nothing was added.
        """
        part = self._accumulator.read()
        sums, unit = part.sums, part.unit
        total, weight = (sums.hi[: WEIGHT + 1, 0] + sums.lo[: WEIGHT + 1, 0]).unbind()
        return Mean(total, weight, unit)

    def estimate(self) -> Estimate:
        """Return the mean and its standard error, by one read on the host.

        Raises:
            EmptyMeanError: if nothing was added, or all of it has weight 0.
            DataError: if a group index was out of range.
        """
        part = self._accumulator.read()
        unit, is_pooled = part.unit, part.is_pooled
        host = Sums.unpack(part.sums.pack().cpu())
        columns = [
            Column(hi, lo, ratio)
            for hi, lo, ratio in zip(
                host.hi.T.tolist(), host.lo.T.tolist(), host.ratio.tolist(), strict=True
            )
        ]
        names = self._names or ()
        _expect_range(self._names, *host.extremes.tolist())
        groups = {
            name: column.estimate(unit, is_pooled=is_pooled)
            for name, column in zip(names, columns[1:], strict=True)
        }
        estimate = columns[0].estimate(unit, is_pooled=is_pooled, groups=groups)
        if estimate.weight == 0:
            raise EmptyMeanError(
                f"the mean over {unit!r} has weight 0: nothing was averaged. "
                "Look for a mask that keeps nothing."
            )
        return estimate

    def merge(self, other: "Meter") -> "Meter":
        """Add the content of another meter, which stays unchanged.

        Returns:
            This meter.

        Raises:
            UnitError: if the two hold means of different units.
            SettingError: if their groups differ, or one holds the sums of all ranks.
        """
        theirs, names = other._accumulator.part(), other._names  # noqa: SLF001
        if self._names != names:
            raise SettingError(
                f"a meter with groups {self._names} and one with {names} cannot be merged; "
                "make both with one by."
            )
        self._accumulator.part()
        if theirs is not None:
            self._accumulator.take(theirs)
        return self

    def sync(self, group: torch.distributed.ProcessGroup | None = None) -> "Meter":
        """Make this the meter over all ranks, by one collective; every rank calls it.

        Ranks may hold unequal numbers of samples, or none. All get the same sums, to the last bit.
        Without torch.distributed, or once synced, nothing happens.

        Args:
            group: the ranks; torch.distributed's default group without it.

        Returns:
            This meter.

        Raises:
            UnitError: if ranks hold means of different units.
            RankError: if ranks have different numbers of groups.
        """
        sync_all({"meter": self}, group)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as plain tensors and numbers, with the pairs not folded in yet.

        A meter that is loaded from it continues to the very same bits.
        """
        groups = list(self._names) if self._names is not None else None
        return {"groups": groups, **self._accumulator.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of state_dict.

        Raises:
            CheckpointError: if it is that of a meter with other groups.
        """
        names = None if self._names is None else list(self._names)
        if state["groups"] != names:
            raise CheckpointError(
                f"the state is of a meter with groups {state['groups']}, this one has {names}; "
                "make it with the same by."
            )
        self._accumulator.load(state)

    def __getstate__(self) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
        # for copies and pickles, whose tensors have not been written to as often
        return self._names, self.state_dict()

    def __setstate__(self, state: tuple[tuple[str, ...] | None, Mapping[str, Any]]) -> None:
        self._names, accumulator = state
        self._accumulator = _accumulator(self._names)
        self._accumulator.load(accumulator)

    def __repr__(self) -> str:
        try:
            text = repr(self.estimate()).removeprefix("Estimate")
        except EmptyMeanError:
            text = "(empty)" if self._accumulator.unit is None else "(no weight)"
        return f"Meter{text}"

    @property
    def synced(self) -> bool:
        """Whether this meter holds the sums of all ranks."""
        return self._accumulator.synced


def _what_to_add(argument: object) -> str:
    """Return the error message for an argument that is not a Mean."""
    if hasattr(argument, "loss") and isinstance(argument.loss, Mean):
        remedy = "Add its loss, and its terms and metrics to meters of their own: add(result.loss)."
    elif isinstance(argument, Estimate):
        remedy = "It is no pair that adds; merge the meters: meter.merge(other)."
    elif hasattr(argument, "terms"):
        remedy = "Add its terms, and its metrics to meters of their own: add(outcome.terms)."
    elif isinstance(argument, Mapping):
        remedy = 'Add each of its Means to a meter of its own: add(terms["name"]).'
    else:
        remedy = "Make one with batchproof.exact(criterion) or batchproof.reduce(losses)."
    return f"add was given {kind_of(argument)}; expected a Mean, which knows its weight. {remedy}"


def _accumulator(names: tuple[str, ...] | None) -> Accumulator:
    return Accumulator(None if names is None else len(names), ROOM)


def _groups(names: tuple[str, ...] | None, mean: Mean, by: Tensor | None) -> Tensor | None:
    """Return a copy of the group of each pair.

    Raises:
        SettingError: if groups are missing, not expected, or not integers.
        ShapeError: if they are not one per pair.
    """
    if names is None:
        if by is not None:
            raise SettingError(
                "by was given to a meter without groups; make it Meter(by=number or names)."
            )
        return None
    if by is None:
        raise SettingError(
            f"this meter has {len(names)} groups and add was given none; "
            "give the group of each sample: add(mean, by=indices)."
        )
    expect_integers("by", by)
    if by.shape != mean.total.shape:
        raise ShapeError(
            f"by has shape {tuple(by.shape)} but the pairs have shape "
            f"{tuple(mean.total.shape)}; expected one group index per pair."
        )
    return by.detach().clone()


def _expect_range(names: tuple[str, ...] | None, low: float, high: float) -> None:
    if names is None or (low >= 0 and high < len(names)):
        return
    raise DataError(
        f"a sample was added to group {int(low if low < 0 else high)}; expected 0 to "
        f"{len(names) - 1}. Correct by, or give Meter(by=...) all groups."
    )


def sync_all(
    meters: MutableMapping[str, Meter],
    group: torch.distributed.ProcessGroup | None = None,
    *,
    by: int | Sequence[str] | None = None,
) -> None:
    """Make each of several meters the one over all ranks, by one collective for all of them.

    Every rank calls it, also one that had no batch and so no meter: it gets those of the others.

    Args:
        meters: by name; those that only other ranks have are added, in the order of ranks.
        group: the ranks; torch.distributed's default group without it.
        by: the groups of a meter that is added.

    Raises:
        UnitError: if ranks hold means of different units under one name.
        RankError: if ranks have different numbers of groups under one name.

    Examples:
        >>> meters = {"loss": Meter()}
        >>> sync_all(meters)  # without ranks, each is that of all ranks already
        >>> list(meters)
        ['loss']
    """
    if not is_initialised():
        return
    if meters and all(meter.synced for meter in meters.values()):
        return
    mine = {name: meter._accumulator.part() for name, meter in meters.items()}  # noqa: SLF001
    everyone = gather({name: part for name, part in mine.items() if part}, group)
    in_order = {name: meters.get(name) or Meter(by=by) for name in (*everyone, *meters)}
    for name, meter in in_order.items():
        meter._accumulator.become(everyone.get(name, ()))  # noqa: SLF001
    meters.clear()
    meters.update(in_order)


def _names(by: int | Sequence[str] | None) -> tuple[str, ...] | None:
    if by is None:
        return None
    names = tuple(map(str, range(by))) if isinstance(by, int) else tuple(by)
    if not names or isinstance(by, str) or len(set(names)) < len(names):
        raise SettingError(
            f"by is {shown(by)}; expected the number of groups, 1 or more, or their names, each "
            "once."
        )
    return names
