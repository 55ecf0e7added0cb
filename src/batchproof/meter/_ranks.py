"""The sums of all ranks, by one collective of a fixed size, whatever each rank holds."""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import distributed

from batchproof._errors import UnitError
from batchproof.mean import Unit
from batchproof.meter._sums import Sums

_UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one meter holds: its sums, the unit they are of, and whether any pair came pooled."""

    sums: Sums
    unit: Unit
    pooled: bool


def gather(part: Part | None, *, groups: int, group: distributed.ProcessGroup | None) -> list[Part]:
    """Return what every rank holds that holds anything, in the order of ranks.

    Raises:
        UnitError: if their units differ.
    """
    device = _device(group)
    sums = Sums.zero(groups, device) if part is None else part.sums.to(device)
    # unit 0 is that of a rank without pairs
    unit, pooled = (0, False) if part is None else (1 + _UNITS.index(part.unit), part.pooled)
    packed = sums.pack()
    # filled on the device, so that nothing waits
    mine = torch.cat([packed.new_full((1,), unit), packed.new_full((1,), pooled), packed])
    everyone = [torch.empty_like(mine) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(everyone, mine, group=group)
    heads = torch.stack([numbers[:2] for numbers in everyone]).tolist()
    parts = {
        rank: Part(Sums.unpack(everyone[rank][2:]), _UNITS[round(unit) - 1], pooled=bool(pooled))
        for rank, (unit, pooled) in enumerate(heads)
        if unit
    }
    if len({part.unit for part in parts.values()}) > 1:
        shown = ", ".join(f"rank {rank} {part.unit!r}" for rank, part in parts.items())
        raise UnitError(f"ranks hold means of different units: {shown}; reduce with one unit.")
    return list(parts.values())


def _device(group: distributed.ProcessGroup | None) -> torch.device:
    """Return where the group's collectives run; a rank without data finds the same."""
    if "nccl" in str(distributed.get_backend(group)):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
