"""Where there is no float64, sums of float32 lose nothing; tried here on the CPU."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import batchproof as bp
from batchproof.meter import _meter, _sums


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(_sums, "exact_dtype", lambda device: torch.float32)


@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=300))
def test_the_sum_of_integers_is_exact_in_float32(values):
    hi, lo = _sums.exact_sum(torch.tensor(values, dtype=torch.float32))
    assert hi.dtype == torch.float32
    assert hi.item() + lo.item() == sum(values)


def test_a_billion_unit_losses_give_a_billion_in_float32(narrow):
    meter = bp.Meter()
    for _ in range(1000):
        meter.add(bp.Mean(torch.tensor(1e6), torch.tensor(1e6)))
    meter.add(bp.Mean(torch.tensor(1.0), torch.tensor(1.0)))
    assert meter.mean().total.dtype == torch.float32
    estimate = meter.estimate()
    assert (estimate.weight, estimate.value) == (1e9 + 1, 1.0)


@pytest.mark.parametrize("sizes", [[64] * 40, [3, 50, 1, 0, 17, 129] * 6])
def test_groups_and_totals_are_exact_in_float32(narrow, monkeypatch, sizes):
    monkeypatch.setattr(_meter, "ROOM", 500)
    generator = torch.Generator().manual_seed(0)
    meter = bp.Meter(by=3)
    x, w, index = [], [], []
    for size in sizes:
        a = torch.randint(0, 2**24, (size,), generator=generator).float()
        b = torch.randint(1, 2**24, (size,), generator=generator).float()
        by = torch.randint(0, 3, (size,), generator=generator)
        meter.add(bp.Mean(a, b), by=by)
        x, w, index = x + a.tolist(), w + b.tolist(), index + by.tolist()
    estimate = meter.estimate()
    assert estimate.weight == sum(w)
    assert estimate.value == sum(x) / sum(w)
    spread = sum((a - estimate.value * b) ** 2 for a, b in zip(x, w, strict=True))
    error = math.sqrt(len(x) / (len(x) - 1) * spread) / sum(w)
    assert estimate.standard_error == pytest.approx(error, rel=1e-5)
    for number, group in enumerate(estimate.groups.values()):
        of_x = sum(a for a, g in zip(x, index, strict=True) if g == number)
        of_w = sum(b for b, g in zip(w, index, strict=True) if g == number)
        assert (group.weight, group.value) == (of_w, of_x / of_w)


def test_merging_is_exact_in_float32(narrow):
    left, right = bp.Meter(), bp.Meter()
    for number in range(300):
        meter = left if number % 2 else right
        meter.add(bp.Mean(torch.full((3,), 1e7 + number), torch.ones(3)))
    merged = left.merge(right).estimate()
    exact = sum(float(torch.tensor(1e7 + number)) for number in range(300)) / 300
    assert merged.value == exact
