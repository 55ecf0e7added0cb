"""Means over a pass over data.

Meter       adds pairs without waiting for the device; groups; merging; ranks
Estimate    the mean as a number, its weight, samples and standard error
"""

from batchproof.meter._estimate import Estimate
from batchproof.meter._meter import Meter

__all__ = ["Estimate", "Meter"]
