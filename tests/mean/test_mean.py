import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import batchproof as bp
from batchproof.mean import Mean
from strategies import cuts, integers, weights

UNITS = ("element", "sample", "sample-sum")


@st.composite
def means(draw, unit="element"):
    """A mean of integers, scalar or one pair per sample."""
    if draw(st.booleans()):
        return Mean(number(draw(integers)), number(draw(weights)), unit)
    samples = draw(st.lists(st.tuples(integers, weights), max_size=5))
    total, weight = zip(*samples, strict=True) if samples else ((), ())
    return Mean(vector(total), vector(weight), unit)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def vector(values):
    return torch.tensor(values, dtype=torch.float64)


def pair(mean):
    pooled = mean.pool()
    return pooled.total.item(), pooled.weight.item()


@given(means(), means(), means())
def test_adding_is_associative_and_commutative(a, b, c):
    assert pair((a + b) + c) == pair(a + (b + c))
    assert pair(a + b) == pair(b + a)


@given(means())
def test_zero_changes_nothing(a):
    assert pair(a + Mean.zero()) == pair(Mean.zero() + a) == pair(a)


@given(means())
def test_pooling_twice_is_pooling_once(a):
    assert pair(a.pool().pool()) == pair(a)
    assert a.pool().total.shape == ()


@given(st.lists(means(), min_size=1, max_size=4))
def test_sum_adds_from_the_integer_zero(parts):
    assert sum(parts).total.shape == ()
    assert pair(sum(parts)) == (
        sum(pair(part)[0] for part in parts),
        sum(pair(part)[1] for part in parts),
    )


@given(st.data())
def test_any_cut_pools_to_the_mean_of_the_whole(data):
    samples = data.draw(st.lists(st.tuples(integers, weights), min_size=1, max_size=12))
    total, weight = (vector(column) for column in zip(*samples, strict=True))
    parts = data.draw(cuts(len(samples)))
    pooled = sum(Mean(total[part], weight[part]) for part in parts)
    if sum(w for _, w in samples) == 0:
        with pytest.raises(bp.EmptyMeanError):
            pooled.item()
        return
    exact = Fraction(sum(x for x, _ in samples), sum(w for _, w in samples))
    assert pooled.item() == float(exact)
    assert pooled.value().item() == float(exact)


def test_the_mean_of_batch_means_is_not_the_mean():
    first, last = Mean(vector([1, 2, 3]), vector([1, 1, 1])), Mean(number(10), number(1))
    assert (first + last).item() == 4.0
    assert (first.item() + last.item()) / 2 == 6.0


@given(unit=st.sampled_from(UNITS), other=st.sampled_from(UNITS))
def test_means_of_different_units_do_not_add(unit, other):
    if unit == other:
        assert (Mean.zero(unit) + Mean.zero(other)).unit == unit
        return
    with pytest.raises(bp.UnitError, match=f"over '{unit}' and one over '{other}' have no common"):
        Mean.zero(unit) + Mean.zero(other)


def test_an_unknown_unit_is_refused(unchecked):
    with pytest.raises(bp.UnitError, match="unit is 'token'; it is one of 'element', 'sample'"):
        Mean(number(1), number(1), "token")


@pytest.mark.parametrize(
    ("total", "weight"), [((3,), ()), ((3,), (4,)), ((3, 2), (3, 2)), ((1,), (1, 1))]
)
def test_total_and_weight_of_other_shapes_are_refused(total, weight, unchecked):
    with pytest.raises(bp.ShapeError, match=r"both are \(\) or \(samples,\)"):
        Mean(torch.ones(total), torch.ones(weight))


@pytest.mark.parametrize("other", [1, 0.5, "x", None])
def test_only_means_are_added(other):
    with pytest.raises(TypeError):
        Mean.zero() + other
    with pytest.raises(TypeError):
        other + Mean.zero()


def with_graph(mean):
    return Mean(mean.total.clone().requires_grad_(), mean.weight, mean.unit)


@given(means(), means())
def test_pairs_that_carry_a_graph_do_not_add(a, b):
    for one, other in ((with_graph(a), with_graph(b)), (a, with_graph(b)), (with_graph(a), b)):
        for add in (lambda x, y: x + y, lambda x, y: sum([x, y])):
            with pytest.raises(bp.PairError, match=r"pool\(\[a, b\]\).*return \{.*coefficients"):
                add(one, other)
    assert pair(sum([with_graph(a)])) == pair(a)


def test_an_objective_of_two_losses_is_not_halved_by_adding_them():
    x, y = torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3)
    mse, l1 = bp.exact(torch.nn.MSELoss()), bp.exact(torch.nn.L1Loss())
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.01))

    def added(model, x):
        out = model(x[:, None])[:, 0]
        return mse(out, y) + l1(out, y)

    def terms(model, x):
        out = model(x[:, None])[:, 0]
        return {"mse": mse(out, y), "l1": l1(out, y)}

    with pytest.raises(bp.PairError, match="halve the sum of two losses"):
        step([x], added)
    assert model.weight.item() == 1.0
    assert step([x], terms).loss.item() == pytest.approx(21 / 3 + 7 / 3)
    assert model.weight.item() == pytest.approx(1 - 0.01 * (2 * 21 / 3 + 7 / 3))


@given(st.lists(means(), min_size=1, max_size=4))
def test_parts_of_one_mean_pool_with_their_graphs(parts):
    parts = [with_graph(part) for part in parts]
    pooled = bp.pool(iter(parts))
    assert pair(pooled) == (
        sum(pair(part)[0] for part in parts),
        sum(pair(part)[1] for part in parts),
    )
    pooled.total.backward()
    assert all((part.total.grad == 1).all() for part in parts)


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ([], "a sequence of no parts"),
        ([1.0, torch.ones(())], "a sequence of float, Tensor parts"),
        ({"mse": Mean.zero()}, "dict"),
        (Mean.zero(), "Mean"),
        (None, "NoneType"),
    ],
)
def test_only_parts_of_one_mean_pool(parts, shown, unchecked):
    with pytest.raises(bp.SettingError, match=f"pool was given {shown}; expected"):
        bp.pool(parts)


def test_parts_of_different_units_do_not_pool():
    with pytest.raises(bp.UnitError, match="over 'element' and one over 'sample' have no common"):
        bp.pool([Mean.zero(), Mean.zero(), Mean.zero("sample")])


@pytest.mark.parametrize(
    ("use", "match"),
    [
        (lambda mean: mean * 0.1, r"has no \*: .*coefficients="),
        (lambda mean: 2 * mean, r"has no \*: .*coefficients="),
        (lambda mean: torch.tensor(2.0) * mean, r"has no \*: .*coefficients="),
        (lambda mean: mean * mean, r"has no \*: .*coefficients="),
        (lambda mean: mean / 4, "has no /: .*not divided by their number"),
        (lambda mean: 1 / mean, "has no /: .*not divided by their number"),
        (lambda mean: mean - mean, r"has no -: .*mean\.item\(\)"),
        (lambda mean: 1 - mean, r"has no -: .*mean\.item\(\)"),
        (lambda mean: -mean, r"has no -: .*mean\.item\(\)"),
        (lambda mean: torch.mul(mean, 2.0), r"has no \*: .*coefficients="),
        (lambda mean: torch.div(mean, 4), "has no /: .*not divided by their number"),
        (lambda mean: mean // 4, "has no /: .*not divided by their number"),
        (lambda mean: torch.sub(mean, mean), r"has no -: .*mean\.item\(\)"),
        (lambda mean: mean**2, r"has no \*\*: .*mean\.value\(\)"),
        (lambda mean: 2**mean, r"has no \*\*: .*mean\.value\(\)"),
        (lambda mean: torch.pow(mean, 2), r"has no \*\*: .*mean\.value\(\)"),
        (lambda mean: mean % 2, r"has no %: .*mean\.value\(\)"),
        (abs, r"has no abs\(\): .*mean\.value\(\)"),
        (torch.sqrt, r"has no sqrt\(\): .*mean\.value\(\)"),
        (torch.isfinite, r"has no isfinite\(\): .*mean\.value\(\)"),
        (lambda mean: torch.stack([mean, mean]), r"has no stack\(\): .*pool\(\[a, b\]\)"),
        (lambda mean: torch.cat((mean, mean)), r"has no cat\(\): .*pool\(\[a, b\]\)"),
        (lambda mean: torch.where(torch.tensor(True), mean, mean), r"has no where\(\)"),
        (torch.autograd.backward, r"has no backward\(\): .*step\(window, loss\)"),
        (lambda mean: torch.add(mean, 1.0), 'Mean and float have no sum.*"penalty"'),
        (lambda mean: torch.ones(()).add_(mean), 'Mean and Tensor have no sum.*"penalty"'),
        (lambda mean: sum([mean, torch.ones(())]), 'Mean and Tensor have no sum.*"penalty"'),
        (lambda mean: mean < 1.0, r"has no <: .*mean\.item\(\)"),
        (lambda mean: mean == 2.0, r"has no ==: .*mean\.item\(\)"),
        (lambda mean: mean != Mean.zero(), r"has no ==: .*mean\.item\(\)"),
        (lambda mean: torch.ones(()) == mean, r"has no ==: .*mean\.item\(\)"),
        (lambda mean: np.float64(2.0) > mean, r"has no <: .*mean\.item\(\)"),
        (bool, r"has no truth value: .*is not None"),
        (int, r"has no int\(\): .*mean\.item\(\)"),
        (range, r"has no int\(\): .*mean\.item\(\)"),
        (round, r"has no round\(\): .*mean\.item\(\)"),
        (len, r"has no length and no \[index\]: .*mean\.item\(\)"),
        (list, r"has no length and no \[index\]: .*mean\.item\(\)"),
        (lambda mean: torch.tensor([mean, mean]), r"has no length .*mean\.item\(\)"),
        (torch.as_tensor, r"has no length .*mean\.item\(\)"),
        (np.asarray, r"has no numpy array: .*mean\.item\(\)"),
        (lambda mean: np.mean([mean, mean]), r"has no numpy array: .*mean\.item\(\)"),
        (np.isnan, r"has no isnan\(\): .*mean\.value\(\)"),
        (lambda mean: np.ones(3) * mean, r"has no \*: .*coefficients="),
        (lambda mean: np.ones(3) + mean, 'Mean and ndarray have no sum.*"penalty"'),
        (lambda mean: mean.backward(), r"has no backward\(\): .*step\(window, loss\)"),
        (lambda mean: mean + torch.ones(()), 'Mean and Tensor have no sum.*"penalty"'),
        (lambda mean: torch.ones(()) + mean, 'Mean and Tensor have no sum.*"penalty"'),
        (lambda mean: mean + 1.0, 'Mean and float have no sum.*"penalty"'),
    ],
)
def test_arithmetic_that_a_pair_does_not_have_says_what_to_do(use, match):
    for mean in (Mean(vector([1.0, 2.0]), vector([1.0, 1.0])), Mean.zero()):
        with pytest.raises(bp.PairError, match=match) as raised:
            use(mean)
        assert "\n" not in str(raised.value)
        with pytest.raises(bp.PairError, match=match):
            use(with_graph(mean))


def test_an_attribute_of_tensors_says_where_the_tensor_is():
    mean = Mean.zero()
    with pytest.raises(AttributeError, match=r"no attribute 'cpu': .*mean\.value\(\) is a tensor"):
        mean.cpu()  # type: ignore[attr-defined]
    assert not hasattr(mean, "loss")
    assert not hasattr(mean, "requires_grad")


def test_a_pair_is_itself_in_lists_and_mappings():
    mean = Mean.zero()
    assert mean in [Mean, None, mean]
    assert {mean: 1}[mean] == 1
    assert mean != "loss"
    assert mean is not copy.copy(mean)


@pytest.mark.parametrize("add", [torch.add, lambda a, b: sum([a, b])])
def test_functions_that_add_do_what_plus_does(add):
    mean = Mean(vector([1.0, 2.0]), vector([1.0, 1.0]))
    assert add(mean, mean).item() == 1.5
    with pytest.raises(bp.PairError, match=r"carry a graph .*pool\(\[a, b\]\)"):
        add(with_graph(mean), with_graph(mean))


def test_a_pair_error_is_a_type_error_and_a_setting_error():
    with pytest.raises(TypeError):
        Mean.zero() * 2
    with pytest.raises(bp.SettingError):
        Mean.zero() * 2


def test_a_mean_cannot_be_changed():
    with pytest.raises(AttributeError):
        Mean.zero().total = number(1)


@pytest.mark.parametrize("total", [0.0, 5.0, float("nan")])
def test_the_mean_of_nothing_is_no_number(total):
    empty = Mean(number(total), number(0))
    with pytest.raises(bp.EmptyMeanError, match="over 'element' has weight 0"):
        empty.item()
    with pytest.raises(ZeroDivisionError):
        empty.item()
    assert not empty.value().isfinite()


def test_the_mean_of_no_samples_is_no_number():
    with pytest.raises(bp.EmptyMeanError, match="Look for a mask that keeps nothing"):
        Mean(vector([]), vector([])).item()


def test_gradients_flow_through_totals_only():
    total = vector([1.0, 2.0]).requires_grad_()
    weight = vector([3.0, 5.0]).requires_grad_()
    mean = Mean(total, weight)
    assert not mean.weight.requires_grad
    bp.pool([mean, Mean(total, weight)]).value().backward()
    assert weight.grad is None
    # each total enters twice, over a weight of 16
    assert total.grad.tolist() == [2 / 16, 2 / 16]


def test_detach_drops_the_graph_and_keeps_the_pair():
    total = vector([1.0, 2.0]).requires_grad_()
    mean = Mean(total, vector([1.0, 1.0]), "sample").detach()
    assert not mean.total.requires_grad
    assert (mean.unit, mean.item()) == ("sample", 1.5)


def test_to_widens_and_keeps_the_unit():
    mean = Mean(torch.ones(2), torch.ones(2), "sample-sum").to("cpu")
    assert mean.total.dtype == mean.weight.dtype == torch.float64
    assert mean.unit == "sample-sum"


def test_a_billion_counts_are_exact():
    # a float32 counter stands still at 2**24 = 16,777,216
    mean = bp.reduce(torch.ones(1))
    million = Mean(mean.total.double() * 1_000_000, mean.weight * 1_000_000).pool()
    many = sum([million] * 1000)
    assert pair(many) == (1e9, 1e9)
    assert pair(many + mean) == (1e9 + 1, 1e9 + 1)
    assert bp.reduce(torch.ones(1, dtype=torch.bool).expand(20_000_000)).pool().weight == 2e7


def test_the_value_has_the_dtype_of_the_total():
    mean = Mean(torch.ones(3), torch.ones(3, dtype=torch.float64))
    assert mean.value().dtype == torch.float32


@pytest.mark.parametrize(
    ("total", "weight", "value"),
    [
        (torch.tensor(3), torch.tensor(2.5), 1.2),
        (torch.tensor(True), torch.tensor(4.0), 0.25),
        (torch.tensor(30000.0, dtype=torch.float16), torch.tensor(120000.0), 0.25),
    ],
    ids=["counts", "boolean", "float16"],
)
def test_the_weight_is_not_narrowed_to_the_dtype_of_the_total(total, weight, value, unchecked):
    mean = bp.Mean(total, weight)
    assert mean.value().item() == pytest.approx(value)
    assert mean.item() == pytest.approx(value)


@pytest.mark.parametrize(
    ("total", "weight"), [(0.5, 3), (torch.tensor(0.5), 3), (0.5, torch.tensor(3))]
)
def test_a_plain_number_is_no_pair(total, weight, unchecked):
    with pytest.raises(bp.ShapeError, match=r"both are tensors.*torch.tensor\(number\)"):
        bp.Mean(total, weight)
