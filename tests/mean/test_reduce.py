from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import batchproof as bp
from strategies import cuts, integers, weights

UNITS = ("element", "sample", "sample-sum")


def double(values, *shape):
    return torch.tensor(values, dtype=torch.float64).reshape(shape or -1)


@st.composite
def tables(draw, samples=5, elements=4):
    """Integer losses, a mask, and integer weights per sample and an element."""
    rows, columns = draw(st.integers(1, samples)), draw(st.integers(1, elements))

    def table(of):
        row = st.lists(of, min_size=columns, max_size=columns)
        return draw(st.lists(row, min_size=rows, max_size=rows))

    of_samples = draw(st.lists(weights, min_size=rows, max_size=rows))
    return table(integers), table(st.booleans()), of_samples, table(weights)


def oracle(losses, mask, of_sample, of_element, unit):
    """The pairs by definition, as fractions."""
    pairs = []
    for row, kept, outer, inner in zip(losses, mask, of_sample, of_element, strict=True):
        total = sum(x * w for x, k, w in zip(row, kept, inner, strict=True) if k)
        count = sum(w for k, w in zip(kept, inner, strict=True) if k)
        if count == 0:
            pairs.append((Fraction(0), Fraction(0)))
        elif unit == "element":
            pairs.append((Fraction(total * outer), Fraction(count * outer)))
        else:
            divisor = count if unit == "sample" else 1
            pairs.append((Fraction(total, divisor) * outer, Fraction(outer)))
    return pairs


def expect_pairs(mean, expected, unit):
    assert mean.unit == unit
    assert mean.weight.tolist() == [float(w) for _, w in expected]
    if unit == "sample":
        assert mean.total.tolist() == pytest.approx([float(x) for x, _ in expected], rel=1e-15)
    else:
        assert mean.total.tolist() == [float(x) for x, _ in expected]


@given(tables(), st.sampled_from(UNITS))
def test_plain_losses_are_the_pairs_of_the_definition(table, unit):
    losses = table[0]
    ones, kept = [[1] * len(row) for row in losses], [[True] * len(row) for row in losses]
    mean = bp.reduce(double(losses, len(losses), -1), unit=unit)
    expect_pairs(mean, oracle(losses, kept, [1] * len(losses), ones, unit), unit)


@given(tables(), st.sampled_from(UNITS))
def test_masked_losses_are_the_pairs_of_the_definition(table, unit):
    losses, mask = table[:2]
    mean = bp.reduce(double(losses, len(losses), -1), unit=unit, mask=torch.tensor(mask))
    ones = [[1] * len(row) for row in losses]
    expect_pairs(mean, oracle(losses, mask, [1] * len(losses), ones, unit), unit)


@given(tables(), st.sampled_from(UNITS))
def test_a_weight_a_sample_is_the_pair_of_the_definition(table, unit):
    losses, mask, of_sample, _ = table
    ones = [[1] * len(row) for row in losses]
    mean = bp.reduce(
        double(losses, len(losses), -1),
        unit=unit,
        mask=torch.tensor(mask),
        weight=torch.tensor(of_sample),
    )
    expect_pairs(mean, oracle(losses, mask, of_sample, ones, unit), unit)


@given(tables(), st.sampled_from(UNITS))
def test_a_weight_an_element_is_the_pair_of_the_definition(table, unit):
    losses, mask, _, of_element = table
    mean = bp.reduce(
        double(losses, len(losses), -1),
        unit=unit,
        mask=torch.tensor(mask),
        weight=torch.tensor(of_element),
    )
    expect_pairs(mean, oracle(losses, mask, [1] * len(losses), of_element, unit), unit)


@given(tables(samples=8), st.sampled_from(UNITS), st.data())
def test_any_cut_pools_to_the_whole(table, unit, data):
    losses, mask, of_sample, _ = table
    losses, mask = double(losses, len(losses), -1), torch.tensor(mask)
    of_sample = torch.tensor(of_sample)
    parts = data.draw(cuts(len(losses)))
    whole = bp.reduce(losses, unit=unit, mask=mask, weight=of_sample).pool()
    pooled = sum(
        bp.reduce(losses[part], unit=unit, mask=mask[part], weight=of_sample[part])
        for part in parts
    )
    assert pooled.weight == whole.weight
    if unit == "sample":
        torch.testing.assert_close(pooled.total, whole.total, rtol=1e-12, atol=1e-12)
    else:
        assert pooled.total == whole.total


@given(st.lists(st.lists(integers, max_size=4), min_size=1, max_size=4), st.sampled_from(UNITS))
def test_packed_sequences_give_the_pairs_of_padded_ones(sequences, unit):
    longest = max(map(len, sequences))
    padded = torch.full((len(sequences), longest), float("nan"), dtype=torch.float64)
    mask = torch.zeros(padded.shape, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = double(sequence)
        mask[row, : len(sequence)] = True
    # all in one row, with padding at its end
    packed = double([*(x for s in sequences for x in s), 7.0], 1, -1)
    ids = [i for i, s in enumerate(sequences) for _ in s]
    segments = torch.tensor([[*ids, -1]])
    of_padded = bp.reduce(padded, unit=unit, mask=mask)
    of_packed = bp.reduce(packed, unit=unit, segments=segments, num_segments=len(sequences))
    assert torch.equal(of_packed.total, of_padded.total)
    assert torch.equal(of_packed.weight, of_padded.weight)


def test_segments_take_mask_and_weights_like_rows():
    losses = double([1, 2, 4, 8, 16, 32], 2, 3)
    segments = torch.tensor([[0, 0, 1], [1, 2, -1]])
    mask = torch.tensor([[True, False, True], [True, True, True]])
    of_segment = torch.tensor([1.0, 3.0, 0.5])
    mean = bp.reduce(losses, segments=segments, mask=mask, weight=of_segment)
    assert mean.total.tolist() == [1.0, 36.0, 8.0]
    assert mean.weight.tolist() == [1.0, 6.0, 0.5]
    of_element = torch.tensor([[2.0, 9.0, 1.0], [3.0, 0.0, 9.0]])
    mean = bp.reduce(losses, segments=segments, mask=mask, weight=of_element, unit="sample")
    assert mean.total.tolist() == [1.0, 7.0, 0.0]
    assert mean.weight.tolist() == [1.0, 1.0, 0.0]


def test_only_padding_is_no_segment():
    mean = bp.reduce(torch.ones(1, 3), segments=torch.full((1, 3), -1))
    assert mean.total.shape == (0,)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_under_the_mask_is_replaced_and_not_multiplied(unit, bad):
    losses = double([1, bad, 3, 5], 2, 2).requires_grad_()
    mask = torch.tensor([[True, False], [True, True]])
    value = bp.reduce(losses, unit=unit, mask=mask).value()
    value.backward()
    assert value.isfinite()
    assert losses.grad.isfinite().all()
    assert losses.grad[0, 1] == 0


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("weight", [[[1.0, 0.0], [1.0, 1.0]], [0.0, 1.0]])
def test_what_has_weight_0_is_replaced_and_not_multiplied(unit, weight):
    losses = double([1, float("nan"), 3, 5], 2, 2).requires_grad_()
    value = bp.reduce(losses, unit=unit, weight=torch.tensor(weight)).value()
    value.backward()
    assert value.isfinite()
    assert losses.grad.isfinite().all()
    assert losses.grad[0, 1] == 0


@pytest.mark.parametrize("unit", UNITS)
def test_a_sample_with_nothing_unmasked_is_the_pair_of_zeros(unit):
    losses = double([float("nan"), 2, 3, 5], 2, 2)
    mask = torch.tensor([[False, False], [True, True]])
    mean = bp.reduce(losses, unit=unit, mask=mask)
    assert (mean.total[0], mean.weight[0]) == (0, 0)
    nothing = bp.reduce(losses, unit=unit, mask=torch.zeros_like(mask)).pool()
    assert (nothing.total, nothing.weight) == (0, 0)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_nothing_is_the_pair_of_zeros(shape):
    for unit in UNITS:
        mean = bp.reduce(torch.ones(shape), unit=unit)
        assert mean.total.shape == shape[:1]
        assert (mean.pool().total, mean.pool().weight) == (0, 0)


def test_an_unmasked_nan_is_not_hidden():
    assert bp.reduce(double([1, float("nan")])).value().isnan()


@pytest.mark.parametrize("name", ["mask", "segments"])
@pytest.mark.parametrize("shape", [(8, 1), (8,), (64,), (1, 64), (8, 64, 1)])
def test_a_mask_or_segments_that_broadcast_are_refused(name, shape, unchecked):
    given = torch.ones(shape, dtype=torch.bool if name == "mask" else torch.long)
    with pytest.raises(bp.ShapeError, match=rf"^{name} has shape .*{name}\.expand_as\(losses\)"):
        bp.reduce(torch.ones(8, 64), **{name: given})


@pytest.mark.parametrize("shape", [(8, 1), (64,), (1, 64), ()])
def test_a_weight_that_broadcasts_is_refused(shape, unchecked):
    with pytest.raises(bp.ShapeError, match=r"one weight per sample, \(8,\), or one per element"):
        bp.reduce(torch.ones(8, 64), weight=torch.ones(shape))


def test_a_loss_that_has_been_reduced_is_refused(unchecked):
    with pytest.raises(bp.ShapeError, match=r'shape \(\).*reduction="none"'):
        bp.reduce(torch.tensor(1.0))


def test_an_unknown_unit_is_refused(unchecked):
    with pytest.raises(bp.UnitError, match="unit is 'token'"):
        bp.reduce(torch.ones(2), unit="token")


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
def test_a_mask_that_is_not_of_booleans_is_refused(dtype, unchecked):
    mask, logits, target = torch.ones(2, dtype=dtype), torch.ones(2, 3), torch.tensor([0, 1])
    for reducing in (
        lambda: bp.reduce(torch.ones(2), mask=mask),
        lambda: bp.exact(torch.nn.CrossEntropyLoss())(logits, target, mask=mask),
        lambda: bp.exact(lambda x: x[:, 0])(logits, mask=mask),
        lambda: bp.accuracy(logits, target, mask=mask),
        lambda: bp.linear_cross_entropy(logits, torch.ones(2, 3), target, mask=mask),
    ):
        with pytest.raises(bp.SettingError, match=rf"{dtype}; expected torch.bool.*mask.bool\(\)"):
            reducing()


@pytest.mark.parametrize("largest", [3, 4])
def test_a_segment_past_the_last_is_refused(largest):
    segments = torch.tensor([[0, 1, largest, -1]])
    with pytest.raises(bp.ShapeError, match=f"go up to {largest} but num_segments is 3"):
        bp.reduce(torch.ones(1, 4), segments=segments, num_segments=3)


def test_a_number_of_segments_without_segments_is_refused():
    with pytest.raises(bp.SettingError, match="num_segments is 3 without segments"):
        bp.reduce(torch.ones(1, 4), num_segments=3)


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_a_weight_that_wants_a_gradient_is_refused(shape):
    losses, weight = torch.ones(3, 2, requires_grad=True), torch.ones(shape, requires_grad=True)
    squared = bp.exact(lambda x: x**2, unit="element")
    for make in (bp.reduce, squared, bp.exact(torch.nn.functional.softplus, unit="sample")):
        with pytest.raises(bp.SettingError, match=r"weight carries a graph.*weight.detach\(\)"):
            make(losses, weight=weight)
        assert not make(losses, weight=weight.detach()).weight.requires_grad


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("of_elements", [False, True])
def test_the_weight_of_what_is_masked_enters_neither_value_nor_gradient(unit, bad, of_elements):
    losses = double([1, 2, 3, 4, 5, 6], 3, 2).requires_grad_()
    mask = torch.tensor([[True, True], [False, False], [True, False]])
    good, spoiled = double([2, 5, 3], 3), double([2, bad, 3], 3)
    if of_elements:
        good = good[:, None].expand(3, 2)
        spoiled = torch.where(mask, good, bad)
    expected = bp.reduce(losses, unit=unit, mask=mask, weight=good)
    mean = bp.reduce(losses, unit=unit, mask=mask, weight=spoiled)
    assert torch.equal(mean.total, expected.total)
    assert torch.equal(mean.weight, expected.weight)
    ours, theirs = (torch.autograd.grad(m.value(), losses)[0] for m in (mean, expected))
    assert torch.equal(ours, theirs)
    assert mean.weight[1] == 0


@pytest.mark.parametrize("unit", UNITS)
def test_the_weight_of_a_segment_without_elements_enters_nothing(unit):
    losses = double([1, 2, 3], 1, 3).requires_grad_()
    segments = torch.tensor([[0, 2, -1]])
    weight = double([1, float("nan"), 1], 3)
    mean = bp.reduce(losses, unit=unit, segments=segments, num_segments=3, weight=weight)
    assert mean.item() == 1.5
    mean.value().backward()
    assert losses.grad.tolist() == [[0.5, 0.5, 0.0]]


def test_the_weight_of_what_counts_may_not_be_nan_unseen():
    weight = double([1, float("nan")], 2)
    assert bp.reduce(double([1, 2], 2), weight=weight).value().isnan()


@pytest.mark.parametrize("shape", [(2,), (2, 2)])
def test_complex_losses_are_refused(shape, unchecked):
    losses = torch.full(shape, 1 + 2j)
    for make in (bp.reduce, bp.exact(lambda z: z, unit="sample")):
        with pytest.raises(bp.SettingError, match=r"losses has dtype torch.complex64; expected re"):
            make(losses)
    with pytest.raises(bp.SettingError, match=r"total has dtype torch.complex64 and weight"):
        bp.Mean(losses.flatten(), torch.ones(losses.numel()))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"losses": [1.0, 2.0]}, r"losses is list; expected a tensor.*torch.as_tensor\(losses\)"),
        ({"weight": 1}, r"weight is int; expected a tensor.*torch.as_tensor\(weight\)"),
        ({"weight": [1.0, 2.0]}, "weight is list; expected a tensor"),
        ({"mask": [True, False]}, "mask is list; expected a tensor"),
        ({"segments": [0, 1]}, "segments is list; expected a tensor"),
    ],
)
def test_what_is_no_tensor_is_refused(arguments, match, unchecked):
    with pytest.raises(bp.SettingError, match=match):
        bp.reduce(**({"losses": torch.ones(2)} | arguments))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weight": 0.8}, "weight is float; expected a tensor"),
        ({"mask": [True, False]}, "mask is list; expected a tensor"),
    ],
)
@pytest.mark.parametrize("function", [torch.nn.functional.mse_loss, lambda x, y: (x - y) ** 2])
def test_exact_refuses_what_is_no_tensor(function, arguments, match, unchecked):
    with pytest.raises(bp.SettingError, match=match):
        bp.exact(function)(torch.ones(2), torch.ones(2), **arguments)


@pytest.mark.parametrize("unit", UNITS)
def test_gradients_pool_like_losses(unit):
    losses = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(6, 3) > 0.4
    parts = ([0], [1, 2, 3], [4, 5])
    whole = bp.reduce(losses, unit=unit, mask=mask).value()
    cut = bp.pool(bp.reduce(losses[part], unit=unit, mask=mask[part]) for part in parts).value()
    ours, expected = (torch.autograd.grad(x, losses)[0] for x in (cut, whole))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.float16])
def test_narrow_losses_are_summed_in_float32(dtype):
    mean = bp.reduce(torch.ones(1, 4097).to(dtype))
    assert mean.total.dtype == torch.float32
    assert mean.weight.dtype == torch.float64
    # bfloat16 stands still at 256, float16 at 2048
    assert mean.total.item() == 4097


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wide_losses_keep_their_dtype(dtype):
    assert bp.reduce(torch.ones(2, 2, dtype=dtype)).total.dtype == dtype


def test_weights_of_samples_scale_totals_and_weights_alike():
    mean = bp.reduce(double([1, 3]), weight=torch.tensor([3, 1]))
    assert mean.item() == 1.5
    assert mean.total.tolist() == [3.0, 3.0]


I2 = torch.full((2,), 1 + 2j)
ROWS, CLASSES = torch.ones(2, 3), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("take", "name"),
    [
        (lambda: bp.reduce(torch.ones(2), weight=I2), "weight"),
        (lambda: bp.reduce(ROWS, weight=torch.full((2, 3), 1j)), "weight"),
        (lambda: bp.reduce(torch.ones(2), mask=I2), "mask"),
        (lambda: bp.reduce(torch.ones(2), segments=I2), "segments"),
        (lambda: bp.reduce(torch.ones(2), segments=torch.tensor([0.5, 1.5])), "segments"),
        (lambda: bp.exact(nn.L1Loss())(ROWS, 2 * ROWS, weight=I2), "weight"),
        (lambda: bp.exact(lambda a: a)(torch.ones(2), weight=I2), "weight"),
        (lambda: bp.Meter(by=2).add(bp.reduce(torch.ones(2)), by=I2), "by"),
        (lambda: bp.Meter(by=2).add(bp.reduce(torch.ones(2)), by=torch.ones(2)), "by"),
        (lambda: bp.accuracy(ROWS * 1j, CLASSES), "logits"),
        (lambda: bp.accuracy(ROWS, I2), "target"),
        (lambda: bp.accuracy(ROWS, CLASSES, weight=I2), "weight"),
        (lambda: bp.linear_cross_entropy(ROWS, ROWS, CLASSES, sample_weight=I2), "sample_weight"),
        (lambda: bp.linear_cross_entropy(ROWS, ROWS, CLASSES, class_weight=I2), "class_weight"),
        (lambda: bp.linear_cross_entropy(ROWS, ROWS, CLASSES, segments=I2), "segments"),
        (lambda: bp.linear_cross_entropy(ROWS * 1j, ROWS * 1j, CLASSES), "hidden"),
        (lambda: bp.linear_cross_entropy(ROWS, ROWS, CLASSES, bias=I2), "bias"),
    ],
)
def test_what_would_lose_its_imaginary_part_or_fraction_is_refused(take, name, unchecked):
    with pytest.raises(bp.SettingError, match=rf"^{name} has dtype torch.\w+; expected") as raised:
        take()
    assert "\n" not in str(raised.value)


def test_nothing_is_cast_under_autocast_before_it_is_refused(unchecked):
    hidden = torch.full((2, 3), 1j)
    with torch.autocast("cpu"), pytest.raises(bp.SettingError, match="hidden has dtype"):
        bp.linear_cross_entropy(hidden, hidden, CLASSES)
