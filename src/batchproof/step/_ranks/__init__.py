"""A window over several ranks: who takes part, what is sent, who is to blame.

Alone           one process: nothing to send
Several         several: the one collective of a window, and all that surrounds it
Wrapper         how gradients come to be summed: bare, DDP, FSDP2
Group           the collectives that are used
Watch           names the rank that died, hung or raised
distributed_group   a process group from the environment, ended on the way out
blaming             names the rank for whose sake a collective failed
on_first, of_all    what the first rank computes; what every rank has
from_rank, largest  what one rank gives; the largest that any gives
unwrapped           the module inside DistributedDataParallel and torch.compile
"""

from batchproof.step._ranks._alone import Alone
from batchproof.step._ranks._choice import Ranks, ranks_of, unwrapped
from batchproof.step._ranks._group import Group
from batchproof.step._ranks._launch import (
    Place,
    blaming,
    distributed_group,
    from_rank,
    in_a_group,
    largest,
    of_all,
    on_first,
)
from batchproof.step._ranks._several import Several
from batchproof.step._ranks._sharded import is_sharded
from batchproof.step._ranks._watch import Watch
from batchproof.step._ranks._wrappers import Wrapper

__all__ = [
    "Alone",
    "Group",
    "Place",
    "Ranks",
    "Several",
    "Watch",
    "Wrapper",
    "blaming",
    "distributed_group",
    "from_rank",
    "in_a_group",
    "is_sharded",
    "largest",
    "of_all",
    "on_first",
    "ranks_of",
    "unwrapped",
]
