"""Calls of torch's losses recorded as means and weights, which trainers then weigh."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchproof
from batchproof.integrations._loss_calls import LossCalls, OpenWindow, coefficients_of

ROOT = batchproof.__file__.removesuffix("__init__.py")
WEIGHTS = torch.tensor([1.0, 4.0, 0.3])


def logits(rows=6, dtype=torch.float32):
    torch.manual_seed(0)
    return torch.randn(rows, 3, dtype=dtype).requires_grad_()


TARGETS = torch.tensor([0, 2, -100, 1, 1, 0])
CASES = {
    "cross-entropy": (5, lambda x: F.cross_entropy(x, TARGETS)),
    "class weights": (10.3, lambda x: F.cross_entropy(x, TARGETS, weight=WEIGHTS.to(x))),
    "label smoothing": (5, lambda x: F.cross_entropy(x, TARGETS, label_smoothing=0.1)),
    "probabilities": (6, lambda x: F.cross_entropy(x, x.detach().softmax(1))),
    "squares": (18, lambda x: F.mse_loss(x, torch.ones_like(x))),
    "squares, broadcast": (18, lambda x: F.mse_loss(x, torch.ones(1, 3))),
    "divergence": (6, lambda x: F.kl_div(x, x.detach().softmax(1), reduction="batchmean")),
    "binary": (18, lambda x: F.binary_cross_entropy_with_logits(x, torch.ones_like(x))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
def test_a_loss_is_recorded_with_what_it_was_divided_by(case, by_row):
    weight, function = CASES[case]
    inputs = logits()
    own = function(inputs)
    with LossCalls(by_row=by_row) as calls:
        loss = function(inputs)
    (call,) = calls.calls
    assert float(call.weight) == pytest.approx(weight, rel=1e-6)
    assert loss.item() == call.value == pytest.approx(own.item(), rel=1e-6)
    assert call.is_value(loss)
    assert call.by_sample(6).item() == pytest.approx(own.item(), rel=1e-6)
    expected, gradient = (torch.autograd.grad(each, inputs)[0] for each in (own, loss))
    torch.testing.assert_close(gradient, expected)


def test_the_loss_of_a_batch_is_torchs_own_to_the_last_bit():
    inputs = logits()
    with LossCalls():
        loss = F.cross_entropy(inputs, TARGETS)
    assert torch.equal(loss, F.cross_entropy(inputs, TARGETS))


@pytest.mark.parametrize("first", [1, 4])
def test_a_window_is_one_mean_though_the_loss_is_changed_in_place(first):
    inputs = logits(dtype=torch.float64)
    window = OpenWindow([1.0, 0.5], 8.0)
    for rows in (slice(0, first), slice(first, 6)):
        with LossCalls() as calls:
            loss = F.cross_entropy(inputs[rows], TARGETS[rows])
            loss += 0.5 * F.cross_entropy(inputs[rows], TARGETS[rows], label_smoothing=0.3)
        assert coefficients_of(loss, calls.calls, "the test") == [1.0, 0.5]
        for call in calls.calls:
            window.add(call)
        loss.backward()
    window.close([inputs])
    whole = logits(dtype=torch.float64)
    mean = F.cross_entropy(whole, TARGETS)
    mean = mean + 0.5 * F.cross_entropy(whole, TARGETS, label_smoothing=0.3)
    mean.backward()
    torch.testing.assert_close(inputs.grad, whole.grad, rtol=1e-12, atol=1e-15)


def test_nothing_is_left_to_divide_where_micro_batches_weigh_as_much_as_the_first():
    inputs = logits()
    window = OpenWindow([1.0], 2.0, further=3.0, micro_batches=3)
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6)):
        with LossCalls(window.add):
            loss = F.cross_entropy(inputs[rows], torch.ones(2, dtype=torch.long))
        (loss / 3).backward()
    gathered = inputs.grad.clone()
    window.close([inputs])
    assert torch.equal(inputs.grad, gathered)
    whole = logits()
    F.cross_entropy(whole, torch.ones(6, dtype=torch.long)).backward()
    torch.testing.assert_close(inputs.grad, whole.grad)


def test_the_divisor_on_the_way_is_not_below_half_of_what_was_given():
    # else the gradients of a window that begins with few labels may leave float16's range
    few, inputs = torch.tensor([0, *[-100] * 5]), logits(dtype=torch.float64)
    window = OpenWindow([1.0], 512.0, micro_batches=2)
    for targets in (few, TARGETS):
        with LossCalls(window.add):
            loss = F.cross_entropy(inputs, targets)
        loss.backward()
    assert window.provisional == 256
    window.close([inputs])
    whole = logits(dtype=torch.float64)
    F.cross_entropy(torch.cat([whole, whole]), torch.cat([few, TARGETS])).backward()
    torch.testing.assert_close(inputs.grad, whole.grad)


def test_a_loss_without_gradient_does_not_enter():
    inputs = logits()
    with LossCalls(leaves=True) as calls:
        loss = F.cross_entropy(inputs, TARGETS)
        with torch.no_grad():
            F.cross_entropy(inputs, TARGETS, label_smoothing=0.1)
    assert coefficients_of(2 * loss, calls.calls, "the test") == [2.0, 0.0]


def test_a_changed_loss_is_not_taken_for_the_mean():
    with LossCalls() as calls:
        loss = F.cross_entropy(logits(), TARGETS)
        loss += 1
    assert not calls.calls[0].is_value(loss)


def test_a_batch_without_labels_is_0_and_has_no_gradient():
    inputs = logits()
    with LossCalls() as calls:
        loss = F.cross_entropy(inputs, torch.full((6,), -100))
    loss.backward()
    assert (loss.item(), calls.calls[0].weight) == (0, 0)
    assert not inputs.grad.any()


def test_a_narrow_float_is_summed_in_float32():
    inputs = logits(dtype=torch.bfloat16)
    with LossCalls() as calls:
        F.cross_entropy(inputs, TARGETS)
    losses = F.cross_entropy(inputs, TARGETS, reduction="none").float()
    assert calls.calls[0].value == pytest.approx(losses.sum().item() / 5, rel=1e-6)


def test_torchs_functions_are_left_as_they_were():
    own = F.cross_entropy
    with LossCalls(), LossCalls():
        assert F.cross_entropy is not own
    assert F.cross_entropy is own


def test_recording_a_loss_takes_few_calls_of_python():
    criterion, inputs = nn.CrossEntropyLoss(), logits()

    def record():
        with LossCalls() as calls:
            loss = criterion(inputs, TARGETS)
        return loss, calls.calls

    record()
    ours = 0

    def count(frame, event, _):
        nonlocal ours
        ours += event == "call" and frame.f_code.co_filename.startswith(ROOT)

    sys.setprofile(count)
    try:
        record()
    finally:
        sys.setprofile(None)
    assert ours <= 16
