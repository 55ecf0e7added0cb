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
    UnitError,
)
from batchproof.mean import Mean, Unit
from batchproof.meter._estimate import Column, Estimate
from batchproof.meter._ranks import Part, gather
from batchproof.meter._sums import WEIGHT, Pairs, Sums
from batchproof.ranks import is_initialised

# pairs kept before they are folded: 504 pooled ones, or 102 batches of 256 samples
ROOM = 1 << 15
ROOM_OF_A_PAIR = 64


class Meter:
    """The mean over a pass over data, exact however the data is cut.

    Pairs are kept as they come and folded every so many into sums on their device, in float64 or,
    where there is none, in compensated float32. Adding reads nothing on the host and speaks to no
    other rank; estimate reads once, sync speaks once.

    Args:
        by: the groups of a breakdown: their number, or their names.

    Raises:
        SettingError: if by names no group.

    Example:
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
        self.reset()

    def reset(self) -> None:
        """Forget every pair."""
        self._unit: Unit | None = None
        # the unit that add takes without looking twice; None sends it to _admit
        self._ready: Unit | None = None
        self._sums: Sums | None = None
        self._pooled = False
        self._synced = False
        self._clear()

    def _clear(self) -> None:
        self._totals: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._groups: list[Tensor] = []
        # how often the tensors kept had been written to when they were added
        self._writes = 0
        self._room = ROOM

    def add(self, mean: Mean, *, by: Int[Tensor, "*samples"] | None = None) -> None:
        """Add the pairs of a batch.

        Args:
            mean: one pair a sample, or one pooled pair, which leaves no standard error.
            by: the group of each pair, of the shape of mean.total; an index that is no group is
                found by estimate.

        Raises:
            UnitError: if the mean is of another unit than those before.
            SettingError: if it is no Mean, by is missing or not expected, or the sums are those of
                all ranks.
            ShapeError: if by has another shape than mean.total.
        """
        if by is not None or not isinstance(mean, Mean) or mean.unit != self._ready:
            self._admit(mean, by)
        total, weight = mean.total, mean.weight
        if total.requires_grad:
            total = total.detach()
        if not (total.is_cpu and weight.is_cpu):
            # a replayed CUDA graph writes to its outputs unseen
            total, weight = total.clone(), weight.clone()
        try:
            self._writes += total._version + weight._version  # noqa: SLF001
        except RuntimeError:
            # inference tensors do not count what is written to them
            total, weight = total.clone(), weight.clone()
        self._totals.append(total)
        self._weights.append(weight)
        self._room -= ROOM_OF_A_PAIR + total.numel()
        if self._room <= 0:
            self._sums, self._pooled = self._folded(), self._has_pooled()
            self._clear()

    def _admit(self, mean: Mean, by: Tensor | None) -> None:
        if not isinstance(mean, Mean):
            raise SettingError(
                f"add was given a {type(mean).__name__}; expected a Mean, which knows its weight. "
                "Make one with batchproof.exact(criterion) or batchproof.reduce(losses)."
            )
        if self._synced:
            msg = (
                "this meter holds the sums of all ranks; a pair added now would count for this "
                "rank alone. Use reset() first, or sync() last."
            )
            raise SettingError(msg)
        if self._unit is not None and mean.unit != self._unit:
            raise UnitError(
                f"this meter holds means over {self._unit!r} and was given one over "
                f"{mean.unit!r}; use a meter for each."
            )
        self._admit_groups(mean, by)
        device = mean.total.device
        if self._sums is None:
            self._sums = Sums.zero(len(self._names or ()), device)
        elif self._ready is None and self._sums.hi.device != device:
            # loaded from a state on another device
            self._sums = self._sums.to(device)
        self._unit = mean.unit
        self._ready = mean.unit if self._names is None else None

    def _admit_groups(self, mean: Mean, by: Tensor | None) -> None:
        if self._names is None:
            if by is not None:
                msg = "by was given to a meter without groups; make it Meter(by=number or names)."
                raise SettingError(msg)
            return
        if by is None:
            raise SettingError(
                f"this meter has {len(self._names)} groups and add was given none; "
                "give the group of each sample: add(mean, by=indices)."
            )
        if by.shape != mean.total.shape:
            raise ShapeError(
                f"by has shape {tuple(by.shape)} but the pairs have shape "
                f"{tuple(mean.total.shape)}; expected one group index a pair."
            )
        self._groups.append(by.detach().clone())

    def mean(self) -> Mean:
        """Return the pair over all that was added, on the device; nothing is read.

        Raises:
            EmptyMeanError: if nothing was added.
        """
        sums, unit = self._some()
        total, weight = (sums.hi[: WEIGHT + 1, 0] + sums.lo[: WEIGHT + 1, 0]).unbind()
        return Mean(total, weight, unit)

    def estimate(self) -> Estimate:
        """Return the mean and how well it is known, by one read on the host.

        Raises:
            EmptyMeanError: if nothing was added, or all of it has weight 0.
            DataError: if a group index was out of range.
        """
        sums, unit = self._some()
        pooled = self._has_pooled()
        host = Sums.unpack(sums.pack().cpu())
        columns = [
            Column(hi, lo, ratio)
            for hi, lo, ratio in zip(
                host.hi.T.tolist(), host.lo.T.tolist(), host.ratio.tolist(), strict=True
            )
        ]
        names = self._names or ()
        self._check_range(*host.extremes.tolist())
        groups = {
            name: column.estimate(unit, pooled=pooled)
            for name, column in zip(names, columns[1:], strict=True)
        }
        estimate = columns[0].estimate(unit, pooled=pooled, groups=groups)
        if estimate.weight == 0:
            raise EmptyMeanError(
                f"the mean over {unit!r} has weight 0: nothing was averaged. "
                "Look for a mask that keeps nothing."
            )
        return estimate

    def _check_range(self, low: float, high: float) -> None:
        if self._names is None or (low >= 0 and high < len(self._names)):
            return
        raise DataError(
            f"a sample was added to group {int(low if low < 0 else high)}; expected 0 to "
            f"{len(self._names) - 1}. Correct by, or give Meter(by=...) all groups."
        )

    def merge(self, other: "Meter") -> "Meter":
        """Add all that another meter holds, which stays as it is.

        Returns:
            This meter.

        Raises:
            UnitError: if the two hold means of different units.
            SettingError: if their groups differ, or one holds the sums of all ranks.
        """
        names, theirs = other._held()  # noqa: SLF001
        if self._names != names:
            raise SettingError(
                f"a meter with groups {self._names} and one with {names} cannot be merged; "
                "make both with one by."
            )
        self._held()
        if theirs is None:
            return self
        if self._unit is not None and self._unit != theirs.unit:
            raise UnitError(
                f"a meter of {self._unit!r} and one of {theirs.unit!r} cannot be merged."
            )
        self._take(theirs)
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

        A meter that is loaded from it goes on to the very same bits.
        """
        return {
            "unit": self._unit,
            "groups": list(self._names) if self._names is not None else None,
            "pooled": self._pooled,
            "synced": self._synced,
            "sums": None if self._sums is None else self._sums.pack(),
            "pairs": [list(self._totals), list(self._weights), list(self._groups)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict gave.

        Raises:
            CheckpointError: if it is that of a meter with other groups.
        """
        names = None if self._names is None else list(self._names)
        if state["groups"] != names:
            raise CheckpointError(
                f"the state is of a meter with groups {state['groups']}, this one has {names}; "
                "make it with the same by."
            )
        self.reset()
        self._unit, self._pooled, self._synced = state["unit"], state["pooled"], state["synced"]
        self._sums = None if state["sums"] is None else Sums.unpack(state["sums"])
        totals, weights, groups = state["pairs"]
        self._totals, self._weights, self._groups = list(totals), list(weights), list(groups)
        self._writes = self._written()
        self._room = ROOM - sum(ROOM_OF_A_PAIR + total.numel() for total in totals)

    def __getstate__(self) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
        # for copies and pickles, whose tensors have not been written to as often
        return self._names, self.state_dict()

    def __setstate__(self, state: tuple[tuple[str, ...] | None, Mapping[str, Any]]) -> None:
        self._names, held = state
        self.load_state_dict(held)

    def _held(self) -> tuple[tuple[str, ...] | None, Part | None]:
        """Return the groups, and what is held; None where it is nothing."""
        if self._synced:
            msg = "a meter that holds the sums of all ranks cannot be merged; merge before sync()."
            raise SettingError(msg)
        if self._unit is None:
            return self._names, None
        return self._names, Part(self._folded(), self._unit, pooled=self._has_pooled())

    def _take(self, part: Part) -> None:
        if self._unit is None:
            self._sums, self._unit, self._pooled = part.sums, part.unit, part.pooled
            return
        mine = self._folded()
        self._sums = mine.merge(part.sums.to(mine.hi.device))
        self._pooled = self._has_pooled() or part.pooled
        self._clear()

    def _become(self, parts: Sequence[Part]) -> None:
        """Hold the sums of all ranks in place of what was held."""
        device = None if self._sums is None else self._sums.hi.device
        self.reset()
        for part in parts:
            self._take(part)
        if device is not None and self._sums is not None:
            self._sums = self._sums.to(device)
        self._synced = True

    @property
    def synced(self) -> bool:
        """Whether this meter holds the sums of all ranks."""
        return self._synced

    def _some(self) -> tuple[Sums, Unit]:
        if self._unit is None:
            msg = "the meter is empty: no pair was added. Look at whether the loader gave batches."
            raise EmptyMeanError(msg)
        return self._folded(), self._unit

    def _folded(self) -> Sums:
        """Return the sums with all pairs in them; when pairs are folded for good stays the same."""
        assert self._sums is not None
        if not self._totals:
            return self._sums
        self._check_unwritten()
        return self._sums.fold(Pairs(self._totals, self._weights, self._groups))

    def _check_unwritten(self) -> None:
        if self._written() != self._writes:
            msg = (
                "a pair was written to in place after it was added to a meter, before it was "
                "folded in. Add a copy: Mean(total.clone(), weight.clone(), unit)."
            )
            raise SettingError(msg)

    def _written(self) -> int:
        kept = (*self._totals, *self._weights)
        return sum(tensor._version for tensor in kept if not tensor.is_inference())  # noqa: SLF001

    def _has_pooled(self) -> bool:
        return self._pooled or any(total.ndim == 0 for total in self._totals)


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
    """
    if not is_initialised():
        return
    if meters and all(meter.synced for meter in meters.values()):
        return
    mine = {name: meter._held()[1] for name, meter in meters.items()}  # noqa: SLF001
    everyone = gather({name: part for name, part in mine.items() if part}, group)
    ordered = {name: meters.get(name) or Meter(by=by) for name in (*everyone, *meters)}
    for name, meter in ordered.items():
        meter._become(everyone.get(name, ()))  # noqa: SLF001
    meters.clear()
    meters.update(ordered)


def _names(by: int | Sequence[str] | None) -> tuple[str, ...] | None:
    if by is None:
        return None
    names = tuple(map(str, range(by))) if isinstance(by, int) else tuple(by)
    if not names or isinstance(by, str) or len(set(names)) < len(names):
        raise SettingError(
            f"by is {by!r}; expected the number of groups, 1 or more, or their names, each once."
        )
    return names
