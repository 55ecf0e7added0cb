"""Criteria of torch: what one call of them is a mean or a sum of."""

import ast
from collections.abc import Mapping

from batchproof.audit._dimensions._arithmetic import name_of
from batchproof.audit._dimensions._lattice import (
    Base,
    Constant,
    Criterion,
    Quantity,
    Tensor,
    Unknown,
    Value,
)

CLASSES = {
    f"torch.nn.{name}": name
    for name in [
        "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss",
        "BCEWithLogitsLoss", "KLDivLoss", "PoissonNLLLoss", "GaussianNLLLoss", "SoftMarginLoss",
        "MultiMarginLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MarginRankingLoss",
        "HingeEmbeddingLoss", "CosineEmbeddingLoss", "TripletMarginLoss",
        "TripletMarginWithDistanceLoss", "CTCLoss",
    ]
}  # fmt: skip
FUNCTIONS = {
    f"torch.nn.functional.{name}": name
    for name in [
        "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss",
        "gaussian_nll_loss", "soft_margin_loss", "multi_margin_loss", "multilabel_margin_loss",
        "multilabel_soft_margin_loss", "margin_ranking_loss", "hinge_embedding_loss",
        "cosine_embedding_loss", "triplet_margin_loss", "ctc_loss",
    ]
}  # fmt: skip
CROSS_ENTROPY = {"CrossEntropyLoss", "cross_entropy"}
NLL = {"NLLLoss", "nll_loss"}
WITH_LOGITS = {"BCEWithLogitsLoss", "binary_cross_entropy_with_logits"}
_WEIGHTED = CROSS_ENTROPY | NLL


def reduction_of(keywords: Mapping[str, Value]) -> tuple[Base, bool]:
    """Return the reduction that keywords choose, and whether they show it.

    Args:
        keywords: the keywords of a criterion; size_average and reduce are the old names.
    """
    reduction, average = keywords.get("reduction"), keywords.get("size_average")
    if keywords.get("reduce") == Constant(value=False):
        return "elements", True
    if average == Constant(value=False):
        return "sum", True
    if reduction is None:
        return "mean", average is None or isinstance(average, Constant)
    if isinstance(reduction, Constant):
        bases: dict[object, Base] = {
            "mean": "mean",
            "batchmean": "mean",
            "elementwise_mean": "mean",
            "sum": "sum",
            "none": "elements",
        }
        return bases.get(reduction.value, "unknown"), reduction.value in bases
    return "unknown", False


_REDUCTIONS = {"mean", "batchmean", "elementwise_mean", "sum", "none"}


def _with_positions(
    args: list[Value], keywords: Mapping[str, Value], size_average: int
) -> Mapping[str, Value]:
    """Return keywords, with a reduction that is given by its position.

    Args:
        args: the values of the positional arguments.
        keywords: the values of the keywords.
        size_average: the position of that old argument, which False makes a sum.
    """
    words = [a for a in args if isinstance(a, Constant) and a.value in _REDUCTIONS]
    result = dict(keywords)
    if words:
        result.setdefault("reduction", words[-1])
    elif size_average < len(args) and args[size_average] == Constant(value=False):
        result.setdefault("size_average", Constant(value=False))
    return result


def ignored_target(keywords: Mapping[str, Value]) -> str:
    """Return the code of the target that a criterion ignores, or ""."""
    value = keywords.get("ignore_index", Constant(-100))
    if value == Constant(-100):
        return ""
    return name_of(value) or "some"


def build_criterion(
    name: str, args: list[Value], keywords: Mapping[str, Value], *, open_: bool
) -> Criterion:
    """Return the criterion that a class makes.

    Args:
        name: the class, without its package.
        args: the values of its positional arguments.
        keywords: the values of its keywords.
        open_: whether it has a `**` argument.
    """
    keywords = _with_positions(args, keywords, 1 if name in _WEIGHTED else 0)
    base, explicit = reduction_of(keywords)
    weight = keywords.get("weight", args[0] if args and name in _WEIGHTED else None)
    classes = name in _WEIGHTED and weight not in (None, Constant(None))
    ignores = ignored_target(keywords)
    return Criterion(name, base, explicit and not open_, ignores, classes)


def call_criterion(
    criterion: Criterion,
    node: ast.Call,
    args: list[Value],
    keywords: Mapping[str, Value],
    loop: str,
) -> Quantity:
    """Return the loss that a call of a criterion gives.

    Args:
        criterion: what is called.
        node: the call.
        args: the values of its positional arguments.
        keywords: the values of its keywords.
        loop: the key of the loop over batches around it.
    """
    tensors = [a for a in (*args, *keywords.values()) if isinstance(a, Tensor)]
    graphs = [t.graph for t in tensors]
    graph = (
        True
        if True in graphs
        else (None if None in graphs or len(tensors) < len(args[:2]) else False)
    )
    first = args[0] if args else keywords.get("input", Unknown())
    if isinstance(first, Tensor) and first.output and first.graph is False:
        graph = False
    return Quantity(
        criterion.base,
        loop,
        graph=graph,
        sure=criterion.sure,
        line=node.lineno,
        ignores=criterion.ignores,
        classes=criterion.classes,
        metric=criterion.metric,
        name=criterion.name,
        ranks=first.ranks if isinstance(first, Tensor) else "",
        padded=_padded_target(args, keywords),
    )


def _padded_target(args: list[Value], keywords: Mapping[str, Value]) -> str:
    """Return how the target of a criterion is padded, or ""."""
    target = args[1] if len(args) > 1 else keywords.get("target")
    pads = target.pads if isinstance(target, Tensor) else ()
    return next((how for part, how in pads if part is None), "")


def function_criterion(name: str, args: list[Value], keywords: Mapping[str, Value]) -> Criterion:
    """Return the criterion that a call of a function of torch.nn.functional chooses."""
    short = FUNCTIONS[name]
    keywords = _with_positions(
        args, keywords, 3 if "cross_entropy" in short or "nll" in short else 2
    )
    base, explicit = reduction_of(keywords)
    weight = keywords.get("weight", args[2] if len(args) > 2 else None)
    classes = short in _WEIGHTED and weight not in (None, Constant(None))
    ignores = ignored_target(keywords)
    return Criterion(short, base, explicit, ignores, classes)
