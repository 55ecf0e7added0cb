"""What public reports describe is named, and what only looks like it is not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batchproof.check import check_evaluate, check_step
from batchproof.check._laws._entered import _readings
from batchproof.check._laws._laws import ratio
from batchproof.check._measure._cuts import cut_of
from check_cases import doubted, reports


@pytest.mark.parametrize("title", reports.PLANTED)
def test_a_planted_mistake_is_named(title):
    run, samples, name, *build = reports.PLANTED[title]
    report = check_step(run, samples, build=(*build, doubted.linear)[0])
    named = set(report.names) - {"empty-micro-batch-nan"}
    assert named == {name}, str(report)


@pytest.mark.parametrize("title", reports.RIGHT)
def test_a_right_step_that_looks_like_one_is_not_accused(title):
    run, samples, *more = reports.RIGHT[title]
    dtype, build = (*more, torch.float64, doubted.linear)[:1][0], (*more[1:], doubted.linear)[0]
    report = check_step(run, samples, build=build, dtype=dtype)
    assert report.ok, str(report)


@pytest.mark.parametrize("title", reports.NARROW)
def test_under_mixed_types_a_cause_is_the_true_one_or_unknown(title):
    run, samples = reports.NARROW[title]
    report = check_step(run, samples, build=doubted.linear, dtype=torch.float32)
    causes = {"mean-of-micro-batch-means", "unknown"}
    assert set(report.names) <= causes, str(report)
    assert report.names, str(report)


@pytest.mark.parametrize("title", reports.EVALUATED)
def test_an_evaluation_is_named_or_let_be(title):
    run, samples, name = reports.EVALUATED[title]
    report = check_evaluate(run, samples, build=lambda: doubted.linear()[0])
    assert report.names == ((name,) if name else ()), str(report)


def test_windows_that_are_never_cleared_are_named():
    build = doubted.linear
    report = check_step(reports.never_zeroed, reports.TABLE, build=build, window=3)
    assert report.names == ("gradients-not-zeroed", "fixed-window-size"), str(report)


def test_a_decay_is_told():
    report = check_step(reports.saying(reports.decaying), reports.TABLE, build=doubted.linear)
    assert "exponential average of decay 0.9" in report.diagnoses[0].sentence


def test_what_is_left_out_is_said():
    run = reports.entering(reports.two)
    report = check_step(run, reports.TABLE, build=doubted.linear)
    assert "Only the first 2 micro-batches enter" in report.diagnoses[0].sentence
    assert "samples [2, 3, 4, 5, 6, 7] move nothing" in report.diagnoses[0].sentence


@pytest.mark.parametrize(
    "title", ["a straight-through quantiser", "a target from the model itself"]
)
def test_a_loss_with_another_slope_than_the_gradient_is_noted(title):
    run, samples = reports.RIGHT[title]
    report = check_step(run, samples, build=doubted.linear)
    assert any("nor a multiple of it" in note for note in report.notes)


@pytest.mark.parametrize("title", ["a sum over samples", "sums without division", "huber"])
def test_a_loss_with_the_slope_of_the_gradient_is_not_noted(title):
    run, samples = doubted.RIGHT[title]
    report = check_step(run, samples, build=doubted.linear)
    assert not any("nor a multiple of it" in note for note in report.notes)


def test_a_number_that_moves_where_samples_are_given_twice_is_noted():
    def spread(model, batches):
        with torch.no_grad():
            every = torch.cat([(model(x) - y).square().mean(1) for x, y in batches])
        return every.std().item()

    report = check_evaluate(spread, reports.PAIRS, build=lambda: doubted.linear()[0])
    assert report.ok
    assert any("every sample given twice" in note for note in report.notes)


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=7).filter(lambda c: 1 in c), st.integers(1, 3)
)
def test_how_often_samples_count_is_read_from_their_shares(times, first):
    n = len(times)
    cut = cut_of("two", [range(first), range(first, n)])
    shares = torch.tensor(times, dtype=torch.float64) / sum(times)
    in_all, *_ = _readings(ratio(torch.ones(n, dtype=torch.float64)), cut, shares)
    assert in_all == dict(enumerate(times))
