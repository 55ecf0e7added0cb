"""A ratio or root of counts is averaged over batches, and no weighting makes it right."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._loaders import of_all_samples, of_one_sample
from batchproof.audit._dimensions._names import FunctionNode
from batchproof.audit._dimensions._questions import evaluates
from batchproof.audit._dimensions._scores import words_of_score
from batchproof.audit._dimensions._trace import Loop, Trace
from batchproof.audit._reports import Report

_OF_RANKS = {  # of several samples at least
    "roc_auc_score", "average_precision_score", "r2_score", "matthews_corrcoef",
    "cohen_kappa_score", "explained_variance_score",
}  # fmt: skip
_OF_IMAGES = {"peak_signal_noise_ratio", "psnr"}  # of one whole image at a time, as a rule


def find(trace: Trace) -> Iterator[Report]:
    """Yield averages over batches of a root, an exponential or a ratio of sums."""
    for event in trace.of("divide", "average", "update"):
        value = event.value
        if not isinstance(value, Quantity) or value.base != "coupled":
            continue
        if event.kind == "divide" and not isinstance(event.other, Count):
            continue
        if event.kind != "update" and not value.over:
            continue  # the mean of one batch, or of one sample
        loop = trace.loops.get(value.over) or event.batches
        if loop is None or loop.loader is None:
            continue  # a mean over folds, classes or seeds, each of which has a ratio of its own
        step = isinstance(loop.node, FunctionNode)  # of Lightning, which averages what is logged
        plain = event.kind != "update" or step  # not a meter, which may weigh
        kind = words_of_score(value.name)
        ranks = value.metric and kind in _OF_RANKS
        score = ranks or (step and value.metric and kind not in _OF_IMAGES)
        certain = value.sure and (plain or ranks)
        sure = certain and _evaluates_batches(trace, loop, score=score)
        name = value.text or value.name or "it"
        evidence = [f"{name} of a batch is a ratio or root, not a mean of samples"]
        if event.kind == "update" and step:
            evidence.append("Lightning averages what a step logs over the batches")
        formulas = "mean_b f(sums of batch b)", "f(sums of all batches)"
        yield Report(event, *formulas, tuple(evidence), sure)


def _evaluates_batches(trace: Trace, loop: Loop, *, score: bool) -> bool:
    """Return whether a loop evaluates batches of several samples, as far as that is in sight.

    Args:
        trace: the events.
        loop: the loop.
        score: whether it is a score of several samples, as a step of Lightning computes.
    """
    loader = loop.loader
    if loader is None or not (loader.line or score) or not evaluates(trace, loop):
        return False
    return not (of_one_sample(loader) or of_all_samples(loader))
