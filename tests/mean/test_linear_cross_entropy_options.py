"""What linear_cross_entropy takes besides: each equal to the plain form on whole logits."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

import batchproof as bp
from batchproof.mean import _linear_cross_entropy as module

UNITS = ("element", "sample", "sample-sum")
SAMPLES, TOKENS, WIDTH, CLASSES = 5, 7, 6, 11


def draw(seed=0):
    """Leaves (hidden, weight, bias) in float64, and a target with ignored tokens."""
    torch.manual_seed(seed)
    hidden = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(CLASSES, WIDTH, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(CLASSES, dtype=torch.float64, requires_grad=True)
    target = torch.randint(CLASSES, (SAMPLES, TOKENS))
    target[torch.rand(SAMPLES, TOKENS) < 0.2] = -100
    target[3] = -100
    target[0] = 4
    return [hidden, weight, bias], target


def losses_of(leaves, target, *, class_weight=None, label_smoothing=0.0, softcap=None, z_loss=0.0):
    """Each token's loss and count by torch, on logits that are all there."""
    logits = F.linear(*leaves)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    valid = target != -100
    safe = torch.where(valid, target, 0)
    counts = torch.ones_like(target, dtype=torch.float64)
    if class_weight is not None:
        counts = class_weight[safe]
    losses = F.cross_entropy(
        logits.movedim(-1, 1) if logits.ndim > 1 else logits,
        target,
        weight=class_weight,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    losses = losses + z_loss * counts * logits.logsumexp(-1).square()
    return torch.where(valid, losses, 0), torch.where(valid, counts, 0)


def plain(leaves, target, *, unit="element", mask=None, sample_weight=None, segments=None, **form):
    """The pair by the definition, without a line of the library's own reduction."""
    losses, counts = losses_of(leaves, target, **form)
    token = torch.ones_like(counts)
    sample = None
    if sample_weight is not None and sample_weight.shape == target.shape:
        token = torch.where(target != -100, sample_weight, 0)
    elif sample_weight is not None:
        sample = sample_weight
    if mask is not None:
        token = torch.where(mask, token, 0)
    losses, counts = losses * token, counts * token
    if segments is None:
        total, count = losses.sum(-1), counts.sum(-1)
    else:
        last = int(segments.max()) + 1
        total = torch.stack([losses[segments == n].sum() for n in range(last)])
        count = torch.stack([counts[segments == n].sum() for n in range(last)])
    some = count != 0
    if unit != "element":
        total = torch.where(some, total, 0)
        total = total / torch.where(some, count, 1) if unit == "sample" else total
        count = some.double()
    if sample is not None:
        total, count = total * sample, count * sample
    return total, count


def expect_close(actual, expected):
    scale = max(expected.detach().abs().max().item(), 1e-30)
    assert (actual - expected).abs().max().item() <= 1e-12 * scale


def expect_same(leaves, target, **options):
    ours = bp.linear_cross_entropy(leaves[0], leaves[1], target, bias=leaves[2], **options)
    total, weight = plain(leaves, target, **options)
    expect_close(ours.total, total)
    expect_close(ours.weight, weight)
    slopes = torch.linspace(-1, 2, len(total), dtype=torch.float64)
    for make in (lambda t: t.sum() / weight.sum(), lambda t: t @ slopes):
        mine, theirs = (torch.autograd.grad(make(t), leaves) for t in (ours.total, total))
        for left, right in zip(mine, theirs, strict=True):
            expect_close(left, right)
        # a graph is back-propagated once
        ours = bp.linear_cross_entropy(leaves[0], leaves[1], target, bias=leaves[2], **options)
        total, _ = plain(leaves, target, **options)


@pytest.fixture(params=[128, 1, 13], ids=lambda size: f"chunks-of-{size}", autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setattr(module, "_chunk", lambda tokens, width: request.param)


CLASS_WEIGHT = torch.linspace(0.0, 2.0, CLASSES, dtype=torch.float64)
FORMS = [
    {"class_weight": CLASS_WEIGHT},
    {"label_smoothing": 0.3},
    {"label_smoothing": 1.0},
    {"softcap": 1.5},
    {"z_loss": 0.2},
    {"class_weight": CLASS_WEIGHT, "label_smoothing": 0.1},
    {"class_weight": CLASS_WEIGHT, "label_smoothing": 0.1, "softcap": 2.0, "z_loss": 0.1},
    {"label_smoothing": 0.1, "softcap": 2.0, "z_loss": 0.1},
]


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("unit", UNITS)
def test_each_form_of_the_loss_is_the_plain_one(form, unit):
    leaves, target = draw()
    expect_same(leaves, target, unit=unit, **form)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("of_tokens", [False, True])
@pytest.mark.parametrize("form", [{}, FORMS[-2]], ids=["plain", "all"])
def test_weights_of_samples_and_tokens_are_those_of_reduce(unit, masked, of_tokens, form):
    leaves, target = draw()
    mask = torch.rand(target.shape) > 0.3 if masked else None
    weight = torch.rand(target.shape if of_tokens else (SAMPLES,), dtype=torch.float64) + 0.1
    weight[1] = 0
    expect_same(leaves, target, unit=unit, mask=mask, sample_weight=weight, **form)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("form", [{}, FORMS[-2]], ids=["plain", "all"])
def test_segments_are_the_samples_of_packed_sequences(unit, form):
    leaves, target = draw()
    segments = torch.tensor([[0, 0, 0, 1, 1, -1, -1]] * SAMPLES) + torch.arange(SAMPLES)[:, None]
    segments[0, 5:] = -1
    expect_same(leaves, target, unit=unit, segments=segments, **form)
    of_segments = torch.rand(int(segments.max()) + 1, dtype=torch.float64)
    expect_same(leaves, target, unit=unit, segments=segments, sample_weight=of_segments, **form)


def test_segments_of_padding_alone_are_the_pair_of_zeros():
    leaves, target = draw()
    segments = torch.full_like(target, -1)
    mean = bp.linear_cross_entropy(*leaves[:2], target, segments=segments, num_segments=2)
    assert mean.total.tolist() == mean.weight.tolist() == [0.0, 0.0]
    assert bp.linear_cross_entropy(*leaves[:2], target, segments=segments).total.shape == (0,)


@pytest.mark.parametrize("form", [{}, *FORMS], ids=lambda form: "-".join(form) or "plain")
def test_a_token_without_a_dimension_of_samples_is_a_scalar_pair(form):
    (hidden, weight, bias), target = draw()
    leaves = [hidden.detach()[0, 0].requires_grad_(), weight, bias]
    ours = bp.linear_cross_entropy(leaves[0], weight, target[0, 0], bias=bias, **form)
    loss, count = losses_of(leaves, target[0, 0], **form)
    assert ours.total.shape == ours.weight.shape == ()
    expect_close(ours.total, loss)
    expect_close(ours.weight, count)
    pairs = (torch.autograd.grad(value, leaves) for value in (ours.total, loss))
    for left, right in zip(*pairs, strict=True):
        expect_close(left, right)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("scaled_apart", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", [{}, FORMS[-1]], ids=["plain", "all"])
def test_all_that_is_ignored_has_the_gradient_0(unit, scaled_apart, packed, form):
    leaves, target = draw()
    ignored = torch.full_like(target, -100)
    segments = {"segments": torch.zeros_like(target), "num_segments": 2} if packed else {}
    mean = bp.linear_cross_entropy(
        *leaves[:2], ignored, bias=leaves[2], unit=unit, **segments, **form
    )
    value = (mean.total / mean.weight).sum() if scaled_apart else mean.value()
    for grad in torch.autograd.grad(value, leaves):
        assert (grad == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("unit", UNITS)
def test_the_weight_of_what_does_not_count_enters_nothing(bad, unit):
    leaves, target = draw()
    counted = target != -100
    for good in (torch.rand(SAMPLES) + 0.5, torch.rand(target.shape) + 0.5):
        rows = counted if good.ndim == 2 else counted.any(1)
        pair = [
            bp.linear_cross_entropy(*leaves[:2], target, unit=unit, sample_weight=w).value()
            for w in (good, torch.where(rows, good, bad))
        ]
        assert torch.equal(*pair)
        grads = [torch.autograd.grad(value, leaves[:2]) for value in pair]
        assert all(torch.equal(*both) for both in zip(*grads, strict=True))


@pytest.mark.parametrize("options", [{}, *FORMS], ids=lambda form: "-".join(form) or "plain")
def test_options_hold_under_float32_and_bfloat16(options):
    leaves, target = draw()
    truth = bp.linear_cross_entropy(*leaves[:2], target, bias=leaves[2], **options).item()
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 2e-2)):
        narrow = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
        mean = bp.linear_cross_entropy(*narrow[:2], target, bias=narrow[2], **options)
        assert mean.item() == pytest.approx(truth, rel=tolerance)
        for grad in torch.autograd.grad(mean.value(), narrow):
            assert grad.dtype == dtype
            assert grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool, torch.complex64])
def test_a_target_that_is_no_class_index_is_refused(dtype, unchecked):
    leaves, target = draw()
    with pytest.raises(bp.SettingError, match=f"target has dtype {dtype}; expected class indices"):
        bp.linear_cross_entropy(*leaves[:2], target.abs().to(dtype))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5; expected a share from 0 to 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; expected a share"),
        ({"softcap": 0.0}, "softcap is 0.0; expected a number above 0, or None"),
        ({"z_loss": -1.0}, "z_loss is -1.0; expected a number of at least 0"),
        ({"z_loss": float("nan")}, "z_loss is nan; expected a number of at least 0"),
        ({"class_weight": torch.ones(CLASSES, requires_grad=True)}, "class_weight carries a graph"),
        ({"sample_weight": torch.ones(SAMPLES, requires_grad=True)}, "sample_weight carries a"),
        ({"sample_weight": 1.0}, "sample_weight is float; expected a tensor"),
        ({"num_segments": 3}, "num_segments is 3 without segments"),
    ],
)
def test_options_out_of_range_are_refused(options, match, unchecked):
    leaves, target = draw()
    with pytest.raises(bp.SettingError, match=match):
        bp.linear_cross_entropy(*leaves[:2], target, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"class_weight": torch.ones(3)}, r"class_weight has shape \(3,\).*expected \(11,\)"),
        ({"sample_weight": torch.ones(3)}, r"weight has shape \(3,\)"),
        ({"segments": torch.zeros(3, dtype=torch.long)}, r"segments has shape \(3,\)"),
    ],
)
def test_options_of_other_shapes_are_refused(options, match, unchecked):
    leaves, target = draw()
    with pytest.raises(bp.ShapeError, match=match):
        bp.linear_cross_entropy(*leaves[:2], target, **options)


def test_options_go_together_in_every_combination():
    leaves, target = draw()
    for weight, smoothing, softcap, z_loss in product(
        (None, CLASS_WEIGHT), (0.0, 0.2), (None, 3.0), (0.0, 0.05)
    ):
        expect_same(
            leaves,
            target,
            class_weight=weight,
            label_smoothing=smoothing,
            softcap=softcap,
            z_loss=z_loss,
        )
