"""Running statistics after a window in which some rank had no data: those of one that had.

A rank without data passes nothing through its layers, so its running means do not move. Where it
is the one whose buffers DistributedDataParallel broadcasts, or that is saved, those of the others
would be lost. So it copies the buffers of the lowest rank that had data, as torch's join does.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from batchproof.ranks import Group
from batchproof.step._number import Number
from batchproof.step._ranks._layout import ranks_in


def share_statistics(
    group: Group, model: Any, filled: Sequence[int] | None, marks: Sequence[Number]
) -> None:
    """Give ranks without data the statistics of the lowest rank with data; every rank calls it.

    Args:
        group: the ranks.
        model: this rank's, in its wrapper.
        filled: the ranks that had data, where the window knows.
        marks: the same from the window's collective, which on other devices is waited for.
    """
    buffers = statistics_of(model)
    if not buffers:
        return
    if filled is None or group.device.type == "cpu":
        filled = ranks_in(marks)
    copy_buffers(group, buffers, filled)


def statistics_of(model: Any) -> list[Tensor]:
    """Return the buffers that ranks share: all that DDP broadcasts, else running statistics."""
    if isinstance(model, DistributedDataParallel) and model.broadcast_buffers:
        exceptions = model.parameters_to_ignore
        return [b for name, b in model.module.named_buffers() if name not in exceptions]
    if not isinstance(model, nn.Module):
        return []
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    return [buffer for norm in norms for buffer in norm.buffers(recurse=False)]


def copy_buffers(group: Group, buffers: Sequence[Tensor], filled: Sequence[int]) -> None:
    """Give ranks without data the buffers of the lowest rank with data; every rank calls it.

    Args:
        group: the ranks.
        buffers: this rank's, in the order of all ranks.
        filled: the ranks that had data.
    """
    if not buffers or not filled or len(filled) == group.size:
        return
    parts = [buffer.detach().to(group.device).contiguous().flatten() for buffer in buffers]
    message = torch.cat([part.view(torch.uint8) for part in parts])
    distributed.broadcast(message, group=group.process_group, group_src=filled[0])
    if group.rank in filled:
        return
    pieces = torch.split(message, [part.nbytes for part in parts])
    with torch.no_grad():
        for buffer, piece in zip(buffers, pieces, strict=True):
            # a piece may begin where a number of its type cannot
            values = piece.clone().view(buffer.dtype).view(buffer.shape)
            buffer.copy_(values)
