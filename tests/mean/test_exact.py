import pickle
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import batchproof as bp
from cases import CASES, EVERY, Case
from strategies import cuts

SAMPLES = 7


def torch_value(criterion, inputs):
    with warnings.catch_warnings():
        # KLDiv says at each call that its "mean" is not the one of mathematics
        warnings.simplefilter("ignore", UserWarning)
        loss = criterion(*inputs)
    return getattr(loss, "loss", loss)


def expect_close(actual, expected, tolerance=1e-12):
    scale = max(expected.abs().max().item(), 1e-30) if expected.numel() else 1.0
    assert actual.shape == expected.shape
    assert ((actual - expected).abs() <= tolerance * scale).all(), (actual, expected)


def expect_all_close(actual, expected, tolerance=1e-12):
    assert len(actual) == len(expected) > 0
    for left, right in zip(actual, expected, strict=True):
        expect_close(left, right, tolerance)


@pytest.fixture(params=EVERY, ids=str)
def case(request) -> Case:
    return request.param


def test_the_value_is_what_torch_gives_for_the_whole_batch(case):
    criterion, inputs = case.criterion(), case.draw(SAMPLES)
    mean = bp.exact(criterion)(*inputs)
    expected = torch_value(criterion, inputs)
    assert mean.total.shape == (SAMPLES,)
    expect_close(mean.value(), expected)
    expect_all_close(case.gradients(mean.value(), inputs), case.gradients(expected, inputs))


@settings(max_examples=8)
@given(data=st.data())
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_any_cut_pools_to_the_whole(case, data):
    seed = data.draw(st.integers(0, 3))
    parts = data.draw(cuts(SAMPLES, allow_empty=False))
    criterion, inputs = case.criterion(), case.draw(SAMPLES, seed)
    exact = bp.exact(criterion)
    pooled = bp.pool(exact(*case.take(inputs, part)) for part in parts).value()
    expected = torch_value(criterion, inputs)
    expect_close(pooled, expected)
    expect_all_close(case.gradients(pooled, inputs), case.gradients(expected, inputs))


def test_the_mean_of_batch_means_is_another_number_where_weights_differ():
    # if it were not, the test of cuts could not fail
    case = next(case for case in CASES if case.name == "cross-entropy-weights-ignored-smooth")
    criterion, inputs = case.criterion(), case.draw(SAMPLES)
    halves = [criterion(*case.take(inputs, part)) for part in ([0, 1], [2, 3, 4, 5, 6])]
    assert abs(sum(halves) / 2 - criterion(*inputs)) > 1e-3


def test_an_empty_batch_is_the_pair_of_zeros(case):
    mean = bp.exact(case.criterion())(*case.take(case.draw(SAMPLES), []))
    assert mean.total.shape == (0,)
    assert mean.pool().total == 0
    assert mean.pool().weight == 0


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_reduction_none_and_sum_mean_the_mean(case, reduction):
    if case.name.startswith("kl-batchmean"):
        pytest.skip("here the reduction says which mean")
    inputs = case.draw(SAMPLES)
    asked = bp.exact(case.criterion(reduction=reduction))(*inputs)
    meant = bp.exact(case.criterion())(*inputs)
    assert asked.unit == meant.unit
    assert torch.equal(asked.total, meant.total)
    assert torch.equal(asked.weight, meant.weight)


@pytest.mark.parametrize("case", [case for case in CASES if case.functional], ids=str)
def test_the_functional_gives_the_pairs_of_the_module(case):
    inputs = case.draw(SAMPLES)
    of_function = bp.exact(case.functional)(*inputs)
    of_module = bp.exact(case.criterion())(*inputs)
    assert of_function.unit == of_module.unit
    assert torch.equal(of_function.total, of_module.total)
    assert torch.equal(of_function.weight, of_module.weight)


@pytest.mark.parametrize("unit", ["element", "sample", "sample-sum"])
def test_a_given_unit_is_the_mean_over_that_unit(case, unit):
    inputs = case.draw(SAMPLES)
    exact = bp.exact(case.criterion(), unit=unit)
    mean = exact(*inputs)
    alone = [exact(*case.take(inputs, [i])) for i in range(SAMPLES)]
    element = bp.exact(case.criterion(), unit="element")(*inputs)
    assert mean.unit == unit
    expect_close(torch.cat([one.total for one in alone]), mean.total)
    expect_close(torch.cat([one.weight for one in alone]), mean.weight)
    if unit == "element":
        return
    counted = element.weight > 0
    assert torch.equal(mean.weight, counted.double())
    divisor = element.weight[counted] if unit == "sample" else 1
    expect_close(mean.total[counted], element.total[counted] / divisor)


def test_a_weight_of_k_counts_a_sample_k_times(case):
    inputs = case.draw(SAMPLES)
    times = torch.tensor([2, 0, 1, 3, 1, 0, 1])
    repeated = torch.arange(SAMPLES).repeat_interleave(times)
    exact = bp.exact(case.criterion())
    weighted = exact(*inputs, weight=times).value()
    expected = exact(*case.take(inputs, repeated)).value()
    expect_close(weighted, expected)
    expect_all_close(case.gradients(weighted, inputs), case.gradients(expected, inputs))


def losses_shape(case, inputs):
    lacks = {"cross": 1, "nll": 1, "ctc": 0}
    of_sample = ("multi", "cosine", "triplet", "linear", "adaptive")
    if case.name.startswith(of_sample):
        return (SAMPLES,)
    shape = list(inputs[0].shape)
    axis = next((axis for name, axis in lacks.items() if case.name.startswith(name)), None)
    if axis == 0:
        return (SAMPLES,)
    if axis is not None:
        del shape[axis]
    return tuple(shape)


def a_mask(shape, seed=5):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.3
    mask[0], mask[1] = True, False
    return mask


def test_a_mask_of_whole_samples_leaves_the_others(case):
    inputs = case.draw(SAMPLES)
    kept = [0, 2, 3, 6]
    shape = losses_shape(case, inputs)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[kept] = True
    exact = bp.exact(case.criterion())
    masked = exact(*inputs, mask=mask).value()
    expected = exact(*case.take(inputs, kept)).value()
    expect_close(masked, expected)
    expect_all_close(case.gradients(masked, inputs), case.gradients(expected, inputs))


def spoil(case, tensor, mask, axis):
    """Put NaN, or a class that does not exist, where the mask is False."""
    hidden = ~mask
    if case.name.startswith("ctc"):
        hidden = hidden.reshape((1, -1, 1) if axis == 1 else (-1,) + (1,) * (tensor.ndim - 1))
    elif tensor.ndim > mask.ndim and case.name.startswith(("cross", "nll")):
        hidden = hidden.unsqueeze(1)
    elif tensor.ndim > mask.ndim:
        hidden = hidden.reshape(hidden.shape + (1,) * (tensor.ndim - mask.ndim))
    elif tensor.shape != mask.shape:
        hidden = hidden.all(-1, keepdim=True) if tensor.ndim == mask.ndim else hidden.all(-1)
    bad = float("nan") if tensor.is_floating_point() else 10**6
    with torch.no_grad():
        return torch.where(hidden, bad, tensor)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_what_is_under_the_mask_reaches_neither_value_nor_gradient(case):
    inputs = case.draw(SAMPLES)
    mask = a_mask(losses_shape(case, inputs))
    exact = bp.exact(case.criterion())
    clean = exact(*inputs, mask=mask).value()
    of_clean = case.gradients(clean, inputs)
    lengths = 2 if case.name.startswith("ctc") else len(inputs)
    bad = case.leaf(
        spoil(case, x, mask, case.axes[i]) if isinstance(x, torch.Tensor) and i < lengths else x
        for i, x in enumerate(inputs)
    )
    spoiled = exact(*bad, mask=mask).value()
    assert clean.isfinite()
    assert any(not x.isfinite().all() for x in bad if isinstance(x, torch.Tensor))
    assert torch.equal(spoiled, clean)
    for spoiled_grad, clean_grad in zip(case.gradients(spoiled, bad), of_clean, strict=True):
        assert torch.equal(spoiled_grad, clean_grad)


def test_an_element_of_weight_0_is_hidden_like_a_masked_one():
    logits = torch.randn(3, 5, 2, dtype=torch.float64)
    logits[1, :, 1] = float("nan")
    logits.requires_grad_()
    target = torch.tensor([[0, 1], [2, 999], [3, 4]])
    weight = torch.tensor([[1.0, 2.0], [1.0, 0.0], [3.0, 1.0]])
    value = bp.exact(nn.CrossEntropyLoss())(logits, target, weight=weight).value()
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    assert (logits.grad[1, :, 1] == 0).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_agrees_over_cuts(case):
    def narrow(x):
        return x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x

    criterion = case.criterion().float()
    inputs = case.leaf([narrow(x) for x in case.draw(SAMPLES)])
    exact = bp.exact(criterion)
    pooled = bp.pool(
        exact(*case.take(inputs, part)) for part in ([0, 1, 2], [3], [4, 5, 6])
    ).value()
    expected = torch_value(criterion, inputs)
    assert pooled.dtype == torch.float32
    expect_close(pooled, expected, 2e-6)
    expect_all_close(case.gradients(pooled, inputs), case.gradients(expected, inputs), 2e-6)


def test_inputs_go_by_the_names_the_criterion_gives_them():
    mean, target, var = (torch.rand(4, 3) for _ in range(3))
    exact = bp.exact(nn.GaussianNLLLoss())
    assert torch.equal(exact(mean, target, var=var).total, exact(mean, target, var).total)
    by_name = bp.exact(nn.PoissonNLLLoss())(log_input=mean, target=target)
    assert torch.equal(by_name.total, bp.exact(nn.PoissonNLLLoss())(mean, target).total)


def test_settings_are_read_when_called_so_that_a_moved_criterion_is_followed():
    criterion = nn.CrossEntropyLoss(weight=torch.ones(3))
    exact = bp.exact(criterion)
    criterion.double()
    criterion.weight[2] = 5.0
    logits, target = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2])
    expect_close(exact(logits, target).value(), criterion(logits, target))


def test_a_subclass_that_keeps_forward_is_known():
    class Smoothed(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__(label_smoothing=0.1)

    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    expect_close(bp.exact(Smoothed())(logits, target).value(), Smoothed()(logits, target), 2e-6)


def test_an_exact_criterion_can_be_pickled():
    exact = bp.exact(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])))
    again = pickle.loads(pickle.dumps(exact))
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    assert torch.equal(again(logits, target).total, exact(logits, target).total)


def test_ctc_takes_concatenated_targets_and_lengths_as_tuples():
    case = next(case for case in CASES if case.name == "ctc")
    log_probs, targets, steps, lengths = case.draw(SAMPLES)
    flat = torch.cat([row[:length] for row, length in zip(targets, lengths, strict=True)])
    mask = a_mask((SAMPLES,))
    exact = bp.exact(nn.CTCLoss())
    expected = exact(log_probs, targets, steps, lengths, mask=mask)
    of_flat = exact(log_probs, flat, tuple(steps.tolist()), tuple(lengths.tolist()), mask=mask)
    assert of_flat.unit == "sample"
    expect_close(of_flat.total, expected.total)
    assert torch.equal(of_flat.weight, expected.weight)


def test_ctc_over_elements_is_the_loss_per_label():
    case = next(case for case in CASES if case.name == "ctc")
    inputs = case.draw(SAMPLES)
    per_label = bp.exact(nn.CTCLoss(), unit="element")(*inputs).value()
    expected = nn.CTCLoss(reduction="sum")(*inputs) / inputs[3].sum()
    expect_close(per_label, expected)


class TestNarrowFloats:
    def test_losses_of_bfloat16_logits_are_those_of_the_same_numbers_in_float32(self):
        logits = torch.randn(64, 50).bfloat16()
        target = torch.randint(50, (64,))
        mean = bp.exact(nn.CrossEntropyLoss())(logits, target)
        assert mean.total.dtype == torch.float32
        expected = nn.functional.cross_entropy(logits.double(), target).float()
        expect_close(mean.value(), expected, 2e-6)

    def test_class_weights_are_widened_too(self):
        criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])).bfloat16()
        logits, target = torch.randn(8, 3).bfloat16(), torch.randint(3, (8,))
        expected = criterion.double()(logits.double(), target)
        expect_close(bp.exact(criterion.bfloat16())(logits, target).value(), expected.float(), 2e-6)

    def test_under_autocast_the_value_is_no_worse_than_the_whole_batch_of_torch(self):
        layer, x = nn.Linear(16, 9), torch.randn(40, 16)
        target = torch.randint(9, (40,))
        exact = bp.exact(nn.CrossEntropyLoss())
        with torch.autocast("cpu", torch.bfloat16):
            logits = layer(x)
            assert logits.dtype == torch.bfloat16
            pooled = bp.pool([exact(logits[:3], target[:3]), exact(logits[3:], target[3:])]).value()
            whole = nn.functional.cross_entropy(logits, target)
        wanted = nn.functional.cross_entropy(logits.double(), target)
        assert pooled.dtype == torch.float32
        assert abs(pooled - wanted) <= abs(whole - wanted) + 2e-6


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize(
    "name", ["cross-entropy-weights-ignored-smooth", "mse", "kl", "cosine-embedding"]
)
def test_on_cuda_it_needs_no_host_read(name):
    case = next(case for case in CASES if case.name == name)
    criterion, drawn = case.criterion().cuda(), case.draw(SAMPLES)
    inputs = case.leaf([x.cuda() for x in drawn])
    mask = a_mask(losses_shape(case, inputs))
    of_cuda, exact = mask.cuda(), bp.exact(criterion)
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = exact(*inputs, mask=of_cuda).value()
        gradients = case.gradients(value, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = bp.exact(case.criterion())(*drawn, mask=mask).value()
    expect_close(value.cpu(), expected)
    expect_all_close([x.cpu() for x in gradients], case.gradients(expected, drawn))


@pytest.mark.skipif(not hasattr(nn.functional, "linear_cross_entropy"), reason="of a newer torch")
def test_the_functional_linear_cross_entropy_takes_its_layer_with_each_batch():
    criterion = partial(
        nn.functional.linear_cross_entropy,
        weight=torch.rand(5, dtype=torch.float64),
        ignore_index=2,
        label_smoothing=0.1,
    )
    # as many classes as samples, so that a mask of samples could be taken for one of classes
    hidden = torch.randn(5, 3, dtype=torch.float64)
    layer = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    target, mask = torch.arange(5), torch.tensor([True, True, True, False, True])
    loss = bp.exact(criterion)
    cut = bp.pool(loss(hidden[part], layer, target[part]) for part in ([0, 1, 2], [3, 4]))
    whole, kept = criterion(hidden, layer, target), criterion(hidden[mask], layer, target[mask])
    masked = loss(hidden, layer, target, mask=mask)
    for mean, expected in ((cut, whole), (masked, kept)):
        torch.testing.assert_close(mean.value(), expected, rtol=1e-12, atol=0)
        ours, theirs = (torch.autograd.grad(x, layer)[0] for x in (mean.value(), expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_targets_of_bytes_are_labels_and_not_a_mask():
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 1], dtype=torch.uint8)
    expect_close(bp.exact(criterion)(logits, target).value(), criterion(logits, target), 2e-6)


@pytest.mark.parametrize("function", [F.cross_entropy, F.nll_loss, F.multi_margin_loss])
def test_a_weight_that_may_be_one_a_class_is_refused(function):
    x, y, weight = torch.randn(3, 3), torch.tensor([0, 1, 1]), torch.tensor([1.0, 5.0, 2.0])
    with pytest.raises(bp.CriterionError, match=r"may be one per class or one per sample.*partial"):
        bp.exact(function)(x, y, weight=weight)
    bound = bp.exact(partial(function, weight=weight))
    torch.testing.assert_close(bound(x, y).value(), function(x, y, weight=weight))
    assert bound(x, y, weight=weight).value().isfinite()
    assert bp.exact(function)(x[:2], y[:2], weight=weight[:2]).value().isfinite()


def test_the_module_takes_a_weight_of_samples_where_there_are_as_many_classes():
    x, y, weight = torch.randn(3, 3), torch.tensor([0, 1, 1]), torch.tensor([1.0, 5.0, 2.0])
    losses = F.cross_entropy(x, y, reduction="none")
    ours = bp.exact(nn.CrossEntropyLoss())(x, y, weight=weight).value()
    torch.testing.assert_close(ours, (losses * weight).sum() / weight.sum())


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="of a newer torch")
def test_a_weight_that_may_be_one_a_class_of_the_layer_is_refused():
    hidden, layer, target = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([0, 1, 2])
    with pytest.raises(bp.CriterionError, match="may be one per class or one per sample"):
        bp.exact(F.linear_cross_entropy)(hidden, layer, target, weight=torch.ones(3))


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_criterion_with_hooks_is_refused_also_where_they_come_later(register):
    criterion = nn.MSELoss()
    exact = bp.exact(criterion)
    assert exact(torch.ones(2), torch.zeros(2)).item() == 1.0
    handle = getattr(criterion, register)(lambda *_: None)
    with pytest.raises(bp.CriterionError, match="MSELoss has forward hooks"):
        exact(torch.ones(2), torch.zeros(2))
    handle.remove()
    assert exact(torch.ones(2), torch.zeros(2)).item() == 1.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_scripted_criterion_is_refused():
    scripted = torch.jit.script(nn.CrossEntropyLoss())
    with pytest.raises(bp.CriterionError, match="CrossEntropyLoss is scripted"):
        bp.exact(scripted)


@pytest.mark.skipif(not hasattr(nn, "LinearCrossEntropyLoss"), reason="of a newer torch")
def test_an_input_without_a_batch_to_the_linear_loss_is_told_to_add_the_dimension():
    hidden, layer = torch.randn(4), torch.randn(5, 4)
    with pytest.raises(bp.ShapeError, match=r"add the dimension: input.unsqueeze\(0\)"):
        bp.exact(F.linear_cross_entropy)(hidden, layer, torch.tensor(1))


@pytest.mark.parametrize("variance", [0.7, 0.0003])
def test_a_number_for_the_variance_is_not_rounded_to_half(variance):
    mean, target = torch.tensor([[0.5]], dtype=torch.float16), torch.zeros(1, 1).half()
    criterion = nn.GaussianNLLLoss(eps=1e-8)
    ours = bp.exact(criterion)(mean, target, variance).value()
    assert ours == criterion(mean.float(), target.float(), variance)


def test_triplets_in_half_are_widened():
    anchor, near, far = (torch.randn(2, 4).half() for _ in range(3))
    criterion = nn.TripletMarginWithDistanceLoss()
    wide = criterion(anchor.float(), near.float(), far.float())
    assert bp.exact(criterion)(anchor, near, far).value() == wide


def test_a_distance_with_a_layer_in_bfloat16_is_taken_as_it_is():
    class Distance(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4, dtype=torch.bfloat16)

        def forward(self, a, b):
            return (self.layer(a) - self.layer(b)).norm(dim=-1)

    triplets = [torch.randn(2, 4, dtype=torch.bfloat16) for _ in range(3)]
    criterion = nn.TripletMarginWithDistanceLoss(distance_function=Distance())
    losses = nn.TripletMarginWithDistanceLoss(
        distance_function=criterion.distance_function, reduction="none"
    )(*triplets)
    assert bp.exact(criterion)(*triplets).value() == losses.float().mean()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_weight_of_what_is_ignored_enters_nothing(bad):
    logits = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randint(5, (3, 4))
    target[1] = -100
    target[0, 0] = -100
    exact = bp.exact(nn.CrossEntropyLoss())
    for good in (torch.rand(3) + 0.5, torch.rand(3, 4) + 0.5):
        rows = target != -100 if good.ndim == 2 else (target != -100).any(1)
        spoiled = torch.where(rows, good, bad)
        ours, expected = (exact(logits, target, weight=w).value() for w in (spoiled, good))
        assert torch.equal(ours, expected)
        ours, expected = (torch.autograd.grad(v, logits)[0] for v in (ours, expected))
        assert torch.equal(ours, expected)
