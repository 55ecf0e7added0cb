"""Samples are called coupled only where touching two of them shows it."""

import pytest
import torch

import check_steps
from batchproof.check._coupling import interaction
from batchproof.check._cuts import Facts
from batchproof.check._free import free_weights
from batchproof.check._lab import Laboratory
from batchproof.check._search import Search
from batchproof.check._shot import Kit
from batchproof.check._terms import find_split


def laboratory(run, world=check_steps.TABULAR):
    samples = tuple(world.samples())
    kit = Kit(run, check_steps.Build(world.model), samples, world.collate)
    return Laboratory(kit, len(samples))


COUPLED = [check_steps.contrastive, check_steps.dice, check_steps.root, check_steps.against_data]
APART = [check_steps.of_classes, check_steps.of_weighted_classes, check_steps.of_focal]


@pytest.mark.parametrize("loss", COUPLED)
def test_what_hangs_on_other_samples_does_not_add_up(loss):
    lab = laboratory(check_steps.averaged(loss, reported="none"))
    assert interaction(lab) > 1e-4


@pytest.mark.parametrize("loss", APART)
def test_sums_over_fixed_weights_add_up(loss):
    lab = laboratory(check_steps.averaged(loss, reported="none"))
    assert interaction(lab) < 1e-12


def test_several_means_of_unlike_weights_add_up_though_no_two_explain_them():
    losses = check_steps.of_steps, check_steps.of_starts, check_steps.of_start_classes
    run = check_steps.terms_by_means(*losses, report=False)
    lab = laboratory(run, check_steps.PADDED)
    assert interaction(lab) < 1e-12
    facts = Facts(lab.count, (1,) * lab.count)
    assert find_split(Search(lab, facts), [lab.whole()]) is None


def groups(n):
    steps = ((0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 3))
    return sorted({tuple(sorted({(i + s) % n for s in step})) for step in steps for i in range(n)})


def shares(weights, subsets):
    rows = torch.zeros(len(subsets), len(weights), dtype=torch.float64)
    for row, subset in enumerate(subsets):
        rows[row, list(subset)] = weights[list(subset)] / weights[list(subset)].sum()
    return rows


@pytest.mark.parametrize("classes", [[1.0, 5.0], [0.2, 1.0, 3.0], [0.3, 1.1, 0.7, 2.0, 5.0, 0.1]])
def test_weights_that_no_count_is_are_found_beside_a_plain_mean(classes):
    n = 6
    draw = torch.Generator().manual_seed(3)
    one, two = torch.randn(2, n, 20, generator=draw, dtype=torch.float64)
    weights = torch.tensor([classes[i % len(classes)] for i in range(n)], dtype=torch.float64)
    subsets, plain = groups(n), shares(torch.ones(n, dtype=torch.float64), groups(n))
    seen = plain @ one + shares(weights, subsets) @ two
    (found,) = free_weights(one + two, subsets, seen, plain, tolerance=1e-9, starts=24)
    assert torch.allclose(found, weights / weights.mean(), rtol=1e-6)


def test_no_weights_are_found_where_there_are_none():
    n = 6
    draw = torch.Generator().manual_seed(4)
    single = torch.randn(n, 20, generator=draw, dtype=torch.float64)
    subsets, plain = groups(n), shares(torch.ones(n, dtype=torch.float64), groups(n))
    seen = plain @ single + 1e-3 * torch.randn(
        len(subsets), 20, generator=draw, dtype=torch.float64
    )
    assert free_weights(single, subsets, seen, plain, tolerance=1e-7, starts=6) is None
