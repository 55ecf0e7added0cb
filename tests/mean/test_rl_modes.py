"""The aggregations of RL fine-tuning, by their published formulas, are units of `reduce`.

losses l[i, t] and mask m[i, t] of B sequences, n_i = sum_t m[i, t], S = number of n_i > 0,
C a constant:

    token-mean (verl), dapo (TRL)           sum_it m l / sum_i n_i
    seq-mean-token-sum (verl)               1/S sum_i sum_t m l
    seq-mean-token-mean (verl)              1/S sum_i 1/n_i sum_t m l
    seq-mean-token-sum-norm (verl)          1/C sum_it m l
    dr_grpo (TRL)                           1/(B C) sum_it m l
    grpo (TRL)                              1/B sum_i 1/max(n_i, 1) sum_t m l
    bnpo (TRL)                              token-mean, of each micro-batch by itself
"""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import batchproof as bp
import rank_processes
from rl_modes import CONSTANT, MODES
from strategies import cuts, integers


@st.composite
def batches(draw, most=6, longest=4, *, empty=True):
    """Integer losses and a mask of sequences, with a cut of them."""
    rows, columns = draw(st.integers(1, most)), draw(st.integers(1, longest))
    losses = draw(st.lists(integers, min_size=rows * columns, max_size=rows * columns))
    masks = st.lists(st.booleans(), min_size=columns, max_size=columns)
    if not empty:
        masks = masks.filter(any)
    mask = draw(st.lists(masks, min_size=rows, max_size=rows).filter(lambda m: any(map(any, m))))
    found = torch.tensor(losses, dtype=torch.float64).reshape(rows, columns)
    return found, torch.tensor(mask), draw(cuts(rows, allow_empty=False))


def sums(losses, mask):
    """Return each sequence's sum and number of tokens, in whole numbers."""
    return [
        (sum(int(x) for x, kept in zip(row, keep, strict=True) if kept), int(keep.sum()))
        for row, keep in zip(losses, mask, strict=True)
    ]


FORMULAS = {
    "token-mean": lambda found: Fraction(sum(x for x, _ in found), sum(n for _, n in found)),
    "seq-mean-token-sum": lambda found: Fraction(
        sum(x for x, _ in found), sum(n > 0 for _, n in found)
    ),
    "seq-mean-token-mean": lambda found: (
        sum(Fraction(x, n) for x, n in found if n) / sum(n > 0 for _, n in found)
    ),
    "seq-mean-token-sum-norm": lambda found: Fraction(sum(x for x, _ in found), CONSTANT),
    "dr_grpo": lambda found: Fraction(sum(x for x, _ in found), len(found) * CONSTANT),
    "grpo": lambda found: sum(Fraction(x, max(n, 1)) for x, n in found) / len(found),
}


def test_every_mode_has_its_formula():
    assert MODES.keys() == FORMULAS.keys()


@pytest.mark.parametrize("mode", MODES)
@given(batches())
def test_a_mode_is_its_published_formula_and_so_it_is_pooled_over_every_cut(mode, batch):
    losses, mask, cut = batch
    formula = float(FORMULAS[mode](sums(losses, mask)))
    whole = MODES[mode](losses, mask, len(losses))
    assert whole.value().item() == pytest.approx(formula, rel=1e-12, abs=1e-12)
    parts = [MODES[mode](losses[rows], mask[rows], len(losses)) for rows in cut]
    assert bp.pool(parts).value().item() == pytest.approx(formula, rel=1e-12, abs=1e-12)


def gradient_of_formula(mode, losses, mask):
    """Return d formula / d loss of each token, exactly: the formulas are linear."""
    unit = torch.zeros(losses.shape, dtype=torch.int64)
    gradient = torch.zeros(losses.shape, dtype=torch.float64)
    for place in mask.nonzero().tolist():
        unit[tuple(place)] = 1
        gradient[tuple(place)] = float(FORMULAS[mode](sums(unit, mask)))
        unit[tuple(place)] = 0
    return gradient


@pytest.mark.parametrize("mode", MODES)
@given(batches(most=4, longest=3))
def test_a_step_over_every_cut_has_the_gradient_of_the_formula(mode, batch):
    losses, mask, cut = batch
    model = nn.Linear(1, 1, bias=False)
    model.weight = nn.Parameter(losses.clone())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    bp.Step(model, optimizer)(
        cut, lambda model, rows: MODES[mode](model.weight[rows], mask[rows], len(losses))
    )
    moved = losses - model.weight.detach()
    # what a step leaves is the difference of two numbers of the size of the losses
    expected = gradient_of_formula(mode, losses, mask)
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-12 * 1000)


def test_normalising_each_micro_batch_by_itself_is_another_mean():
    losses = torch.tensor([[8.0, 8.0, 8.0], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    token_mean = MODES["token-mean"]
    bnpo = [token_mean(losses[[i]], mask[[i]], 2).item() for i in range(2)]
    assert sum(bnpo) / 2 == 4.0
    assert token_mean(losses, mask, 2).item() == 6.0


def test_sequences_of_which_every_token_is_masked_count_where_they_are_published_to():
    losses = torch.tensor([[3.0, 11.0], [7.0, 7.0]])
    mask = torch.tensor([[True, True], [False, False]])
    found = {mode: MODES[mode](losses, mask, 2).item() for mode in MODES}
    assert found["seq-mean-token-mean"] == 2 * found["grpo"] == 7.0
    assert found["seq-mean-token-sum"] == 2 * CONSTANT * found["dr_grpo"] == 14.0


@pytest.mark.ranks
def test_modes_over_uneven_ranks_have_the_gradient_of_the_formula(tmp_path):
    from rl_modes import UNEVEN, batch

    losses, mask = batch()
    for found in rank_processes.run("rl_modes:stepped", len(UNEVEN), tmp_path):
        assert found.keys() == MODES.keys()
        for mode, (gradient, value) in found.items():
            expected = gradient_of_formula(mode, losses, mask)
            torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)
            formula = float(FORMULAS[mode](sums(losses, mask)))
            assert value.item() == pytest.approx(formula, rel=1e-12)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("mode", "unit"),
    [
        ("token-mean", "'element'"),
        ("dapo", "'element'"),
        ("seq-mean-token-mean", "'sample'"),
        ("seq-mean-token-sum", "'sample-sum'"),
        ("dr_grpo", "'sample-sum' of losses / constant"),
    ],
)
def test_the_name_of_a_mode_is_refused_with_its_unit(mode, unit):
    with pytest.raises(bp.UnitError, match=rf"; {mode} is {unit}\.$"):
        bp.reduce(torch.ones(2, 3), unit=mode)
