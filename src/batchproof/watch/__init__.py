"""Shares of each step, and numbers that were printed, of a run that nobody changed.

LossEvent, StepEvent, Contribution, Finding    what a run leaves behind
"""

from batchproof.watch._events import Contribution, Finding, LossEvent, StepEvent

__all__ = ["Contribution", "Finding", "LossEvent", "StepEvent"]
