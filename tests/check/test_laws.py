"""The algebra: weights come back from means of subsets, and each rule predicts what it says."""

from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

from batchproof.check._laws._laws import design, ratio, recover_weights
from batchproof.check._laws._rules import (
    EXACT,
    FIRST,
    LAST,
    MEAN,
    SUM,
    Rule,
    rules,
    scales,
)
from batchproof.check._measure._cuts import cut_of, even_sizes, ragged_sizes, split

weights = st.lists(st.integers(1, 9), min_size=3, max_size=7)


@given(weights)
def test_weights_come_back_from_pairs_and_the_whole(values):
    n = len(values)
    w = torch.tensor(values, dtype=torch.float64)
    singles = torch.randn(n, 20, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    subsets = [(i, i + 1) for i in range(n - 1)] + [tuple(range(n))]
    means = [(s, (w[list(s)] @ singles[list(s)]) / w[list(s)].sum()) for s in subsets]
    found = recover_weights(singles, means)
    assert found is not None
    assert torch.allclose(found, w / w.mean(), rtol=1e-8)


@given(weights, st.integers(0, 50))
def test_the_exact_rule_gives_one_row_for_every_cut(values, seed):
    n = len(values)
    micro = ratio(torch.tensor(values, dtype=torch.float64))
    cuts = [cut_of("whole", [range(n)]), cut_of("ragged", split(range(n), ragged_sizes(n, seed)))]
    whole, ragged = design(micro, EXACT, cuts, n)
    wanted = [float(Fraction(v, sum(values))) for v in values]
    assert torch.allclose(whole, torch.tensor(wanted, dtype=torch.float64), rtol=1e-14)
    assert torch.allclose(ragged, whole, rtol=1e-14)


def test_every_rule_is_the_same_where_nothing_is_cut():
    whole = cut_of("whole", [range(5)])
    for rule in rules():
        assert scales(rule, whole, lambda piece: 3.0) == [1.0]


def test_rules_say_what_their_names_say():
    cut = cut_of("uneven", [[0], [1, 2, 3]])

    def weigh(piece):
        return float(len(piece.samples))

    def said(rule):
        return scales(rule, cut, weigh)

    assert said(EXACT) == [0.25, 0.75]
    assert said(MEAN) == [0.5, 0.5]
    assert said(SUM) == [1.0, 1.0]
    assert said(LAST) == [0.0, 1.0]
    assert said(FIRST) == [1.0, 0.0]
    assert said(Rule(again=True)) == [0.125, 0.375]


def test_ranks_are_averaged_summed_or_pooled():
    cut = cut_of("ranks", [[0]], [[1, 2, 3]])

    def weigh(piece):
        return float(len(piece.samples))

    assert scales(EXACT.over("mean"), cut, weigh) == [0.5, 0.5]
    assert scales(EXACT.over("sum"), cut, weigh) == [1.0, 1.0]
    assert scales(EXACT.over("pooled", "/R"), cut, weigh) == [0.125, 0.375]
    assert scales(EXACT.over("pooled", "*R"), cut, weigh) == [0.5, 1.5]
    assert scales(MEAN.over("own"), cut, weigh) == [1.0, 0.0]


@given(st.integers(2, 30), st.integers(0, 100))
def test_sizes_add_up_and_are_ragged_where_they_can_be(total, seed):
    sizes = ragged_sizes(total, seed)
    assert sum(sizes) == total
    assert min(sizes) >= 1
    assert total < 3 or len(set(sizes)) > 1
    assert sum(even_sizes(total, 3)) == total
