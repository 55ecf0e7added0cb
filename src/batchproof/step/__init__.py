"""One optimiser step is the gradient of one mean, over any cut.

windows, Windows    cut a loader into accumulation windows; what it returns
Step                take a step over a window: backward as sums, divide once
StepResult          the window's numbers, on the device until they are read
Split               a micro-batch that did not fit in memory, and was halved
is_out_of_memory    whether an error is that of an allocator
keeps_trajectory    the settings to change once a constant factor before a loss is fixed
settings_of         an optimiser's settings that such a factor affects
batches_drawn       the number of the loader's batches that a window took

It also exports names of batchproof.ranks that were first public here.
"""

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof.ranks import (
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
    from batchproof.step._memory import Split, is_out_of_memory
    from batchproof.step._result import StepResult
    from batchproof.step._step import Loss, Step
    from batchproof.step._trajectory import keeps_trajectory, settings_of
    from batchproof.step._windows import Windows, batches_drawn, windows

__all__ = [
    "Loss",
    "Place",
    "Split",
    "Step",
    "StepResult",
    "Windows",
    "batches_drawn",
    "blaming",
    "distributed_group",
    "from_rank",
    "in_a_group",
    "is_out_of_memory",
    "is_sharded",
    "keeps_trajectory",
    "largest",
    "of_all",
    "on_first",
    "settings_of",
    "unwrapped",
    "windows",
]
