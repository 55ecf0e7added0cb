"""The cheapest cut of a window: every sample once, within its budget, and no cut is cheaper."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchproof import SettingError
from batchproof.data import Cost, plan

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)
BUDGETS = st.none() | st.integers(1, 200)


def price(cut: list[list[int]], lengths: list[int], cost=None) -> float:
    cost = cost or Cost()
    return sum(cost(len(batch), max(lengths[i] for i in batch)) for batch in cut)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Yield every way to cut items into sets."""
    if not items:
        yield []
        return
    first, *rest = items
    for smaller in partitions(rest):
        for at, part in enumerate(smaller):
            yield [*smaller[:at], [first, *part], *smaller[at + 1 :]]
        yield [[first], *smaller]


def within(batch: list[int], lengths: list[int], tokens: int | None, rows: int | None) -> bool:
    positions = len(batch) * max(lengths[i] for i in batch)
    fits = tokens is None or positions <= tokens or len(batch) == 1
    return fits and (rows is None or len(batch) <= rows)


@given(LENGTHS, BUDGETS, st.none() | st.integers(1, 9), st.integers(1, 5))
def test_every_sample_is_in_one_micro_batch_within_its_budget(lengths, tokens, rows, ranks):
    ranked = plan(lengths, tokens=tokens, rows=rows, ranks=ranks)
    assert len(ranked) == ranks
    batches = [batch for part in ranked for batch in part]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(within(batch, lengths, tokens, rows) for batch in batches)


@given(LENGTHS, BUDGETS, st.none() | st.integers(1, 9), st.integers(1, 5))
def test_no_rank_is_idle_while_another_has_two(lengths, tokens, rows, ranks):
    sizes = [len(part) for part in plan(lengths, tokens=tokens, rows=rows, ranks=ranks)]
    assert min(sizes) > 0 or max(sizes) <= 1


COSTS = st.builds(
    Cost,
    position=st.integers(1, 3).map(float),
    pair=st.integers(0, 2).map(float),
    batch=st.integers(0, 60).map(float),
)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), BUDGETS, st.integers(1, 6), COSTS)
def test_no_cut_of_few_samples_is_cheaper(lengths, tokens, rows, cost):
    (cut,) = plan(lengths, tokens=tokens, rows=rows, cost=cost)
    allowed = (
        other
        for other in partitions(list(range(len(lengths))))
        if all(within(batch, lengths, tokens, rows) for batch in other)
    )
    assert price(cut, lengths, cost) == min(price(other, lengths, cost) for other in allowed)


@given(LENGTHS, BUDGETS, st.integers(1, 9), COSTS)
def test_the_fast_program_is_as_cheap_as_the_one_that_looks_at_every_start(
    lengths, tokens, rows, cost
):
    (fast,) = plan(lengths, tokens=tokens, rows=rows, cost=cost)
    (slow,) = plan(lengths, tokens=tokens, rows=rows, cost=cost.__call__)
    assert price(fast, lengths, cost) == price(slow, lengths, cost)


@given(LENGTHS, st.integers(1, 9))
def test_the_plan_is_never_dearer_than_the_order_given(lengths, rows):
    given_order = [list(range(len(lengths)))[i : i + rows] for i in range(0, len(lengths), rows)]
    largest = max(len(b) * max(lengths[i] for i in b) for b in given_order)
    (cut,) = plan(lengths, tokens=largest, rows=rows)
    assert price(cut, lengths) <= price(given_order, lengths)


@given(LENGTHS, st.integers(2, 4))
def test_over_ranks_the_dearest_rank_is_no_dearer_than_one_rank_alone(lengths, ranks):
    ranked = plan(lengths, tokens=80, ranks=ranks)
    alone = price(plan(lengths, tokens=80)[0], lengths)
    assert max(price(part, lengths) for part in ranked if part) <= alone


def test_ranks_are_balanced_by_cost():
    lengths = [512, *[8] * 64]
    ranked = plan(lengths, tokens=512, ranks=2, cost=Cost(batch=0.0))
    assert sorted(price(part, lengths, Cost(batch=0.0)) for part in ranked) == [512, 512]


def test_all_ranks_plan_the_same_from_the_same_lengths():
    lengths = [5, 5, 9, 1, 5, 9, 9, 2]
    assert plan(lengths, tokens=20, ranks=3) == plan(lengths, tokens=20, ranks=3)


def test_a_longer_sample_than_the_budget_is_alone():
    assert plan([100, 2, 2], tokens=10) == [[[0], [1, 2]]]
    assert plan([100, 2, 2], tokens=10, packed=True) == [[[0], [1, 2]]]


@given(LENGTHS, BUDGETS, st.none() | st.integers(1, 9), st.integers(1, 5))
def test_packed_rows_keep_every_sample_once_within_their_budget(lengths, tokens, rows, ranks):
    ranked = plan(lengths, tokens=tokens, rows=rows, ranks=ranks, packed=True)
    batches = [batch for part in ranked for batch in part]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert tokens is None or sum(lengths[i] for i in batch) <= tokens or len(batch) == 1
        assert rows is None or len(batch) <= rows
    sizes = [len(part) for part in ranked]
    assert min(sizes) > 0 or max(sizes) <= 1


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(20, 40))
def test_packed_rows_are_at_most_one_more_than_the_fewest(lengths, tokens):
    (cut,) = plan(lengths, tokens=tokens, packed=True)
    fewest = min(
        len(other)
        for other in partitions(list(range(len(lengths))))
        if all(sum(lengths[i] for i in batch) <= tokens for batch in other)
    )
    # best fit decreasing: 11/9 of the fewest, and 6/9 more
    assert len(cut) <= fewest * 11 / 9 + 6 / 9


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(2, 3))
def test_ranks_are_as_even_as_no_more_than_twice_the_best(lengths, ranks):
    cost = Cost(batch=0.0)
    ranked = plan(lengths, tokens=20, ranks=ranks, cost=cost)
    worst = max(price(part, lengths, cost) for part in ranked if part)
    # no share of the positions is smaller than the average, nor than the longest sample
    assert worst <= 2 * max(sum(lengths) / ranks, *lengths) + max(lengths)


@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 90))
def test_a_cost_is_fitted_to_what_was_timed(position, pair, batch):
    cost = Cost(float(position), pair / 16, float(batch))
    shapes = [(1, 8), (8, 8), (2, 64), (8, 128), (1, 512), (4, 256)]
    fitted = Cost.fitted([(rows, longest, cost(rows, longest)) for rows, longest in shapes])
    assert fitted.position == pytest.approx(cost.position, rel=1e-6)
    assert fitted.pair == pytest.approx(cost.pair, abs=1e-6 * position)
    assert fitted.batch == pytest.approx(cost.batch, abs=1e-4 * position)


def test_a_part_of_the_cost_that_would_be_negative_is_0():
    # a micro-batch that is quicker by the position when it is small
    fitted = Cost.fitted([(1, 8, 1.0), (8, 8, 10.0), (8, 64, 90.0), (8, 128, 190.0)])
    assert fitted.batch == 0
    assert fitted.position > 0


def test_nothing_to_plan_is_an_empty_share_for_each_rank():
    assert plan([], tokens=10, ranks=2) == [[], []]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Cost.fitted([(1, 8, 1.0)]), "expected three micro-batches or more"),
        (lambda: plan([3, 0, 2]), "sample 1 has length 0; expected a whole number, 1 or more"),
        (lambda: plan([3, 4], cost=lambda rows, longest: math.nan), "is nan; expected a finite"),
        (lambda: plan([3], tokens=0), "tokens is 0; expected a whole number, 1 or more"),
        (lambda: plan([3], rows=-1), "rows is -1"),
        (lambda: plan([3], ranks=0), "ranks is 0"),
        (
            lambda: plan([3, 12], tokens=9, alone=False),
            "sample 1 has length 12, more than the 9 tokens of a micro-batch; raise tokens",
        ),
        (lambda: Cost(batch=-1.0), "expected numbers of 0 or more"),
    ],
)
def test_invalid_settings_are_refused(call, words):
    with pytest.raises(SettingError, match=words):
        call()


@pytest.mark.parametrize(
    "setting", [{"tokens": 5.5}, {"rows": 2.0}, {"ranks": "2"}, {"rows": True}]
)
def test_a_limit_that_is_not_a_whole_number_is_refused(setting, unchecked):
    with pytest.raises(SettingError, match="expected a whole number, 1 or more"):
        plan([3, 4], **setting)


@pytest.mark.parametrize("length", [1.5, math.nan, math.inf])
def test_a_length_that_is_not_a_whole_number_is_refused(length, unchecked):
    with pytest.raises(SettingError, match=f"sample 1 has length {length}; expected a whole"):
        plan([3, length], tokens=8)
