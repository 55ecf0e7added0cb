"""What must be the same on every rank before they train together."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._errors import RankError
from batchproof.ranks import Group

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def describe(model: Any, parameters: Sequence[Tensor], *, values: bool) -> Iterator[str]:
    """Yield a line a parameter: name, shape and dtype, and a digest of values where asked."""
    named: list[tuple[str, Tensor]] = [(f"parameter {i}", p) for i, p in enumerate(parameters)]
    if isinstance(model, nn.Module):
        named = list(model.named_parameters())
    for name, parameter in named:
        line = f"{name} {tuple(parameter.shape)} {parameter.dtype}"
        line += "" if parameter.requires_grad else " frozen"
        yield f"{line} values {_checksum(parameter)}" if values else line


def compare(group: Group, lines: Sequence[str]) -> None:
    """Refuse to train together what is not the same; every rank calls it.

    Raises:
        RankError: if two ranks differ; it shows the first line in which they do.
    """
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    digests = group.gather(digest)
    other = next((rank for rank, theirs in enumerate(digests) if theirs != digests[0]), None)
    if other is None:
        return
    everyone = group.gather(list(lines) if group.rank in {0, other} else [])
    first, second = everyone[0], everyone[other]
    longest = max(len(first), len(second))
    first, second = _padded(first, longest), _padded(second, longest)
    one, two = next(pair for pair in zip(first, second, strict=True) if pair[0] != pair[1])
    raise RankError(
        f"rank 0 and rank {other} do not train the same: rank 0 has {one}, rank {other} has {two}; "
        "build model, optimiser and Step alike on every rank, with the same seed or state."
    )


def _padded(lines: list[str], length: int) -> list[str]:
    return lines + ["nothing more"] * (length - len(lines))


def _checksum(parameter: Tensor) -> int:
    flat = parameter.detach().contiguous()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    whole = flat.flatten().view(_WHOLE[flat.element_size()])
    return int(whole.sum(dtype=torch.int64).item())
