"""Shares of each step, and numbers that were printed, of a run that nobody changed.

    with batchproof.watch() as seen:
        ...                                  # any code that trains or evaluates
    print(seen.report())

watch                                          watches the code inside; the package itself may be
                                               called in its place
watch_loss                                     marks losses that are not torch's own
WatchReport                                    what a run shows
LossEvent, StepEvent, Contribution, Finding    the records of a run
Program, run_watched                           a script, run as Python runs it, and watched
"""

import sys
from types import ModuleType
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof.watch._events import Contribution, Finding, LossEvent, StepEvent
    from batchproof.watch._report import WatchReport
    from batchproof.watch._script import Program, run_watched
    from batchproof.watch._watch import Watch, watch, watch_loss

__all__ = [
    "Contribution",
    "Finding",
    "LossEvent",
    "Program",
    "StepEvent",
    "Watch",
    "WatchReport",
    "run_watched",
    "watch",
    "watch_loss",
]


class _Package(ModuleType):
    """The package, which is also what `batchproof.watch` means as a name: a function."""

    def __call__(self, **settings: Any) -> Watch:
        """Return `watch(**settings)`."""
        return watch(**settings)


sys.modules[__name__].__class__ = _Package
