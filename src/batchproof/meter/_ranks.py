"""The sums of all ranks, by one collective, even if a rank has none and knows no names.

Each rank sends bytes of one fixed size: how many are used, a header in JSON that says which sums
follow, and the sums as float64. Only where a rank has more than fits do all send the rest.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor, distributed

from batchproof._errors import RankError, UnitError
from batchproof.mean import Unit
from batchproof.meter._sums import Sums
from batchproof.ranks import device_of, world_size

# holds the sums of about thirty meters without groups
CAPACITY = 8192
_LENGTHS = struct.Struct("<qq")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The content of one meter: its sums, their unit, and whether any pair came pooled."""

    sums: Sums
    unit: Unit
    is_pooled: bool


def gather(
    parts: Mapping[str, Part], group: distributed.ProcessGroup | None
) -> dict[str, list[Part]]:
    """Return the sums of ranks under each name, in the order of ranks, by one collective.

    Raises:
        UnitError: if their units differ.
        RankError: if their numbers of groups differ.
    """
    ranks = [_decoded(message) for message in _exchange(_encoded(parts, device_of(group)), group)]
    names = dict.fromkeys(name for by_rank in ranks for name in by_rank)
    for name in names:
        by_rank = {rank: parts[name] for rank, parts in enumerate(ranks) if name in parts}
        _check_alike(name, by_rank)
    return {name: [by_rank[name] for by_rank in ranks if name in by_rank] for name in names}


def _check_alike(name: str, by_rank: Mapping[int, Part]) -> None:
    if len({part.unit for part in by_rank.values()}) > 1:
        text = ", ".join(f"rank {rank} {part.unit!r}" for rank, part in by_rank.items())
        raise UnitError(f"{name}: ranks hold means of different units: {text}; use one unit.")
    if len({part.sums.groups for part in by_rank.values()}) > 1:
        text = ", ".join(f"rank {rank} {part.sums.groups}" for rank, part in by_rank.items())
        raise RankError(f"{name}: ranks have different numbers of groups: {text}; use one by.")


def _exchange(
    mine: UInt8[Tensor, " bytes"], group: distributed.ProcessGroup | None
) -> list[UInt8[Tensor, "..."]]:
    first = _all_gather(mine, 0, CAPACITY, group)
    lengths = torch.stack([message[:8] for message in first]).view(torch.int64).flatten().tolist()
    longest = max(lengths)
    if longest <= CAPACITY:
        return first
    rest = _all_gather(mine, CAPACITY, longest, group)
    return [torch.cat(both) for both in zip(first, rest, strict=True)]


def _all_gather(
    mine: Tensor, start: int, stop: int, group: distributed.ProcessGroup | None
) -> list[Tensor]:
    part = mine[start:stop]
    message = torch.cat([part, part.new_zeros(stop - start - len(part))])
    messages = [torch.empty_like(message) for _ in range(world_size(group))]
    distributed.all_gather(messages, message, group=group)
    return messages


def _encoded(parts: Mapping[str, Part], device: torch.device) -> UInt8[Tensor, " bytes"]:
    header = json.dumps(
        [[n, p.unit, p.is_pooled, p.sums.groups] for n, p in parts.items()]
    ).encode()
    # float64 is aligned to multiples of its size
    header += b" " * (-len(header) % 8)
    sums = [part.sums.pack().to(device, torch.float64) for part in parts.values()]
    payload = torch.cat(sums) if sums else torch.empty(0, dtype=torch.float64, device=device)
    length = _LENGTHS.size + len(header) + 8 * len(payload)
    head = bytearray(_LENGTHS.pack(length, len(header)) + header)
    head_bytes = torch.frombuffer(head, dtype=torch.uint8).to(device)
    return torch.cat([head_bytes, payload.view(torch.uint8)])


def _decoded(message: UInt8[Tensor, " bytes"]) -> dict[str, Part]:
    start = _LENGTHS.size
    length, header = _LENGTHS.unpack(bytes(message[:start].tolist()))
    descriptions = json.loads(bytes(message[start : start + header].tolist()))
    numbers = message[start + header : length].view(torch.float64)
    parts = {}
    for name, unit, is_pooled, groups in descriptions:
        size = Sums.size(groups)
        parts[name] = Part(Sums.unpack(numbers[:size]), unit, is_pooled)
        numbers = numbers[size:]
    return parts
