"""A process group from the environment, as torchrun, Slurm, Kubernetes or Ray Train set it up.

    RANK  LOCAL_RANK  WORLD_SIZE  MASTER_ADDR  MASTER_PORT

Nothing else is assumed. Without WORLD_SIZE, or with 1, there is one process and no group.
"""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from batchproof._errors import RankError, SettingError
from batchproof.ranks._group import ProcessGroup, group_or_default, in_a_group
from batchproof.ranks._watch import (
    end_all,
    first_line,
    is_broken_collective,
    watch_of,
)

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Place:
    """The rank, local rank and world size of this process.

    Attributes:
        rank: from 0 to world_size - 1.
        local_rank: the same on this machine alone.
        world_size: the number of processes.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


@contextmanager
def distributed_group(device: str = "auto", *, timeout: float = 300.0) -> Iterator[Place]:
    """Join the process group that the environment describes, and leave it on the way out.

    An error inside is reported to the other ranks, which end with one line that names this rank. If
    the error is that of a collective, the rank that caused it is named instead.

    Args:
        device: "cpu" takes gloo; "auto" and "cuda" take NCCL where there is a CUDA device, and
            choose that of LOCAL_RANK.
        timeout: seconds after which a collective that some rank does not join fails.

    Yields:
        The place of this process.

    Raises:
        SettingError: if the environment is not whole, or not of numbers.
        RankError: if another rank failed, or did not join.

    Examples:
        >>> with distributed_group("cpu") as place:
        ...     place.world_size
        1
    """
    place = place_of(os.environ)
    if place.world_size == 1 or distributed.is_initialized():
        yield place
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(place.local_rank)
    _meet(place, "cpu:gloo,cuda:nccl" if cuda else "gloo", timeout)
    watch = watch_of(group_or_default(None))
    try:
        with blaming():
            yield place
            # rank 0 keeps the store, which the others need until they have ended
            end_all()
            distributed.barrier()
    except BaseException as error:
        if not (isinstance(error, RankError) or hasattr(error, "of_all_ranks")):
            watch.report(error)
        if place.rank == 0 and not _launcher_keeps_store():
            watch.stay()
        raise
    finally:
        end_all()
        # the backend's threads need the interpreter to let go of the last tensors that they sent;
        # one that asks for it when the interpreter is gone would abort the process
        time.sleep(0.1)
        distributed.destroy_process_group()
        gc.collect()


def _meet(place: Place, backend: str, timeout: float) -> None:
    """Make the default process group.

    Raises:
        RankError: if a rank does not join it.
    """
    limit = timedelta(seconds=timeout)
    try:
        store, rank, size = next(rendezvous("env://", timeout=limit))
        distributed.init_process_group(
            backend,
            store=PrefixStore(f"batchproof/attempt {_attempt()}", store),
            rank=rank,
            world_size=size,
            timeout=limit,
        )
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RankError(
            f"rank {place.rank} of {place.world_size} did not meet the others at {where} within "
            f"{timeout:g} s ({first_line(error).rstrip('.')}). Check that every rank was "
            "started, with the same MASTER_ADDR and MASTER_PORT."
        ) from error


def _launcher_keeps_store() -> bool:
    # torchrun does, and says so; elsewhere rank 0 keeps it
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _attempt() -> str:
    # torchrun starts ranks again on the store of those that failed, which is full of their keys
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def launched_as() -> Place:
    """Return the place that a launcher gave this process, also while it is in no group.

    Without a launcher, or in an incomplete environment, it is that of a single process.
    """
    with suppress(SettingError):
        return place_of(os.environ)
    return Place()


def was_restarted() -> bool:
    """Return whether torchrun started this process again after a rank had failed."""
    return _attempt() != "0"


@contextmanager
def blaming(group: ProcessGroup | None = None) -> Iterator[None]:
    """Raise, for a collective that fails in the body, the error that names the rank to blame.

    Raises:
        RankError: in place of the backend's error.
    """
    try:
        yield
    except Exception as error:
        if in_a_group(group) and is_broken_collective(error):
            raise watch_of(group_or_default(group)).explain(error) from error
        raise


def place_of(environment: "os._Environ[str] | dict[str, str]") -> Place:
    """Return the place of this process, read from an environment.

    Raises:
        SettingError: if the environment is incomplete.
    """
    size = environment.get("WORLD_SIZE") or "1"
    if size == "1":
        return Place()
    missing = [name for name in NEEDED if not environment.get(name)]
    if missing:
        raise SettingError(
            f"WORLD_SIZE is {size} but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set, so ranks cannot find each other. "
            "Start with torchrun, or set them on every rank."
        )
    rank, local = environment["RANK"], environment.get("LOCAL_RANK", "0")
    if not (rank.isdigit() and size.isdigit() and local.isdigit() and int(rank) < int(size)):
        raise SettingError(
            f"RANK is {rank!r}, LOCAL_RANK {local!r} and WORLD_SIZE {size!r}; expected numbers, "
            "and RANK below WORLD_SIZE."
        )
    port = environment["MASTER_PORT"]
    if not (port.isdigit() and int(port) < 2**16):
        raise SettingError(f"MASTER_PORT is {port!r}; expected a port, a number below 65536.")
    return Place(int(rank), int(local), int(size))
