"""One optimiser step is the gradient of one mean, over any cut.

windows       cut a loader into accumulation windows
Step          take a step over a window: backward as sums, divide once
StepResult    the window's numbers, on the device until they are read

distributed_group   join the process group that the environment describes
Place               where a process stands in it
blaming             names the rank for whose sake a collective failed
in_a_group          whether several ranks work together
on_first, of_all    what the first rank computes; what every rank has
from_rank, largest  what one rank gives; the largest that any gives
is_sharded          whether fully_shard was called on a module
unwrapped           the module inside DistributedDataParallel
"""

from batchproof.step._ranks import (
    Place,
    blaming,
    distributed_group,
    from_rank,
    in_a_group,
    is_sharded,
    largest,
    of_all,
    on_first,
    unwrapped,
)
from batchproof.step._result import StepResult
from batchproof.step._step import Loss, Step
from batchproof.step._windows import windows

__all__ = [
    "Loss",
    "Place",
    "Step",
    "StepResult",
    "blaming",
    "distributed_group",
    "from_rank",
    "in_a_group",
    "is_sharded",
    "largest",
    "of_all",
    "on_first",
    "unwrapped",
    "windows",
]
