"""The ranks that work together: this process's place among them, and their collectives."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, distributed

Result = TypeVar("Result")

ProcessGroup = distributed.ProcessGroup


def is_initialised() -> bool:
    """Return whether this process has joined a process group, even one of its own alone."""
    return distributed.is_available() and distributed.is_initialized()


def in_a_group(group: ProcessGroup | None = None) -> bool:
    """Return whether several ranks work together."""
    return world_size(group) > 1


def rank(group: ProcessGroup | None = None) -> int:
    """Return this process's rank; 0 without ranks."""
    return distributed.get_rank(group) if is_initialised() else 0


def world_size(group: ProcessGroup | None = None) -> int:
    """Return the number of ranks; 1 without ranks."""
    return distributed.get_world_size(group) if is_initialised() else 1


def is_first(group: ProcessGroup | None = None) -> bool:
    """Return whether this process is rank 0, which alone writes what all ranks share."""
    return rank(group) == 0


def device_of(group: ProcessGroup | None = None) -> torch.device:
    """Return the device on which the group's collectives take tensors."""
    gloo = "gloo" in str(distributed.get_backend(group))
    return torch.device("cpu") if gloo else torch.device("cuda", torch.cuda.current_device())


def group_or_default(group: ProcessGroup | None) -> ProcessGroup:
    """Return the group, or torch.distributed's default one."""
    result = distributed.group.WORLD if group is None else group
    assert result is not None, "a default group is initialised"
    return result


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

    def set_apart(self) -> None:
        """Use a separate group under gloo, apart from the model's collectives; a collective itself.

        Where two ranks make different collectives of one gloo group, it aborts their processes.
        """
        if self.device.type == "cpu" and "gloo" in str(distributed.get_backend(self.process_group)):
            self.process_group = _twin_of(self.process_group)

    def sum(self, numbers: Tensor, *, wait: bool = True) -> "distributed.Work | None":
        """Replace numbers by their sum over ranks, in place; without wait return the work."""
        work = distributed.all_reduce(numbers, group=self.process_group, async_op=not wait)
        return None if wait else work

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in the order of ranks."""
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.process_group)
        return values

    def share(self, value: Any, *, source: int) -> Any:
        """Return the value of the rank `source` of the group."""
        values = [value]
        distributed.broadcast_object_list(
            values, group=self.process_group, group_src=source, device=None
        )
        return values[0]


_twins: "WeakKeyDictionary[ProcessGroup, ref[ProcessGroup]]" = WeakKeyDictionary()


def _twin_of(group: ProcessGroup) -> ProcessGroup:
    """Return a second group of the same ranks, made once."""
    pointer = _twins.get(group)
    twin = None if pointer is None else pointer()
    if twin is None:
        second: Any = distributed.new_group(
            distributed.get_process_group_ranks(group),
            timeout=group._get_backend(torch.device("cpu")).options._timeout,  # noqa: SLF001
            backend="gloo",
            use_local_synchronization=True,
            group_desc="batchproof",
        )
        twin = second
        _twins[group] = ref(twin)
    return twin


def on_first(compute: Callable[[], Result], group: ProcessGroup | None = None) -> Result:
    """Return the result of rank 0 on every rank; an error there is raised on all.

    The error then has an attribute `of_all_ranks`. Without ranks it is simply computed.
    """
    if not in_a_group(group):
        return compute()
    members = Group(group, device_of(group))
    answer: tuple[Any, Exception | None] = (None, None)
    if members.rank == 0:
        try:
            answer = (compute(), None)
        except Exception as error:
            answer = (None, error)
    value, failure = members.share(answer, source=0)
    if failure is not None:
        vars(failure)["of_all_ranks"] = True
        raise failure
    result: Result = value
    return result


def of_all(value: Result, group: ProcessGroup | None = None) -> list[Result]:
    """Return every rank's value, in the order of ranks; without ranks, this one alone."""
    if not in_a_group(group):
        return [value]
    return Group(group, device_of(group)).gather(value)


def from_rank(source: int, value: Result, group: ProcessGroup | None = None) -> Result:
    """Return the value of one rank; all ranks call it, and without ranks it is this one's own."""
    if not in_a_group(group):
        return value
    shared: Result = Group(group, device_of(group)).share(value, source=source)
    return shared


def largest(numbers: Sequence[float], group: ProcessGroup | None = None) -> list[float]:
    """Return, for each number, the largest that any rank gives, by one small collective."""
    if not in_a_group(group):
        return list(numbers)
    tensor = torch.tensor(numbers, dtype=torch.float64, device=device_of(group))
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group=group)
    maxima: list[float] = tensor.tolist()
    return maxima


def left_for_first(name: str, text: str, *, seconds: float) -> list[str]:
    """Leave a text with rank 0, and return on rank 0 those that ranks have left, in order.

    It is not a collective: no rank waits for another but rank 0, and that only so long. A rank that
    left nothing in that time is not in the list.

    Args:
        name: what the texts are, one name for each occasion.
        text: this rank's.
        seconds: how long rank 0 waits for each of the others.
    """
    if not in_a_group():
        return [text]
    store: Any = distributed.distributed_c10d._get_default_store()  # noqa: SLF001
    store.set(f"batchproof/{name}/{rank()}", text)
    texts = [text]
    for other in range(1, world_size()) if is_first() else ():
        key = f"batchproof/{name}/{other}"
        # a store says in errors of several kinds that there is nothing
        with suppress(Exception):
            store.wait([key], timedelta(seconds=seconds))
            texts.append(store.get(key).decode())
    return texts
