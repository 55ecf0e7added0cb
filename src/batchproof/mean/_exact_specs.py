"""The table of torch's losses: for each, its losses, their weights, and the unit of its "mean".

torch's "mean" is sum(losses) / sum(counts), where `losses` are what reduction="none" gives and

    counts      1 per loss
                weight[target], and 0 at ignore_index       CrossEntropy and NLL with class indices
                target length, then a mean over samples     CTC; an empty target counts as 1

    "batchmean" of KLDiv divides by the samples in place of the losses: the unit "sample-sum".
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from batchproof._errors import CriterionError
from batchproof.mean._exact_layout import Aligned, BySample, Layout, Temporal
from batchproof.mean._mean import Unit

Options = Mapping[str, Any]


def _losses(function: Callable[..., Any], inputs: Sequence[Any], options: Options) -> Tensor:
    losses: Tensor = function(*inputs, reduction="none", **options)
    return losses


def _no_counts(inputs: Sequence[Any], options: Options) -> Tensor | None:  # noqa: ARG001
    return None


@dataclass(frozen=True, slots=True)
class Spec:
    """One row of the table: a loss of torch.

    Attributes:
        module: the loss as a module.
        function: the loss as a function; None where the module is the only form.
        options: the settings, by the name that module and function share.
        layout: that of its inputs.
        losses: (function, inputs, options) -> losses, each times what it adds to the weight.
        counts: (inputs, options) -> what each loss adds to the weight; None for 1 each.
        prepare: brings the inputs into the layout; None where they have it.
        units: for each reduction that is a mean, the unit it is a mean of.
        shared: settings that are broadcast over the samples, and must not vary by sample.
        widen: whether inputs narrower than float32 are widened to it first.
    """

    module: type[nn.Module]
    function: Callable[..., Any] | None
    options: tuple[str, ...] = ()
    layout: Layout = field(default_factory=Aligned)
    losses: Callable[[Callable[..., Any], Sequence[Any], Options], Tensor] = _losses
    counts: Callable[[Sequence[Any], Options], Tensor | None] = _no_counts
    prepare: Callable[[Sequence[Any]], Sequence[Any]] | None = None
    units: Mapping[str, Unit] = field(default_factory=lambda: {"mean": "element"})
    shared: tuple[str, ...] = ()
    widen: bool = True

    def classes(self, inputs: Sequence[Any]) -> int | None:
        """Return the number of classes; None of a loss that has none."""
        if isinstance(self.layout, Aligned):
            return None if self.layout.axis is None else int(inputs[0].shape[self.layout.axis])
        # a layer whose rows are classes comes with each batch
        shared = getattr(self.layout, "shared", ())
        return len(inputs[shared[0]]) if shared else None

    def expect_shared(self, inputs: Sequence[Any], options: Options) -> None:
        """Refuse a setting that holds one row for each position of a batch.

        Raises:
            CriterionError: if there is one.
        """
        for name in self.shared:
            tensor = options[name]
            if tensor is None or tensor.ndim < inputs[0].ndim or tensor.shape[0] == 1:
                continue
            raise CriterionError(
                f"{name} of {self.module.__name__} has shape {tuple(tensor.shape)}: one row for "
                "each place in the batch, which does not go with the samples when it is cut. "
                "Pass weights with each batch: exact(...)(input, target, weight=...)."
            )


def _class_counts(inputs: Sequence[Any], options: Options) -> Tensor | None:
    logits, target = inputs
    if target.ndim == logits.ndim:
        # class probabilities: torch divides by the number of losses, class weights or not
        return None
    return _counts_of_targets(target, options)


def _counts_of_targets(target: Tensor, options: Options) -> Tensor:
    valid = target.ne(options["ignore_index"])
    if options["weight"] is None:
        return valid
    weight = options["weight"].detach()
    return torch.where(valid, weight[torch.where(valid, target, 0).long()], 0)


def _ctc_counts(inputs: Sequence[Any], options: Options) -> Tensor:  # noqa: ARG001
    log_probs, _, _, target_lengths = inputs
    return torch.as_tensor(target_lengths, device=log_probs.device).clamp(min=1)


def _ctc_losses(function: Callable[..., Any], inputs: Sequence[Any], options: Options) -> Tensor:
    log_probs: Tensor = inputs[0]
    # torch refuses no samples
    return _losses(function, inputs, options) if log_probs.shape[1] else log_probs.sum((0, 2))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype


def _triplet_losses(
    function: Callable[..., Any], inputs: Sequence[Any], options: Options
) -> Tensor:
    distance = options["distance_function"]
    if isinstance(distance, nn.Module):
        dtypes = {p.dtype for p in distance.parameters() if p.is_floating_point()}
        if len(dtypes) == 1 and _wide(*dtypes) not in dtypes:
            # a layer in a narrow float takes no other
            return _losses(function, [value.to(*dtypes) for value in inputs], options)
    return _losses(function, inputs, options)


def _gaussian_inputs(inputs: Sequence[Any]) -> Sequence[Any]:
    """Give the variance the input's shape, as torch broadcasts it."""
    mean, target, var = inputs
    if not isinstance(var, Tensor):
        # a number is not rounded to a narrow float
        return mean, target, torch.full_like(mean, var, dtype=_wide(mean.dtype))
    if var.shape == mean.shape[:-1]:
        var = var.unsqueeze(-1)
    alike = (b in {1, a} for a, b in zip(mean.shape, var.shape, strict=False))
    # of other shapes the layout complains
    return mean, target, var.expand_as(mean) if var.ndim == mean.ndim and all(alike) else var


def _adaptive_losses(
    module: Callable[..., Any],
    inputs: Sequence[Any],
    options: Options,  # noqa: ARG001
) -> Tensor:
    features: Tensor = inputs[0]
    # torch refuses no samples
    losses: Tensor = -module(*inputs).output if len(features) else features.sum(-1)
    return losses


def _linear_losses(
    module: Callable[..., Any],
    inputs: Sequence[Any],
    options: Options,  # noqa: ARG001
) -> Tensor:
    twin: Any = copy(module)
    twin.reduction = "none"
    losses: Tensor = twin(*inputs)
    return losses


def _linear_counts(inputs: Sequence[Any], options: Options) -> Tensor | None:
    target = inputs[-1]
    if target.is_floating_point():
        return None
    index = -100 if options["ignore_index"] is None else options["ignore_index"]
    return _counts_of_targets(target, {**options, "ignore_index": index})


def _specs_of_new_releases() -> Sequence[Spec]:
    if not hasattr(nn, "LinearCrossEntropyLoss"):
        return ()
    linear = Spec(
        nn.LinearCrossEntropyLoss,
        None,
        ("weight", "ignore_index"),
        BySample(),
        losses=_linear_losses,
        counts=_linear_counts,
        widen=False,
    )
    function = Spec(
        nn.LinearCrossEntropyLoss,
        F.linear_cross_entropy,
        ("linear_bias", "weight", "ignore_index", "label_smoothing", "options"),
        BySample(shared=(1,)),
        counts=_linear_counts,
        widen=False,
    )
    # the module comes last: forward finds it by its class
    return function, linear


_CLASSES = Aligned(axis=1, likes=("input", "either"))
_FEATURES = Aligned(axis=-1, likes=("input", "input"))
_TRIPLET = Aligned(axis=-1, likes=("input", "input", "input"), fills=(0, 0, 0))

SPECS = (
    Spec(nn.L1Loss, F.l1_loss),
    Spec(nn.MSELoss, F.mse_loss),
    Spec(nn.SmoothL1Loss, F.smooth_l1_loss, ("beta",)),
    Spec(nn.HuberLoss, F.huber_loss, ("delta",)),
    Spec(
        nn.CrossEntropyLoss,
        F.cross_entropy,
        ("weight", "ignore_index", "label_smoothing"),
        _CLASSES,
        counts=_class_counts,
    ),
    Spec(
        nn.NLLLoss,
        F.nll_loss,
        ("weight", "ignore_index"),
        Aligned(axis=1, likes=("input", "losses")),
        counts=_class_counts,
    ),
    Spec(nn.BCELoss, F.binary_cross_entropy, ("weight",), shared=("weight",)),
    Spec(
        nn.BCEWithLogitsLoss,
        F.binary_cross_entropy_with_logits,
        ("weight", "pos_weight"),
        shared=("weight", "pos_weight"),
    ),
    Spec(
        nn.KLDivLoss,
        F.kl_div,
        ("log_target",),
        units={"mean": "element", "batchmean": "sample-sum"},
    ),
    Spec(nn.PoissonNLLLoss, F.poisson_nll_loss, ("log_input", "full", "eps")),
    Spec(
        nn.GaussianNLLLoss,
        F.gaussian_nll_loss,
        ("full", "eps"),
        Aligned(likes=("input", "input", "input"), fills=(0, 0, 1)),
        prepare=_gaussian_inputs,
    ),
    Spec(nn.HingeEmbeddingLoss, F.hinge_embedding_loss, ("margin",)),
    Spec(nn.SoftMarginLoss, F.soft_margin_loss),
    Spec(nn.MultiLabelMarginLoss, F.multilabel_margin_loss, (), _FEATURES),
    Spec(
        nn.MultiLabelSoftMarginLoss,
        F.multilabel_soft_margin_loss,
        ("weight",),
        _FEATURES,
        shared=("weight",),
    ),
    Spec(
        nn.MultiMarginLoss,
        F.multi_margin_loss,
        ("p", "margin", "weight"),
        Aligned(axis=-1, likes=("input", "losses")),
    ),
    Spec(
        nn.CosineEmbeddingLoss,
        F.cosine_embedding_loss,
        ("margin",),
        Aligned(axis=-1, likes=("input", "input", "losses"), fills=(0, 0, 1)),
    ),
    Spec(
        nn.MarginRankingLoss,
        F.margin_ranking_loss,
        ("margin",),
        Aligned(likes=("input", "input", "input"), fills=(0, 0, 1)),
    ),
    Spec(nn.TripletMarginLoss, F.triplet_margin_loss, ("margin", "p", "eps", "swap"), _TRIPLET),
    Spec(
        nn.TripletMarginWithDistanceLoss,
        F.triplet_margin_with_distance_loss,
        ("distance_function", "margin", "swap"),
        BySample(),
        losses=_triplet_losses,
    ),
    Spec(
        nn.CTCLoss,
        F.ctc_loss,
        ("blank", "zero_infinity"),
        Temporal(),
        losses=_ctc_losses,
        counts=_ctc_counts,
        units={"mean": "sample"},
    ),
    Spec(
        nn.AdaptiveLogSoftmaxWithLoss,
        None,
        (),
        Aligned(axis=-1, likes=("input", "losses")),
        losses=_adaptive_losses,
        widen=False,
    ),
    *_specs_of_new_releases(),
)

BY_FORWARD = {spec.module.forward: spec for spec in SPECS}
BY_FUNCTION = {spec.function: spec for spec in SPECS if spec.function is not None}
