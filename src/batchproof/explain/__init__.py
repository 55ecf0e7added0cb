"""The numbers of one loss worked out on paper, with pictures: from your own values, live.

mean               the mean of batch means against the mean of samples
cross_entropy      logits, softmax, loss, gradient
sgd                zero, backward, step
momentum           the learning rate inside the velocity, or outside
sum_or_mean        which settings keep a run when its loss is multiplied by a constant
padding            the unit of a mean, and whether padding counts
accumulation       a window of micro-batches is one batch
cut                the same samples in cheaper micro-batches
ranks              samples spread over ranks
class_weights      the denominator of a weighted mean
best_checkpoint    a copy or a reference, and by which number

topics             all of them, with their options, as the command line shows them
Explanation        what each returns: for the terminal, as text, as a page, and as numbers
equivalent_settings, Settings    the answer of sum_or_mean, for use in code

Plain Python: no torch is loaded here.
"""

from collections.abc import Callable

from batchproof.explain._accumulation import accumulation
from batchproof.explain._best_checkpoint import best_checkpoint
from batchproof.explain._class_weights import class_weights
from batchproof.explain._cross_entropy import cross_entropy
from batchproof.explain._cut import cut
from batchproof.explain._explanation import Explanation
from batchproof.explain._mean import mean
from batchproof.explain._momentum import momentum
from batchproof.explain._padding import padding
from batchproof.explain._ranks import ranks
from batchproof.explain._sgd import sgd
from batchproof.explain._sum_or_mean import sum_or_mean
from batchproof.explain._topic import Topic
from batchproof.mistakes import Settings, equivalent_settings

_FUNCTIONS: tuple[Callable[..., Explanation], ...] = (
    mean,
    cross_entropy,
    sgd,
    momentum,
    sum_or_mean,
    padding,
    accumulation,
    cut,
    ranks,
    class_weights,
    best_checkpoint,
)


def topics() -> dict[str, Topic]:
    """Return every topic by the name that the command line uses.

    Examples:
        >>> topics()["cross-entropy"].explain(logits="3,0", target="1").verdict
        'Class 1 gets probability 0.0474, so the loss is 3.05; a guess among 2 classes has 0.6931.'
    """
    return {topic.name: topic for topic in map(Topic.of, _FUNCTIONS)}


__all__ = [
    "Explanation",
    "Settings",
    "Topic",
    "accumulation",
    "best_checkpoint",
    "class_weights",
    "cross_entropy",
    "cut",
    "equivalent_settings",
    "mean",
    "momentum",
    "padding",
    "ranks",
    "sgd",
    "sum_or_mean",
    "topics",
]
