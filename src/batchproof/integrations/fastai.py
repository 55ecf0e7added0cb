"""A fastai metric that is the mean of a loss over samples.

fastai's valid_loss weighs the mean of each batch by its number of rows. Where the loss divides by
something else, such as the class weights of its targets, that is a mean of other weights.
"""

from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from torch import Tensor

from batchproof._trees import tree_map
from batchproof.integrations._given import framework
from batchproof.mean import exact
from batchproof.meter import Meter


class LossSums:
    """The sums of a loss; comes before fastai's Metric among the bases of `ExactLoss`.

    Args:
        loss: a criterion of torch with reduction="mean", or one of fastai's around it, such as
            CrossEntropyLossFlat.
        name: under which the metric is shown, and named as monitor=.
    """

    def __init__(self, loss: Any, *, name: str = "exact_loss") -> None:
        self._pairs, self._name = exact(getattr(loss, "func", loss)), name
        self.reset()

    def reset(self) -> None:
        """Begin with no losses."""
        self._meter = Meter()

    def accumulate(self, learn: Any) -> None:
        """Add the batch that the Learner has at hand."""
        # fastai's own kinds of tensors have rules of their own for functions
        output, target = tree_map(_plain, (learn.pred, learn.yb[0]))
        self._meter.add(self._pairs(output, target).detach())

    @property
    def value(self) -> float:
        """The mean over all samples."""
        return self._meter.estimate().value

    @property
    def name(self) -> str:
        """The name of the column."""
        return self._name


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


def __getattr__(name: str) -> Any:
    if name != "ExactLoss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    metric = framework("fastai.learner", "fastai").Metric
    globals()[name] = type(name, (LossSums, metric), {"__module__": __name__})
    return globals()[name]
