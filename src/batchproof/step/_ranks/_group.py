"""The collectives that a step uses, on the device where the group has them."""

from typing import Any

import torch
from torch import Tensor, distributed

ProcessGroup = distributed.ProcessGroup


def group_or_default(group: ProcessGroup | None) -> ProcessGroup:
    """Return the group, or torch.distributed's default one."""
    chosen = distributed.group.WORLD if group is None else group
    assert chosen is not None, "a default group is initialised"
    return chosen


class Group:
    """The ranks that train together.

    Args:
        group: a process group, or None for the default one.
        device: the device of the parameters.
    """

    def __init__(self, group: ProcessGroup | None, device: torch.device) -> None:
        self.process_group = group_or_default(group)
        self.rank = distributed.get_rank(self.process_group)
        self.size = distributed.get_world_size(self.process_group)
        # gloo has no collectives on mps, and none that wait for nothing anywhere else
        self.device = torch.device("cpu") if device.type in {"cpu", "mps"} else device

    def sum(self, numbers: Tensor, *, wait: bool = True) -> "distributed.Work | None":
        """Replace numbers by their sum over ranks, in place; without wait return the work."""
        work = distributed.all_reduce(numbers, group=self.process_group, async_op=not wait)
        return None if wait else work

    def gather(self, value: Any) -> list[Any]:
        """Return what every rank gives, in the order of ranks."""
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.process_group)
        return values

    def share(self, value: Any, *, source: int) -> Any:
        """Return what the rank `source` of the group gives."""
        values = [value]
        distributed.broadcast_object_list(
            values, group=self.process_group, group_src=source, device=None
        )
        return values[0]
