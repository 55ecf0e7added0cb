from dataclasses import dataclass
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import batchproof as bp
from strategies import cuts


def cross_entropy(logits, target):
    """The loss people write when learning: a vector."""
    return -logits.softmax(1)[range(len(logits)), target].log()


def squared(prediction, target):
    return (prediction - target) ** 2


@given(parts=cuts(6))
def test_a_vector_of_losses_needs_no_unit(parts):
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    exact = bp.exact(cross_entropy)
    pooled = bp.pool(exact(logits[part], target[part]) for part in parts).value()
    expected = F.cross_entropy(logits, target)
    torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=0)
    ours, torchs = (torch.autograd.grad(x, logits)[0] for x in (pooled, expected))
    torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-15)


def test_several_losses_a_sample_need_a_unit():
    with pytest.raises(
        bp.CriterionError, match=r"losses of shape \(4, 3\).*exact\(function, unit="
    ):
        bp.exact(squared)(torch.zeros(4, 3), torch.ones(4, 3))


@pytest.mark.parametrize(
    ("unit", "value"), [("element", 14 / 3), ("sample", 3.25), ("sample-sum", 7.0)]
)
def test_the_unit_decides_the_mean(unit, value):
    prediction = torch.tensor([[2.0, 2.0], [1.0, 99.0]], dtype=torch.float64)
    target = torch.tensor([[0.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True], [True, False]])
    target = target.clone()
    mean = bp.exact(squared, unit=unit)(prediction, target, mask=mask)
    expected = {"element": (4 + 9 + 1) / 3, "sample": (6.5 + 1) / 2, "sample-sum": (13 + 1) / 2}
    assert mean.item() == pytest.approx(expected[unit], rel=1e-15)


def test_a_sample_masked_whole_gives_no_nan_to_the_gradient():
    logits = torch.randn(3, 4)
    logits[1] = float("nan")
    logits.requires_grad_()
    mask = torch.tensor([True, False, True])
    value = bp.exact(cross_entropy)(logits, torch.tensor([0, 77, 1]), mask=mask).value()
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    assert (logits.grad[1] == 0).all()


def test_a_sample_of_weight_0_gives_no_nan_to_the_gradient():
    logits = torch.randn(3, 4)
    logits[1] = float("nan")
    logits.requires_grad_()
    weight = torch.tensor([1.0, 0.0, 2.0])
    bp.exact(cross_entropy)(logits, torch.tensor([0, 1, 1]), weight=weight).value().backward()
    assert logits.grad.isfinite().all()


def test_a_module_of_ones_own_that_does_not_reduce_is_a_function():
    class Focal(nn.Module):
        reduction = "none"

        def forward(self, logits, target):
            losses = F.cross_entropy(logits, target, reduction="none")
            return losses * (1 - (-losses).exp()) ** 2

    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    mean = bp.exact(Focal(), unit="sample")(logits, target)
    assert mean.unit == "sample"
    assert torch.equal(mean.total, Focal()(logits, target))


def test_arguments_by_name_are_handed_on():
    def weighted(prediction, target, *, power):
        return (prediction - target).abs() ** power

    mean = bp.exact(weighted)(torch.tensor([3.0, 1.0]), target=torch.zeros(2), power=2)
    assert mean.item() == 5.0


@given(st.sampled_from(["mean", "sum", "batchmean", "average"]))
def test_a_module_of_ones_own_that_reduces_is_refused(reduction):
    class Focal(nn.Module):
        def __init__(self):
            super().__init__()
            self.reduction = reduction

        def forward(self, logits, target):
            return F.cross_entropy(logits, target)

    with pytest.raises(bp.CriterionError, match=f'Focal reduces .*"{reduction}".*reduction="none"'):
        bp.exact(Focal(), unit="element")


def test_a_function_that_has_reduced_is_refused():
    def mse(prediction, target):
        return ((prediction - target) ** 2).mean()

    with pytest.raises(bp.CriterionError, match="mse returns one number for the whole batch"):
        bp.exact(mse, unit="element")(torch.ones(3), torch.zeros(3))


def test_a_function_that_flattens_the_samples_away_is_refused():
    with pytest.raises(bp.ShapeError, match=r"shape \(6,\).*shape \(2, 3\); expected 2 samples"):
        bp.exact(lambda x, y: squared(x, y).flatten())(torch.ones(2, 3), torch.zeros(2, 3))


def test_a_function_that_returns_no_tensor_is_refused():
    with pytest.raises(bp.CriterionError, match="returns float; expected a tensor of losses"):
        bp.exact(lambda x, y: 1.0)(torch.ones(3), torch.zeros(3))


def test_a_class_in_place_of_a_criterion_is_refused():
    with pytest.raises(bp.CriterionError, match=r"such as torch\.nn\.CrossEntropyLoss\(\)"):
        bp.exact(nn.CrossEntropyLoss)


def test_a_subclass_with_a_forward_of_its_own_is_not_taken_for_its_parent():
    class Doubled(nn.MSELoss):
        def forward(self, prediction, target):
            return 2 * super().forward(prediction, target)

    with pytest.raises(bp.CriterionError, match="Doubled reduces its losses itself"):
        bp.exact(Doubled())


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (lambda: nn.MSELoss(reduction="avg"), 'MSELoss has reduction="avg"; expected one of'),
        (lambda: nn.L1Loss(reduction="batchmean"), 'reduction="batchmean"; expected one of'),
        (lambda: partial(F.mse_loss, size_average=False), "mse_loss is bound with size_average"),
        (lambda: partial(F.mse_loss, weight=torch.ones(3)), "mse_loss is bound with weight"),  # type: ignore[call-arg]
        (lambda: partial(F.mse_loss, torch.ones(3)), "bound to 1 positional arguments"),
        (lambda: partial(F.ctc_loss, blank=0, input_lengths=(3,)), "bound with input_lengths"),
    ],
)
def test_settings_that_are_invalid_are_refused(criterion, message):
    with pytest.raises(bp.CriterionError, match=message):
        bp.exact(criterion())


@pytest.mark.parametrize("criterion", [nn.BCELoss, nn.BCEWithLogitsLoss])
def test_a_weight_for_each_place_in_the_batch_is_refused(criterion):
    with pytest.raises(bp.CriterionError, match=r"shape \(4, 1\): one row for each place"):
        bp.exact(criterion(weight=torch.rand(4, 1)))(torch.rand(4, 3), torch.ones(4, 3))
    with pytest.raises(bp.CriterionError, match=r"weight=\.\.\."):
        bp.exact(criterion(weight=torch.rand(4)))(torch.rand(4), torch.ones(4))


def test_shapes_that_torch_would_broadcast_are_refused():
    with pytest.raises(bp.ShapeError, match=r"argument 2 .* \(8,\) .* \(8, 1\); expected \(8, 1\)"):
        bp.exact(nn.MSELoss())(torch.zeros(8, 1), torch.zeros(8))
    with pytest.raises(bp.ShapeError, match=r"expected \(8, 3\) or \(8, 5, 3\)"):
        bp.exact(nn.CrossEntropyLoss())(torch.zeros(8, 5, 3), torch.zeros(8, dtype=torch.long))
    with pytest.raises(bp.ShapeError, match="argument 3"):
        bp.exact(nn.GaussianNLLLoss())(torch.zeros(8, 3), torch.zeros(8, 3), torch.ones(5, 3))


@pytest.mark.parametrize(
    ("criterion", "inputs"),
    [
        (nn.CrossEntropyLoss(), (torch.zeros(5), torch.tensor(1))),
        (nn.MSELoss(), (torch.tensor(1.0), torch.tensor(0.0))),
        (nn.TripletMarginLoss(), (torch.zeros(3),) * 3),
        (nn.CTCLoss(), (torch.zeros(6, 4), torch.tensor([1, 2]), torch.tensor(6), torch.tensor(2))),
    ],
)
def test_a_sample_without_a_batch_is_refused(criterion, inputs):
    with pytest.raises(bp.ShapeError, match=r"without a dimension of samples.*unsqueeze\(0\)"):
        bp.exact(criterion)(*inputs)


def test_a_mask_or_weight_of_another_shape_is_refused():
    logits, target = torch.zeros(8, 5, 3), torch.zeros(8, 3, dtype=torch.long)
    exact = bp.exact(nn.CrossEntropyLoss())
    with pytest.raises(bp.ShapeError, match=r"mask has shape \(8,\) but losses .* \(8, 3\)"):
        exact(logits, target, mask=torch.ones(8, dtype=torch.bool))
    with pytest.raises(bp.ShapeError, match=r"weight has shape \(3,\) but losses .* \(8, 3\)"):
        exact(logits, target, weight=torch.ones(3))


def test_missing_inputs_are_named():
    with pytest.raises(bp.CriterionError, match="with 2 inputs; expected input, target, var"):
        bp.exact(nn.GaussianNLLLoss())(torch.zeros(2, 3), torch.zeros(2, 3))


def test_a_setting_given_with_the_batch_is_to_be_bound():
    with pytest.raises(bp.CriterionError, match=r"and label_smoothing; .*functools.partial\("):
        bp.exact(F.cross_entropy)(torch.zeros(2, 3), torch.tensor([0, 1]), label_smoothing=0.1)


@dataclass
class Scaled:
    """A loss as a dataclass, which compares by its fields and so has no hash."""

    scale: float

    def __call__(self, prediction, target):
        return self.scale * squared(prediction, target)


@pytest.mark.parametrize("criterion", [Scaled(2.0), partial(Scaled(2.0))])
def test_a_callable_without_a_hash_is_a_function_too(criterion):
    assert bp.exact(criterion)(torch.tensor([3.0, 1.0]), torch.zeros(2)).item() == 10.0


def test_an_unknown_unit_is_refused_at_once(unchecked):
    with pytest.raises(bp.UnitError, match="unit is 'token'"):
        bp.exact(nn.MSELoss(), unit="token")


@dataclass
class Holder:
    p: torch.Tensor


PACKS = {
    "plain": (lambda q: q, lambda a: a),
    "list": (lambda q: [q], lambda a: a[0]),
    "tuple": (lambda q: (1, q), lambda a: a[1]),
    "dict": (lambda q: {"p": q}, lambda a: a["p"]),
    "dataclass": (Holder, lambda a: a.p),
    "deep": (lambda q: {"p": [(q,), Holder(q)]}, lambda a: a["p"][1].p),
    "one per sample": (list, torch.stack),
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("by_weight", [False, True])
def test_a_masked_sample_takes_no_gradient_however_inputs_are_nested(pack, by_name, by_weight):
    wrap, get = PACKS[pack]
    chosen = torch.tensor([True, False])
    q = torch.tensor([0.5, 0.0], requires_grad=True)
    exact = bp.exact(lambda a: -get(a).log())
    keywords = {"a": wrap(q)} if by_name else {}
    keywords |= {"weight": chosen.float()} if by_weight else {"mask": chosen}
    mean = exact(*([] if by_name else [wrap(q)]), **keywords)
    mean.value().backward()
    # -log q has the derivative -2 at q = 0.5
    assert q.grad.tolist() == [-2.0, 0.0]
    assert mean.pool().weight == 1


@pytest.mark.parametrize("pack", PACKS)
def test_a_masked_sample_shows_0_for_its_integers_however_inputs_are_nested(pack):
    wrap, get = PACKS[pack]
    labels, mask = torch.tensor([1, 10**6]), torch.tensor([True, False])
    table = torch.tensor([3.0, 4.0])
    assert bp.exact(lambda a: table[get(a)])(wrap(labels), mask=mask).item() == 4.0


class Opaque:
    def __init__(self, p):
        self.p = p


def test_an_object_whose_samples_cannot_be_hidden_is_refused_where_they_take_gradients():
    exact, mask = bp.exact(lambda a: -a.p.log()), torch.tensor([True, False])
    with pytest.raises(bp.CriterionError, match=r"an input is an Opaque, in which samples under"):
        exact(Opaque(torch.tensor([0.5, 0.0], requires_grad=True)), mask=mask)
    assert exact(Opaque(torch.tensor([1.0, 0.0])), mask=mask).item() == 0.0
    q = torch.tensor([0.5, 0.25], requires_grad=True)
    exact(Opaque(q)).value().backward()
    assert q.grad.tolist() == [-1.0, -2.0]
