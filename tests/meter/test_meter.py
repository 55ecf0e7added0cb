"""The meter gives the mean of the whole, whatever the cut, the order of reading, or the device."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import batchproof as bp
from batchproof.meter import _meter
from strategies import cuts, integers, weights

HOST_READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


class NoHostRead(TorchDispatchMode):
    """Fails on every operation that makes the host wait for a number."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        assert name not in HOST_READS, f"{name} reads on the host"
        return func(*args, **(kwargs or {}))


def pairs(totals, weights, unit="element"):
    return bp.Mean(torch.tensor(totals).double(), torch.tensor(weights).double(), unit)


def metered(x, w, parts, **settings):
    meter = bp.Meter(**settings)
    for part in parts:
        meter.add(pairs([x[i] for i in part], [w[i] for i in part]))
    return meter


def oracle(x, w):
    """Return (value, standard error, samples) by fractions."""
    x, w = [Fraction(v) for v in x], [Fraction(v) for v in w]
    value = sum(x) / sum(w)
    n = sum(1 for a, b in zip(x, w, strict=True) if a or b)
    if n < 2:
        return value, None, n
    spread = sum((a - value * b) ** 2 for a, b in zip(x, w, strict=True))
    return value, math.sqrt(Fraction(n, n - 1) * spread) / float(sum(w)), n


def assert_same_error(found, expected):
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def batch_means(x, w, parts):
    means = [
        Fraction(sum(x[i] for i in part), sum(w[i] for i in part))
        for part in parts
        if sum(w[i] for i in part)
    ]
    return float(sum(means) / len(means))


@st.composite
def samples(draw, min_size=1):
    n = draw(st.integers(min_size, 40))
    x = draw(st.lists(integers, min_size=n, max_size=n))
    w = draw(st.lists(weights, min_size=n, max_size=n).filter(any))
    return x, w


@given(samples(), st.data())
def test_every_cut_gives_the_mean_of_the_whole(drawn, data):
    x, w = drawn
    parts = data.draw(cuts(len(x)))
    estimate = metered(x, w, parts).estimate()
    value, error, n = oracle(x, w)
    assert estimate.weight == sum(w)
    assert estimate.value == sum(x) / sum(w) == float(value)
    assert estimate.samples == n
    assert estimate.mean_of_batch_means == pytest.approx(batch_means(x, w, parts), rel=1e-12)
    assert_same_error(estimate.standard_error, error)


@given(samples(), st.data())
def test_folding_at_any_moment_changes_no_integer(drawn, data):
    x, w = drawn
    parts = data.draw(cuts(len(x)))
    room = data.draw(st.integers(1, 1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_meter, "ROOM", room)
        estimate = metered(x, w, parts).estimate()
    whole = metered(x, w, parts).estimate()
    assert (estimate.value, estimate.weight, estimate.samples) == (
        whole.value,
        whole.weight,
        whole.samples,
    )
    assert_same_error(estimate.standard_error, whole.standard_error)


@settings(max_examples=40)
@given(samples(), st.data())
def test_groups_recombine_to_the_total(drawn, data):
    x, w = drawn
    parts = data.draw(cuts(len(x)))
    index = data.draw(st.lists(st.integers(0, 2), min_size=len(x), max_size=len(x)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_meter, "ROOM", data.draw(st.integers(1, 1000)))
        meter = bp.Meter(by=["a", "b", "c"])
        for part in parts:
            mean = pairs([x[i] for i in part], [w[i] for i in part])
            meter.add(mean, by=torch.tensor([index[i] for i in part], dtype=torch.int64))
    estimate = meter.estimate()
    assert estimate.value == sum(x) / sum(w)
    assert sum(g.weight for g in estimate.groups.values()) == estimate.weight
    assert sum(g.samples for g in estimate.groups.values()) == estimate.samples
    for number, group in enumerate(estimate.groups.values()):
        gx, gw = ([v[i] for i in range(len(x)) if index[i] == number] for v in (x, w))
        if not sum(gw):
            assert math.isnan(group.value)
            assert group.standard_error is None
            continue
        value, error, n = oracle(gx, gw)
        assert group.value == float(value) == sum(gx) / sum(gw)
        assert group.samples == n
        of_group = [[i for i in part if index[i] == number] for part in parts]
        assert group.mean_of_batch_means == pytest.approx(batch_means(x, w, of_group), rel=1e-12)
        assert_same_error(group.standard_error, error)


@given(samples(), st.data())
def test_merging_in_any_split_gives_the_whole(drawn, data):
    x, w = drawn
    parts = data.draw(cuts(len(x)))
    cut = data.draw(st.integers(0, len(parts)))
    left, right = metered(x, w, parts[:cut]), metered(x, w, parts[cut:])
    before = None if not parts[cut:] else right.mean().total.item()
    merged = left.merge(right).estimate()
    whole = metered(x, w, parts).estimate()
    assert (merged.value, merged.weight, merged.samples) == (
        whole.value,
        whole.weight,
        whole.samples,
    )
    assert merged.mean_of_batch_means == pytest.approx(whole.mean_of_batch_means, rel=1e-12)
    assert_same_error(merged.standard_error, whole.standard_error)
    if before is not None:
        assert right.mean().total.item() == before


def test_the_mean_of_batch_means_is_what_the_usual_loop_prints():
    meter = bp.Meter()
    meter.add(bp.reduce(torch.tensor([1.0, 2.0, 3.0])))
    meter.add(bp.reduce(torch.tensor([10.0])))
    estimate = meter.estimate()
    assert (estimate.value, estimate.mean_of_batch_means) == (4.0, 6.0)


def test_a_small_spread_around_a_large_mean_survives():
    generator = torch.Generator().manual_seed(0)
    x = 1e6 + 1e-3 * torch.randn(3000, generator=generator, dtype=torch.float64)
    meter = bp.Meter()
    for part in x.split(97):
        meter.add(bp.reduce(part))
    value, error, _ = oracle(x.tolist(), [1] * 3000)
    assert meter.estimate().value == pytest.approx(float(value), rel=1e-15)
    assert meter.estimate().standard_error == pytest.approx(error, rel=1e-6)


def test_a_small_spread_survives_unequal_weights_and_a_drifting_mean(monkeypatch):
    monkeypatch.setattr(_meter, "ROOM", 200)
    generator = torch.Generator().manual_seed(1)
    w = torch.randint(1, 100, (2000,), generator=generator).double()
    drift = torch.linspace(0, 1e-2, 2000, dtype=torch.float64)
    noise = 1e-3 * torch.randn(2000, generator=generator, dtype=torch.float64)
    x = w * (1e5 + drift) + noise
    meter = bp.Meter()
    for a, b in zip(x.split(53), w.split(53), strict=True):
        meter.add(bp.Mean(a, b))
    _, error, _ = oracle(x.tolist(), w.tolist())
    assert meter.estimate().standard_error == pytest.approx(error, rel=1e-5)


def test_a_billion_unit_losses_give_a_billion():
    meter = bp.Meter()
    for _ in range(1000):
        meter.add(bp.Mean(torch.tensor(1e6), torch.tensor(1e6)))
    meter.add(bp.Mean(torch.tensor(1.0), torch.tensor(1.0)))
    assert meter.estimate().weight == 1e9 + 1
    assert meter.estimate().value == 1.0


def test_losses_of_one_half_precision_batch_are_summed_in_float64():
    meter = bp.Meter()
    for _ in range(3):
        meter.add(bp.Mean(torch.full((5000,), 0.1).bfloat16(), torch.ones(5000)))
    assert meter.estimate().value == pytest.approx(float(torch.tensor(0.1).bfloat16()), rel=1e-12)


def test_pooled_pairs_leave_no_standard_error():
    meter = bp.Meter()
    meter.add(pairs([1, 2], [1, 1]))
    meter.add(pairs(4, 2))
    estimate = meter.estimate()
    assert (estimate.value, estimate.weight) == (7 / 4, 4.0)
    assert estimate.standard_error is None
    assert estimate.samples is None
    assert estimate.mean_of_batch_means == 1.75


@pytest.mark.parametrize("room", [1, 1 << 15])
@pytest.mark.parametrize("pooled_first", [False, True])
def test_one_pooled_pair_anywhere_leaves_no_standard_error(monkeypatch, room, pooled_first):
    monkeypatch.setattr(_meter, "ROOM", room)
    meters = bp.Meter(), bp.Meter()
    meters[0].add(pairs([1, 2], [1, 1]))
    meters[1].add(pairs(4, 2))
    first, second = reversed(meters) if pooled_first else meters
    estimate = first.merge(second).estimate()
    assert (estimate.value, estimate.standard_error, estimate.samples) == (7 / 4, None, None)


def test_one_sample_has_no_standard_error():
    meter = bp.Meter()
    meter.add(pairs([3], [2]))
    assert meter.estimate().standard_error is None


def test_samples_with_nothing_that_counts_are_no_samples():
    meter = bp.Meter()
    meter.add(pairs([0, 3, 5, 0], [0, 1, 1, 0]))
    meter.add(pairs([0], [0]))
    estimate = meter.estimate()
    assert estimate.samples == 2
    assert estimate.standard_error == pytest.approx(1.0)
    assert estimate.mean_of_batch_means == 4.0


def test_no_pair_is_the_mean_of_nothing():
    with pytest.raises(bp.EmptyMeanError, match="no pair was added"):
        bp.Meter().estimate()
    with pytest.raises(bp.EmptyMeanError, match="no pair was added"):
        bp.Meter().mean()
    meter = bp.Meter()
    meter.add(pairs([0], [0]))
    with pytest.raises(bp.EmptyMeanError, match="has weight 0: nothing was averaged"):
        meter.estimate()


def test_an_infinite_or_nan_loss_stays_visible():
    for loss in (math.inf, math.nan):
        meter = bp.Meter()
        meter.add(pairs([1.0, loss], [1, 1]))
        meter.add(pairs([1.0, 1.0], [1, 1]))
        assert str(meter.estimate().value) == str(loss)


def test_means_of_two_units_do_not_mix():
    meter = bp.Meter()
    meter.add(pairs([1], [1]))
    with pytest.raises(
        bp.UnitError, match="holds means over 'element' and was given one over 'sample'"
    ):
        meter.add(pairs([1], [1], "sample"))
    other = bp.Meter()
    other.add(pairs([1], [1], "sample"))
    with pytest.raises(bp.UnitError, match="cannot be merged"):
        meter.merge(other)
    assert meter.estimate().weight == 1


def test_a_graph_is_not_kept():
    loss = torch.ones(3, requires_grad=True)
    meter = bp.Meter()
    meter.add(bp.reduce(loss * 2))
    assert not meter.mean().total.requires_grad
    assert not any(total.requires_grad for total in meter.state_dict()["pairs"][0])


def test_reading_does_not_change_what_is_read_later():
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(7, generator=generator) for _ in range(900)]
    read, unread = bp.Meter(), bp.Meter()
    for number, batch in enumerate(batches):
        read.add(bp.reduce(batch))
        unread.add(bp.reduce(batch))
        if number % 13 == 0:
            read.estimate()
            read.mean()
    assert read.estimate() == unread.estimate()


def test_adding_reads_nothing_on_the_host(monkeypatch):
    monkeypatch.setattr(_meter, "ROOM", 300)
    plain, grouped, pooled = bp.Meter(), bp.Meter(by=3), bp.Meter(by=2)
    batches = [bp.reduce(torch.rand(size)) for size in (5, 5, 5, 3, 0, 8, 5, 5)]
    index = [torch.zeros(len(mean.total), dtype=torch.int64) for mean in batches]
    zero = torch.tensor(0)
    with NoHostRead():
        for mean, by in zip(batches, index, strict=True):
            plain.add(mean)
            grouped.add(mean, by=by)
            pooled.add(mean.pool(), by=zero)
        plain.merge(another())
        plain.mean()
        with pytest.raises(AssertionError, match="_local_scalar_dense reads on the host"):
            zero.item()


def another():
    other = bp.Meter()
    other.add(bp.Mean(torch.ones(2), torch.ones(2)))
    return other


class OneDevice(TorchDispatchMode):
    """Fails on every operation that has a tensor on another device than meta."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, made)) if isinstance(t, torch.Tensor)]
        assert {t.device.type for t in tensors} == {"meta"}, f"{func} leaves the device"
        return made


def test_adding_works_on_a_device_that_has_nothing_to_read(monkeypatch):
    monkeypatch.setattr(_meter, "ROOM", 300)
    meter, grouped = bp.Meter(), bp.Meter(by=3)
    batches = [bp.reduce(torch.rand(size, device="meta")) for size in (5, 5, 5, 3, 0, 8, 5, 5)]
    index = [torch.zeros(len(m.total), dtype=torch.int64, device="meta") for m in batches]
    with OneDevice():
        for mean, by in zip(batches, index, strict=True):
            meter.add(mean)
            meter.add(mean.pool())
            grouped.add(mean, by=by)
        assert meter.mean().total.is_meta
    with pytest.raises(NotImplementedError, match="meta"):
        grouped.estimate()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_adding_does_not_wait_for_cuda(monkeypatch):
    monkeypatch.setattr(_meter, "ROOM", 300)
    meter, grouped = bp.Meter(), bp.Meter(by=3)
    sizes = (5, 5, 5, 3, 0, 8, 5, 5)
    batches = [bp.reduce(torch.randint(1, 1000, (n,), device="cuda").float()) for n in sizes]
    index = [torch.zeros(len(m.total), dtype=torch.int64, device="cuda") for m in batches]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for mean, by in zip(batches, index, strict=True):
            meter.add(mean)
            meter.add(mean.pool())
            grouped.add(mean, by=by)
        meter.mean()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    total = 2 * sum(float(m.total.double().sum()) for m in batches)
    assert meter.estimate().value == pytest.approx(total / (2 * sum(sizes)), rel=1e-12)
    assert grouped.estimate().groups["0"].samples == sum(sizes)


@pytest.mark.gpu
def test_cuda_and_cpu_give_the_same_estimate():
    generator = torch.Generator().manual_seed(0)
    here, there = bp.Meter(by=4), bp.Meter(by=4)
    for _ in range(200):
        x = torch.randint(0, 1000, (64,), generator=generator).float()
        by = torch.randint(0, 4, (64,), generator=generator)
        here.add(bp.reduce(x), by=by)
        there.add(bp.reduce(x.cuda()), by=by.cuda())
    assert there.mean().total.is_cuda
    left, right = here.estimate(), there.estimate()
    assert (left.value, left.weight, left.samples) == (right.value, right.weight, right.samples)
    assert left.standard_error == pytest.approx(right.standard_error, rel=1e-12)
    for name, group in left.groups.items():
        assert group.value == right.groups[name].value
        assert group.standard_error == pytest.approx(right.groups[name].standard_error, rel=1e-12)


def test_a_pair_written_to_before_it_is_folded_is_found():
    total, weight = torch.ones(()), torch.ones(())
    meter = bp.Meter()
    meter.add(bp.Mean(total, weight))
    total.add_(1)
    with pytest.raises(bp.SettingError, match="written to in place after it was added"):
        meter.estimate()


def test_inference_tensors_are_copied():
    meter = bp.Meter()
    with torch.inference_mode():
        total = torch.ones(2)
        meter.add(bp.Mean(total, torch.ones(2)))
        total.add_(1)
    meter.add(bp.Mean(torch.ones(2), torch.ones(2)))
    assert meter.estimate().value == 1.0


def test_a_group_out_of_range_is_named_when_the_estimate_is_read():
    meter = bp.Meter(by=3)
    meter.add(pairs([1, 2], [1, 1]), by=torch.tensor([0, 7]))
    with pytest.raises(bp.DataError, match="added to group 7; expected 0 to 2"):
        meter.estimate()
    meter.reset()
    meter.add(pairs([1, 2], [1, 1]), by=torch.tensor([0, -1]))
    with pytest.raises(bp.DataError, match="added to group -1; expected 0 to 2"):
        meter.estimate()


def test_groups_must_be_given_where_they_are_expected_and_only_there(unchecked):
    mean = pairs([1, 2], [1, 1])
    with pytest.raises(bp.SettingError, match="has 3 groups and add was given none"):
        bp.Meter(by=3).add(mean)
    with pytest.raises(bp.SettingError, match="by was given to a meter without groups"):
        bp.Meter().add(mean, by=torch.tensor([0, 1]))
    with pytest.raises(bp.ShapeError, match=r"by has shape \(1,\) but the pairs have shape \(2,\)"):
        bp.Meter(by=3).add(mean, by=torch.tensor([0]))


@pytest.mark.parametrize("by", [0, [], "ab", ["a", "a"]])
def test_groups_that_are_invalid_are_refused(by):
    with pytest.raises(bp.SettingError, match="expected the number of groups"):
        bp.Meter(by=by)


def test_meters_with_other_groups_do_not_merge():
    with pytest.raises(bp.SettingError, match="make both with one by"):
        bp.Meter(by=2).merge(bp.Meter())


def test_reset_forgets_the_unit_and_the_sums():
    meter = bp.Meter()
    meter.add(pairs([5], [1]))
    meter.reset()
    meter.add(pairs([1], [1], "sample"))
    assert (meter.estimate().value, meter.estimate().unit) == (1.0, "sample")


@pytest.mark.parametrize("given", [torch.tensor(1.0), 1.0, {"loss": bp.Mean.zero()}])
def test_what_is_no_mean_is_refused(given, unchecked):
    with pytest.raises(bp.SettingError, match=f"given a {type(given).__name__}; expected a Mean"):
        bp.Meter().add(given)
