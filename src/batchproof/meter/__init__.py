"""Means over a pass over data.

Meter       adds pairs without waiting for the device; groups; merging; ranks
sync_all    several meters over all ranks, by one collective
Estimate    the mean as a number, its weight, samples and standard error
"""

from batchproof.meter._estimate import Estimate
from batchproof.meter._meter import Meter, sync_all

__all__ = ["Estimate", "Meter", "sync_all"]
