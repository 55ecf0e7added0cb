"""The one table of criteria: every loss of torch with the settings that change what its mean is.

A row gives the criterion and inputs for some samples; every test of criteria runs over all rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5


def real(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def positive(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.1


def share(*shape: int) -> Tensor:
    return 0.05 + 0.9 * torch.rand(*shape, dtype=torch.float64)


def binary(*shape: int) -> Tensor:
    return torch.randint(2, shape).double()


def sign(*shape: int) -> Tensor:
    return 2 * binary(*shape) - 1


def label(*shape: int, ignored: int | None = None) -> Tensor:
    labels = torch.randint(CLASSES, shape)
    if ignored is not None and labels.numel():
        # the first sample keeps a label, so that no mean is over nothing
        labels[1:][torch.rand(labels[1:].shape) < 0.4] = ignored
        labels[:1] = 1 if ignored != 1 else 2
    return labels


def distribution(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).softmax(1)


def class_weight() -> Tensor:
    return torch.tensor([0.5, 1.0, 3.0, 0.25, 7.0], dtype=torch.float64)


def several_labels(samples: int) -> Tensor:
    targets = torch.full((samples, CLASSES), -1)
    for row in targets:
        some = torch.randperm(CLASSES)[: torch.randint(0, CLASSES + 1, ()).item()]
        row[: len(some)] = some
    return targets


def speech(samples: int) -> tuple[Any, ...]:
    lengths = torch.randint(1, 5, (samples,))
    targets = torch.randint(1, CLASSES, (samples, 4))
    log_probs = real(12, samples, CLASSES).log_softmax(2)
    return log_probs, targets, torch.randint(9, 13, (samples,)), lengths


def speech_too_short(samples: int) -> tuple[Any, ...]:
    log_probs, targets, lengths, of_targets = speech(samples)
    # fewer steps than labels: the loss is infinite
    return log_probs, targets, torch.where(torch.arange(samples) % 3 == 1, 1, lengths), of_targets


@dataclass(frozen=True)
class Case:
    """One criterion.

    Attributes:
        name: of the test.
        criterion: builds it, as a module.
        inputs: some samples of what it takes, in float64.
        functional: the same as a function, where there is one.
        leaves: which inputs take a gradient.
        axes: the dimension of the samples in each input; 0 if not given.
    """

    name: str
    criterion: Callable[..., nn.Module]
    inputs: Callable[[int], tuple[Any, ...]]
    functional: Callable[..., Tensor] | None = None
    leaves: tuple[int, ...] = (0,)
    axes: tuple[int, ...] = (0, 0, 0, 0)

    def draw(self, samples: int, seed: int = 0) -> list[Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.leaf(self.inputs(samples))

    def leaf(self, inputs: Any) -> list[Any]:
        fresh = [x.detach().clone() if isinstance(x, Tensor) else x for x in inputs]
        for index in self.leaves:
            fresh[index].requires_grad_()
        return fresh

    def take(self, inputs: Any, samples: Any) -> list[Any]:
        index = torch.as_tensor(samples, dtype=torch.long)
        taken = zip(inputs, self.axes, strict=False)
        return [x.index_select(d, index) if isinstance(x, Tensor) else x for x, d in taken]

    def gradients(self, loss: Tensor, inputs: Any) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, [inputs[index] for index in self.leaves])

    def __str__(self) -> str:
        return self.name


def row(name, criterion, inputs, functional=None, leaves=(0,), axes=(0, 0, 0, 0)):
    return Case(name, criterion, inputs, functional, leaves, axes)


def elementwise(name, criterion, functional, target=real, inputs=real):
    return [
        row(f"{name}-vector", criterion, lambda n: (inputs(n), target(n)), functional),
        row(name, criterion, lambda n: (inputs(n, 3, 2), target(n, 3, 2)), functional),
    ]


def pairs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    return real(n, 3), real(n, 3), sign(n)


def triplets(n: int) -> tuple[Tensor, Tensor, Tensor]:
    return real(n, 3), real(n, 3), real(n, 3)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).sum(1)


def adaptive() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.AdaptiveLogSoftmaxWithLoss(6, CLASSES, cutoffs=[2], div_value=2.0)
    return module.double()


def linear_cross_entropy(**settings: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.LinearCrossEntropyLoss(6, CLASSES, dtype=torch.float64, **settings)


def cross_entropy(name, inputs, **settings):
    return row(
        f"cross-entropy-{name}",
        lambda **more: nn.CrossEntropyLoss(**settings, **more),
        inputs,
        partial(F.cross_entropy, **settings),
    )


CROSS_ENTROPY = [
    cross_entropy("plain", lambda n: (real(n, CLASSES), label(n))),
    cross_entropy("two-dimensions", lambda n: (real(n, CLASSES, 3, 2), label(n, 3, 2))),
    cross_entropy("class-weights", lambda n: (real(n, CLASSES), label(n)), weight=class_weight()),
    cross_entropy("ignored", lambda n: (real(n, CLASSES, 4), label(n, 4, ignored=-100))),
    cross_entropy(
        "other-ignored", lambda n: (real(n, CLASSES, 4), label(n, 4, ignored=2)), ignore_index=2
    ),
    cross_entropy("smooth", lambda n: (real(n, CLASSES), label(n)), label_smoothing=0.2),
    cross_entropy(
        "weights-ignored-smooth",
        lambda n: (real(n, CLASSES, 4), label(n, 4, ignored=-1)),
        weight=class_weight(),
        ignore_index=-1,
        label_smoothing=0.3,
    ),
    cross_entropy(
        "a-class-of-weight-0-smooth",
        lambda n: (real(n, CLASSES), torch.cat([torch.tensor([2]), label(n)])[:n]),
        weight=torch.tensor([0.0, 1.0, 3.0, 0.0, 2.0], dtype=torch.float64),
        label_smoothing=0.1,
    ),
    cross_entropy("probabilities", lambda n: (real(n, CLASSES), distribution(n, CLASSES))),
    cross_entropy(
        "probabilities-weights-smooth",
        lambda n: (real(n, CLASSES, 3), distribution(n, CLASSES, 3)),
        weight=class_weight(),
        label_smoothing=0.1,
    ),
]

ELEMENTWISE = [
    *elementwise("l1", nn.L1Loss, F.l1_loss),
    *elementwise("mse", nn.MSELoss, F.mse_loss),
    *elementwise(
        "smooth-l1", partial(nn.SmoothL1Loss, beta=0.5), partial(F.smooth_l1_loss, beta=0.5)
    ),
    *elementwise("huber", partial(nn.HuberLoss, delta=0.5), partial(F.huber_loss, delta=0.5)),
    *elementwise("bce", nn.BCELoss, F.binary_cross_entropy, binary, share),
    *elementwise(
        "bce-logits", nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, binary, real
    ),
    *elementwise("kl", nn.KLDivLoss, F.kl_div, share),
    *elementwise(
        "kl-batchmean",
        lambda reduction="batchmean": nn.KLDivLoss(reduction=reduction),
        partial(F.kl_div, reduction="batchmean"),
        share,
    ),
    *elementwise(
        "kl-log-target",
        partial(nn.KLDivLoss, log_target=True),
        partial(F.kl_div, log_target=True),
    ),
    *elementwise("poisson", nn.PoissonNLLLoss, F.poisson_nll_loss, positive),
    *elementwise(
        "poisson-full",
        partial(nn.PoissonNLLLoss, log_input=False, full=True),
        partial(F.poisson_nll_loss, log_input=False, full=True),
        positive,
        positive,
    ),
    *elementwise(
        "hinge-embedding",
        partial(nn.HingeEmbeddingLoss, margin=0.7),
        partial(F.hinge_embedding_loss, margin=0.7),
        sign,
    ),
    *elementwise("soft-margin", nn.SoftMarginLoss, F.soft_margin_loss, sign),
    row(
        "bce-weight-by-column",
        partial(nn.BCELoss, weight=positive(4)),
        lambda n: (share(n, 4), binary(n, 4)),
    ),
    row(
        "bce-weight-one-row",
        partial(nn.BCELoss, weight=positive(1, 4)),
        lambda n: (share(n, 4), binary(n, 4)),
    ),
    row(
        "bce-logits-weight-pos-weight",
        partial(nn.BCEWithLogitsLoss, weight=positive(3, 1), pos_weight=positive(4)),
        lambda n: (real(n, 3, 4), binary(n, 3, 4)),
    ),
]

OTHERS = [
    row("nll", nn.NLLLoss, lambda n: (real(n, CLASSES), label(n)), F.nll_loss),
    row(
        "nll-weights-ignored",
        partial(nn.NLLLoss, weight=class_weight(), ignore_index=3),
        lambda n: (real(n, CLASSES, 2, 3), label(n, 2, 3, ignored=3)),
        partial(F.nll_loss, weight=class_weight(), ignore_index=3),
    ),
    row(
        "gaussian",
        nn.GaussianNLLLoss,
        lambda n: (real(n, 3), real(n, 3), positive(n, 3)),
        F.gaussian_nll_loss,
        leaves=(0, 2),
    ),
    row(
        "gaussian-full-one-variance-a-sample",
        partial(nn.GaussianNLLLoss, full=True, eps=0.3),
        lambda n: (real(n, 3), real(n, 3), positive(n, 1)),
        partial(F.gaussian_nll_loss, full=True, eps=0.3),
        leaves=(0, 2),
    ),
    row(
        "gaussian-variance-without-the-last-dimension",
        nn.GaussianNLLLoss,
        lambda n: (real(n, 2, 3), real(n, 2, 3), positive(n, 2)),
        leaves=(0, 2),
    ),
    row("gaussian-one-variance", nn.GaussianNLLLoss, lambda n: (real(n, 3), real(n, 3), 0.5)),
    row(
        "multi-label-margin",
        nn.MultiLabelMarginLoss,
        lambda n: (real(n, CLASSES), several_labels(n)),
        F.multilabel_margin_loss,
    ),
    row(
        "multi-label-soft-margin",
        partial(nn.MultiLabelSoftMarginLoss, weight=class_weight()),
        lambda n: (real(n, CLASSES), binary(n, CLASSES)),
        partial(F.multilabel_soft_margin_loss, weight=class_weight()),
    ),
    row(
        "multi-margin",
        partial(nn.MultiMarginLoss, p=2, margin=0.6, weight=class_weight()),
        lambda n: (real(n, CLASSES), label(n)),
        partial(F.multi_margin_loss, p=2, margin=0.6, weight=class_weight()),
    ),
    row(
        "cosine-embedding",
        partial(nn.CosineEmbeddingLoss, margin=0.1),
        pairs,
        partial(F.cosine_embedding_loss, margin=0.1),
        leaves=(0, 1),
    ),
    row(
        "margin-ranking",
        partial(nn.MarginRankingLoss, margin=0.2),
        lambda n: (real(n), real(n), sign(n)),
        partial(F.margin_ranking_loss, margin=0.2),
        leaves=(0, 1),
    ),
    row(
        "triplet-margin",
        partial(nn.TripletMarginLoss, margin=1.5, swap=True),
        triplets,
        partial(F.triplet_margin_loss, margin=1.5, swap=True),
        leaves=(0, 1, 2),
    ),
    row(
        "triplet-with-distance",
        nn.TripletMarginWithDistanceLoss,
        triplets,
        F.triplet_margin_with_distance_loss,
        leaves=(0, 1, 2),
    ),
    row(
        "triplet-with-own-distance",
        partial(nn.TripletMarginWithDistanceLoss, distance_function=squared_distance, swap=True),
        lambda n: (real(n, 2, 3), real(n, 2, 3), real(n, 2, 3)),
        partial(F.triplet_margin_with_distance_loss, distance_function=squared_distance, swap=True),
        leaves=(0, 1, 2),
    ),
    row("ctc", nn.CTCLoss, speech, F.ctc_loss, axes=(1, 0, 0, 0)),
    row(
        "ctc-zero-infinity",
        partial(nn.CTCLoss, zero_infinity=True),
        speech_too_short,
        partial(F.ctc_loss, zero_infinity=True),
        axes=(1, 0, 0, 0),
    ),
]

if hasattr(nn, "LinearCrossEntropyLoss"):
    OTHERS.append(
        row(
            "linear-cross-entropy",
            partial(linear_cross_entropy, weight=class_weight(), ignore_index=2),
            lambda n: (real(n, 6), label(n, ignored=2)),
        )
    )

ADAPTIVE = row("adaptive-log-softmax", adaptive, lambda n: (real(n, 6), label(n)))

CASES = [*CROSS_ENTROPY, *ELEMENTWISE, *OTHERS]
EVERY = [*CASES, ADAPTIVE]
