"""The processes that train together; only this package asks torch.distributed which one this is.

distributed_group   join the process group that the environment describes, and leave it
Place, place_of     this process's rank, local rank and world size; read from an environment
launched_as         the place that a launcher gave this process, in a group or not
was_restarted       whether torchrun started this process again after a failure
rank, world_size    this process's rank, and the number of ranks; 0 and 1 without ranks
in_a_group          whether several ranks work together
is_first            whether this process is rank 0, which writes what all ranks share
blaming             names the rank that caused a collective to fail
on_first, of_all    rank 0's result, on every rank; every rank's value
left_for_first      texts that ranks leave with rank 0, without a collective
from_rank, largest  one rank's value; the largest that any rank has
Group               the collectives that a step uses
Watch, watch_of     the heartbeats by which a rank that died, hung or raised is found
unwrapped           the module inside DistributedDataParallel and torch.compile
is_sharded          whether fully_shard was called on a module
full, local         the whole of a tensor that is spread over ranks; this rank's part of it
"""

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof.ranks._group import (
        Group,
        ProcessGroup,
        device_of,
        from_rank,
        group_or_default,
        in_a_group,
        is_first,
        is_initialised,
        largest,
        left_for_first,
        of_all,
        on_first,
        rank,
        world_size,
    )
    from batchproof.ranks._launch import (
        Place,
        blaming,
        distributed_group,
        launched_as,
        place_of,
        was_restarted,
    )
    from batchproof.ranks._watch import Watch, end_all, first_line, is_broken_collective, watch_of
    from batchproof.ranks._wrapped import (
        full,
        in_shards,
        is_sharded,
        local,
        reshard,
        unwrapped,
        unwrapped_of_compile,
    )

__all__ = [
    "Group",
    "Place",
    "ProcessGroup",
    "Watch",
    "blaming",
    "device_of",
    "distributed_group",
    "end_all",
    "first_line",
    "from_rank",
    "full",
    "group_or_default",
    "in_a_group",
    "in_shards",
    "is_broken_collective",
    "is_first",
    "is_initialised",
    "is_sharded",
    "largest",
    "launched_as",
    "left_for_first",
    "local",
    "of_all",
    "on_first",
    "place_of",
    "rank",
    "reshard",
    "unwrapped",
    "unwrapped_of_compile",
    "was_restarted",
    "watch_of",
    "world_size",
]
