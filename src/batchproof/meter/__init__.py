"""Means over a pass over data, and metrics that are not means.

Meter       adds pairs without waiting for the device; groups; merging; ranks
sync_all    several meters over all ranks, by one collective
Estimate    the mean as a number, its weight, samples and standard error
Metric      the interface of a metric that is not a mean: update, compute
Score       what it computes, with its standard error
F1, AUROC, ConfusionMatrix, Perplexity    such metrics, over all batches and ranks
"""

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof.meter._auroc import AUROC
    from batchproof.meter._confusion import F1, ConfusionMatrix
    from batchproof.meter._estimate import Estimate
    from batchproof.meter._meter import Meter, sync_all
    from batchproof.meter._perplexity import Perplexity
    from batchproof.meter._score import Metric, Score

__all__ = [
    "AUROC",
    "F1",
    "ConfusionMatrix",
    "Estimate",
    "Meter",
    "Metric",
    "Perplexity",
    "Score",
    "sync_all",
]
