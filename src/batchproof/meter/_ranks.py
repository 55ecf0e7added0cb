"""The sums of all ranks, by one collective of a fixed size, whatever each rank holds."""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import distributed

from batchproof._errors import UnitError
from batchproof.mean import Unit, exact_dtype
from batchproof.meter._sums import Sums

_UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one rank holds; unit is None where it has no pair."""

    sums: Sums
    unit: Unit | None
    pooled: bool


def gather(
    sums: Sums | None,
    unit: Unit | None,
    *,
    pooled: bool,
    groups: int,
    group: distributed.ProcessGroup | None,
) -> list[Part]:
    """Return what every rank holds, in the order of ranks.

    Raises:
        UnitError: if their units differ.
    """
    device = _device(group)
    sums = Sums.zero(groups, device) if sums is None else sums.to(device)
    code = 0 if unit is None else 1 + _UNITS.index(unit)
    dtype = exact_dtype(device)
    # filled on the device, so that nothing waits
    head = [torch.full((1,), number, dtype=dtype, device=device) for number in (code, pooled)]
    mine = torch.cat([*head, sums.pack()])
    everyone = [torch.empty_like(mine) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(everyone, mine, group=group)
    heads = torch.stack([packed[:2] for packed in everyone]).tolist()
    units = [None if code == 0 else _UNITS[round(code) - 1] for code, _ in heads]
    if len({found for found in units if found is not None}) > 1:
        shown = ", ".join(f"rank {rank} {found!r}" for rank, found in enumerate(units))
        raise UnitError(f"ranks hold means of different units: {shown}; reduce with one unit.")
    return [
        Part(Sums.unpack(packed[2:]), found, pooled=bool(pooled))
        for packed, found, (_, pooled) in zip(everyone, units, heads, strict=True)
    ]


def _device(group: distributed.ProcessGroup | None) -> torch.device:
    """Return where the group's collectives run; a rank without data finds the same."""
    if "nccl" in str(distributed.get_backend(group)):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
